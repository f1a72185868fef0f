#pragma once
// The program as a user meets it: a small text and configuration in a folder of its own, commands, what they print.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/files.h"
#include "tests/support/temp_folder.h"

namespace lt2::test {

namespace fs = std::filesystem;

/// A tokenizer.json that takes some 20 microseconds a letter of a text of letters a, up to a space.
inline constexpr const char* kSlowTokenizer =
    R"({"model":{"vocab":{"a":0,"b":1," ":2},"merges":[]},"pre_tokenizer":{"type":"Sequence","pretokenizers":[)"
    R"({"type":"Split","pattern":{"String":" "},"behavior":"Isolated"},)"
    R"({"type":"Split","pattern":{"Regex":"(?:a|b){1,300}c|[ab ]"},"behavior":"Isolated"}]}})";

struct Result {
  int status = -1;
  std::string out, err;
};

class Program : public ::testing::Test {
 protected:
  void SetUp() override {
    std::ofstream text(root_ / "text.txt");
    for (int i = 0; i < 300; ++i) text << "line " << i << ": the quick brown fox jumps over the lazy dog\n";
    std::ofstream(root_ / "tiny.yaml")
        << "name: tiny\ndump_dir: " << (root_ / "run").string() << "\nsteps: 4\ndata:\n  sources: {"
        << (root_ / "text.txt").string()
        << ": 1.0}\n  seq_len: 32\n  batch_size: 2\n  prefetch_size: 4\noptim: {lr: 0.003, warmup: 1}\nmodel:\n  dim: "
           "32\n  n_layers: 2\n  n_heads: 2\n  multiple_of: 16\n"
           "  loop_count: 2\n  mixer: gdn\n  attention_pattern: 1:1\n  gated_attn: true\ndistributed: {model_dtype: "
           "fp32}\n";
  }
  Result run(const std::string& arguments) { return shell("\"$LT2\" " + arguments + " </dev/null"); }
  // A command line of bash, in which the program is $LT2.
  Result shell(const std::string& command) {
    std::ofstream(root_ / "command") << "cd '" << root_.string() << "'\nLT2='" << LT2_PROGRAM << "'\n"
                                     << command << "\n";
    const auto line = fmt::format("bash '{0}/command' >'{0}/out' 2>'{0}/err'", root_.string());
    const int status = std::system(line.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_file(root_ / "out"), read_file(root_ / "err")};
  }
  // The program in the background, its output in root_/out and root_/err plus `suffix`; the caller signals it
  // and waits for it. `variables` ("NAME=value") join its environment.
  pid_t start(std::vector<std::string> arguments, const std::string& suffix = "",
              std::vector<std::string> variables = {}) {
    std::vector<char*> argv{const_cast<char*>("lt2")};
    for (auto& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    std::fflush(stdout);  // or the child would print it again
    const pid_t child = ::fork();
    if (child < 0) throw std::runtime_error("cannot fork");
    if (child > 0) return child;
    ::setenv("TERM", "dumb", 1);
    for (auto& variable : variables) ::putenv(variable.data());
    const std::string err = "err" + suffix, out = "out" + suffix;
    if (::chdir(root_.c_str()) != 0 || !std::freopen(err.c_str(), "w", stderr) ||
        !std::freopen(out.c_str(), "w", stdout))
      ::_exit(9);
    ::execv(LT2_PROGRAM, argv.data());
    ::_exit(9);
  }
  // Exit status 1 and one line on stderr that begins with "error: " and holds all `words`.
  void expect_error(const std::string& arguments, const std::vector<std::string>& words) {
    const auto result = run(arguments);
    EXPECT_EQ(result.status, 1) << arguments << "\n" << result.err;
    const auto at = result.err.find("error: ");
    ASSERT_NE(at, std::string::npos) << arguments << "\n" << result.err;
    const auto line = result.err.substr(at);
    EXPECT_EQ(line.find('\n'), line.size() - 1) << line;
    EXPECT_EQ(line.find("internal"), std::string::npos) << line;
    for (const auto& word : words)
      EXPECT_NE(line.find(word), std::string::npos) << "expected \"" << word << "\" in: " << line;
  }
  TempFolder temporary_;
  fs::path root_ = temporary_.path();
};

}  // namespace lt2::test
