// Standard output that cannot be written, has lost its reader, or is closed.
#include <regex>

#include "tests/support/program.h"

namespace lt2::test {
namespace {

class Output : public Program {
 protected:
  // A trained run, its copy in packed weights, and a folder to report on.
  void SetUp() override {
    Program::SetUp();
    ASSERT_EQ(run("train config=tiny.yaml").status, 0);
    fs::create_directories(root_ / "vectors");
    fs::copy(fs::path(LT2_TEST_DATA) / "vectors/model/lr_schedules.json", root_ / "vectors");
  }
  // Every command in a form that writes results.
  static std::vector<std::string> commands() {
    return {"--version",
            "--help",
            "train --help",
            "train config=tiny.yaml dump_dir=other --dry-run",
            "generate ckpt=run prompt=x max_gen_len=3",
            "generate ckpt=run prompt=x max_gen_len=3 n=2",
            "generate ckpt=run prompt=x max_gen_len=3 logprobs=1",
            "generate ckpt=run prompt=x max_gen_len=3 logprobs=1 n=2",
            "generate ckpt=run chat=true max_gen_len=3 < text.txt",
            "inspect ckpt=run",
            "check vectors",
            "bench ckpt=run mode=decode contexts=64 seconds=0.01",
            "report run",
            "report run --live port=0",
            "data prepare in=text.txt out=prepared name=x",
            "tokenize in=text.txt",
            "convert in=run out=converted to=hf",
            "quantize ckpt=run weights=int8 text=text.txt tokens=100",
            "launch --help"};
  }
  void make_again() {
    for (const char* name : {"prepared", "converted", "other"}) fs::remove_all(root_ / name);
  }
};

TEST_F(Output, WhatCannotBeWrittenIsOneLine) {
  for (const auto& [redirection, reason] :
       {std::pair{">/dev/full", "No space left on device"}, {">&-", "Bad file descriptor"}}) {
    for (const auto& command : commands()) {
      make_again();
      const auto result = shell(fmt::format("timeout 60 \"$LT2\" {} {}", command, redirection));
      EXPECT_EQ(result.status, 1) << command << redirection << "\n" << result.err;
      const auto line = fmt::format("error: standard output: cannot write: {}\n", reason);
      EXPECT_TRUE(result.err.ends_with(line)) << command << redirection << "\n" << result.err;
      EXPECT_EQ(result.err.find("error: "), result.err.rfind("error: ")) << command << "\n" << result.err;
    }
  }
}

// As a shell shows it for `cat` and others: 141, and stderr is the same as with a reader.
TEST_F(Output, AClosedPipeEndsQuietly) {
  for (const auto& command : commands()) {
    make_again();
    const auto result =
        shell(fmt::format("{{ timeout 60 \"$LT2\" {}; echo $? >status; }} | :; exit $(cat status)", command));
    EXPECT_EQ(result.status, 141) << command << "\n" << result.err;
    EXPECT_EQ(result.err.find("error"), std::string::npos) << command << "\n" << result.err;
    EXPECT_EQ(result.err.find("standard output"), std::string::npos) << command << "\n" << result.err;
  }
}

// A run continues although its samples cannot be printed; at the end the status reports the failure.
TEST_F(Output, ARunOutlivesItsReader) {
  const std::string train = "\"$LT2\" train config=tiny.yaml dump_dir=other val.prompt=line val.sample_len=4";
  const auto full = shell(train + " >/dev/full");
  EXPECT_EQ(full.status, 1) << full.err;
  EXPECT_NE(full.err.find("warning: standard output: cannot write"), std::string::npos) << full.err;
  EXPECT_TRUE(fs::exists(root_ / "other/checkpoints/0000000004/checksums.json"));
  fs::remove_all(root_ / "other");
  const auto closed = shell("{ " + train + "; echo $? >status; } | :; exit $(cat status)");
  EXPECT_EQ(closed.status, 141) << closed.err;
  EXPECT_TRUE(fs::exists(root_ / "other/checkpoints/0000000004/checksums.json"));
  // A closed terminal or log does not affect results.
  fs::remove_all(root_ / "other");
  const auto silent = shell("{ " + train + " 2>&1 >samples; echo $? >status; } | :; exit $(cat status)");
  EXPECT_EQ(silent.status, 0) << silent.err;
  EXPECT_NE(read_file(root_ / "samples").find("--- sample"), std::string::npos);
}

// Or the first file opened would be taken for the missing descriptor, and be written into.
TEST_F(Output, MissingDescriptorsAreNeverAFile) {
  const std::string train = "train config=tiny.yaml dump_dir=other val.prompt=line val.sample_len=4 ";
  for (const auto& [closed, status] :
       {std::pair{"<&-", 0}, {">&-", 1}, {"2>&-", 0}, {"<&- >&-", 1}, {"<&- >&- 2>&-", 1}}) {
    fs::remove_all(root_ / "other");
    const auto result = shell("\"$LT2\" " + train + closed);
    EXPECT_EQ(result.status, status) << closed << result.err;
    for (const auto& entry : fs::recursive_directory_iterator(root_ / "other")) {
      const auto name = entry.path().filename().string();
      if (!entry.is_regular_file() || name == "samples.json" || name == "train.log") continue;
      const auto content = read_file(entry.path());
      EXPECT_EQ(content.find("--- sample"), std::string::npos) << closed << entry.path();
      EXPECT_EQ(content.find("error:"), std::string::npos) << closed << entry.path();
    }
  }
  const auto result = shell("\"$LT2\" generate ckpt=run max_gen_len=3 <&-");
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("standard input: cannot read: Bad file descriptor"), std::string::npos) << result.err;
}

// Only one place writes results: any other would lose them silently.
TEST(OutputPlace, IsTheOnlyOne) {
  const std::regex other(R"((^|[^:\w])(fmt::print\(|std::cout|std::printf|std::puts|printf\(|puts\())");
  for (const auto& entry : fs::recursive_directory_iterator(fs::path(LT2_SOURCE_DIR) / "src")) {
    if (entry.path().extension() != ".cpp" && entry.path().extension() != ".h") continue;
    std::ifstream file(entry.path());
    int number = 0;
    for (std::string line; std::getline(file, line);) {
      ++number;
      EXPECT_FALSE(std::regex_search(line, other)) << entry.path().string() << ":" << number << ": " << line;
    }
  }
}

}  // namespace
}  // namespace lt2::test
