// Files that are damaged, incomplete or change under the program: one clear line, nothing lost.
#include <signal.h>
#include <sys/resource.h>

#include <chrono>
#include <functional>
#include <thread>

#include "tests/support/program.h"

namespace lt2::test {
namespace {

int status_of(pid_t child) {
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

void wait_until(const std::function<bool()>& there) {
  for (int i = 0; i < 1200 && !there(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(25));
  ASSERT_TRUE(there());
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

void flip_a_bit(const fs::path& path) {
  auto bytes = read_file(path);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  std::ofstream(path, std::ios::binary) << bytes;
}

using ChangedFiles = Program;

// A run can start from every folder that the loader opens.
TEST_F(ChangedFiles, ARunStartsFromWeightsInAnyFolder) {
  ASSERT_EQ(run("train config=tiny.yaml").status, 0);
  ASSERT_EQ(run("convert in=run out=hf to=hf shard_size=100000").status, 0);
  ASSERT_EQ(run("quantize ckpt=run weights=int8 out=packed").status, 0);
  const std::string from = "train config=tiny.yaml dump_dir=other steps=2 checkpoint.init_ckpt_path=";
  const auto started = run(from + "hf");
  EXPECT_EQ(started.status, 0) << started.err;
  EXPECT_TRUE(has(started.err, "weights from hf")) << started.err;
  fs::remove_all(root_ / "other");
  expect_error(from + "hf model.norm_eps=1e-3", {"hf: trained as another model", "model.norm_eps"});
  expect_error(from + "packed", {"packed: holds weights packed for inference"});
}

// Every file that is read is verified, also in an incomplete folder.
TEST_F(ChangedFiles, WeightsAreVerifiedWhateverElseIsMissing) {
  ASSERT_EQ(run("train config=tiny.yaml").status, 0);
  const std::string folder = "run/checkpoints/0000000004";
  const std::vector<std::string> readers{"generate ckpt=" + folder + " prompt=x max_gen_len=2",
                                         "inspect ckpt=" + folder,
                                         "convert in=" + folder + " out=made to=hf",
                                         "convert in=" + folder + " out=made to=official",
                                         "quantize ckpt=" + folder + " weights=int8 out=made",
                                         "train config=tiny.yaml dump_dir=other checkpoint.init_ckpt_path=" + folder};
  fs::remove(root_ / folder / "optimizer.safetensors");
  for (const auto& reader : readers) {
    fs::remove_all(root_ / "made");
    fs::remove_all(root_ / "other");
    const auto result = run(reader);
    EXPECT_EQ(result.status, 0) << reader << "\n" << result.err;
    EXPECT_EQ(result.err.find("would not be seen"), std::string::npos) << result.err;
    const bool wanted_it = reader.starts_with("convert");
    EXPECT_EQ(has(result.err, "lists optimizer.safetensors, which is gone"), wanted_it) << result.err;
  }
  flip_a_bit(root_ / folder / "model.safetensors");
  for (const auto& reader : readers) {
    fs::remove_all(root_ / "made");
    fs::remove_all(root_ / "other");
    expect_error(reader, {folder + "/model.safetensors: expected CRC-32", "Damaged"});
  }
  expect_error("train config=tiny.yaml steps=8", {"no usable checkpoint"});
  // A damaged list verifies nothing, so nothing is read.
  const auto list = read_file(root_ / folder / "checksums.json");
  std::ofstream(root_ / folder / "checksums.json") << list.substr(1);
  expect_error(readers[0], {"checksums.json: expected a JSON object"});
  // Without a list the program can only say that the files are not verified.
  fs::remove(root_ / folder / "checksums.json");
  const auto unverified = run(readers[1]);
  EXPECT_EQ(unverified.status, 0) << unverified.err;
  EXPECT_NE(unverified.err.find("no checksums.json in it: damage to params.json, model.safetensors would not be seen"),
            std::string::npos)
      << unverified.err;
}

// The newest checkpoint of a run is not whole: an older one is read, but not silently.
TEST_F(ChangedFiles, AnIncompleteNewestCheckpointIsNamed) {
  ASSERT_EQ(run("train config=tiny.yaml checkpoint.dump.every=2").status, 0);
  fs::remove(root_ / "run/checkpoints/0000000004/optimizer.safetensors");
  const auto result = run("inspect ckpt=run");
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.err.find("0000000004/optimizer.safetensors: checksums.json lists it, but: "), std::string::npos)
      << result.err;
  EXPECT_NE(result.err.find("; passed over"), std::string::npos) << result.err;
}

TEST_F(ChangedFiles, ASourceCutShortStopsTheRunAndNoStepIsLost) {
  const auto source = root_ / "lines.jsonl", metrics = root_ / "run" / "metrics.jsonl";
  std::string lines;
  // Empty lines are passed over: soon the loader must read on.
  for (int i = 0; i < 2000; ++i)
    lines += fmt::format("{{\"text\": \"line {}: the quick brown fox\"}}\n", i) + std::string(1000, '\n');
  std::ofstream(source) << lines;
  const std::vector<std::string> command{
      "train",          "config=tiny.yaml", "data.sources={" + source.string() + ": 1.0}",
      "logging.freq=1", "val.every=0",      "checkpoint.dump.every=1000000"};
  auto endless = command;
  endless.push_back("steps=1000000");
  const pid_t child = start(endless);
  wait_until([&] { return fs::exists(metrics) && fs::file_size(metrics) > 0; });
  fs::resize_file(source, 0);
  EXPECT_EQ(status_of(child), 1);
  const auto err = read_file(root_ / "err");
  EXPECT_TRUE(has(err, "error: " + source.string() + ": ")) << err;
  EXPECT_TRUE(has(err, "cut short")) << err;
  const auto folders = fs::directory_iterator(root_ / "run" / "checkpoints");
  ASSERT_NE(folders, fs::directory_iterator()) << err;
  const auto step = std::stoll(folders->path().filename().string());
  EXPECT_GT(step, 0);
  EXPECT_TRUE(fs::exists(folders->path() / "checksums.json"));
  // With the file restored, the run continues.
  std::ofstream(source) << lines;
  std::string line = command[0];
  for (size_t i = 1; i < command.size(); ++i) line += " '" + command[i] + "'";
  const auto again = run(fmt::format("{} steps={}", line, step + 1));
  EXPECT_EQ(again.status, 0) << again.err;
  EXPECT_TRUE(has(again.err, fmt::format("(step {})", step))) << again.err;
}

TEST_F(ChangedFiles, WeightsCutShortWhileMappedAreOneLine) {
  ASSERT_EQ(run("train config=tiny.yaml").status, 0);
  ASSERT_EQ(run("quantize ckpt=run weights=int8 out=packed").status, 0);
  const auto weights = root_ / "packed" / "packed.safetensors";
  const pid_t child = start({"generate", "ckpt=packed", "prompt=x", "max_gen_len=1000000", "logit_bias={257: -1000}"});
  const auto maps = fmt::format("/proc/{}/maps", child);
  wait_until([&] { return has(read_file(maps), weights.string()); });
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  fs::resize_file(weights, 0);
  EXPECT_EQ(status_of(child), 1);
  const auto err = read_file(root_ / "err");
  EXPECT_TRUE(has(err, weights.filename().string() + ": cannot be read any more: it was cut short")) << err;
}

// `act` under a file size limit, which children inherit.
pid_t with_file_limit(uint64_t bytes, const std::function<pid_t()>& act) {
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  rlimit small = before;
  small.rlim_cur = bytes;
  ::setrlimit(RLIMIT_FSIZE, &small);
  const pid_t child = act();
  ::setrlimit(RLIMIT_FSIZE, &before);
  return child;
}

TEST_F(ChangedFiles, TheFileSizeLimitIsAWriteError) {
  const auto start_limited = [&](uint64_t bytes) {
    return with_file_limit(bytes, [&] { return start({"train", "config=tiny.yaml", "logging.freq=1", "steps=9"}); });
  };
  // No checkpoint fits.
  EXPECT_EQ(status_of(start_limited(40000)), 1);
  EXPECT_TRUE(has(read_file(root_ / "err"), "model.safetensors: cannot write: File too large (the shell's limit: "))
      << read_file(root_ / "err");
  // One does, but nothing more fits the metrics: the steps so far are saved.
  fs::remove_all(root_ / "run");
  fs::create_directories(root_ / "run");
  const auto metrics = root_ / "run" / "metrics.jsonl";
  std::ofstream(metrics) << "{\"global_step\": 0, \"note\": \"" << std::string(1 << 20, '-') << "\"}\n";
  EXPECT_EQ(status_of(start_limited(fs::file_size(metrics) + 100)), 1);
  const auto err = read_file(root_ / "err");
  EXPECT_TRUE(has(err, "metrics.jsonl: cannot append to it: File too large (the shell's limit: ")) << err;
  EXPECT_TRUE(fs::exists(root_ / "run/checkpoints/0000000001/checksums.json")) << err;
}

}  // namespace
}  // namespace lt2::test
