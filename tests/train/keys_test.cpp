// Every key of a training configuration acts, is reported or is refused. One row a key gives it a second value in a
// small run; where that has no effect, the row says which other keys make it act, and a second pair of runs shows it.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/signals.h"
#include "folders/model_folder.h"
#include "tests/support/temp_folder.h"
#include "train/trainer.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using Keys = std::vector<std::string>;

enum class Effect {
  kActs,     // the run writes other results
  kCost,     // the same bits, in another time, memory or number of ranks
  kUnused,   // reported: without effect in this combination
  kWarned,   // reported: another value is taken
  kIgnored,  // reported: an official key without effect here
  kRefused
};

struct Row {
  std::string key, value;    // @ in a value is the test's folder
  Effect effect;             // in the plain run
  Keys acts_with = {};       // keys with which it acts; empty: it acts in the plain run, or never
  int64_t ranks_to_act = 1;  // 2: only the resolved configuration shows that it acts
};

constexpr auto kActs = Effect::kActs, kCost = Effect::kCost, kUnused = Effect::kUnused, kWarned = Effect::kWarned,
               kIgnored = Effect::kIgnored, kRefused = Effect::kRefused;

const Keys kOuro{"model.model_type=ouro", "model.use_residual=false", "model.use_block_residual=false"};
const Keys kSamples{"val.prompt=the quick"};
const Keys kTiktoken{"data.tokenizer.name=tiktoken", "data.tokenizer.path=@/words.tiktoken"};
const Keys kMla{"model.layer_pattern=mla", "model.mla_kv_lora_rank=6", "model.mla_qk_rope_head_dim=4",
                "model.mla_qk_nope_head_dim=4", "model.mla_v_head_dim=4"};
const Keys kNsa{"model.layer_pattern=nsa", "model.nsa_block_size=4", "model.nsa_block_counts=2"};
const Keys kDsa{"model.layer_pattern=dsa", "model.dsa_dim=8", "model.dsa_tail_dim=4", "model.dsa_topk=5"};
const Keys kTrace{"profiling.run=true", "profiling.profile_warmup=1"};

Keys with(Keys keys, const std::string& more) {
  keys.push_back(more);
  return keys;
}
Keys lightning() { return with(kDsa, "model.dsa_indexer=lightning"); }

const std::vector<Row> kRows{
    {"name", "another", kActs},
    {"dump_dir", "@/elsewhere", kActs},
    {"seed", "7", kUnused, kSamples},
    {"grad_acc_steps", "2", kActs},
    {"gc_collect_freq", "5", kIgnored},
    {"probe_freq", "5", kIgnored},
    {"steps", "5", kActs},
    {"async_eval_gpus", "8", kIgnored},
    {"eval", "{harness: {tasks: [hellaswag]}}", kIgnored},

    {"data.root_dir", "@", kUnused, {"data.sources={more.jsonl: 1}"}},
    {"data.sources", "{@/more.jsonl: 1}", kActs},
    {"data.batch_size", "1", kActs},
    {"data.seq_len", "16", kActs},
    {"data.n_views", "3", kUnused},
    {"data.seed", "1", kActs},
    {"data.add_bos", "false", kActs},
    {"data.add_eos", "false", kActs},
    {"data.load_async", "false", kCost},
    {"data.prefetch_size", "2", kActs},
    {"data.allow_unread_chunks", "true", kUnused, {"data.sources={@/chunks: 1}"}},
    {"data.tokenizer.name", "tiktoken", kRefused, {"data.tokenizer.path=@/words.tiktoken"}},
    {"data.tokenizer.path", "@/words.tiktoken", kUnused, {"data.tokenizer.name=tiktoken"}},
    {"data.tokenizer.specials", "gpt2", kUnused, kTiktoken},

    {"optim.lr", "0.01", kActs},
    {"optim.weight_decay", "0.5", kActs},
    {"optim.epsilon", "1e-3", kActs},
    {"optim.beta1", "0.5", kActs},
    {"optim.beta2", "0.5", kActs},
    {"optim.clip", "0.01", kActs},
    {"optim.scheduler", "constant", kActs},
    {"optim.warmup", "2", kActs},
    {"optim.lr_min_ratio", "0.5", kActs},
    {"optim.cycle_length", "0.5", kActs},
    {"optim.cosine_theta", "2", kActs},
    {"optim.annealing_step", "5", kIgnored},
    {"optim.decay_fraction", "0.6", kUnused, {"optim.scheduler=wsd"}},
    {"optim.exp_factor", "0.25", kUnused, {"optim.scheduler=inv_sqrt"}},
    {"optim.nan_policy", "skip", kActs},
    {"optim.decay_exempt", "[norm]", kActs},

    {"model.dim", "32", kActs},
    {"model.n_layers", "3", kActs},
    {"model.head_dim", "4", kActs},
    {"model.n_heads", "4", kActs},
    {"model.n_kv_heads", "1", kActs},
    {"model.ffn_dim_multiplier", "2", kActs},
    {"model.multiple_of", "32", kActs},
    {"model.norm_eps", "0.01", kActs},
    {"model.rope_theta", "100", kActs},
    {"model.init_base_std", "0.1", kActs},
    {"model.init_std_factor", "global_depth", kActs},
    {"model.max_seqlen", "77", kUnused},
    {"model.seed", "7", kActs},
    {"model.vocab_size", "7", kRefused},
    {"model.weight_tying", "true", kActs},
    {"model.attn_impl", "sdpa", kIgnored},
    {"model.model_type", "ouro", kRefused, {"model.use_residual=false", "model.use_block_residual=false"}},
    {"model.intermediate_size", "24", kActs},
    {"model.early_exit_step", "0", kActs, kSamples},
    {"model.early_exit_threshold", "0.5", kRefused, kOuro},
    {"model.loop_count", "3", kActs},
    {"model.use_residual", "false", kActs},
    {"model.use_block_residual", "false", kActs},
    {"model.attention_pattern", "0:1", kActs},
    {"model.default_sliding_window", "4", kActs},
    {"model.inference_ensemble_k", "2", kUnused, {"model.attention_pattern=random:1:1", "val.prompt=the quick"}},
    {"model.legacy_iteration_weights", "true", kActs},
    {"model.layer_pattern", "gdn", kActs},
    {"model.use_attn_gate", "true", kActs},
    {"model.state_carry", "token", kRefused, {"model.layer_pattern=gdn"}},

    {"model.gdn_allow_neg_eigval", "true", kUnused, {"model.layer_pattern=gdn"}},
    {"model.gdn_head_dim", "4", kUnused, {"model.layer_pattern=gdn"}},
    {"model.gdn_expand_v", "1", kUnused, {"model.layer_pattern=gdn"}},
    {"model.kda_expand_v", "2", kUnused, {"model.layer_pattern=kda"}},
    {"model.mamba2_expand", "1", kUnused, {"model.layer_pattern=mamba2"}},
    {"model.mamba2_d_state", "8", kUnused, {"model.layer_pattern=mamba2"}},
    {"model.mamba2_d_conv", "3", kUnused, {"model.layer_pattern=mamba2"}},
    {"model.hgrn2_mode", "fused", kIgnored},
    {"model.hgrn2_use_short_conv", "true", kUnused, {"model.layer_pattern=hgrn2"}},
    {"model.hgrn2_conv_size", "3", kUnused, {"model.layer_pattern=hgrn2", "model.hgrn2_use_short_conv=true"}},
    {"model.hgrn2_conv_bias", "true", kUnused, {"model.layer_pattern=hgrn2", "model.hgrn2_use_short_conv=true"}},
    {"model.nsa_block_size", "8", kUnused, kNsa},
    {"model.nsa_block_counts", "1", kUnused, kNsa},
    {"model.nsa_window_size", "3", kUnused, kNsa},
    {"model.nsa_qkv_bias", "true", kUnused, kNsa},
    {"model.dsa_dim", "6", kUnused, kDsa},
    {"model.dsa_tail_dim", "2", kUnused, kDsa},
    {"model.dsa_topk", "3", kUnused, kDsa},
    {"model.dsa_score_dim", "8", kUnused, kDsa},
    {"model.dsa_block_i", "32", kIgnored},
    {"model.dsa_sm_scale", "0.5", kUnused, kDsa},
    {"model.dsa_indexer", "lightning", kUnused, kDsa},
    {"model.dsa_index_n_heads", "2", kUnused, lightning()},
    {"model.dsa_index_head_dim", "32", kUnused, lightning()},
    {"model.dsa_index_rope_dim", "8", kUnused, lightning()},
    {"model.dsa_kl_coef", "0.5", kUnused, lightning()},
    {"model.dsa_kl_stage", "dense", kUnused, lightning()},
    {"model.mla_q_lora_rank", "8", kUnused, kMla},
    {"model.mla_kv_lora_rank", "8", kUnused, kMla},
    {"model.mla_qk_rope_head_dim", "8", kUnused, kMla},
    {"model.mla_qk_nope_head_dim", "8", kUnused, kMla},
    {"model.mla_v_head_dim", "8", kUnused, kMla},
    {"model.mla_window_size", "4", kUnused, kMla},

    {"distributed.dp_shard", "2", kRefused, {"distributed.fsdp_type=zero1"}, 2},
    {"distributed.dp_replicate", "2", kWarned},
    {"distributed.tp_size", "2", kWarned},
    {"distributed.selective_activation_checkpointing", "true", kCost},
    {"distributed.compile", "true", kIgnored},
    {"distributed.fsdp_type", "zero1", kWarned, {}, 2},
    {"distributed.model_dtype", "bf16", kActs},
    {"distributed.float8_recipe", "rowwise", kIgnored},
    {"distributed.float8_filter", "layers", kIgnored},
    {"distributed.matmul_allow_tf32", "true", kIgnored},
    {"distributed.detect_anomaly", "true", kIgnored},
    {"distributed.compile_cache_size_limit", "5", kIgnored},
    {"distributed.spawn_method", "spawn", kIgnored},
    {"distributed.activation_checkpointing", "loop", kCost},
    {"distributed.timeout_s", "5", kUnused, {}, 2},

    {"env.MKL_SERVICE_FORCE_INTEL", "x", kIgnored},
    {"env.OMP_NUM_THREADS", "1", kCost},
    {"env.MKL_NUM_THREADS", "2", kIgnored},
    {"env.ENABLE_INTRA_NODE_COMM", "0", kIgnored},
    {"env.TORCH_NCCL_AVOID_RECORD_STREAMS", "0", kIgnored},
    {"env.NCCL_IB_TIMEOUT", "5", kIgnored},
    {"env.NCCL_DEBUG", "WARN", kIgnored},
    {"env.TORCH_NCCL_ASYNC_ERROR_HANDLING", "0", kIgnored},

    {"checkpoint.dump.every", "2", kActs},
    {"checkpoint.dump.keep", "1", kActs},
    {"checkpoint.eval.every", "3", kActs},
    {"checkpoint.eval.keep", "1", kActs},
    {"checkpoint.path", "@/elsewhere", kActs},
    {"checkpoint.init_ckpt_path", "@/start", kActs},
    {"checkpoint.continue_training_from_init", "true", kIgnored},
    {"checkpoint.allow_model_change", "true", kUnused, {"checkpoint.init_ckpt_path=@/start", "model.rope_theta=50"}},

    {"profiling.run", "true", kUnused, {"profiling.profile_warmup=1"}},
    {"profiling.trace_folder", "traces", kUnused, kTrace},
    {"profiling.mem_warmup", "5", kIgnored},
    {"profiling.mem_steps", "5", kIgnored},
    {"profiling.profile_warmup", "1", kUnused, {"profiling.run=true"}},
    {"profiling.profile_steps", "1", kUnused, kTrace},

    {"logging.freq", "2", kActs},
    {"logging.acc_freq", "5", kIgnored},
    {"logging.wandb", "{project: x}", kIgnored},

    {"val.every", "2", kActs},
    {"val.steps", "1", kUnused, {"val.every=2", "val.fraction=0.5"}},
    {"val.source", "@/more.jsonl", kUnused, {"val.every=2"}},
    {"val.fraction", "0.3", kUnused, {"val.every=2"}},
    {"val.prompt", "the quick", kActs},
    {"val.sample_len", "5", kUnused, kSamples},
};

// A step that is not finite: the case of one key needs it, and the others must not have it.
Keys plain_for(const std::string& key) { return key == "optim.nan_policy" ? Keys{"model.init_base_std=1e30"} : Keys{}; }

// Keys that one configuration reports and another would not.
const std::vector<std::pair<Keys, std::string>> kReports{
    {{"model.layer_pattern=hgrn2", "model.hgrn2_conv_size=3", "model.hgrn2_conv_bias=true"},
     "no effect: model.hgrn2_conv_size=3, model.hgrn2_conv_bias=true: model.hgrn2_use_short_conv is false"},
    {{"model.layer_pattern=gdn", "model.use_attn_gate=true", "model.rope_theta=5"},
     "no effect: model.rope_theta=5.0, model.use_attn_gate=true: gdn layers do not read it"},
    {{"model.layer_pattern=gdn", "model.head_dim=4"}, "no effect: model.head_dim=4: gdn layers do not read it"},
    {{"model.layer_pattern=dsa", "model.dsa_kl_coef=2"}, "no effect: model.dsa_kl_coef=2.0: model.dsa_indexer is not"},
    {{"model.layer_pattern=dsa", "model.dsa_indexer=lightning", "model.dsa_score_dim=8"},
     "no effect: model.dsa_score_dim=8: it belongs to model.dsa_indexer reference"},
    {{"model.attention_pattern=0:1", "model.default_sliding_window=5"},
     "no effect: model.default_sliding_window=5: no full layer has the pattern's window"},
    {{"model.layer_pattern=interleaved:1:1:gdn:full", "model.attention_pattern=1:1", "model.default_sliding_window=5"},
     "no effect: model.default_sliding_window=5: no full layer has the pattern's window"},
    {{"model.layer_pattern=gdn", "model.use_block_residual=false", "model.attention_pattern=1:1"},
     "no effect: model.attention_pattern=1:1: no layer is full"},
    {{"model.layer_pattern=gdn", "model.state_carry=token", "model.loop_count=1"},
     "no effect: model.state_carry=token: one loop has no loop before it"},
    {{"model.intermediate_size=24", "model.multiple_of=32"},
     "no effect: model.multiple_of=32: model.intermediate_size gives the FFN width"},
    {{"optim.scheduler=constant", "optim.lr_min_ratio=0.5"},
     "no effect: optim.warmup=1, optim.lr_min_ratio=0.5: optim.scheduler is constant"},
    {{"optim.scheduler=linear", "optim.cycle_length=0.5"},
     "no effect: optim.cycle_length=0.5: optim.scheduler is linear"},
    {{"optim.weight_decay=0", "optim.decay_exempt=[norm]"},
     "no effect: optim.decay_exempt=...: optim.weight_decay is 0"},
    {{"checkpoint.init_ckpt_path=@/start", "model.init_std_factor=global_depth", "model.seed=7"},
     "no effect: model.init_std_factor=global_depth, model.seed=7: the weights come from checkpoint.init_ckpt_path"},
    {{"distributed.activation_checkpointing=loop", "distributed.selective_activation_checkpointing=true"},
     "no effect: distributed.selective_activation_checkpointing=true: distributed.activation_checkpointing = loop"},
    {{"val.every=2", "val.source=@/more.jsonl", "val.fraction=0.3"},
     "no effect: val.fraction=0.3: val.source gives the text"},
    {{"profiling.run=true"}, "no effect: profiling.run=true: the trace begins at step profiling.profile_warmup = 102"},
};

class KeysTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(root_ / "chunks");
    write_documents("text.jsonl", 60, "the quick brown fox");
    write_documents("more.jsonl", 90, "jumps over a lazy dog");
    write_documents("chunks/chunks.chunk.00.jsonl", 60, "one");
    write_documents("chunks/chunks.chunk.01.jsonl", 60, "two");
    write_words();
    clear_stop_signal();
    run({"steps=2", "checkpoint.dump.every=2"});
    fs::rename(root_ / "run" / "checkpoints" / "0000000002", root_ / "start");
  }
  void TearDown() override { set_log_file(""); }

  void write_documents(const std::string& name, int count, const std::string& words) const {
    std::ofstream file(root_ / name);
    for (int i = 0; i < count; ++i) file << "{\"text\": \"" << i << " " << words << " " << i * i << "\"}\n";
  }

  // A tiktoken file of the 256 bytes.
  void write_words() const {
    const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::ofstream file(root_ / "words.tiktoken");
    for (size_t byte = 0; byte < 256; ++byte)
      file << digits[byte >> 2] << digits[(byte & 3) << 4] << "== " << byte << "\n";
  }

  // A file's values, then the keys as a person types them.
  TrainConfig load(Keys keys, Notes* notes, int64_t world = 1) const {
    const std::string yaml =
        "name: run\nsteps: 4\ndata: {seq_len: 24, batch_size: 2, prefetch_size: 4, sources: {'@/text.jsonl': 1}}\n"
        "optim: {lr: 0.003, warmup: 1}\n"
        "model: {dim: 16, n_layers: 2, n_heads: 2, multiple_of: 8, loop_count: 2, default_sliding_window: 8}\n"
        "distributed: {model_dtype: fp32}\nlogging: {freq: 1}\ndump_dir: '@/run'\n"
        "checkpoint: {dump: {every: 1, keep: 2}, eval: {every: 2}}\n";
    for (auto& key : keys) key = placed(key);
    auto config = parse_train_config(placed(yaml), "f.yaml", keys, notes);
    validate(config, notes, {.world_size = world});
    return config;
  }
  std::string placed(std::string text) const {
    for (size_t at = 0; (at = text.find('@', at)) != std::string::npos;) text.replace(at, 1, root_.string());
    return text;
  }

  // The results of a run: its files, and the numbers in them that do not depend on the clock.
  std::map<std::string, std::string> run(const Keys& keys) const {
    fs::remove_all(root_ / "run");
    fs::remove_all(root_ / "elsewhere");
    std::map<std::string, std::string> left;
    ::testing::internal::CaptureStdout();
    ::testing::internal::CaptureStderr();
    try {
      Notes notes;
      Trainer(load(keys, &notes)).run();
    } catch (const Error& error) {
      left["error"] = error.what();
    }
    set_log_file("");
    ::testing::internal::GetCapturedStdout();
    ::testing::internal::GetCapturedStderr();
    if (!fs::exists(root_ / "run")) return left;
    for (const auto& entry : fs::recursive_directory_iterator(root_ / "run")) {
      if (entry.is_regular_file()) keep(entry.path(), left);
    }
    return left;
  }

  void keep(const fs::path& path, std::map<std::string, std::string>& left) const {
    const auto file = path.filename().string(), name = fs::relative(path, root_).string();
    if (path.parent_path().filename() == "tensorboard" || file == "config.yaml" || file == "checksums.json") return;
    const auto text = read_file(path);
    auto& kept = left[name];
    if (file == "model.safetensors" || file == "optimizer.safetensors" || file == "samples.json" ||
        file == "train_state.json") {
      kept = text;
    } else if (file == "train.log") {
      const size_t end = text.find(" parameters, ");
      if (end == std::string::npos) return;
      kept = text.substr(text.rfind(" - ", end), text.find('\n', end) - text.rfind(" - ", end));
    } else if (file.starts_with("metrics")) {
      kept = numbers_of(text);
    } else if (file.starts_with("trace_")) {
      for (int step = 1; step < 9; ++step) kept += text.find(fmt::format("\"step {}\"", step)) == std::string::npos;
    } else if (file == kParamsFile) {  // what inference reads
      const auto model = nlohmann::json::parse(text).at("model");
      for (const char* key : {"early_exit_step", "early_exit_threshold"}) kept += model.at(key).dump() + " ";
    }
  }

  static std::string numbers_of(const std::string& lines) {
    std::string kept;
    std::istringstream in(lines);
    for (std::string line; std::getline(in, line);) {
      const auto numbers = nlohmann::json::parse(line);
      for (const auto& [key, value] : numbers.items()) {
        if (!key.starts_with("speed/") && !key.starts_with("memory/") && key != "created_at")
          kept += value.dump() + " ";
      }
    }
    return kept;
  }

  static bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
  static bool any_has(const Keys& lines, const std::string& part) {
    return std::any_of(lines.begin(), lines.end(), [&](const std::string& line) { return has(line, part); });
  }

  // The sets of keys whose runs exist already.
  const std::map<std::string, std::string>& plain_run(const Keys& keys) {
    const auto name = fmt::format("{}", fmt::join(keys, " "));
    const auto it = plain_.find(name);
    return it != plain_.end() ? it->second : plain_.emplace(name, run(keys)).first->second;
  }

  Effect effect_of(const Row& row, const Keys& others) {
    const Keys keys = with(others, row.key + "=" + row.value);
    fs::remove_all(root_ / "run");  // a run's checkpoints are weights to start from
    Notes notes;
    try {
      load(keys, &notes);
    } catch (const Error&) {
      return kRefused;
    }
    if (any_has(notes.ignored, row.key + "=")) return kIgnored;
    if (any_has(notes.unused, row.key + "=")) return kUnused;
    if (any_has(notes.warnings, row.key)) return kWarned;
    const auto left = run(keys);
    if (left == plain_run(others)) return kCost;
    // Refused where the run begins.
    return left.size() == 1 && left.contains("error") && !plain_run(others).contains("error") ? kRefused : kActs;
  }

  test::TempFolder temporary_;
  fs::path root_ = temporary_.path();
  std::map<std::string, std::map<std::string, std::string>> plain_;
};

std::string word(Effect effect) {
  const char* const words[] = {"acts", "changes the cost alone", "unused", "warned", "ignored", "refused"};
  return words[static_cast<size_t>(effect)];
}

TEST(KeysTable, KnowsEveryKey) {
  std::set<std::string> known;
  for (const auto& row : kRows) EXPECT_TRUE(known.insert(row.key).second) << row.key << " stands twice";
  TrainConfig config;
  for (const auto& field : collect_fields(config))
    EXPECT_EQ(known.erase(field.key), 1u) << field.key << ": add a row that says what it changes";
  for (const auto& key : known) ADD_FAILURE() << key << " is no key";
}

TEST_F(KeysTest, EachActsOrIsReportedOrRefused) {
  for (const auto& row : kRows)
    EXPECT_EQ(word(effect_of(row, plain_for(row.key))), word(row.effect)) << row.key << "=" << row.value;
}

TEST_F(KeysTest, EachThatHasNoEffectActsElsewhere) {
  for (const auto& row : kRows) {
    if (row.acts_with.empty() || row.ranks_to_act > 1) continue;
    EXPECT_EQ(word(effect_of(row, row.acts_with)), "acts") << row.key << "=" << row.value;
  }
}

TEST_F(KeysTest, ThoseOfSeveralRanksActWithTwo) {
  for (const auto& row : kRows) {
    if (row.ranks_to_act == 1) continue;
    Notes notes;
    const auto config = load(with(row.acts_with, row.key + "=" + row.value), &notes, row.ranks_to_act);
    EXPECT_FALSE(any_has(notes.unused, row.key) || any_has(notes.warnings, row.key)) << row.key;
    Notes plain;
    EXPECT_FALSE(config == load(row.acts_with, &plain, row.ranks_to_act)) << row.key;
  }
}

TEST_F(KeysTest, ReportsSayWhyOnce) {
  for (const auto& [keys, line] : kReports) {
    Notes notes;
    load(keys, &notes);
    const auto count = std::count_if(notes.unused.begin(), notes.unused.end(),
                                     [&, &line = line](const std::string& said) { return said.starts_with(line); });
    EXPECT_EQ(count, 1) << line << "\nfound:\n" << fmt::format("{}", fmt::join(notes.unused, "\n"));
  }
}

// A configuration of defaults and one that validate() filled report nothing.
TEST_F(KeysTest, DefaultsAreNotReported) {
  TrainConfig defaults;
  Keys keys;
  for (const auto& field : collect_fields(defaults)) {
    if (field.key.starts_with("model.") && !field.key.starts_with("model.n_") && field.key != "model.dim" &&
        field.key != "model.max_seqlen")
      keys.push_back(field.key + "=" +
                     as_text(*to_tree({field}).find("model")->find(field.key.substr(6))).value_or("null"));
  }
  Notes notes;
  const auto resolved = load(keys, &notes);
  EXPECT_EQ(notes.unused, Keys{});
  Notes again;
  auto same = parse_train_config(to_yaml(resolved), "config.yaml", {}, &again);
  validate(same, &again);
  EXPECT_EQ(again.unused, Keys{});
  EXPECT_EQ(again.ignored, Keys{});
}

}  // namespace
}  // namespace lt2
