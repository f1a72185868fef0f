// Files that were changed at random, through the code that reads them: it refuses them with an lt2::Error.
#include <functional>

#include "base/error.h"
#include "data/prepare.h"
#include "folders/model_folder.h"
#include "report/report.h"
#include "tests/support/mutate.h"
#include "tests/support/program.h"
#include "train/checkpoint.h"

namespace lt2::test {
namespace {

class Damage : public Program {
 protected:
  void SetUp() override {
    Program::SetUp();
    ASSERT_EQ(run("train config=tiny.yaml val.every=2 val.prompt=line val.sample_len=2").status, 0);
    step_ = root_ / "run/checkpoints/0000000004";
  }
  // Reads `path` in many changed forms. The message must name the file or, where several are read, the folder.
  void expect_errors(const fs::path& path, const std::function<void()>& read, int tries = 300) {
    const auto whole = read_file(path);
    Mutator change(7);
    int refused = 0;
    for (int i = 0; i < tries; ++i) {
      const auto damaged = change(whole);
      std::ofstream(path, std::ios::binary) << damaged;
      const auto shown = [&] { return fmt::format("{} try {}: {}", path.string(), i, damaged.substr(0, 600)); };
      try {
        read();
      } catch (const Error& error) {
        ++refused;
        const std::string message = error.what();
        EXPECT_EQ(message.find("json.exception.type_error"), std::string::npos) << message << "\n" << shown();
      } catch (const std::exception& error) {
        ADD_FAILURE() << "internal: " << error.what() << "\n" << shown();
      }
    }
    std::ofstream(path, std::ios::binary) << whole;
    EXPECT_GT(refused, tries / 20) << path;
  }
  fs::path step_;
};

TEST_F(Damage, TrainState) {
  expect_errors(step_ / "train_state.json", [&] {
    parse_train_state(read_file(step_ / "train_state.json"), (step_ / "train_state.json").string());
  });
  // The fields that are no sizes of anything.
  for (const char* bad : {"-5", "\"4\"", "4.5", "1e300", "18446744073709551615", "null", "[]", "true"}) {
    std::ofstream(step_ / "train_state.json") << fmt::format(R"({{"step": {}, "data_loader_state": "x"}})", bad);
    try {
      parse_train_state(read_file(step_ / "train_state.json"), (step_ / "train_state.json").string());
      ADD_FAILURE() << bad;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("train_state.json: step: expected "), std::string::npos) << error.what();
    }
  }
}

TEST_F(Damage, Configurations) {
  fs::remove(step_ / "checksums.json");
  expect_errors(step_ / "params.json", [&] { open_model(step_); });
  expect_errors(root_ / "tiny.yaml", [&] {
    Notes notes;
    auto config = load_train_config((root_ / "tiny.yaml").string(), {}, &notes);
    validate(config, &notes);
  });
}

TEST_F(Damage, Weights) {
  fs::remove(step_ / "checksums.json");
  expect_errors(
      step_ / "model.safetensors", [&] { open_model(step_); }, 100);
}

TEST_F(Damage, Pages) {
  const auto page = [&] { write_report(root_ / "run", root_ / "page.html"); };
  std::ofstream(root_ / "run/machine.json") << R"({"cpu": "x", "cores": 2, "threads": 2, "read_gbps": 1.5})";
  std::ofstream(root_ / "run/model.json") << R"({"name": "x", "parameters": {"all": 12, "mixer": 3}})";
  std::ofstream(root_ / "run/bench.jsonl")
      << R"({"kind": "decode", "model": "x", "context": 64, "batch": 1, "tokens_per_s": 3.5, "state_bytes": 12})";
  for (const char* name :
       {"metrics.jsonl", "metrics.validation.jsonl", "bench.jsonl", "samples.json", "machine.json", "model.json"})
    expect_errors(root_ / "run" / name, page, 150);
}

TEST_F(Damage, ModelFolders) {
  ASSERT_EQ(run("convert in=run out=hf to=hf").status, 0);
  const auto folder = root_ / "hf";
  std::ofstream(folder / "generation_config.json")
      << R"({"do_sample": true, "temperature": 0.7, "top_p": 0.9, "top_k": 40, "eos_token_id": [2, 1]})";
  std::ofstream(folder / "tokenizer_config.json") << R"({"add_bos_token": true, "bos_token": {"content": "<s>"}})";
  for (const char* name : {"config.json", "generation_config.json"})
    expect_errors(folder / name, [&] { open_model(folder); });
}

TEST_F(Damage, UnfinishedPreparations) {
  const PrepareConfig config{.in = (root_ / "text.txt").string(), .out = (root_ / "made").string(), .name = "x"};
  PrepareLimits stopping;
  stopping.after_step = [](std::string_view step) {
    if (step == "read") fail("stopped");
  };
  EXPECT_THROW(prepare_data(config, stopping), Error);
  fs::copy(root_ / "made.prepare", root_ / "saved", fs::copy_options::recursive);
  expect_errors(
      root_ / "saved/state.json",
      [&] {
        fs::remove_all(root_ / "made");
        fs::remove_all(root_ / "made.prepare");
        fs::copy(root_ / "saved", root_ / "made.prepare", fs::copy_options::recursive);
        prepare_data(config, {});
      },
      60);
}

}  // namespace
}  // namespace lt2::test
