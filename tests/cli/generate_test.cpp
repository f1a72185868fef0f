// Generating through the program: sessions, samples, drafts, a conversation, packed weights.
#include <fcntl.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/support/program.h"

namespace lt2::test {
namespace {

class Generating : public Program {
 protected:
  void SetUp() override {
    Program::SetUp();
    ASSERT_EQ(run("train config=tiny.yaml").status, 0);
  }
  std::string text_of(const std::string& arguments) {
    const auto result = run("generate ckpt=run dtype=fp32 " + arguments);
    EXPECT_EQ(result.status, 0) << result.err;
    return result.out.substr(0, result.out.find_last_not_of('\n') + 1);
  }
};

TEST_F(Generating, ASessionGoesOnWhereItEnded) {
  const auto whole = text_of("prompt='line 7' max_gen_len=24");
  const auto first = text_of("prompt='line 7' max_gen_len=10 state=s.safetensors");
  const auto second = text_of("prompt='' max_gen_len=14 state=s.safetensors");
  EXPECT_EQ(first + second, whole);
  expect_error("generate ckpt=run prompt=x state=s.safetensors", {"s.safetensors", "another model"});  // bf16 now
  expect_error("generate ckpt=run prompt=x state=no/such/folder", {"state", "folder"});
  expect_error("generate ckpt=run prompt=x state=s.safetensors n=2", {"state", "n=2"});
}

// The second one is refused before it reads anything; nothing is left when both are done.
TEST_F(Generating, ASessionHasOneProcess) {
  int said[2];
  ASSERT_EQ(::pipe2(said, O_CLOEXEC), 0);
  const int own = ::dup(STDIN_FILENO);
  ::dup2(said[0], STDIN_FILENO);
  const auto pid = start({"generate", "ckpt=run", "dtype=fp32", "chat=true", "max_gen_len=4", "state=talk"});
  ::dup2(own, STDIN_FILENO);
  ::close(own);
  ::close(said[0]);
  for (int i = 0; i < 500 && !fs::exists(root_ / ".talk.lock"); ++i) ::usleep(20000);
  const auto second = shell("\"$LT2\" generate ckpt=run dtype=fp32 prompt=x state=talk >second 2>&1");
  EXPECT_EQ(second.status, 1);
  const auto error = read_file(root_ / "second");
  EXPECT_NE(error.find("talk: another process uses this session"), std::string::npos) << error;
  EXPECT_NE(error.find(fmt::format("held by process {}", pid)), std::string::npos) << error;
  EXPECT_FALSE(fs::exists(root_ / "talk"));
  ::close(said[1]);
  ::waitpid(pid, nullptr, 0);
  EXPECT_EQ(run("generate ckpt=run dtype=fp32 prompt=x max_gen_len=4 state=talk").status, 0);
  EXPECT_FALSE(fs::exists(root_ / ".talk.lock"));
}

TEST_F(Generating, SamplesAndLogProbabilitiesAreLines) {
  const auto out = text_of("prompt='line' max_gen_len=5 n=3 temperature=1 logprobs=2 seed=5");
  std::istringstream lines(out);
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const auto json = nlohmann::json::parse(line);
    EXPECT_EQ(json["sample"], count);
    ASSERT_GE(json["tokens"].size(), 1u);
    EXPECT_LE(json["tokens"][0]["logprob"].get<double>(), 0);
    EXPECT_EQ(json["tokens"][0]["likeliest"].size(), 2u);
  }
  EXPECT_EQ(count, 3);
  // The third sample is that of its seed.
  const auto third = nlohmann::json::parse(out.substr(out.rfind("{\"sample\"")))["text"];
  EXPECT_EQ(nlohmann::json::parse(text_of("prompt='line' max_gen_len=5 temperature=1 logprobs=2 seed=7"))["text"],
            third);
}

TEST_F(Generating, DraftsPackedWeightsAndStopTextsKeepTheText) {
  const auto plain = text_of("prompt='line 7' max_gen_len=30");
  EXPECT_EQ(text_of("prompt='line 7' max_gen_len=30 speculate=loops:1,k:3"), plain);
  EXPECT_EQ(text_of("prompt='line 7' max_gen_len=30 early_exit_step=1"), plain);  // the last loop
  const auto early = nlohmann::json::parse(text_of("prompt='line 7' max_gen_len=5 early_exit_step=0 logprobs=1"));
  ASSERT_FALSE(early["tokens"].empty());
  for (const auto& token : early["tokens"]) EXPECT_EQ(token["exit_loop"], 0);
  const auto stop = plain.substr(5, 3);
  EXPECT_EQ(text_of("prompt='line 7' max_gen_len=30 until='[\"" + stop + "\"]'"), plain.substr(0, plain.find(stop)));
  ASSERT_EQ(run("quantize ckpt=run weights=int8 out=packed/ text=text.txt tokens=200").status, 0);
  const auto packed = run("generate ckpt=packed prompt='line 7' max_gen_len=5");
  EXPECT_EQ(packed.status, 0) << packed.err;
  expect_error("quantize ckpt=run weights=int8 out=packed", {"packed", "exists"});
  expect_error("quantize ckpt=packed weights=int4 out=again", {"int8"});
  expect_error("generate ckpt=packed weights=fp32 prompt=x", {"int8", "fp32"});
  expect_error("generate ckpt=run prompt=x --memory 1K", {"does not fit"});
  expect_error("generate ckpt=run prompt=x speculate=loops:2,k:3", {"loops"});
  expect_error("generate ckpt=run prompt=x early_exit_threshold=0.5", {"early_exit_threshold"});
}

TEST_F(Generating, AConversationIsKept) {
  std::ofstream(root_ / "said.txt") << "hello\nand again\n";
  const auto talk = [&] {
    const auto command =
        fmt::format("cd '{}' && '{}' generate ckpt=run chat=true max_gen_len=8 state=talk <said.txt >out 2>err",
                    root_.string(), LT2_PROGRAM);
    ASSERT_EQ(std::system(command.c_str()), 0) << read_file(root_ / "err");
  };
  talk();
  const auto first = read_file(root_ / "err");
  EXPECT_NE(first.find("known)"), std::string::npos) << first;  // the second turn continues from the first
  EXPECT_NE(first.find("saved"), std::string::npos);
  talk();
  EXPECT_NE(read_file(root_ / "err").find("continues after"), std::string::npos);
}

}  // namespace
}  // namespace lt2::test
