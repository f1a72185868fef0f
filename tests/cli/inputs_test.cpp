// Anything but a file in the place of a file: one line, at once.
#include <sys/stat.h>

#include <array>

#include "tests/support/program.h"

namespace lt2::test {
namespace {

class Inputs : public Program {
 protected:
  // A run, its form for others, and a folder of pages' files.
  void SetUp() override {
    Program::SetUp();
    ASSERT_EQ(run("train config=tiny.yaml").status, 0);
    fs::rename(root_ / "run/checkpoints/0000000004", root_ / "step");
    fs::copy(fs::path(LT2_TEST_DATA) / "tokenizer/llama3_style/tokenizer.json", root_ / "tokenizer.json");
  }
  void put(const std::string& kind, const fs::path& path) {
    fs::remove_all(path);
    if (kind == "fifo") {
      ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
    }
    if (kind == "loop") fs::create_symlink(path.filename(), path);
    if (kind == "directory") fs::create_directory(path);
    if (kind == "empty") std::ofstream(path).flush();
    if (kind == "rubbish") std::ofstream(path) << "\x93\xff[{\"a\": -5}\n";
  }
  // `arguments` with FILE standing for the path. A pipe each time, and one other kind after the other: a run takes
  // long.
  void expect_one_line(const std::string& arguments, const fs::path& path) {
    constexpr std::array kOthers{"loop", "directory", "missing", "empty", "rubbish"};
    for (const std::string kind : {"fifo", kOthers[other_++ % kOthers.size()]}) {
      put(kind, root_ / path);
      std::string command = arguments;
      for (size_t at; (at = command.find("FILE")) != std::string::npos;) command.replace(at, 4, path.string());
      const auto result = run_for_a_while(command);
      const auto what = command + " with " + path.string() + " = " + kind + "\n" + result.err;
      EXPECT_EQ(result.err.find("internal"), std::string::npos) << what;
      // An empty file or one without sense may be valid input; a missing file may not be needed.
      const bool strict = kind == "fifo" || kind == "loop";
      if (result.status == 0 && !strict) continue;
      EXPECT_EQ(result.status, 1) << what;
      const auto at = result.err.find("error: ");
      ASSERT_NE(at, std::string::npos) << what;
      EXPECT_EQ(result.err.find('\n', at), result.err.size() - 1) << what;
    }
    fs::remove_all(root_ / path);
  }
  Result run_for_a_while(const std::string& arguments) {
    return shell("timeout 20 \"$LT2\" " + arguments + " </dev/null");
  }
  size_t other_ = 0;
};

TEST_F(Inputs, NamedByArguments) {
  const std::string train = "train config=tiny.yaml dump_dir=other --dry-run ";
  for (const auto& [arguments, path] : std::vector<std::pair<std::string, std::string>>{
           {"train config=FILE --dry-run", "x.yaml"},
           {train + "'data.sources={FILE: 1.0}'", "x.txt"},
           {train + "'data.sources={FILE: 1.0}'", "x.jsonl"},
           {train + "data.tokenizer.name=hf data.tokenizer.path=FILE", "x.json"},
           {train + "data.tokenizer.name=tiktoken data.tokenizer.path=FILE", "x.model"},
           {train + "data.tokenizer.name=sp data.tokenizer.path=FILE", "x.model"},
           {"train config=tiny.yaml dump_dir=other val.every=2 val.source=FILE", "x.txt"},
           {"train config=tiny.yaml dump_dir=other steps=2 checkpoint.init_ckpt_path=FILE", "x"},
           {"inspect config=FILE", "x.yaml"},
           {"inspect ckpt=FILE", "x"},
           {"generate ckpt=FILE prompt=x", "x"},
           {"generate ckpt=step prompt=x max_gen_len=1 state=FILE", "x.state"},
           {"bench config=FILE mode=decode contexts=64 seconds=0.01", "x.yaml"},
           {"report FILE", "x"},
           {"data prepare in=FILE out=prepared name=x", "x.txt"},
           {"data prepare in=FILE out=prepared name=x", "x.jsonl"},
           {"data prepare in=FILE out=prepared name=x", "x.jsonl.gz"},
           {"data prepare in=FILE out=prepared name=x", "x.jsonl.zst"},
           {"tokenize tokenizer=hf path=FILE in=text.txt", "x.json"},
           {"tokenize in=FILE", "x.txt"},
           {"convert in=FILE out=converted to=hf", "x"},
           {"quantize ckpt=FILE weights=int8 out=packed", "x"},
           {"quantize ckpt=step weights=int8 text=FILE", "x.txt"},
           {"launch --slurm --dry-run nodes=1 config=FILE dump_dir=job", "x.yaml"},
       }) {
    expect_one_line(arguments, path);
    for (const char* made : {"prepared", "prepared.prepare", "other", "job"}) fs::remove_all(root_ / made);
  }
  put("fifo", root_ / "x.json");
  const auto checked = run_for_a_while("check x.json");
  EXPECT_EQ(checked.status, 1);
  EXPECT_NE(checked.out.find("FAILED x.json: x.json: expected a regular file, found a pipe"), std::string::npos);
  put("fifo", root_ / "x.txt");
  expect_error("generate ckpt=step prompt_file=x.txt", {"x.txt: expected a regular file, found a pipe"});
  put("loop", root_ / "x.txt");
  expect_error("generate ckpt=step prompt_file=x.txt", {"x.txt: cannot open: Too many levels of symbolic links"});
}

// The place of an output may be something other than a file, too.
TEST_F(Inputs, WrittenTo) {
  constexpr std::array kKinds{"fifo", "loop", "directory"};
  size_t next = 0;
  for (int round = 0; round < 2; ++round) {
    for (const std::string arguments :
         {"generate ckpt=step prompt=x max_gen_len=1 state=x", "tokenize in=text.txt out=x",
          "bench ckpt=step mode=decode contexts=64 seconds=0.01 output=x",
          "bench ckpt=step mode=decode contexts=64 seconds=0.01 figure=x", "report run output=x",
          "convert in=step out=x to=hf", "quantize ckpt=step weights=int8 out=x"}) {
      const std::string kind = kKinds[next++ % kKinds.size()];
      put(kind, root_ / "x");
      const auto result = run_for_a_while(arguments);
      EXPECT_EQ(result.status, 1) << arguments << " " << kind << "\n" << result.err;
      EXPECT_EQ(result.err.find("internal"), std::string::npos) << result.err;
      EXPECT_EQ(result.err.find("error: "), result.err.rfind("error: ")) << result.err;
    }
  }
}

TEST_F(Inputs, FilesOfACheckpoint) {
  for (const char* name : {"model.safetensors", "params.json", "checksums.json"}) {
    fs::copy(root_ / "step", root_ / "copy", fs::copy_options::recursive);
    if (std::string(name) != "checksums.json") fs::remove(root_ / "copy/checksums.json");
    expect_one_line("generate ckpt=copy prompt=x max_gen_len=1", fs::path("copy") / name);
    fs::remove_all(root_ / "copy");
  }
  for (const char* name :
       {"model.safetensors", "optimizer.safetensors", "train_state.json", "params.json", "checksums.json"}) {
    for (const char* kind : {"fifo", other_++ % 2 ? "loop" : "directory"}) {
      fs::remove_all(root_ / "run");
      fs::create_directories(root_ / "run/checkpoints");
      fs::copy(root_ / "step", root_ / "run/checkpoints/0000000004");
      put(kind, root_ / "run/checkpoints/0000000004" / name);
      const auto result = run_for_a_while("train config=tiny.yaml");
      EXPECT_EQ(result.status, 1) << name << kind << result.err;
      EXPECT_NE(result.err.find("no usable checkpoint"), std::string::npos) << name << kind << result.err;
      EXPECT_EQ(result.err.find("internal"), std::string::npos) << result.err;
    }
  }
}

TEST_F(Inputs, FilesOfARun) {
  for (const char* name : {"metrics.jsonl", "metrics.validation.jsonl", "train.log", ".lock"}) {
    for (const char* kind : {"fifo", other_++ % 2 ? "loop" : "directory"}) {
      fs::remove_all(root_ / "run");
      fs::create_directories(root_ / "run");
      put(kind, root_ / "run" / name);
      const auto result = run_for_a_while("train config=tiny.yaml val.every=2 val.fraction=0.5");
      EXPECT_EQ(result.status, 1) << name << kind << result.err;
      EXPECT_NE(result.err.find(name), std::string::npos) << name << kind << result.err;
      EXPECT_EQ(result.err.find("internal"), std::string::npos) << result.err;
    }
  }
}

TEST_F(Inputs, FilesOfAPage) {
  const auto metrics = read_file(root_ / "run/metrics.jsonl");
  for (const char* name : {"metrics.jsonl", "metrics.validation.jsonl", "bench.jsonl", "samples.json", "machine.json",
                           "model.json", "commands.txt", "config.yaml"}) {
    fs::create_directories(root_ / "page");
    std::ofstream(root_ / "page/metrics.jsonl") << metrics;
    expect_one_line("report page", fs::path("page") / name);
    fs::remove_all(root_ / "page");
  }
}

TEST_F(Inputs, FilesOfAModelFolder) {
  ASSERT_EQ(run("convert in=step out=hf to=hf").status, 0);
  fs::copy(root_ / "tokenizer.json", root_ / "hf/tokenizer.json");
  for (const char* name : {"config.json", "generation_config.json", "model.safetensors", "model.safetensors.index.json",
                           "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}) {
    fs::copy(root_ / "hf", root_ / "copy", fs::copy_options::recursive);
    expect_one_line("generate ckpt=copy prompt=x max_gen_len=1", fs::path("copy") / name);
    fs::remove_all(root_ / "copy");
  }
}

// Inputs that are read once may be open descriptors.
TEST_F(Inputs, StreamsAreRead) {
  for (const char* command : {"cat tiny.yaml | \"$LT2\" train config=/dev/stdin --dry-run",
                              "\"$LT2\" train config=<(cat tiny.yaml) --dry-run",
                              "\"$LT2\" generate ckpt=step max_gen_len=1 prompt_file=<(echo hello)",
                              "echo hello | \"$LT2\" generate ckpt=step max_gen_len=1 prompt_file=/dev/stdin",
                              "echo hello | \"$LT2\" generate ckpt=step max_gen_len=1",
                              "\"$LT2\" generate ckpt=step max_gen_len=1 prompt_file=/dev/null",
                              "\"$LT2\" quantize ckpt=step weights=int8 text=<(cat text.txt) tokens=50",
                              "\"$LT2\" tokenize in=<(cat text.txt)", "\"$LT2\" tokenize </dev/null"}) {
    const auto result = shell(command);
    EXPECT_EQ(result.status, 0) << command << "\n" << result.err;
  }
}

}  // namespace
}  // namespace lt2::test
