#include "distributed/layout.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>

#include "base/error.h"
#include "distributed/slurm.h"
#include "tests/support/error_of.h"

namespace lt2 {
namespace {

// Only these variables are set while the test runs.
class Environment {
 public:
  explicit Environment(const std::map<std::string, std::string>& values) {
    clear();
    for (const auto& [name, value] : values) ::setenv(name.c_str(), value.c_str(), 1);
  }
  ~Environment() { clear(); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  static void clear() {
    for (const char* name :
         {"LOCAL_RANK", "RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "SLURM_JOB_NUM_NODES", "MASTER_ADDR", "MASTER_PORT",
          "SLURM_JOB_ID", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS", "SLURM_JOB_NODELIST"}) {
      ::unsetenv(name);
    }
  }
};

std::string error_of(const std::map<std::string, std::string>& values) {
  const Environment environment(values);
  return test::error_of([&] { process_layout(); });
}

TEST(ProcessLayout, Alone) {
  const Environment environment({});
  EXPECT_EQ(process_layout().world, 1);
}

TEST(ProcessLayout, Torchrun) {
  const Environment environment(
      {{"LOCAL_RANK", "1"}, {"RANK", "3"}, {"WORLD_SIZE", "4"}, {"MASTER_ADDR", "h"}, {"MASTER_PORT", "29500"}});
  const auto layout = process_layout();
  EXPECT_EQ(layout.rank, 3);
  EXPECT_EQ(layout.world, 4);
  EXPECT_EQ(layout.local_rank, 1);
  EXPECT_EQ(layout.master_addr, "h");
  EXPECT_EQ(layout.master_port, 29500);
}

TEST(ProcessLayout, Slurm) {
  const Environment environment({{"SLURM_JOB_ID", "123456"},
                                 {"SLURM_PROCID", "5"},
                                 {"SLURM_LOCALID", "1"},
                                 {"SLURM_NTASKS", "8"},
                                 {"SLURM_JOB_NODELIST", "gpu[007-009,012]"}});
  const auto layout = process_layout();
  EXPECT_EQ(layout.rank, 5);
  EXPECT_EQ(layout.world, 8);
  EXPECT_EQ(layout.master_addr, "gpu007");
  EXPECT_GE(layout.master_port, 20000);
  EXPECT_LE(layout.master_port, 60000);
  EXPECT_EQ(layout.job, "123456");
}

TEST(ProcessLayout, OneMachineMeetsOnLoopback) {
  std::map<std::string, std::string> values = {
      {"LOCAL_RANK", "1"}, {"RANK", "1"}, {"WORLD_SIZE", "4"}, {"MASTER_ADDR", "h"}, {"MASTER_PORT", "29500"}};
  const auto layout_of = [&] {
    const Environment environment(values);
    return process_layout();
  };
  EXPECT_FALSE(layout_of().one_machine);
  values["LOCAL_WORLD_SIZE"] = "2";
  EXPECT_FALSE(layout_of().one_machine);
  values["LOCAL_WORLD_SIZE"] = "4";
  EXPECT_TRUE(layout_of().one_machine);
  EXPECT_EQ(layout_of().master_addr, "127.0.0.1");
  values.erase("LOCAL_WORLD_SIZE");
  for (const char* host : {"localhost", "127.0.1.1", "::1"}) {
    values["MASTER_ADDR"] = host;
    EXPECT_TRUE(layout_of().one_machine) << host;
  }
  values.erase("MASTER_PORT");
  values["MASTER_ADDR"] = "/tmp/x/meeting";
  EXPECT_TRUE(layout_of().one_machine);
  EXPECT_EQ(layout_of().master_addr, "/tmp/x/meeting");
  values = {{"SLURM_JOB_ID", "1"}, {"SLURM_PROCID", "0"},        {"SLURM_LOCALID", "0"},
            {"SLURM_NTASKS", "2"}, {"SLURM_JOB_NODELIST", "n1"}, {"SLURM_JOB_NUM_NODES", "1"}};
  EXPECT_TRUE(layout_of().one_machine);
  EXPECT_EQ(layout_of().master_addr, "127.0.0.1");
  values["SLURM_JOB_NUM_NODES"] = "2";
  EXPECT_FALSE(layout_of().one_machine);
}

TEST(ProcessLayout, ErrorsNameTheVariable) {
  EXPECT_NE(error_of({{"LOCAL_RANK", "0"}}).find("WORLD_SIZE is not set"), std::string::npos);
  EXPECT_NE(error_of({{"LOCAL_RANK", "0"}, {"WORLD_SIZE", "2"}, {"RANK", "2"}})
                .find("RANK must be a whole number from 0 to 1"),
            std::string::npos);
  EXPECT_NE(error_of({{"LOCAL_RANK", "0"}, {"WORLD_SIZE", "two"}}).find("\"two\""), std::string::npos);
  EXPECT_NE(error_of({{"SLURM_JOB_ID", "7; rm x"}, {"SLURM_PROCID", "0"}}).find("SLURM_JOB_ID"), std::string::npos);
}

TEST(ProcessLayout, FirstHost) {
  EXPECT_EQ(first_host("a"), "a");
  EXPECT_EQ(first_host("a,b"), "a");
  EXPECT_EQ(first_host("n[3]"), "n3");
  EXPECT_EQ(first_host("n[01-04],m2"), "n01");
  EXPECT_EQ(first_host("n[5,7]-ib"), "n5-ib");
  EXPECT_THROW(first_host("n[01-04"), Error);
}

TEST(Slurm, ScriptSaysWhatTheJobNeeds) {
  LaunchConfig config;
  config.nodes = 3;
  config.time = 60;
  config.account = "lab";
  const auto script = slurm_script(config, "/runs/it's", {.program = "/bin/lt2", .max_restarts = 2});
  for (const char* line : {"#SBATCH --nodes=3\n", "#SBATCH --gres=gpu:8\n", "#SBATCH --ntasks-per-node=8\n",
                           "#SBATCH --time=60\n", "#SBATCH --account=lab\n", "#SBATCH --signal=USR2@120\n",
                           "srun -n 24 -N 3", "-lt 2 ]", "config='/runs/it'\\''s/base_config.yaml'"}) {
    EXPECT_NE(script.find(line), std::string::npos) << line << " in\n" << script;
  }
  EXPECT_EQ(script.find("--qos"), std::string::npos);
  config.ngpu = 0;
  EXPECT_EQ(slurm_script(config, "/r", {.program = "lt2"}).find("gres"), std::string::npos);
  config.nodes = -1;
  EXPECT_THROW(slurm_script(config, "/r", {.program = "lt2"}), Error);
}

}  // namespace
}  // namespace lt2
