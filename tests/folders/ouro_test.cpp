// Ouro models: folders as published, folders that lie, tokens that leave the loops at different depths.
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <sstream>

#include "base/error.h"
#include "base/files.h"
#include "base/threads.h"
#include "checkpoint/hf_folder.h"
#include "folders/model_folder.h"
#include "folders/ouro_form.h"
#include "folders/tensor_source.h"
#include "folders/write_model.h"
#include "tests/support/compare.h"
#include "tests/support/error_of.h"
#include "tests/support/temp_folder.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::close;
using test::error_of;
using test::identical;

class Ouro : public ::testing::Test {
 protected:
  static const SafetensorsFile& vectors() {
    static const SafetensorsFile file(LT2_TEST_DATA "/vectors/model/ouro_tiny.safetensors");
    return file;
  }
  static torch::Tensor vector(const std::string& name) { return vectors().tensor(name); }

  // config.json with the keys of the published one.
  static json published_config() {
    json config = json::parse(vectors().metadata().at("config"));
    config.update({{"architectures", {"OuroForCausalLM"}},
                   {"auto_map", {{"AutoConfig", "configuration_ouro.OuroConfig"}}},
                   {"model_type", "ouro"},
                   {"torch_dtype", "float32"},
                   {"bos_token_id", 1},
                   {"eos_token_id", 2},
                   {"hidden_act", "silu"},
                   {"attention_dropout", 0.0},
                   {"max_position_embeddings", 65536},
                   {"early_exit_threshold", 1.0},
                   {"tie_word_embeddings", false},
                   {"layer_types", {"full_attention", "full_attention"}},
                   {"rope_scaling", nullptr},
                   {"sliding_window", nullptr},
                   {"use_sliding_window", false},
                   {"max_window_layers", 2}});
    return config;
  }
  static NamedTensors published_weights() {
    NamedTensors out;
    for (const auto& name : vectors().names()) {
      if (name.starts_with("param.")) out.emplace_back(name.substr(6), vectors().tensor(name));
    }
    return out;
  }
  fs::path write(const std::string& name, const json& config, const NamedTensors& weights,
                 torch::ScalarType dtype = torch::kFloat32, uint64_t shard_bytes = 60'000) {
    const fs::path folder = root_ / name;
    fs::create_directories(folder);
    write_hf_folder(folder, config.dump(2), weights, dtype, shard_bytes);
    write_file_atomically(folder / "generation_config.json",
                          R"({"bos_token_id": 1, "eos_token_id": [2, 5], "do_sample": true, "temperature": 0.7,
                              "top_p": 0.9, "top_k": 30, "transformers_version": "4.55.0"})");
    fs::copy_file(LT2_TEST_DATA "/tokenizer/smollm2_style/tokenizer.json", folder / "tokenizer.json");
    return folder;
  }
  fs::path write(const std::string& name = "published") { return write(name, published_config(), published_weights()); }

  static void expect_error(const std::function<void()>& run, const std::vector<std::string>& parts) {
    const auto message = error_of(run);
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    for (const auto& part : parts) EXPECT_NE(message.find(part), std::string::npos) << part << " not in: " << message;
  }
  test::TempFolder temporary_;
  fs::path root_ = temporary_.path();
};

Continued advance_one(LoopedTransformer& model, SequenceState& state, const torch::Tensor& tokens, const ExitRule& rule,
                      bool all_positions = false) {
  return model.advance({{.state = &state, .tokens = tokens, .all_positions = all_positions}}, rule)[0];
}

torch::Tensor greedy(LoopedTransformer& model, const torch::Tensor& prompt, int64_t count, const ExitRule& rule) {
  std::vector<torch::Tensor> rows;
  for (int64_t row = 0; row < prompt.size(0); ++row) {
    auto state = model.make_state(1);
    std::vector<torch::Tensor> tokens;
    auto next = prompt[row];
    for (int64_t i = 0; i < count; ++i)
      tokens.push_back(next = advance_one(model, state, next, rule).logits.argmax(-1));
    rows.push_back(torch::cat(tokens));
  }
  return torch::stack(rows);
}

// The extension of the file that is mapped where `address` points; empty: none.
std::string mapped_file(const void* address) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    uintptr_t begin = 0, end = 0;
    char dash = 0;
    std::istringstream range(line);
    range >> std::hex >> begin >> dash >> end;
    const auto at = reinterpret_cast<uintptr_t>(address);
    if (at < begin || at >= end) continue;
    const size_t path = line.find('/');
    return path == std::string::npos ? "" : fs::path(line.substr(path)).extension().string();
  }
  return "";
}

// ---------------------------------------------------------------------------------------------- published folders

TEST_F(Ouro, PublishedFolderGivesTheReference) {
  const auto folder = open_model(write());
  const auto model = load_masters(folder);
  torch::NoGradGuard no_grad;
  const auto tokens = vector("tokens"), loop_logits = vector("loop_logits");
  Taps taps;
  int64_t loops = 0;
  taps.on("logits.*", [&](const TapPoint& at, const torch::Tensor& logits) {
    EXPECT_TRUE(close(logits, loop_logits[at.loop], 1e-4)) << at.name();
    ++loops;
  });
  {
    const Listening listening(*model, taps);
    model->hidden(tokens);
  }
  EXPECT_EQ(loops, loop_logits.size(0));
  for (const std::string threshold : {"0.3", "0.5", "0.9"}) {
    OpenOptions options;
    options.early_exit_threshold = std::stod(threshold);
    const auto rule = load_masters(open_model(root_ / "published", options))->exit_rule();
    for (int64_t row = 0; row < tokens.size(0); ++row) {
      auto state = model->make_state(1);
      const auto out = advance_one(*model, state, tokens[row], rule, true);
      EXPECT_TRUE(torch::equal(torch::tensor(out.exits, torch::kInt64), vector("exit_steps." + threshold)[row]));
      if (threshold != "0.5") continue;
      EXPECT_TRUE(close(out.logits, vector("exit_logits.0.5")[row], 1e-4));
    }
  }
  const auto want = vector("greedy_tokens"), prompt = vector("greedy_prompt");
  EXPECT_TRUE(torch::equal(greedy(*model, prompt, want.size(1), model->exit_rule()), want));
  EXPECT_TRUE(torch::equal(greedy(*model, prompt, want.size(1), {.threshold = 0.5, .defer = true}),
                           vector("greedy_exit_tokens")));
}

TEST_F(Ouro, FolderSaysHowToRunIt) {
  auto folder = open_model(write());
  EXPECT_EQ(folder.config.model_type, "ouro");
  EXPECT_EQ(folder.config.loop_count, 4);
  EXPECT_EQ(folder.config.rope_theta, 1e6);
  EXPECT_EQ(folder.config.norm_eps, 1e-6);
  EXPECT_EQ(folder.config.max_seqlen, 65536);
  EXPECT_EQ(folder.config.attention_pattern, "0:1");
  EXPECT_EQ(ffn_hidden_dim(folder.config), 88);
  EXPECT_EQ(folder.config.early_exit_threshold, 1.0);
  EXPECT_EQ(folder.config.early_exit_step, std::nullopt);
  EXPECT_EQ(folder.dtype, torch::kFloat32);
  EXPECT_EQ(folder.stop_ids, (std::vector<int32_t>{2, 5}));
  EXPECT_EQ(folder.generation.do_sample, true);
  EXPECT_EQ(folder.generation.temperature, 0.7);
  EXPECT_EQ(folder.generation.top_p, 0.9);
  EXPECT_EQ(folder.generation.top_k, 30);
  EXPECT_EQ(folder.generation.min_p, std::nullopt);
  EXPECT_FALSE(folder.add_bos);
  ASSERT_TRUE(folder.tokenizer);
  EXPECT_EQ(folder.tokenizer->name, "hf");
  EXPECT_EQ(folder.tokenizer->path, (root_ / "published" / "tokenizer.json").string());
  EXPECT_TRUE(fs::exists(root_ / "published" / "model-00002-of-00002.safetensors"));

  write_file_atomically(root_ / "published" / "tokenizer_config.json", R"({"add_bos_token": true})");
  fs::remove(root_ / "published" / "generation_config.json");
  fs::remove(root_ / "published" / "tokenizer.json");
  folder = open_model(root_ / "published");
  EXPECT_TRUE(folder.add_bos);
  EXPECT_EQ(folder.stop_ids, std::vector<int32_t>{2}) << "config.json's";
  EXPECT_FALSE(folder.tokenizer);
}

TEST_F(Ouro, WeightsAreViewsOfTheFile) {
  auto config = published_config();
  config["torch_dtype"] = "bfloat16";
  const auto folder = open_model(write("bf16", config, published_weights(), torch::kBFloat16));
  EXPECT_EQ(folder.dtype, torch::kBFloat16);
  EXPECT_EQ(folder.names().front(), "tok_embeddings.weight");
  EXPECT_EQ(folder.names().size(), published_weights().size());
  EXPECT_TRUE(identical(folder.weight("layers.1.feed_forward.w3.weight"),
                        vector("param.model.layers.1.mlp.up_proj.weight").to(torch::kBFloat16)));
  for (const auto& [name, tensor] : folder.parameters)
    EXPECT_EQ(mapped_file(tensor.data_ptr()), ".safetensors") << name;
  EXPECT_THROW(folder.weight("layers.2.feed_forward.w3.weight"), Error);
  EXPECT_EQ(load_masters(folder)->compute_type, torch::kBFloat16);
  EXPECT_EQ(load_masters(folder)->tok_embeddings.scalar_type(), torch::kFloat32);
}

TEST_F(Ouro, NewerFilesNestRopeThetaAndNameTheTypeDtype) {
  auto config = published_config();
  config.erase("rope_theta");
  config.erase("torch_dtype");
  config["dtype"] = "bfloat16";
  config["rope_parameters"] = {{"rope_theta", 5e5}, {"rope_type", "default"}};
  const auto folder = open_model(write("new", config, published_weights()));
  EXPECT_EQ(folder.config.rope_theta, 5e5);
  EXPECT_EQ(folder.dtype, torch::kBFloat16);
}

TEST_F(Ouro, TiedOutputMayBeLeftOutAndRotaryTablesAreIgnored) {
  auto config = published_config();
  config["tie_word_embeddings"] = true;
  NamedTensors weights;
  for (const auto& [name, tensor] : published_weights())
    if (name != "lm_head.weight") weights.emplace_back(name, tensor);
  weights.emplace_back("model.layers.0.self_attn.rotary_emb.inv_freq", torch::ones({4}));
  const auto without = load_masters(open_model(write("without", config, weights)));
  EXPECT_FALSE(without->output);
  for (const auto& [name, tensor] : published_weights())
    if (name == "model.embed_tokens.weight") weights.emplace_back("lm_head.weight", tensor);
  const auto with = load_masters(open_model(write("with", config, weights)));
  const auto h = torch::ones({1, 1, 32});
  EXPECT_TRUE(identical(with->logits(h), without->logits(h)));
  weights.back().second = weights.back().second + 1;
  const auto other = write("other", config, weights);
  expect_error([&] { open_model(other); }, {"lm_head.weight differs from model.embed_tokens.weight"});
}

TEST_F(Ouro, SlidingLayersUseTheWindow) {
  auto config = published_config();
  config.update(
      {{"layer_types", {"sliding_attention", "full_attention"}}, {"sliding_window", 5}, {"use_sliding_window", true}});
  const auto model = load_masters(open_model(write("sliding", config, published_weights())));
  EXPECT_EQ(model->config().attention_pattern, "5,None");
  config.erase("layer_types");
  config["max_window_layers"] = 1;
  EXPECT_EQ(open_model(write("from", config, published_weights())).config.attention_pattern, "None,5");

  torch::NoGradGuard no_grad;
  const auto tokens = vector("tokens");
  const auto whole = model->logits(model->hidden(tokens));
  EXPECT_FALSE(close(whole, vector("loop_logits")[3], 1e-2)) << "the window does nothing";
  EXPECT_TRUE(close(whole.narrow(1, 0, 5), vector("loop_logits")[3].narrow(1, 0, 5), 1e-4)) << "all see all so far";
  auto state = model->make_state(tokens.size(0));
  for (int64_t i = 0; i < tokens.size(1); ++i)
    EXPECT_TRUE(close(model->step(tokens.narrow(1, i, 1), state), whole.narrow(1, i, 1), 2e-5)) << i;
}

// ---------------------------------------------------------------------------------------------- folders that lie

using Weights = std::function<void(NamedTensors&)>;
struct Lie {
  std::string name;
  json keys;                       // replaced in config.json; null takes the key away
  Weights weights;                 // done to the tensors
  std::vector<std::string> found;  // in the message
};
std::ostream& operator<<(std::ostream& out, const Lie& lie) { return out << lie.name; }

torch::Tensor& named(NamedTensors& weights, const std::string& name) {
  for (auto& [each, tensor] : weights)
    if (each == name) return tensor;
  throw std::runtime_error(name);
}
void drop(NamedTensors& weights, const std::string& name) {
  std::erase_if(weights, [&](const auto& each) { return each.first == name; });
}

class OuroLies : public Ouro, public ::testing::WithParamInterface<Lie> {};

TEST_P(OuroLies, OneClearLine) {
  const auto& lie = GetParam();
  auto config = published_config();
  for (const auto& [key, value] : lie.keys.items()) {
    if (value == "absent")
      config.erase(key);
    else
      config[key] = value;
  }
  auto weights = published_weights();
  if (lie.weights) lie.weights(weights);
  const auto folder = write("lie", config, weights);
  expect_error([&] { open_model(folder); }, lie.found);
}

const std::string kQ = "model.layers.1.self_attn.q_proj.weight";

INSTANTIATE_TEST_SUITE_P(
    All, OuroLies,
    ::testing::Values(
        Lie{"llama", {{"model_type", "llama"}}, {}, {"config.json: model_type is \"llama\"; expected \"ouro\""}},
        Lie{"no_type", {{"model_type", "absent"}}, {}, {"config.json: model_type is null"}},
        Lie{"gelu", {{"hidden_act", "gelu"}}, {}, {"hidden_act must be \"silu\"; found \"gelu\""}},
        Lie{"bias", {{"attention_bias", true}}, {}, {"attention_bias is true; expected false"}},
        Lie{"partial", {{"partial_rotary_factor", 0.5}}, {}, {"partial_rotary_factor must be 1", "found 0.5"}},
        Lie{"quantized", {{"quantization_config", {{"bits", 4}}}}, {}, {"quantization_config is given"}},
        Lie{"yarn", {{"rope_scaling", {{"type", "yarn"}}}}, {}, {"rope_scaling: type must be \"default\"", "yarn"}},
        Lie{"two_thetas", {{"rope_parameters", {{"rope_theta", 5.0}}}}, {}, {"rope_theta is 5 here and 1000000"}},
        Lie{"no_theta", {{"rope_theta", "absent"}}, {}, {"rope_theta is missing"}},
        Lie{"no_loops", {{"total_ut_steps", "absent"}}, {}, {"total_ut_steps is missing"}},
        Lie{"zero_loops", {{"total_ut_steps", 0}}, {}, {"total_ut_steps must be a whole number from 1", "found 0"}},
        Lie{"huge_loops", {{"total_ut_steps", 2'000'000'000}}, {}, {"total_ut_steps must be at most 10000"}},
        Lie{"huge_layers", {{"num_hidden_layers", 2'000'000'000}}, {}, {"num_hidden_layers must be at most 10000"}},
        Lie{"huge_width",
            {{"hidden_size", 1 << 20}},
            {},
            {"embed_tokens.weight is [48, 32], the model needs [48, 1048"}},
        Lie{"huge_ffn", {{"intermediate_size", 1 << 30}}, {}, {"intermediate_size must be at most 16777216"}},
        Lie{"big_ffn",
            {{"intermediate_size", 1 << 24}},
            {},
            {"mlp.gate_proj.weight is [88, 32], the model needs [16777216"}},
        Lie{"beyond_64_bits", {{"hidden_size", 1e30}}, {}, {"hidden_size must be a whole number", "found 1e+30"}},
        Lie{"text", {{"hidden_size", "32"}}, {}, {"hidden_size must be a whole number", "found \"32\""}},
        Lie{"heads", {{"num_attention_heads", 5}}, {}, {"n_heads must divide model.dim", "5"}},
        Lie{"groups", {{"num_key_value_heads", 3}}, {}, {"n_kv_heads must divide", "3"}},
        Lie{"threshold", {{"early_exit_threshold", 1.5}}, {}, {"early_exit_threshold must be at most 1; found 1.5"}},
        Lie{"negative",
            {{"early_exit_threshold", -1}},
            {},
            {"early_exit_threshold must be a number above 0; found -1"}},
        Lie{"late_step", {{"early_exit_step", 4}}, {}, {"early_exit_step", "below model.loop_count = 4; found 4"}},
        Lie{"kinds",
            {{"layer_types", {"full_attention"}}},
            {},
            {"layer_types must list one kind per layer", "found 1"}},
        Lie{"kind", {{"layer_types", {"full_attention", "chunked"}}}, {}, {"layer_types[1] must be", "\"chunked\""}},
        Lie{"linear",
            {{"layer_types", {"full_attention", "linear_attention"}}},
            {},
            {"layer_types[1]", "layer_pattern"}},
        Lie{"off",
            {{"layer_types", {"sliding_attention", "full_attention"}}, {"sliding_window", 4}},
            {},
            {"layer_types[0] is sliding_attention, but use_sliding_window is false"}},
        Lie{"no_window",
            {{"layer_types", {"sliding_attention", "full_attention"}}, {"use_sliding_window", true}},
            {},
            {"layer_types[0] is sliding_attention, but sliding_window is missing"}},
        Lie{"mixer", {{"layer_pattern", "interleaved:1:1:gdm:full"}}, {}, {"config.json: ", "gdm"}},
        Lie{"hybrid", {{"layer_pattern", "interleaved:1:1:gdn:full"}}, {}, {"layers.0.self_attn.", "is missing"}},
        Lie{"more_layers",
            {{"num_hidden_layers", 3}, {"layer_types", "absent"}},
            {},
            {"model.layers.2.", "is missing"}},
        Lie{"fewer_layers",
            {{"num_hidden_layers", 1}, {"layer_types", "absent"}},
            {},
            {"model.layers.1.", "has no place"}},
        Lie{"vocabulary", {{"vocab_size", 49}}, {}, {"embed_tokens.weight is [48, 32], the model needs [49, 32]"}},
        Lie{"missing", {}, [](auto& w) { drop(w, kQ); }, {"lie: " + kQ + " is missing"}},
        Lie{"no_gate", {}, [](auto& w) { drop(w, "model.early_exit_gate.bias"); }, {"early_exit_gate.bias is missing"}},
        Lie{"no_head", {}, [](auto& w) { drop(w, "lm_head.weight"); }, {"lm_head.weight is missing"}},
        Lie{"shape",
            {},
            [](auto& w) { named(w, kQ) = torch::ones({32, 31}); },
            {"model-00002-of-00002.safetensors: " + kQ + " is [32, 31], the model needs [32, 32]"}},
        Lie{"scalar", {}, [](auto& w) { named(w, "model.norm.weight") = torch::ones({}); }, {"norm.weight is []"}},
        Lie{"type", {}, [](auto& w) { named(w, kQ) = torch::ones({32, 32}, torch::kInt64); }, {kQ + " has type Long"}},
        Lie{"extra",
            {},
            [](auto& w) { w.emplace_back("model.layers.0.self_attn.q_proj.bias", torch::ones({32})); },
            {"self_attn.q_proj.bias has no place"}}),
    [](const auto& each) { return each.param.name; });

TEST_F(Ouro, BrokenFoldersAreOneClearLine) {
  const auto opening = [](const fs::path& path) { return [path] { open_model(path); }; };
  expect_error(opening(root_ / "nowhere"), {"nowhere does not exist"});
  expect_error(opening(root_), {"no complete checkpoint in"});
  auto folder = write("no_shard");
  fs::remove(folder / "model-00002-of-00002.safetensors");
  expect_error(opening(folder), {"shard \"model-00002-of-00002.safetensors\" is missing"});
  folder = write("no_weights");
  for (const char* name :
       {"model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"})
    fs::remove(folder / name);
  expect_error(opening(folder), {"expected model.safetensors or model.safetensors.index.json"});
  folder = write("cut");
  fs::resize_file(folder / "model-00001-of-00002.safetensors", 3000);
  expect_error(opening(folder), {"model-00001-of-00002.safetensors"});
  folder = write("config");
  write_file_atomically(folder / "config.json", "{\"model_type\": ");
  expect_error(opening(folder), {"config.json: expected a JSON object"});
  for (const auto& [text, message] :
       std::vector<std::pair<std::string, std::string>>{{"[]", "expected a JSON object"},
                                                        {"{\"eos_token_id\": 48}", "eos_token_id must be an id below"},
                                                        {"{\"eos_token_id\": [1, -2]}", "eos_token_id must be an id"},
                                                        {"{\"temperature\": \"hot\"}", "temperature must be a number"},
                                                        {"{\"top_k\": 1.5}", "top_k must be a whole number"},
                                                        {"{\"x\": " + std::string(100000, '['), "nested more than"}}) {
    folder = root_ / "published";
    if (!fs::exists(folder)) write();
    write_file_atomically(folder / "generation_config.json", text);
    expect_error(opening(folder), {"generation_config.json: ", message});
  }
}

// ---------------------------------------------------------------------------------------------- overrides

TEST_F(Ouro, LoopsAndExitsCanBeChosen) {
  const auto folder = write();
  torch::NoGradGuard no_grad;
  const auto tokens = vector("tokens");
  for (const int64_t T : {1, 3}) {
    const auto model = load_masters(open_model(folder, {.total_ut_steps = T}));
    EXPECT_TRUE(close(model->logits(model->hidden(tokens)), vector("loop_logits")[T - 1], 1e-4));
  }
  const auto model = load_masters(open_model(folder, {.early_exit_step = 1, .early_exit_threshold = 0.3}));
  for (const bool defer : {false, true}) {
    auto rule = model->exit_rule();
    rule.defer = defer;
    auto state = model->make_state(1);
    const auto out = advance_one(*model, state, tokens[0], rule, true);
    EXPECT_TRUE(close(out.logits, vector("loop_logits")[1][0], 1e-4)) << "the fixed step wins";
    EXPECT_EQ(std::set<int64_t>(out.exits.begin(), out.exits.end()), std::set<int64_t>{1});
  }
  const auto deeper = load_masters(open_model(folder, {.total_ut_steps = 6}));
  EXPECT_EQ(deeper->make_state(1).draws[0].slots.size(), 12u);
  expect_error([&] { open_model(folder, {.total_ut_steps = 0}); }, {"total_ut_steps must be from 1"});
  expect_error([&] { open_model(folder, {.total_ut_steps = 2, .early_exit_step = 2}); },
               {"early_exit_step", "found 2"});
  expect_error([&] { open_model(folder, {.early_exit_threshold = 0}); }, {"above 0 and at most 1; found 0"});
}

// ---------------------------------------------------------------------------------------------- deferred loops

struct Shape {
  std::string name, layer_pattern, attention_pattern;
  double limit;
};
std::ostream& operator<<(std::ostream& out, const Shape& shape) { return out << shape.name; }

std::shared_ptr<LoopedTransformer> random_ouro(const Shape& shape, int64_t loops = 4) {
  ModelConfig config;
  config.model_type = "ouro";
  config.use_residual = config.use_block_residual = false;
  config.dim = 32;
  config.n_layers = 3;
  config.n_heads = 4;
  config.n_kv_heads = 2;
  config.intermediate_size = 40;
  config.vocab_size = 61;
  config.loop_count = loops;
  config.layer_pattern = shape.layer_pattern;
  config.attention_pattern = shape.attention_pattern;
  config.default_sliding_window = 7;
  config.gdn.head_dim = 8;
  config.gdn.expand_v = 1;
  validate_model(config);
  auto model = std::make_shared<LoopedTransformer>(config);
  model->initialise();
  torch::NoGradGuard no_grad;
  torch::manual_seed(9);
  for (auto& [name, parameter] : model->official_parameters())
    if (name.find("norm") != std::string::npos) parameter.add_(0.2 * torch::randn(parameter.sizes()));
  model->early_exit_gate->weight.mul_(2);  // exits at all depths
  return model;
}

class OuroDefer : public ::testing::TestWithParam<Shape> {
 protected:
  // Thousands of tiny passes: a second thread would only be waited for.
  void SetUp() override { set_num_threads(1); }
  void TearDown() override { set_num_threads(allowed_cores()); }
};

int64_t waiting(const SequenceState& state) {
  int64_t count = 0;
  for (const auto& rows : state.pending) count += rows.defined() ? rows.size(1) : 0;
  return count;
}

TEST_P(OuroDefer, SameAsAllLoopsWhereverTokensLeave) {
  const auto model = random_ouro(GetParam());
  const double limit = GetParam().limit;
  torch::manual_seed(4);
  const auto prompt = torch::randint(61, {19}, torch::kInt64);
  for (const double threshold : {0.4, 0.7, 0.9}) {
    auto eager = model->make_state(1), lazy = model->make_state(1);
    torch::Tensor next = prompt;
    std::set<int64_t> depths;
    int64_t most_waiting = 0;
    for (int i = 0; i < 41; ++i) {
      const bool all = i == 0;
      const auto truth = advance_one(*model, eager, next, {.threshold = threshold}, all);
      const auto found = advance_one(*model, lazy, next, {.threshold = threshold, .defer = true}, all);
      ASSERT_TRUE(close(found.logits, truth.logits, limit)) << "threshold " << threshold << ", step " << i;
      ASSERT_EQ(found.exits, truth.exits);
      EXPECT_EQ(lazy.position, eager.position);
      depths.insert(truth.exits.begin(), truth.exits.end());
      most_waiting = std::max(most_waiting, waiting(lazy));
      next = truth.logits.narrow(0, truth.logits.size(0) - 1, 1).argmax(-1);
      ASSERT_TRUE(torch::equal(found.logits.narrow(0, found.logits.size(0) - 1, 1).argmax(-1), next));
      next = (next + i) % 61;  // the best alone would soon repeat itself
    }
    EXPECT_GE(depths.size(), 2u) << "threshold " << threshold << " proves little";
    EXPECT_GE(most_waiting, 1) << threshold;
    // Whoever waits can be brought up to date at any time.
    const auto truth = advance_one(*model, eager, next, {}), found = advance_one(*model, lazy, next, {});
    EXPECT_TRUE(close(found.logits, truth.logits, limit)) << threshold;
    EXPECT_EQ(waiting(lazy), 0);
  }
}

TEST_P(OuroDefer, WaitingTokensSurviveAFile) {
  const auto model = random_ouro(GetParam());
  torch::manual_seed(5);
  const auto tokens = torch::randint(61, {40}, torch::kInt64);
  const ExitRule rule{.threshold = 0.6, .defer = true};
  const test::TempFolder folder;
  const auto file = folder.path() / "state.safetensors";
  int saved_waiting = 0;
  for (const int64_t at : {13, 22, 31}) {
    auto state = model->make_state(1);
    advance_one(*model, state, tokens.narrow(0, 0, 9), rule);
    for (int64_t i = 9; i < at; ++i) advance_one(*model, state, tokens.narrow(0, i, 1), rule);
    saved_waiting += waiting(state) > 0;
    state.save(file);
    auto loaded = model->make_state(1);
    loaded.load(file);
    EXPECT_EQ(waiting(loaded), waiting(state));
    auto copy = state.clone(0);
    for (int64_t i = at; i < 40; ++i) {
      const auto whole = advance_one(*model, state, tokens.narrow(0, i, 1), rule);
      ASSERT_TRUE(identical(advance_one(*model, loaded, tokens.narrow(0, i, 1), rule).logits, whole.logits)) << i;
      ASSERT_TRUE(identical(advance_one(*model, copy, tokens.narrow(0, i, 1), rule).logits, whole.logits)) << i;
    }
  }
  EXPECT_GT(saved_waiting, 0);
}

TEST_P(OuroDefer, NeighboursChangeNoBit) {
  const auto model = random_ouro(GetParam());
  torch::manual_seed(6);
  const auto tokens = torch::randint(61, {3, 24}, torch::kInt64);
  const ExitRule rule{.threshold = 0.6, .defer = true};
  std::vector<SequenceState> together, alone;
  for (int64_t s = 0; s < 3; ++s) {
    together.push_back(model->make_state(1));
    alone.push_back(model->make_state(1));
  }
  const std::vector<int64_t> pieces{4, 1, 7, 1, 1, 10};
  int64_t begin = 0;
  for (const int64_t piece : pieces) {
    std::vector<Continuation> sequences;
    for (size_t s = 0; s < 3; ++s) {
      sequences.push_back({.state = &together[s],
                           .tokens = tokens[static_cast<int64_t>(s)].narrow(0, begin, piece),
                           .all_positions = true});
    }
    const auto out = model->advance(sequences, rule);
    for (size_t s = 0; s < 3; ++s) {
      const auto own = advance_one(*model, alone[s], sequences[s].tokens, rule, true);
      EXPECT_TRUE(identical(out[s].logits, own.logits)) << "sequence " << s << " at " << begin;
      EXPECT_EQ(out[s].exits, own.exits);
    }
    begin += piece;
  }
}

INSTANTIATE_TEST_SUITE_P(All, OuroDefer,
                         ::testing::Values(Shape{"full", "full", "0:1", 2e-5}, Shape{"sliding", "full", "1:1", 2e-5},
                                           Shape{"hybrid", "interleaved:2:1:gdn:full", "0:1", 5e-4},
                                           Shape{"gdn", "gdn", "0:1", 5e-4}),
                         [](const auto& each) { return each.param.name; });

TEST_F(Ouro, WaitingIsBounded) {
  const auto model = random_ouro({"full", "full", "0:1", 0}, 2);
  auto state = model->make_state(1);
  const ExitRule rule{.step = 0, .defer = true};
  for (int i = 0; i < 5; ++i) {
    advance_one(*model, state, torch::randint(61, {100}, torch::kInt64), rule);
    EXPECT_LE(waiting(state), 256);
  }
  EXPECT_EQ(state.position, 500);
}

TEST_F(Ouro, RulesThatNoModelCanFollow) {
  const auto model = random_ouro({"full", "full", "0:1", 0});
  auto state = model->make_state(1);
  const auto token = torch::zeros({1}, torch::kInt64);
  expect_error([&] { advance_one(*model, state, token, {.step = 4}); }, {"early_exit_step", "0 to 3", "found 4"});
  ModelConfig plain;
  plain.dim = 16;
  plain.n_heads = 2;
  plain.n_layers = 1;
  plain.vocab_size = 7;
  validate_model(plain);
  LoopedTransformer other(plain);
  auto its = other.make_state(1);
  expect_error([&] { advance_one(other, its, token, {.threshold = 0.5}); }, {"early_exit_threshold", "exit gate"});
}

// ---------------------------------------------------------------------------------------------- hybrids, there and
// back

TEST_F(Ouro, HybridsHaveFoldersToo) {
  for (const std::string attention : {"0:1", "7,7,7"}) {
    const auto model = random_ouro({"hybrid", "interleaved:2:1:gdn:full", attention, 0});
    const auto path = root_ / ("hybrid" + std::to_string(attention.size()));
    fs::create_directories(path);
    write_hf_folder(path, ouro_config_json(model->config(), torch::kFloat32, path.string()),
                    ouro_parameters(model->official_parameters()), torch::kFloat32, 40'000);
    const HfFolder names(path);
    for (const char* name : {"q_proj.weight", "g_proj.weight", "a_proj.weight", "b_proj.weight", "q_conv1d.weight",
                             "o_norm.weight", "A_log", "dt_bias"})
      EXPECT_TRUE(names.contains(std::string("model.layers.0.self_attn.") + name)) << name;
    EXPECT_TRUE(names.contains("model.layers.2.self_attn.q_proj.weight"));
    EXPECT_FALSE(names.contains("model.layers.2.self_attn.A_log"));
    const auto config = json::parse(names.config());
    EXPECT_EQ(config.at("layer_pattern"), "interleaved:2:1:gdn:full");
    EXPECT_EQ(config.at("gdn_head_dim"), 8);
    EXPECT_EQ(config.at("gdn_expand_v"), 1.0);

    const auto back = load_masters(open_model(path));
    const auto theirs = back->official_parameters(), ours = model->official_parameters();
    ASSERT_EQ(theirs.size(), ours.size());
    for (size_t i = 0; i < ours.size(); ++i) EXPECT_TRUE(identical(theirs[i].second, ours[i].second)) << ours[i].first;
    torch::NoGradGuard no_grad;
    const auto tokens = torch::arange(30).view({1, 30});
    EXPECT_TRUE(identical(back->logits(back->hidden(tokens)), model->logits(model->hidden(tokens))));
  }
}

TEST_F(Ouro, ConvertingThereAndBackIsTheSameBitForBit) {
  auto config = published_config();
  config["torch_dtype"] = "bfloat16";
  config["early_exit_threshold"] = 0.75;
  const auto published = write("published", config, published_weights(), torch::kBFloat16);
  const auto first = open_model(published, {.training_state = true});
  EXPECT_EQ(first.form, FolderForm::kHf);
  write_model(first, root_ / "ours", {.to = FolderForm::kLt2});
  write_model(open_model(root_ / "ours", {.training_state = true}), root_ / "official", {.to = FolderForm::kOfficial});
  write_model(open_model(root_ / "official", {.training_state = true}), root_ / "back",
              {.to = FolderForm::kHf, .dtype = torch::kBFloat16, .shard_bytes = 60'000});
  const HfFolder before(published), after(root_ / "back");
  EXPECT_EQ(std::set<std::string>(before.names().begin(), before.names().end()),
            std::set<std::string>(after.names().begin(), after.names().end()));
  for (const auto& name : before.names()) EXPECT_TRUE(identical(before.tensor(name), after.tensor(name))) << name;
  for (const char* beside : {"tokenizer.json", "generation_config.json"})
    EXPECT_TRUE(read_file(published / beside) == read_file(root_ / "back" / beside)) << beside;
  EXPECT_EQ(open_model(root_ / "back").config, open_model(published).config);

  // A checkpoint of ours like any other, and its own folder.
  const auto opened = open_model(root_ / "ours");
  EXPECT_EQ(load_masters(opened)->compute_type, torch::kBFloat16);
  EXPECT_EQ(opened.tokenizer->path, (root_ / "ours" / "tokenizer.json").string());
  EXPECT_EQ(opened.config, open_model(published).config);
  EXPECT_EQ(opened.stop_ids, (std::vector<int32_t>{2, 5}));
  EXPECT_EQ(opened.tokenizer->path, (root_ / "ours" / "tokenizer.json").string());
  EXPECT_FALSE(opened.add_bos);

  // Only config.json knew where texts end, and it is written anew.
  fs::remove(published / "generation_config.json");
  write_model(open_model(published, {.training_state = true}), root_ / "again", {.to = FolderForm::kHf});
  EXPECT_FALSE(fs::exists(root_ / "again" / "params.json"));
  EXPECT_EQ(open_model(root_ / "again").stop_ids, std::vector<int32_t>{2});
  // params.json must tell of the same model, config.json of where to leave the loops.
  auto edited = json::parse(read_file(root_ / "back" / "config.json"));
  edited["early_exit_threshold"] = 0.25;
  write_file_atomically(root_ / "back" / "config.json", edited.dump());
  write_model(open_model(root_ / "back", {.training_state = true}), root_ / "edited", {.to = FolderForm::kLt2});
  EXPECT_EQ(open_model(root_ / "edited").config.early_exit_threshold, 0.25);
  edited["rope_theta"] = 17.0;
  write_file_atomically(root_ / "back" / "config.json", edited.dump());
  expect_error([&] { open_model(root_ / "back", {.training_state = true}); }, {"describe different models"});
}

TEST_F(Ouro, WhatTheFormCannotSayIsRefused) {
  const auto refused = [&](const std::function<void(ModelConfig&)>& change, const std::string& message) {
    auto config = random_ouro({"full", "full", "0:1", 0})->config();
    change(config);
    validate_model(config);
    expect_error([&] { ouro_config_json(config, torch::kFloat32, "out"); }, {"out: ", message});
  };
  refused([](auto& c) { c.layer_pattern = "kda"; }, "layer 0 is kda");
  refused([](auto& c) { c.attention_pattern = "full->full->full->SWA=5"; }, "differ between loops");
  refused([](auto& c) { c.attention_pattern = "5,6,None"; }, "differ between loops or in width");
  refused([](auto& c) { c.attention_pattern = "random:1:1"; }, "differ between loops");
  refused([](auto& c) { c.use_attn_gate = true; }, "use_attn_gate");
  refused([](auto& c) { c.layer_pattern = "gdn", c.state_carry = "token"; }, "state_carry");
}

TEST_F(Ouro, ShapesAreKnownWithoutAModel) {
  for (const char* pattern : {"full", "interleaved:2:1:gdn:full", "bookend:1:mla:dsa"}) {
    for (const bool ouro : {false, true}) {
      auto config = random_ouro({"", "full", "0:1", 0})->config();
      config.layer_pattern = pattern;
      config.attention_pattern = "1:1";
      if (!ouro) config.model_type = "lt2", config.use_residual = config.use_block_residual = true;
      validate_model(config);
      const auto shapes = parameter_shapes(config);
      const auto parameters = LoopedTransformer(config).official_parameters();
      ASSERT_EQ(shapes.size(), parameters.size());
      for (size_t i = 0; i < shapes.size(); ++i) {
        EXPECT_EQ(shapes[i].first, parameters[i].first);
        EXPECT_EQ(shapes[i].second, parameters[i].second.sizes().vec()) << shapes[i].first;
      }
    }
  }
}

// The size of the published 1.4B.
TEST_F(Ouro, PublishedShapeHasItsSize) {
  json config{{"hidden_size", 2048},        {"intermediate_size", 5632}, {"num_hidden_layers", 24},
              {"num_attention_heads", 16},  {"head_dim", 128},           {"rms_norm_eps", 1e-6},
              {"rope_theta", 1000000.0},    {"vocab_size", 49152},       {"total_ut_steps", 4},
              {"early_exit_threshold", 1.0}};
  int64_t count = 0;
  for (const auto& [name, shape] : parameter_shapes(ouro_model_config(config.dump(), "config.json")))
    count += std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
  EXPECT_EQ(count, 1434652673);
}

}  // namespace
}  // namespace lt2
