// The job file, read as bash and sbatch read it.
#include "distributed/slurm.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/files.h"
#include "tests/support/temp_folder.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> kNasty = {"plain",
                                         "a b",
                                         "it's",
                                         "say \"x\"",
                                         "$(touch pwned)",
                                         "`touch pwned`",
                                         "a;touch pwned;b",
                                         "a#b",
                                         "a #b",
                                         "~x&|<>(){}[]*?!",
                                         "100%j",
                                         "\xc3\xa4\xe2\x82\xac \xf0\x9f\x98\x80",
                                         "--x"};

class SlurmJob : public ::testing::Test {
 protected:
  void SetUp() override { fs::create_directories(root_ / "bin"); }

  void program(const std::string& name, const std::string& body) {
    const auto path = root_ / "bin" / name;
    std::ofstream(path) << "#!/bin/bash\n" << body;
    fs::permissions(path, fs::perms::owner_all);
  }
  // Runs `script` with the programs made here before all others; its exit status.
  int bash(const std::string& script) {
    std::ofstream(root_ / "script") << script;
    const auto command = "cd '" + root_.string() + "' && PATH='" + root_.string() + "/bin':$PATH bash ./script";
    const int status = std::system(command.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  // The words of a file that separates them by zero bytes.
  std::vector<std::string> words_of(const std::string& name) {
    std::vector<std::string> words;
    const auto text = fs::exists(root_ / name) ? read_file(root_ / name) : "";
    for (size_t begin = 0, end; (end = text.find('\0', begin)) != std::string::npos; begin = end + 1)
      words.push_back(text.substr(begin, end - begin));
    return words;
  }
  // The options of the #SBATCH lines. What the script escapes means the same to bash and to sbatch.
  std::vector<std::string> options_of(const std::string& script) {
    std::string words;
    for (size_t begin = 0, end; (end = script.find('\n', begin)) != std::string::npos; begin = end + 1) {
      if (script.compare(begin, 8, "#SBATCH ") == 0) words += " " + script.substr(begin + 8, end - begin - 8);
    }
    EXPECT_EQ(bash("printf '%s\\0' " + words + " >options"), 0);
    return words_of("options");
  }

  test::TempFolder temporary_;
  fs::path root_ = temporary_.path();
};

std::string doubled_percent(std::string text) {
  for (size_t at = 0; (at = text.find('%', at)) != std::string::npos; at += 2) text.insert(at, "%");
  return text;
}

TEST_F(SlurmJob, EveryValueStaysOneWord) {
  program("srun", "printf '%s\\0' \"$@\" >srun-words\n");
  for (const auto& text : kNasty) {
    SCOPED_TRACE(text);
    LaunchConfig config;
    config.nodes = 2, config.ngpu = 0;
    config.partition = config.mem = config.constraint = config.exclude = config.account = config.qos = text;
    const auto dump_dir = "/runs/" + text;
    const auto script = slurm_script(config, dump_dir, {.program = "/opt/" + text + "/lt2"});
    const auto options = options_of(script);
    const auto logs = doubled_percent(dump_dir) + "/logs/%j/%j";
    for (const auto& expected :
         {"--job-name=" + text, "--partition=" + text, "--mem=" + text, "--constraint=" + text, "--exclude=" + text,
          "--account=" + text, "--qos=" + text, "--output=" + logs + ".stdout", "--error=" + logs + ".stderr"}) {
      EXPECT_EQ(std::count(options.begin(), options.end(), expected), 1) << expected << " in\n" << script;
    }
    EXPECT_EQ(bash(script), 0);
    EXPECT_EQ(words_of("srun-words"), (std::vector<std::string>{"-n", "2", "-N", "2", "--output=" + logs + "_%t.out",
                                                                "--error=" + logs + "_%t.err", "/opt/" + text + "/lt2",
                                                                "train", "config=" + dump_dir + "/base_config.yaml"}));
    EXPECT_FALSE(fs::exists(root_ / "pwned"));
  }
}

TEST_F(SlurmJob, NoControlCharacterGetsIn) {
  LaunchConfig config;
  config.nodes = 1;
  EXPECT_THROW(slurm_script(config, "/runs/a\n#SBATCH --uid=0", {.program = "lt2"}), Error);
  EXPECT_THROW(slurm_script(config, "/runs/a", {.program = "/a\nb/lt2"}), Error);
  EXPECT_THROW(slurm_script(config, "/runs/a\\b", {.program = "lt2"}), Error) << "SLURM would not replace %j";
  config.account = "lab\ntouch pwned";
  EXPECT_THROW(slurm_script(config, "/runs/a", {.program = "lt2"}), Error);
}

TEST_F(SlurmJob, AFailureIsRequeuedAStopIsNot) {
  program("scontrol", "echo \"$@\" >>requeued\n");
  LaunchConfig config;
  config.nodes = 1;
  const auto script = slurm_script(config, "/runs/x", {.program = "lt2", .max_restarts = 2});
  for (const int status : {0, 1, 137, 140, 130, 143}) {
    fs::remove(root_ / "requeued");
    program("srun", "exit " + std::to_string(status) + "\n");
    EXPECT_EQ(bash("export SLURM_JOB_ID=7\n" + script), status);
    EXPECT_EQ(fs::exists(root_ / "requeued"), status == 1 || status == 137 || status == 140) << status;
  }
  EXPECT_EQ(bash("export SLURM_JOB_ID=7 SLURM_RESTART_COUNT=2\n" + script), 143);
}

}  // namespace
}  // namespace lt2
