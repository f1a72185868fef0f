// Patterns that a search would follow for ever: of a configuration, of a tokenizer.json.
#include <signal.h>
#include <sys/wait.h>

#include <chrono>
#include <thread>

#include "tests/support/processes.h"
#include "tests/support/program.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using test::Program;

class Patterns : public Program {
 protected:
  // The exit status; -1 if the program has not ended after a minute.
  int status_of(const std::vector<std::string>& arguments) {
    const pid_t child = start(arguments);
    int status = 0;
    for (int i = 0; i < 1200; ++i) {
      if (::waitpid(child, &status, WNOHANG) == child) return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    ::kill(child, SIGKILL);
    ::waitpid(child, &status, 0);
    return -1;
  }
};

TEST_F(Patterns, OfDecayExemptEnd) {
  EXPECT_EQ(status_of({"train", "config=tiny.yaml", "steps=3", R"(optim.decay_exempt=['((\w|[.])+)+!'])"}), 0)
      << read_file(root_ / "err");
  // A reference to a group: within limits, and then one line.
  EXPECT_EQ(status_of({"train", "config=tiny.yaml", "steps=4", R"(optim.decay_exempt=['(([a-z._]|\w)+)+\1$\d'])"}), 1);
  const auto err = read_file(root_ / "err");
  const auto at = err.find("error: optim.decay_exempt: \"((");
  ASSERT_NE(at, std::string::npos) << err;
  EXPECT_EQ(err.find('\n', at), err.size() - 1) << err;
}

TEST_F(Patterns, OfATokenizerTakeTextsOfAnyLength) {
  std::ofstream(root_ / "words.json")
      << R"({"model":{"vocab":{"a":0," ":1},"merges":[]},"pre_tokenizer":{"type":)"
      << R"("Split","pattern":{"Regex":"[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\s+(?!\\S)|\\s+"},)"
      << R"("behavior":"Isolated"}})";
  std::ofstream(root_ / "long.txt") << std::string(2'000'000, 'a') << std::string(2'000'000, ' ') << "a";
  EXPECT_EQ(status_of({"tokenize", "tokenizer=hf", "path=words.json", "in=long.txt", "per=file"}), 0)
      << read_file(root_ / "err");
  EXPECT_EQ(read_file(root_ / "out").size(), 2u * 4'000'001);
}

// Minutes of searching, be it of one piece or of many, in a run that has only begun: it saves its state and says
// how to continue.
TEST_F(Patterns, OfATextThatIsSearchedForLongEndAtASignal) {
  std::ofstream(root_ / "slow.json") << test::kSlowTokenizer;
  for (const size_t piece : {5'000'000, 700}) {
    fs::remove_all(root_ / "run");
    fs::remove(root_ / "err");
    {
      std::ofstream text(root_ / "long.txt");
      for (size_t bytes = 0; bytes < 5'000'000; bytes += piece) text << std::string(piece, 'a') << ' ';
    }
    const pid_t child =
        start({"train", "config=tiny.yaml", "steps=3", "data.tokenizer.name=hf", "data.tokenizer.path=slow.json",
               "data.add_bos=false", "data.add_eos=false", "data.sources={long.txt: 1.0}"});
    const auto said = [&] {
      return fs::exists(root_ / "err") && read_file(root_ / "err").find("long.txt") != std::string::npos;
    };
    ASSERT_TRUE(test::within(60, said)) << read_file(root_ / "err");
    std::this_thread::sleep_for(std::chrono::seconds(1));
    ::kill(child, SIGTERM);
    EXPECT_EQ(test::exit_status(child, 20), 0) << read_file(root_ / "err");
    const auto err = read_file(root_ / "err");
    EXPECT_NE(err.find("Run the same command again"), std::string::npos) << err;
    EXPECT_EQ(err.find("error: "), std::string::npos) << err;
  }
}

}  // namespace
}  // namespace lt2
