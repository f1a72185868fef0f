// Every recipe file loads with the values that it promises; every documented key is known, every misspelt one is named.
#include "tests/support/recipes.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>
#include <sstream>

#include "base/error.h"
#include "base/files.h"
#include "config/fields.h"
#include "tests/support/error_of.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using test::inner_parameters;
using test::mixer_parameters;
using test::recipes_in;
using test::total_parameters;

const std::string kSource = LT2_SOURCE_DIR, kData = LT2_TEST_DATA;

TrainConfig planned(const std::string& file, Notes* notes, int64_t world = 1) {
  auto config = load_train_config(file, {}, notes);
  validate(config, notes, {.world_size = world, .dry_run = true});
  return config;
}

std::string error_of(const std::vector<std::string>& overrides) {
  return test::error_of([&] { parse_train_config("dump_dir: runs/x\n", "f.yaml", overrides); });
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// ---- Recipes ----

TEST(Recipes, AllOfficialNamesAreThere) {
  const std::vector<std::string> mixers = {"full",     "window", "gdn",   "kda", "mamba2",
                                           "deltanet", "retnet", "hgrn2", "nsa", "dsa"};
  std::vector<std::string> names;
  for (const auto& mixer : mixers) {
    for (const char* size : {"600M", "1B"}) names.push_back(fmt::format("{}/looped_pure_{}_{}", size, mixer, size));
  }
  for (const char* name :
       {"600M/looped_hybrid_gdn_4to1_600M", "1B/looped_hybrid_gdn_4to1_1B", "600M/looped_hybrid_bookend_600M",
        "600M/looped_hybrid_128_256_512_full_600M", "600M/debug", "600M/eval"}) {
    names.push_back(name);
  }
  for (const auto& name : names) EXPECT_TRUE(fs::exists(kSource + "/configs/" + name + ".yaml")) << name;
  EXPECT_EQ(recipes_in("600M").size(), 14u);
  EXPECT_EQ(recipes_in("1B").size(), 11u);
}

TEST(Recipes, OfficialOnesShareTheirSchedule) {
  for (const std::string size : {"600M", "1B"}) {
    for (const auto& file : recipes_in(size)) {
      Notes notes;
      const auto c = planned(file, &notes, 24);
      SCOPED_TRACE(file);
      for (const auto& line : notes.ignored) EXPECT_TRUE(has(line, "distributed.compile")) << line;
      EXPECT_EQ(c.name + ".yaml", fs::path(file).stem() == "debug" ? "debug_600M.yaml" : fs::path(file).filename());
      EXPECT_EQ(c.dump_dir, "runs/" + c.name);
      EXPECT_EQ(c.model.dim, size == "600M" ? 1024 : 2048);
      EXPECT_EQ(c.model.n_heads, 16);
      EXPECT_EQ(ffn_hidden_dim(c.model), size == "600M" ? 2816 : 5632);
      EXPECT_EQ(c.model.loop_count, 4);
      EXPECT_TRUE(c.model.use_residual && c.model.use_block_residual);
      EXPECT_EQ(c.optim.lr, size == "600M" ? 1.5e-4 : 3e-4);
      if (c.name == "debug_600M") continue;
      EXPECT_EQ(c.data.batch_size * c.data.seq_len * c.grad_acc_steps * c.distributed.dp_replicate, 393216);
      EXPECT_EQ(c.steps, 255000);
      EXPECT_EQ(c.seed, 777);
      EXPECT_EQ(c.model.seed, 42);
      EXPECT_EQ(c.model.vocab_size, 128256);
      EXPECT_EQ(c.optim.warmup, 5000);
      EXPECT_EQ(c.optim.lr_min_ratio, 1e-6);
      EXPECT_EQ(c.data.prefetch_size, 1024);
      EXPECT_EQ(c.distributed.fsdp_type, "full_shard");
      EXPECT_EQ(c.distributed.model_dtype, "bf16");
    }
  }
}

TEST(Recipes, WindowsAreThoseOfTheName) {
  const auto plan = [](const std::string& name) {
    Notes notes;
    return attention_plan(planned(kSource + "/configs/" + name + ".yaml", &notes).model);
  };
  EXPECT_EQ(plan("600M/looped_pure_window_600M").windows[3][24], 256);
  EXPECT_EQ(plan("1B/looped_pure_window_1B").windows[0][0], 2048);
  EXPECT_EQ(plan("600M/looped_pure_full_600M").windows[0][0], std::nullopt);
  const auto growing = plan("600M/looped_hybrid_128_256_512_full_600M");
  const std::vector<std::optional<int64_t>> wanted = {128, 256, 512, std::nullopt};
  for (size_t t = 0; t < 4; ++t) EXPECT_EQ(growing.windows[t], std::vector(25, wanted[t]));
  // Where the hybrids have full layers these see everything.
  for (const std::string name :
       {"600M/looped_hybrid_gdn_4to1_600M", "1B/looped_hybrid_gdn_4to1_1B", "600M/looped_hybrid_bookend_600M"}) {
    Notes notes;
    const auto c = planned(kSource + "/configs/" + name + ".yaml", &notes).model;
    const auto types = layer_types(c.layer_pattern, c.n_layers);
    const auto windows = attention_plan(c).windows;
    EXPECT_TRUE(c.use_attn_gate);
    for (size_t i = 0; i < types.size(); ++i) EXPECT_EQ(types[i] == "full", !windows[0][i]) << name << " " << i;
    EXPECT_EQ(std::count(types.begin(), types.end(), "full"), c.n_layers == 25 && !has(name, "bookend") ? 5 : 4);
  }
}

// The formulas themselves, at the widths for which the mixers' sizes are published.
TEST(Recipes, MixerFormulas) {
  const std::map<std::string, std::pair<int64_t, int64_t>> published = {
      {"gdn", {6336640, 25256160}},    {"kda", {4487248, 17887376}},    {"deltanet", {4223040, 16834688}},
      {"mamba2", {6451888, 25486000}}, {"retnet", {8388736, 33554688}}, {"hgrn2", {4195328, 16779264}},
      {"gla", {4219456, 16827520}},    {"la", {4211008, 16843392}}};
  ModelConfig c;
  c.n_heads = 16;
  for (const auto& [type, sizes] : published) {
    c.dim = 1024;
    EXPECT_EQ(mixer_parameters(type, c), sizes.first) << type;
    c.dim = 2048;
    EXPECT_EQ(mixer_parameters(type, c), sizes.second) << type;
  }
}

TEST(Recipes, LayersBringTheTotalNearestTheClass) {
  const auto distance = [](ModelConfig c, int64_t layers) {
    c.n_layers = layers;
    return std::abs(static_cast<double>(inner_parameters(c)) - 1.26e9);
  };
  for (const auto& file : recipes_in("1B")) {
    Notes notes;
    const auto c = planned(file, &notes).model;
    EXPECT_LT(distance(c, c.n_layers), distance(c, c.n_layers - 1)) << file;
    EXPECT_LT(distance(c, c.n_layers), distance(c, c.n_layers + 1)) << file;
  }
  // The two that are known.
  Notes notes;
  EXPECT_EQ(planned(kSource + "/configs/1B/looped_pure_full_1B.yaml", &notes).model.n_layers, 25);
  EXPECT_EQ(planned(kSource + "/configs/1B/looped_hybrid_gdn_4to1_1B.yaml", &notes).model.n_layers, 21);
  for (const auto& file : recipes_in("600M")) {
    EXPECT_EQ(planned(file, &notes).model.n_layers, has(file, "debug") ? 5 : 25) << file;
  }
}

// "| [name](path) | layers | ... | total | without vocabulary |", numbers with thin groups of three.
TEST(Recipes, TableOfTheDocumentation) {
  std::istringstream page(read_file(kSource + "/docs/recipes.md"));
  std::map<std::string, std::vector<std::string>> rows;
  for (std::string line; std::getline(page, line);) {
    if (!line.starts_with("| [")) continue;
    std::vector<std::string> cells;
    std::istringstream parts(line.substr(1));
    for (std::string cell; std::getline(parts, cell, '|');) {
      std::erase(cell, ' ');
      std::erase(cell, ',');
      cells.push_back(cell);
    }
    const auto open = cells[0].find("(../"), close = cells[0].find(')');
    ASSERT_NE(open, std::string::npos) << line;
    rows[cells[0].substr(open + 4, close - open - 4)] = cells;
  }
  size_t checked = 0;
  for (const std::string folder : {"600M", "1B", "tiny"}) {
    for (const auto& file : recipes_in(folder)) {
      const auto found = rows.find(fs::relative(file, kSource).string());
      ASSERT_NE(found, rows.end()) << file << " is missing in docs/recipes.md; run scripts/recipe-table.sh";
      Notes notes;
      auto c = planned(file, &notes).model;
      if (c.vocab_size < 0) c.vocab_size = 258;  // bytes, BOS and EOS
      const auto& cells = found->second;
      ASSERT_GE(cells.size(), 5u) << file;
      EXPECT_EQ(cells[1], std::to_string(c.n_layers)) << file;
      EXPECT_EQ(cells[3], std::to_string(total_parameters(c))) << file;
      EXPECT_EQ(cells[4], std::to_string(inner_parameters(c))) << file;
      ++checked;
    }
  }
  EXPECT_EQ(checked, rows.size()) << "docs/recipes.md names a recipe that is gone";
}

TEST(Recipes, TinyOnesCoverEveryMixer) {
  std::set<std::string> types;
  for (const auto& file : recipes_in("tiny")) {
    Notes notes;
    const auto c = planned(file, &notes);
    for (const auto& line : notes.ignored) ADD_FAILURE() << file << ": " << line;
    EXPECT_EQ(c.name, "tiny_" + fs::path(file).stem().string());
    EXPECT_EQ(c.dump_dir, "runs/" + c.name);
    for (const auto& type : layer_types(c.model.layer_pattern, c.model.n_layers)) types.insert(type);
  }
  for (const auto& type : layer_type_names()) EXPECT_TRUE(types.contains(type)) << type;
}

// ---- Files of other projects ----

TEST(OfficialFiles, Load) {
  Notes notes;
  auto c = planned(kData + "/config/lingua_debug.yaml", &notes);
  EXPECT_EQ(c.data.sources.size(), 2u);
  EXPECT_EQ(c.checkpoint.eval.keep, 1);
  ASSERT_TRUE(c.eval.is_map());
  EXPECT_EQ(c.eval.find("harness")->find("tasks")->items.size(), 3u);
  std::string ignored = fmt::format("{}", fmt::join(notes.ignored, "\n"));
  for (const char* key : {"distributed.compile=true", "async_eval_gpus=8", "eval=..."}) EXPECT_TRUE(has(ignored, key));

  notes = {};
  c = planned(kData + "/config/lingua_llama_1B.yaml", &notes);
  EXPECT_EQ(c.steps, 60000);
  EXPECT_EQ(c.data.sources[0].first, "dclm_baseline_1.0");
  EXPECT_EQ(c.model.attention_pattern, "0:1");  // sliding_window: null
  EXPECT_EQ(total_parameters(c.model) - inner_parameters(c.model), 2 * 128256 * 2048);

  notes = {};
  c = planned(kData + "/config/lingua_llama_7B.yaml", &notes, 256);
  EXPECT_EQ(c.model.attention_pattern, "1:0");
  EXPECT_EQ(c.model.default_sliding_window, 4096);
  EXPECT_EQ(ffn_hidden_dim(c.model), 11008);
  EXPECT_EQ(c.distributed.tp_size, 1);
  EXPECT_EQ(c.distributed.dp_replicate, 32);
  EXPECT_EQ(c.env.OMP_NUM_THREADS, "4");
  ignored = fmt::format("{}", fmt::join(notes.ignored, "\n"));
  for (const char* key : {"float8_recipe=rowwise", "allow_bf16_reduced_precision_reduction", "env.NCCL_DEBUG=WARN",
                          "logging.wandb=..."}) {
    EXPECT_TRUE(has(ignored, key)) << key;
  }
}

TEST(OfficialFiles, EvaluationIsNotReadWhileTraining) {
  const auto file = read_file(kSource + "/configs/600M/eval.yaml");
  const auto tree = parse_yaml(file, "eval.yaml");
  const std::set<std::string> known = {"name",    "dump_dir", "metric_log_dir", "ckpt_dir",   "generator",
                                       "harness", "wandb",    "validation",     "global_step"};
  for (const auto& [key, value] : tree.entries) EXPECT_TRUE(known.contains(key)) << key;
  std::string inside = "dump_dir: runs/x\neval:\n";
  std::istringstream lines(file);
  for (std::string line; std::getline(lines, line);) inside += "  " + line + "\n";
  inside += "  dataset_dir: elsewhere\n  no_such_key: 1\n";
  const auto c = parse_train_config(inside, "f.yaml", {});
  EXPECT_EQ(c.eval.find("harness")->find("tasks")->items.size(), 8u);
  EXPECT_TRUE(parse_train_config(to_yaml(c), "again.yaml", {}) == c);
  EXPECT_EQ(error_of({"eval=some text"}), "");
}

// ---- Keys ----

// Every key of the official configuration with a value that is not its default.
const std::vector<std::pair<std::string, std::string>>& official_keys() {
  static const std::vector<std::pair<std::string, std::string>> keys = {
      {"name", "run"},
      {"dump_dir", "elsewhere"},
      {"seed", "7"},
      {"grad_acc_steps", "2"},
      {"gc_collect_freq", "5"},
      {"probe_freq", "100"},
      {"steps", "0x20"},
      {"async_eval_gpus", "8"},
      {"eval", "{harness: {tasks: [hellaswag]}}"},
      {"data.root_dir", "data"},
      {"data.sources", "{a: 1, b: 2.5}"},
      {"data.batch_size", "3"},
      {"data.seq_len", "4_096"},
      {"data.n_views", "3"},
      {"data.seed", "1"},
      {"data.add_bos", "off"},
      {"data.add_eos", "no"},
      {"data.load_async", "0"},
      {"data.prefetch_size", "1024"},
      {"data.tokenizer.name", "sp"},
      {"data.tokenizer.path", "words.model"},
      {"optim.lr", "1e-3"},
      {"optim.weight_decay", "0"},
      {"optim.epsilon", "1e-9"},
      {"optim.beta1", ".8"},
      {"optim.beta2", "0.99"},
      {"optim.clip", "10"},
      {"optim.scheduler", "wsd"},
      {"optim.warmup", "10"},
      {"optim.lr_min_ratio", "1e-6"},
      {"optim.cycle_length", "0.5"},
      {"optim.cosine_theta", "2"},
      {"optim.annealing_step", "1"},
      {"optim.decay_fraction", "0.2"},
      {"optim.exp_factor", "0.25"},
      {"model.dim", "1024"},
      {"model.n_layers", "4"},
      {"model.head_dim", "64"},
      {"model.n_heads", "8"},
      {"model.n_kv_heads", "4"},
      {"model.ffn_dim_multiplier", "1.5"},
      {"model.multiple_of", "128"},
      {"model.norm_eps", "1e-6"},
      {"model.rope_theta", "5e5"},
      {"model.init_base_std", "0.02"},
      {"model.init_std_factor", "global_depth"},
      {"model.max_seqlen", "2048"},
      {"model.seed", "1"},
      {"model.vocab_size", "100"},
      {"model.weight_tying", "true"},
      {"model.attn_impl", "sdpa"},
      {"model.loop_count", "4"},
      {"model.use_residual", "false"},
      {"model.use_block_residual", "false"},
      {"model.attention_pattern", "4:1"},
      {"model.default_sliding_window", "null"},
      {"model.inference_ensemble_k", "1"},
      {"model.legacy_iteration_weights", "true"},
      {"model.layer_pattern", "gdn"},
      {"model.use_attn_gate", "true"},
      {"model.kda_expand_v", "2"},
      {"model.gdn_allow_neg_eigval", "true"},
      {"model.hgrn2_mode", "fused"},
      {"model.hgrn2_use_short_conv", "true"},
      {"model.hgrn2_conv_size", "3"},
      {"model.hgrn2_conv_bias", "true"},
      {"model.mla_q_lora_rank", "64"},
      {"model.mla_kv_lora_rank", "128"},
      {"model.mla_qk_rope_head_dim", "32"},
      {"model.mla_qk_nope_head_dim", "32"},
      {"model.mla_v_head_dim", "32"},
      {"model.mla_window_size", "512"},
      {"model.mamba2_expand", "1"},
      {"model.mamba2_d_state", "128"},
      {"model.mamba2_d_conv", "3"},
      {"model.nsa_block_size", "32"},
      {"model.nsa_block_counts", "8"},
      {"model.nsa_window_size", "0"},
      {"model.nsa_qkv_bias", "true"},
      {"model.dsa_dim", "256"},
      {"model.dsa_tail_dim", "32"},
      {"model.dsa_topk", "512"},
      {"model.dsa_score_dim", "32"},
      {"model.dsa_block_i", "32"},
      {"model.dsa_sm_scale", "0.1"},
      {"distributed.dp_shard", "2"},
      {"distributed.dp_replicate", "2"},
      {"distributed.tp_size", "2"},
      {"distributed.selective_activation_checkpointing", "true"},
      {"distributed.compile", "true"},
      {"distributed.fsdp_type", "full_shard"},
      {"distributed.model_dtype", "fp32"},
      {"distributed.float8_recipe", "rowwise"},
      {"distributed.float8_filter", "layers"},
      {"distributed.matmul_allow_tf32", "true"},
      {"distributed.detect_anomaly", "true"},
      {"distributed.compile_cache_size_limit", "16"},
      {"distributed.spawn_method", "fork"},
      {"env.MKL_SERVICE_FORCE_INTEL", "INTEL"},
      {"env.OMP_NUM_THREADS", "4"},
      {"env.MKL_NUM_THREADS", "4"},
      {"env.ENABLE_INTRA_NODE_COMM", "0"},
      {"env.TORCH_NCCL_AVOID_RECORD_STREAMS", "0"},
      {"env.NCCL_IB_TIMEOUT", "10"},
      {"env.NCCL_DEBUG", "WARN"},
      {"env.TORCH_NCCL_ASYNC_ERROR_HANDLING", "0"},
      {"checkpoint.dump.every", "10"},
      {"checkpoint.dump.keep", "-1"},
      {"checkpoint.eval.every", "10"},
      {"checkpoint.eval.keep", "3"},
      {"checkpoint.path", "there"},
      {"checkpoint.init_ckpt_path", "from"},
      {"checkpoint.continue_training_from_init", "true"},
      {"profiling.run", "true"},
      {"profiling.trace_folder", "traces"},
      {"profiling.mem_warmup", "1"},
      {"profiling.mem_steps", "1"},
      {"profiling.profile_warmup", "1"},
      {"profiling.profile_steps", "1"},
      {"logging.freq", "1"},
      {"logging.acc_freq", "1"},
      {"logging.wandb", "{project: p, tags: [a], mode: offline}"}};
  return keys;
}

// Keys that the official configuration does not have.
bool is_ours(const std::string& key) {
  static const std::set<std::string> ours = {"data.tokenizer.specials",
                                             "data.allow_unread_chunks",
                                             "optim.nan_policy",
                                             "optim.decay_exempt",
                                             "model.state_carry",
                                             "model.gdn_head_dim",
                                             "model.gdn_expand_v",
                                             "model.dsa_indexer",
                                             "model.dsa_index_n_heads",
                                             "model.dsa_index_head_dim",
                                             "model.dsa_index_rope_dim",
                                             "model.dsa_kl_coef",
                                             "model.dsa_kl_stage",
                                             "distributed.timeout_s",
                                             "distributed.activation_checkpointing",
                                             "model.model_type",
                                             "model.intermediate_size",
                                             "model.early_exit_step",
                                             "model.early_exit_threshold",
                                             "checkpoint.allow_model_change"};
  return ours.contains(key) || key.starts_with("val.");
}

TEST(Keys, EveryOfficialOneIsAcceptedAndKept) {
  for (const auto& [key, value] : official_keys()) {
    const auto assignment = key + "=" + value;
    ASSERT_EQ(error_of({assignment}), "") << assignment;
    const auto c = parse_train_config("dump_dir: runs/x\n", "f.yaml", {assignment});
    auto without = parse_train_config("dump_dir: runs/x\n", "f.yaml", {});
    EXPECT_FALSE(c == without) << assignment << " left no trace";
    EXPECT_TRUE(parse_train_config(to_yaml(c), "again.yaml", {}) == c) << assignment;
  }
}

TEST(Keys, ListsAreComplete) {
  TrainConfig config;
  std::set<std::string> official, known;
  for (const auto& [key, value] : official_keys()) official.insert(key);
  for (const auto& field : collect_fields(config)) {
    known.insert(field.key);
    EXPECT_NE(official.contains(field.key), is_ours(field.key)) << field.key << " is in both lists or in none";
  }
  for (const auto& key : official) EXPECT_TRUE(known.contains(key)) << key;
}

TEST(Keys, AcceptedThoughNoField) {
  for (const char* line :
       {"distributed.allow_bf16_reduced_precision_reduction=false", "model.cot_gdp_anything=[1, 2]",
        "model.sliding_window=256", "model.mixer=kda", "model.gated_attn=true", "model.nsa_window_size=null"}) {
    Notes notes;
    EXPECT_NO_THROW(parse_train_config("dump_dir: runs/x\n", "f.yaml", {line}, &notes)) << line;
  }
}

// Keys for the internals of another program are reported, once each.
TEST(Keys, WithoutEffectAreReported) {
  std::vector<std::string> all;
  for (const auto& [key, value] : official_keys()) {
    if (!key.starts_with("env.OMP")) all.push_back(key + "=" + value);
  }
  Notes notes;
  parse_train_config("", "f.yaml", all, &notes);
  const std::vector<std::string> silent_groups = {"gc_collect_freq",
                                                  "model.attn_impl",
                                                  "model.hgrn2_mode",
                                                  "model.dsa_block_i",
                                                  "distributed.compile",
                                                  "distributed.compile_cache_size_limit",
                                                  "distributed.float8_recipe",
                                                  "distributed.float8_filter",
                                                  "distributed.matmul_allow_tf32",
                                                  "distributed.spawn_method",
                                                  "distributed.detect_anomaly",
                                                  "env.MKL_SERVICE_FORCE_INTEL",
                                                  "env.MKL_NUM_THREADS",
                                                  "env.ENABLE_INTRA_NODE_COMM",
                                                  "env.TORCH_NCCL_AVOID_RECORD_STREAMS",
                                                  "env.NCCL_IB_TIMEOUT",
                                                  "env.NCCL_DEBUG",
                                                  "env.TORCH_NCCL_ASYNC_ERROR_HANDLING",
                                                  "logging.wandb",
                                                  "checkpoint.continue_training_from_init",
                                                  "optim.annealing_step"};
  for (const auto& key : silent_groups) {
    const auto count = std::count_if(notes.ignored.begin(), notes.ignored.end(),
                                     [&](const std::string& line) { return line.starts_with(key + "="); });
    EXPECT_EQ(count, 1) << key;
  }
}

// Two letters of each key swapped: an error that names the key meant.
TEST(Keys, MisspeltOnesAreNamed) {
  TrainConfig config;
  size_t tried = 0;
  for (const auto& field : collect_fields(config)) {
    const auto dot = field.key.rfind('.') + 1;  // npos + 1 = 0
    if (field.key.size() - dot < 6 || field.key[dot + 2] == field.key[dot + 3]) continue;
    std::string wrong = field.key;
    std::swap(wrong[dot + 2], wrong[dot + 3]);
    const auto message = error_of({wrong + "=1"});
    EXPECT_TRUE(has(message, "unknown key " + wrong + "; did you mean " + field.key + "?")) << wrong << ": " << message;
    ++tried;
  }
  EXPECT_GT(tried, 80u);
  for (const auto& [wrong, right] :
       std::vector<std::pair<std::string, std::string>>{{"sede", "seed"},
                                                        {"data.sead", "data.seed"},
                                                        {"optim.warm_up", "optim.warmup"},
                                                        {"model.atention_pattern", "model.attention_pattern"},
                                                        {"distributed.compil", "distributed.compile"},
                                                        {"env.OMP_NUM_THREAD", "env.OMP_NUM_THREADS"},
                                                        {"checkpoint.dump.evry", "checkpoint.dump.every"},
                                                        {"profiling.runs", "profiling.run"},
                                                        {"logging.frequ", "logging.freq"},
                                                        {"logging.wandb.projekt", "logging.wandb.project"},
                                                        {"optin.lr", "optim?"}}) {
    EXPECT_TRUE(has(error_of({wrong + "=1"}), "did you mean " + right)) << wrong << ": " << error_of({wrong + "=1"});
  }
}

// ---- Missing files ----

TEST(DryRun, MissingFilesAreWarnings) {
  const auto file = kSource + "/configs/1B/looped_pure_gdn_1B.yaml";
  const std::vector<std::string> elsewhere = {"data.root_dir=/no/such/folder", "data.tokenizer.path=/no/words.model"};
  Notes notes;
  auto c = load_train_config(file, elsewhere, &notes);
  auto again = c;
  EXPECT_THROW(validate(again, &notes, {}), Error);
  notes.warnings.clear();
  validate(c, &notes, {.world_size = 1, .dry_run = true});
  const auto text = fmt::format("{}", fmt::join(notes.warnings, "\n"));
  EXPECT_TRUE(has(text, "fineweb_edu") && has(text, "/no/words.model does not exist")) << text;
  // Mistakes in the run itself stay errors.
  c = load_train_config(file, {"data.sources={fineweb_edu: 0}"}, &notes);
  EXPECT_THROW(validate(c, &notes, {.dry_run = true}), Error);
  c = load_train_config(file, {"model.n_heads=7"}, &notes);
  EXPECT_THROW(validate(c, &notes, {.dry_run = true}), Error);
}

}  // namespace
}  // namespace lt2
