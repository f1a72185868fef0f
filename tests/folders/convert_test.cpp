#include "folders/write_model.h"

#include <gtest/gtest.h>
#include <torch/serialize.h>

#include <cmath>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/files.h"
#include "checkpoint/checksums.h"
#include "checkpoint/hf_folder.h"
#include "checkpoint/torch_file.h"
#include "tests/support/compare.h"
#include "tests/support/error_of.h"
#include "tests/support/models.h"
#include "tests/support/temp_folder.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::identical;
using test::ModelCase;

torch::Tensor logits_of(LoopedTransformer& model) {
  torch::NoGradGuard no_grad;
  torch::manual_seed(11);
  return model.logits(model.hidden(torch::randint(61, {1, 20}, torch::kInt64)));
}

// What only a run's folder has: text that no JSON library may pass through (128-bit integers, order, spacing).
const std::string kTrainState =
    "{\"step\": 7, \"data_loader_state\": \"{\\\"x\\\": 340282366920938463463374607431768211455}\"}\n";

class Convert : public ::testing::Test {
 protected:
  // A step folder as a run writes it. The first parameter was never updated.
  void write_run(const fs::path& folder, const LoopedTransformer& model, bool with_optimizer = true) {
    fs::create_directories(folder);
    TrainConfig config;
    config.dump_dir = "runs/test";
    config.model = model.config();
    config.distributed.model_dtype = "fp32";
    write_file_atomically(folder / "params.json", to_json(config));
    write_safetensors(folder / "model.safetensors", model.official_parameters(), {{"format", "pt"}});
    if (with_optimizer) {
      torch::manual_seed(2);
      NamedTensors state;
      const auto parameters = model.official_parameters();
      for (size_t i = 1; i < parameters.size(); ++i) {
        const auto& [name, parameter] = parameters[i];
        state.emplace_back(name + ".exp_avg", torch::randn(parameter.sizes()));
        state.emplace_back(name + ".exp_avg_sq", torch::rand(parameter.sizes()));
        state.emplace_back(name + ".step", torch::tensor({static_cast<int64_t>(i)}, torch::kInt64));
      }
      write_safetensors(folder / "optimizer.safetensors", state, {{"format", "pt"}});
      write_file_atomically(folder / "train_state.json", kTrainState);
    }
    write_checksums(folder);
  }

  void expect_same_files(const fs::path& a, const fs::path& b) {
    for (const char* name :
         {"model.safetensors", "optimizer.safetensors", "params.json", "train_state.json", "checksums.json"})
      EXPECT_TRUE(read_file(a / name) == read_file(b / name)) << name;
  }

  std::string open_error(const fs::path& path) {
    return error_of([&] { open_model(path, {.training_state = true}); });
  }
  // An official file with this tree.
  void write_pth(const fs::path& folder, const ModelConfig& config,
                 const std::function<PickleRef(TorchFileBuilder&)>& tree) {
    fs::create_directories(folder);
    TrainConfig whole;
    whole.model = config;
    write_file_atomically(folder / "params.json", to_json(whole));
    TorchFileBuilder file;
    file.write(folder / "consolidated.pth", tree(file));
  }
  static PickleRef model_tree(TorchFileBuilder& file, const NamedTensors& tensors) {
    std::vector<std::pair<std::string, PickleRef>> items;
    for (const auto& [name, tensor] : tensors) items.emplace_back(name, file.tensor(tensor));
    return file.values.dict(items);
  }
  test::TempFolder temporary_;
  fs::path root_ = temporary_.path();
};

ModelFolder open_whole(const fs::path& path) { return open_model(path, {.training_state = true}); }

class ConvertLayouts : public Convert, public ::testing::WithParamInterface<ModelCase> {};

TEST_F(Convert, WhatOnlyTextNeedsStopsNoRun) {
  write_run(root_ / "run", *test::make_model({.name = "plain"}));
  write_file_atomically(root_ / "run" / "tokenizer_config.json", "{\"chat_template\": ");
  write_file_atomically(root_ / "run" / "chat_template.jinja", "\xff");
  EXPECT_EQ(error_of([&] { open_model(root_ / "run"); }), "");
  write_file_atomically(root_ / "run" / "generation_config.json", "{\"eos_token_id\": ");
  EXPECT_EQ(open_error(root_ / "run"), "");
  EXPECT_NE(error_of([&] { open_model(root_ / "run"); }).find("generation_config.json: "), std::string::npos);
}

TEST_P(ConvertLayouts, ThereAndBackIsTheSameBitForBit) {
  const auto model = test::make_model(GetParam());
  const auto run = root_ / "run";
  write_run(run, *model);
  const auto original = open_whole(run);
  EXPECT_EQ(original.form, FolderForm::kLt2);

  write_model(original, root_ / "official", {.to = FolderForm::kOfficial});
  const auto official = open_whole(root_ / "official");
  EXPECT_EQ(official.form, FolderForm::kOfficial);
  write_model(official, root_ / "back", {.to = FolderForm::kLt2});
  expect_same_files(run, root_ / "back");

  write_model(original, root_ / "hf", {.to = FolderForm::kHf, .shard_bytes = 100'000});
  const auto hf = open_whole(root_ / "hf");
  EXPECT_EQ(hf.form, FolderForm::kHf);
  EXPECT_TRUE(hf.training.optimizer.empty());
  write_model(hf, root_ / "back_from_hf", {.to = FolderForm::kLt2});
  EXPECT_TRUE(read_file(run / "model.safetensors") == read_file(root_ / "back_from_hf" / "model.safetensors"));

  const auto expected = logits_of(*model);
  for (const char* folder : {"back", "back_from_hf"})
    EXPECT_TRUE(identical(logits_of(*load_masters(open_model(root_ / folder))), expected)) << folder;
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, ConvertLayouts, ::testing::ValuesIn([] {
      std::vector<ModelCase> some;
      const std::set<std::string> names{"gqa_gate_tied", "hybrid", "legacy", "dsa_lightning", "mla"};
      for (const auto& layout : test::all_layouts())
        if (names.count(layout.name)) some.push_back(layout);
      return some;
    }()),
    test::case_name);

TEST_F(Convert, HfFolderDescribesItself) {
  const auto model = test::make_model({.name = "full"});
  write_run(root_ / "run", *model);
  write_model(open_whole(root_ / "run"), root_ / "hf", {.to = FolderForm::kHf, .dtype = torch::kBFloat16});
  const auto config = nlohmann::json::parse(read_file(root_ / "hf" / "config.json"));
  EXPECT_EQ(config.at("architectures"), nlohmann::json({"LT2ForCausalLM"}));
  EXPECT_EQ(config.at("model_type"), "lt2");
  EXPECT_EQ(config.at("torch_dtype"), "bfloat16");
  EXPECT_EQ(config.at("dim"), 48);
  EXPECT_EQ(config.at("loop_count"), 2);
  EXPECT_FALSE(fs::exists(root_ / "hf" / "train_state.json"));
  for (const auto& [name, parameter] : model->official_parameters())
    EXPECT_TRUE(identical(HfFolder(root_ / "hf").tensor(name), parameter.to(torch::kBFloat16)));

  // Alone it is enough for a model; with params.json the two must agree.
  fs::remove(root_ / "hf" / "params.json");
  write_model(open_whole(root_ / "hf"), root_ / "back", {});
  const auto back = open_model(root_ / "back");
  EXPECT_TRUE(back.config == model->config());
  for (const auto& [name, parameter] : load_masters(back)->official_parameters()) {
    EXPECT_EQ(parameter.scalar_type(), torch::kFloat32);
    EXPECT_TRUE(identical(parameter, HfFolder(root_ / "hf").tensor(name).to(torch::kFloat32)));
  }
  auto other = model->config();
  other.rope_theta = 5;
  TrainConfig whole;
  whole.model = other;
  write_file_atomically(root_ / "hf" / "params.json", to_json(whole));
  EXPECT_NE(open_error(root_ / "hf").find("describe different models"), std::string::npos);
}

// Also what validation fills in.
TEST_F(Convert, ARunsConfigurationStaysAsItWasWritten) {
  const auto model = test::make_model({.name = "plain"});
  write_run(root_ / "run", *model);
  auto params = nlohmann::ordered_json::parse(read_file(root_ / "run" / "params.json"));
  params["model"]["n_kv_heads"] = nullptr;
  write_file_atomically(root_ / "run" / "params.json", params.dump(1) + "\n");
  write_checksums(root_ / "run");
  write_model(open_whole(root_ / "run"), root_ / "hf", {.to = FolderForm::kHf});
  write_model(open_whole(root_ / "hf"), root_ / "back", {});
  for (const char* folder : {"hf", "back"})
    EXPECT_EQ(read_file(root_ / folder / "params.json"), read_file(root_ / "run" / "params.json")) << folder;
  EXPECT_EQ(open_model(root_ / "back").run_config().model, model->config());
}

TEST_F(Convert, OtherModelsAreRefused) {
  write_hf_folder(root_, "{\"model_type\": \"llama\"}", {{"w", torch::ones({1})}}, torch::kFloat32, 1000);
  EXPECT_NE(open_error(root_).find("model_type is \"llama\""), std::string::npos);
  write_hf_folder(root_, "{}", {{"w", torch::ones({1})}}, torch::kFloat32, 1000);
  EXPECT_NE(open_error(root_).find("model_type is null"), std::string::npos);
}

TEST_F(Convert, HalfPrecisionIsWidenedExactly) {
  const auto model = test::make_model({.name = "full"});
  for (const auto type : {torch::kBFloat16, torch::kFloat16}) {
    const fs::path folder = root_ / torch::toString(type);
    NamedTensors half;
    for (const auto& [name, parameter] : model->official_parameters()) half.emplace_back(name, parameter.to(type));
    write_pth(folder, model->config(), [&](auto& file) {
      return file.values.dict({{"model", model_tree(file, half)}, {"optim", file.values.none()}});
    });
    write_model(open_whole(folder), folder / "ours", {});
    const SafetensorsFile ours(folder / "ours" / "model.safetensors");
    for (const auto& [name, tensor] : half) {
      EXPECT_EQ(ours.info(name).dtype, "F32");
      EXPECT_TRUE(identical(ours.tensor(name), tensor.to(torch::kFloat32)));
    }
    EXPECT_FALSE(fs::exists(folder / "ours" / "optimizer.safetensors"));
  }
  const auto wide = [&](auto& file) {
    NamedTensors tensors;
    for (const auto& [name, parameter] : model->official_parameters())
      tensors.emplace_back(name, parameter.to(torch::kFloat64));
    return file.values.dict({{"model", model_tree(file, tensors)}});
  };
  write_pth(root_ / "f64", model->config(), wide);
  EXPECT_NE(open_error(root_ / "f64").find("has type Double; expected fp32, bf16 or fp16"), std::string::npos);
}

TEST_F(Convert, TiedAliasMayBeThere) {
  const auto model = test::make_model({.name = "tied", .tied = true});
  auto tensors = model->official_parameters();
  tensors.emplace_back("output.tied_module.weight", model->tok_embeddings);
  const auto tree = [&](auto& file) { return file.values.dict({{"model", model_tree(file, tensors)}}); };
  write_pth(root_ / "same", model->config(), tree);
  EXPECT_EQ(open_whole(root_ / "same").parameters.size(), tensors.size() - 1);
  tensors.back().second = model->tok_embeddings + 1;
  write_pth(root_ / "other", model->config(), tree);
  EXPECT_NE(open_error(root_ / "other").find("differs from tok_embeddings.weight"), std::string::npos);
  tensors.back().second = torch::ones({3});
  write_pth(root_ / "shape", model->config(), tree);
  EXPECT_NE(open_error(root_ / "shape").find("differs from tok_embeddings.weight"), std::string::npos);
}

TEST_F(Convert, OfficialOptimizerHasTheOfficialForm) {
  const auto model = test::make_model({.name = "full"});
  write_run(root_ / "run", *model);
  write_model(open_whole(root_ / "run"), root_ / "out", {.to = FolderForm::kOfficial});
  const auto text = read_file(root_ / "out" / "consolidated.pth");
  const auto root = torch::pickle_load(std::vector<char>(text.begin(), text.end())).toGenericDict();
  const auto optim = root.at("optim").toGenericDict();
  const auto state = optim.at("state").toGenericDict();
  const auto parameters = model->official_parameters();
  EXPECT_EQ(state.size(), parameters.size() - 1);
  const SafetensorsFile ours(root_ / "run" / "optimizer.safetensors");
  const auto& name = parameters[2].first;
  const auto slot = state.at(name).toGenericDict();
  EXPECT_TRUE(identical(slot.at("exp_avg").toTensor(), ours.tensor(name + ".exp_avg")));
  EXPECT_TRUE(identical(slot.at("exp_avg_sq").toTensor(), ours.tensor(name + ".exp_avg_sq")));
  EXPECT_TRUE(identical(slot.at("step").toTensor(), torch::tensor(2.f)));
  const auto group = optim.at("param_groups").toListRef()[0].toGenericDict();
  EXPECT_EQ(group.at("params").toListRef().size(), parameters.size());
  EXPECT_EQ(group.at("betas").toTupleRef().elements()[1].toDouble(), 0.95);
  EXPECT_EQ(root.at("model").toGenericDict().size(), parameters.size());
}

TEST_F(Convert, OptimizerOfOtherPrograms) {
  const auto model = test::make_model({.name = "full"});
  const auto parameters = model->official_parameters();
  const auto& [name, parameter] = parameters[1];
  const auto with_slot = [&](const std::string& folder, const std::string& slot_name,
                             const std::function<PickleRef(TorchFileBuilder&)>& slot) {
    write_pth(root_ / folder, model->config(), [&](auto& file) {
      auto& values = file.values;
      return values.dict({{"model", model_tree(file, parameters)},
                          {"optim", values.dict({{"state", values.dict({{slot_name, slot(file)}})}})}});
    });
    return root_ / folder;
  };
  const auto moments = [&](TorchFileBuilder& file, PickleRef step, const torch::Tensor& moment) {
    return file.values.dict({{"step", step}, {"exp_avg", file.tensor(moment)}, {"exp_avg_sq", file.tensor(moment)}});
  };
  const auto ones = torch::ones_like(parameter);
  // Step counts as int, as float, as integer tensor of one element; state without content.
  const auto steps = {std::function([](TorchFileBuilder& f) { return f.values.integer(9); }),
                      std::function([](TorchFileBuilder& f) { return f.values.real(9); }),
                      std::function([](TorchFileBuilder& f) { return f.tensor(torch::tensor({9})); })};
  int number = 0;
  for (const auto& step : steps) {
    const auto folder = with_slot(std::to_string(number++), name, [&](auto& f) { return moments(f, step(f), ones); });
    const auto read = open_whole(folder).training.optimizer;
    ASSERT_EQ(read.size(), 3u);
    EXPECT_EQ(read[2].first, name + ".step");
    EXPECT_TRUE(identical(read[2].second, torch::tensor({9}, torch::kInt64)));
  }
  EXPECT_TRUE(
      open_whole(with_slot("empty", name, [](auto& f) { return f.values.dict({}); })).training.optimizer.empty());

  const auto error = [&](const std::string& folder, const std::string& slot_name,
                         const std::function<PickleRef(TorchFileBuilder&)>& slot) {
    return open_error(with_slot(folder, slot_name, slot));
  };
  EXPECT_NE(error("half", name, [&](auto& f) { return moments(f, f.values.real(0.5), ones); }).find("whole number"),
            std::string::npos);
  EXPECT_NE(error("nan", name, [&](auto& f) { return moments(f, f.values.real(NAN), ones); }).find("whole number"),
            std::string::npos);
  EXPECT_NE(error("minus", name, [&](auto& f) { return moments(f, f.values.integer(-1), ones); }).find("-1 times"),
            std::string::npos);
  EXPECT_NE(error("shape", name, [&](auto& f) { return moments(f, f.values.integer(1), torch::ones({3})); })
                .find("a moment of " + name + " is [3]"),
            std::string::npos);
  EXPECT_NE(error("sgd", name,
                  [&](auto& f) {
                    return f.values.dict({{"momentum_buffer", f.tensor(ones)}});
                  })
                .find("has no tensor exp_avg"),
            std::string::npos);
  EXPECT_NE(error("stranger", "layers.99.w", [&](auto& f) { return moments(f, f.values.integer(1), ones); })
                .find("the model has no such parameter"),
            std::string::npos);
}

TEST_F(Convert, WhatDoesNotFitIsNamed) {
  const auto model = test::make_model({.name = "full"});
  auto tensors = model->official_parameters();
  const auto tree = [&](auto& file) { return file.values.dict({{"model", model_tree(file, tensors)}}); };
  const auto dropped = tensors.back();
  tensors.pop_back();
  write_pth(root_ / "missing", model->config(), tree);
  EXPECT_NE(open_error(root_ / "missing").find(dropped.first + " is missing"), std::string::npos);
  tensors.emplace_back(dropped.first, torch::ones({2, 3, 4}));
  write_pth(root_ / "shape", model->config(), tree);
  EXPECT_NE(open_error(root_ / "shape").find(dropped.first + " is [2, 3, 4], the model needs ["), std::string::npos);
  tensors.back() = dropped;
  tensors.emplace_back("layers.9.extra", torch::ones({1}));
  write_pth(root_ / "extra", model->config(), tree);
  EXPECT_NE(open_error(root_ / "extra").find("layers.9.extra has no place"), std::string::npos);
  tensors.back() = {"two\nlines" + std::string(1000, 'x'), torch::ones({1})};
  write_pth(root_ / "name", model->config(), tree);
  EXPECT_NE(open_error(root_ / "name").find(": \"two\\nlinesxxx"), std::string::npos);
  EXPECT_LT(open_error(root_ / "name").size(), 600u);
  tensors.back() = {"iteration_weights", torch::ones({2})};
  write_pth(root_ / "legacy", model->config(), tree);
  EXPECT_NE(open_error(root_ / "legacy").find("legacy_iteration_weights to true"), std::string::npos);
  write_pth(root_ / "none", model->config(), [](auto& file) { return file.values.list({}); });
  EXPECT_NE(open_error(root_ / "none").find("expected a dict with \"model\"; found a list"), std::string::npos);
  write_pth(root_ / "no_model", model->config(), [](auto& file) { return file.values.dict({}); });
  EXPECT_NE(open_error(root_ / "no_model").find("expected a dict \"model\" of tensors; found none"), std::string::npos);
  write_pth(root_ / "text", model->config(), [](auto& file) {
    return file.values.dict({{"model", file.values.dict({{"w", file.values.text("x")}})}});
  });
  EXPECT_NE(open_error(root_ / "text").find("found a str with a str"), std::string::npos);
}

TEST_F(Convert, FindsOutWhatAPathIs) {
  const auto model = test::make_model({.name = "full"});
  write_run(root_ / "dump" / "checkpoints" / "0000000005", *model, false);
  write_run(root_ / "dump" / "checkpoints" / "0000000012", *model);
  EXPECT_EQ(open_whole(root_ / "dump").where.filename(), "0000000012");
  EXPECT_EQ(open_whole(root_ / "dump" / "checkpoints" / "0000000005").training.optimizer.size(), 0u);

  const auto step = root_ / "official" / "checkpoints" / "0000000007";
  write_model(open_whole(root_ / "dump"), step / "consolidated", {.to = FolderForm::kOfficial});
  EXPECT_EQ(open_whole(step).form, FolderForm::kOfficial);
  EXPECT_EQ(open_whole(step / "consolidated" / "consolidated.pth").form, FolderForm::kOfficial);
  std::ofstream(step / "__0_0.distcp") << "x";
  EXPECT_EQ(open_whole(step).form, FolderForm::kOfficial);
  fs::rename(step / "consolidated" / "consolidated.pth", step / "consolidated" / "step7.pth");
  EXPECT_EQ(open_whole(step).form, FolderForm::kOfficial);
  std::ofstream(step / "consolidated" / "b.pth") << "x";
  EXPECT_NE(open_error(step).find("holds 2 .pth files"), std::string::npos);
  fs::remove_all(step / "consolidated");
  EXPECT_NE(open_error(step).find("consolidate it first"), std::string::npos);

  EXPECT_NE(open_error(root_ / "nothing").find("does not exist"), std::string::npos);
  EXPECT_NE(open_error(root_).find("no complete checkpoint in "), std::string::npos);
  std::ofstream(root_ / "file.txt") << "x";
  EXPECT_NE(open_error(root_ / "file.txt").find("is a file; expected a folder with a model"), std::string::npos);
  EXPECT_EQ(parse_form("hf", "to"), FolderForm::kHf);
  EXPECT_THROW(parse_form("pt", "to"), Error);
}

TEST_F(Convert, DamageIsSeen) {
  const auto model = test::make_model({.name = "full"});
  write_run(root_ / "run", *model);
  const auto path = root_ / "run" / "model.safetensors";
  auto bytes = read_file(path);
  bytes[bytes.size() - 3] ^= 1;
  write_file_atomically(path, bytes);
  EXPECT_NE(open_error(root_ / "run").find("expected CRC-32"), std::string::npos);
}

TEST_F(Convert, OldConfigurationsGiveTheModel) {
  const auto model = test::make_model({.name = "full"});
  write_run(root_ / "run", *model);
  write_model(open_whole(root_ / "run"), root_ / "out", {.to = FolderForm::kOfficial});
  auto params = nlohmann::ordered_json::parse(read_file(root_ / "out" / "params.json"));
  params["model"]["a_field_of_another_age"] = 3;
  write_file_atomically(root_ / "out" / "params.json", params.dump());
  write_model(open_whole(root_ / "out"), root_ / "back", {});
  EXPECT_TRUE(open_model(root_ / "back").config == model->config());
}

// The vocabulary of a run: where older runs looked for it, and what a hostile configuration may name.
TEST_F(Convert, OnlyAVocabularyIsCarriedAlong) {
  const auto model = test::make_model({.name = "full"});
  write_run(root_ / "run", *model);
  fs::remove(root_ / "run" / "checksums.json");
  const auto name_it = [&](const std::string& kind, const std::string& path) {
    TrainConfig config;
    config.model = model->config();
    config.data.tokenizer = {.name = kind, .path = path, .specials = "lingua"};
    write_file_atomically(root_ / "run" / "params.json", to_json(config));
  };
  const auto given = fs::path(LT2_TEST_DATA) / "tokenizer" / "sp_bpe" / "tokenizer.model";
  // Relative to the working directory: carried, and from then on named beside the weights.
  const auto before = fs::current_path();
  fs::copy_file(given, root_ / "mine.model");
  fs::current_path(root_);
  name_it("sp", "mine.model");
  write_model(open_whole("run"), "out", {});
  fs::current_path(before);
  EXPECT_EQ(read_file(root_ / "out" / "tokenizer.model"), read_file(given));
  EXPECT_EQ(nlohmann::json::parse(read_file(root_ / "out" / "params.json"))["data"]["tokenizer"]["path"],
            "tokenizer.model");
  EXPECT_EQ(open_whole(root_ / "out").tokenizer->path, (root_ / "out" / "tokenizer.model").string());
  EXPECT_EQ(open_model(root_ / "out").tokenizer->path, (root_ / "out" / "tokenizer.model").string());

  // A file that is no vocabulary does not travel, and neither does its absence hinder.
  write_file_atomically(root_ / "secret", "a private text");
  int number = 0;
  for (const auto& path : {root_ / "secret", root_ / "missing", root_}) {
    for (const char* kind : {"sp", "tiktoken", "hf"}) {
      name_it(kind, path.string());
      const auto out = root_ / std::to_string(number++);
      write_model(open_whole(root_ / "run"), out, {.to = FolderForm::kHf});
      for (const auto& entry : fs::directory_iterator(out))
        EXPECT_EQ(read_file(entry.path()).find("a private text"), std::string::npos) << entry.path();
      EXPECT_FALSE(fs::exists(out / "tokenizer.json") || fs::exists(out / "tokenizer.model"));
      EXPECT_EQ(open_whole(out).tokenizer->path, path.string());
    }
  }
}

TEST_F(Convert, NothingIsOverwritten) {
  const auto model = test::make_model({.name = "full"});
  write_run(root_ / "run", *model);
  const auto checkpoint = open_whole(root_ / "run");
  fs::create_directories(root_ / "there");
  for (const auto form : {FolderForm::kLt2, FolderForm::kOfficial, FolderForm::kHf})
    EXPECT_NE(error_of([&] {
                write_model(checkpoint, root_ / "there", {.to = form});
              }).find("exists already. Remove it or choose another name"),
              std::string::npos);
  EXPECT_TRUE(fs::is_empty(root_ / "there"));
  write_model(checkpoint, root_ / "deep" / "new" / "", {.to = FolderForm::kHf});
  EXPECT_TRUE(fs::exists(root_ / "deep" / "new" / "config.json"));
  EXPECT_EQ(std::distance(fs::directory_iterator(root_ / "deep"), fs::directory_iterator()), 1);
}

}  // namespace
}  // namespace lt2
