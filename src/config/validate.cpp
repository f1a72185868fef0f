// What no single field can know: whether the fields fit each other, the files named and the machine.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/regex/regex.h"
#include "config/patterns.h"
#include "config/train_config.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

// The divisors of n, for "use 1, 2 or 4".
std::string divisors(int64_t n) {
  std::vector<int64_t> found;
  for (int64_t d = 1; d * d <= n; ++d) {
    if (n % d) continue;
    found.push_back(d);
    if (d * d != n) found.push_back(n / d);
  }
  std::sort(found.begin(), found.end());
  return fmt::format("{}", fmt::join(found, ", "));
}

// ---- Model ----

void resolve_heads(ModelConfig& c, const Where& where) {
  const auto place = where.prefix({"model.n_heads", "model.head_dim", "model.dim"});
  LT2_CHECK(c.n_heads || c.head_dim, "{}model.n_heads or model.head_dim must be given; both are null", place);
  if (!c.n_heads) {
    LT2_CHECK(c.dim % *c.head_dim == 0,
              "{}model.head_dim must divide model.dim; found head_dim = {}, dim = {}. Use one of {}", place,
              *c.head_dim, c.dim, divisors(c.dim));
    c.n_heads = c.dim / *c.head_dim;
  }
  LT2_CHECK(c.dim % *c.n_heads == 0,
            "{}model.n_heads must divide model.dim; found n_heads = {}, dim = {}. Use one of {}", place, *c.n_heads,
            c.dim, divisors(c.dim));
  if (!c.head_dim) c.head_dim = c.dim / *c.n_heads;
  if (!c.n_kv_heads) c.n_kv_heads = *c.n_heads;
  LT2_CHECK(*c.n_heads % *c.n_kv_heads == 0,
            "{}model.n_kv_heads must divide model.n_heads; found n_kv_heads = {}, n_heads = {}. Use one of {}",
            where.prefix({"model.n_kv_heads", "model.n_heads"}), *c.n_kv_heads, *c.n_heads, divisors(*c.n_heads));
}

class MixerCheck {
 public:
  MixerCheck(const ModelConfig& config, const Where& where) : c_(config), where_(where) {}

  void check(const std::string& type) const {
    const int64_t head = c_.dim / *c_.n_heads;
    if (type == "full" || type == "nsa") {
      even("head_dim", *c_.head_dim, type);
    } else if (type == "gdn") {
      if (!c_.gdn_head_dim) divides("int(0.75 dim)", static_cast<int64_t>(0.75 * static_cast<double>(c_.dim)), type);
      const int64_t key =
          c_.gdn_head_dim ? *c_.gdn_head_dim : static_cast<int64_t>(0.75 * static_cast<double>(c_.dim)) / *c_.n_heads;
      whole("gdn_expand_v", key, c_.gdn_expand_v.value_or(2.0));
    } else if (type == "kda") {
      whole("kda_expand_v", head, c_.kda_expand_v);
    } else if (type == "mamba2") {
      divides("mamba2_expand * dim", c_.mamba2_expand * c_.dim, type);
    } else if (type == "retnet") {
      LT2_CHECK(head % 2 == 0 && head <= 256,
                "{}retnet layers need an even model.dim / model.n_heads of at most 256; found dim = {}, n_heads = {}",
                where_.prefix({"model.n_heads", "model.dim"}), c_.dim, *c_.n_heads);
    } else if (type == "gla") {
      LT2_CHECK(c_.dim % 2 == 0, "{}gla layers need an even model.dim; found {}", where_.prefix({"model.dim"}), c_.dim);
      divides("dim / 2", c_.dim / 2, type);
    } else if (type == "mla") {
      even("mla_qk_rope_head_dim", c_.mla_qk_rope_head_dim, type);
    } else if (type == "dsa" && c_.dsa_indexer == "lightning") {
      even("dsa_index_rope_dim", c_.dsa_index_rope_dim, type);
      LT2_CHECK(c_.dsa_index_rope_dim <= c_.dsa_index_head_dim,
                "{}model.dsa_index_rope_dim must be at most model.dsa_index_head_dim = {}; found {}",
                where_.prefix({"model.dsa_index_rope_dim"}), c_.dsa_index_head_dim, c_.dsa_index_rope_dim);
    }
  }

 private:
  void even(const char* field, int64_t value, const std::string& type) const {
    const std::string key = std::string("model.") + field;
    LT2_CHECK(value % 2 == 0, "{}{} must be even for the rotary embedding of {} layers; found {}",
              where_.prefix({key, "model.n_heads", "model.dim"}), key, type, value);
  }
  void divides(const char* what, int64_t width, const std::string& type) const {
    LT2_CHECK(
        width % *c_.n_heads == 0,
        "{}model.n_heads must divide {} = {} in {} layers; found model.n_heads = {}, model.dim = {}. Use one of {}",
        where_.prefix({"model.n_heads", "model.dim"}), what, width, type, *c_.n_heads, c_.dim,
        divisors(std::gcd(width, c_.dim)));
  }
  void whole(const char* field, int64_t key_dim, double expand) const {
    const double value_dim = static_cast<double>(key_dim) * expand;
    const std::string key = std::string("model.") + field;
    // 0.6 * 5 is a whole number to everyone but a double.
    LT2_CHECK(value_dim >= 0.5 && std::abs(value_dim - std::round(value_dim)) <= 1e-5 * value_dim,
              "{}{} must give a whole number of value channels; found {} * {} = {} per head", where_.prefix({key}), key,
              key_dim, expand, value_dim);
  }

  const ModelConfig& c_;
  const Where& where_;
};

// Sizes far beyond any model overflow the arithmetic behind them: refused before anything computes with them.
void check_sizes(const ModelConfig& c, const Where& where) {
  const auto at_most = [&](const char* field, auto value, auto limit) {
    const std::string key = std::string("model.") + field;
    LT2_CHECK(value <= limit, "{}{} must be at most {}; found {}", where.prefix({key}), key, limit, value);
  };
  constexpr int64_t kWidth = 1 << 24, kCount = int64_t{1} << 31;
  at_most("dim", c.dim, kWidth);
  at_most("n_layers", c.n_layers, kWidth);
  at_most("loop_count", c.loop_count, kWidth);
  at_most("vocab_size", c.vocab_size, kCount);
  at_most("head_dim", c.head_dim.value_or(0), kWidth);
  at_most("n_heads", c.n_heads.value_or(0), kWidth);
  at_most("intermediate_size", c.intermediate_size.value_or(0), kWidth);
  at_most("gdn_head_dim", c.gdn_head_dim.value_or(0), kWidth);
  at_most("gdn_expand_v", c.gdn_expand_v.value_or(0), 1024.0);
  at_most("kda_expand_v", c.kda_expand_v, 1024.0);
  at_most("mamba2_expand", c.mamba2_expand, int64_t{1024});
  at_most("mamba2_d_state", c.mamba2_d_state, kWidth);
  at_most("mamba2_d_conv", c.mamba2_d_conv, kWidth);
  at_most("hgrn2_conv_size", c.hgrn2_conv_size, kWidth);
  at_most("mla_q_lora_rank", c.mla_q_lora_rank.value_or(0), kWidth);
  at_most("mla_kv_lora_rank", c.mla_kv_lora_rank, kWidth);
  at_most("mla_qk_rope_head_dim", c.mla_qk_rope_head_dim, kWidth);
  at_most("mla_qk_nope_head_dim", c.mla_qk_nope_head_dim, kWidth);
  at_most("mla_v_head_dim", c.mla_v_head_dim, kWidth);
  at_most("nsa_block_size", c.nsa_block_size, kCount);
  at_most("nsa_block_counts", c.nsa_block_counts, kCount);
  at_most("nsa_window_size", c.nsa_window_size, kCount);
  at_most("dsa_dim", c.dsa_dim, kWidth);
  at_most("dsa_tail_dim", c.dsa_tail_dim, kWidth);
  at_most("dsa_topk", c.dsa_topk, kCount);
  at_most("dsa_score_dim", c.dsa_score_dim, kWidth);
  at_most("dsa_index_n_heads", c.dsa_index_n_heads, kWidth);
  at_most("dsa_index_head_dim", c.dsa_index_head_dim, kWidth);
}

// What the loops of the two families share, and what only one has.
void check_family(const ModelConfig& c, const Where& where) {
  LT2_CHECK(!c.intermediate_size || !c.ffn_dim_multiplier,
            "{}model.intermediate_size gives the FFN width; model.ffn_dim_multiplier must then be null, found {}",
            where.prefix({"model.ffn_dim_multiplier", "model.intermediate_size"}), *c.ffn_dim_multiplier);
  LT2_CHECK(!c.early_exit_step || *c.early_exit_step < c.loop_count,
            "{}model.early_exit_step counts loops from 0 and must be below model.loop_count = {}; found {}",
            where.prefix({"model.early_exit_step", "model.loop_count"}), c.loop_count, *c.early_exit_step);
  LT2_CHECK(!c.early_exit_step || !c.legacy_iteration_weights,
            "{}model.early_exit_step needs every loop's own logits; model.legacy_iteration_weights mixes all loops",
            where.prefix({"model.early_exit_step", "model.legacy_iteration_weights"}));
  const bool ouro = c.model_type == "ouro";
  LT2_CHECK(ouro || !c.early_exit_threshold,
            "{}model.early_exit_threshold needs the exit gate of model.model_type ouro; found model_type = {}",
            where.prefix({"model.early_exit_threshold", "model.model_type"}), c.model_type);
  for (const auto& [key, on] : {std::pair("model.use_residual", c.use_residual),
                                {"model.use_block_residual", c.use_block_residual},
                                {"model.legacy_iteration_weights", c.legacy_iteration_weights}}) {
    LT2_CHECK(!ouro || !on, "{}{} must be false for model.model_type ouro, whose loops are norm(layers(h)); found true",
              where.prefix({key, "model.model_type"}), key);
  }
}

// ---- Data ----

void check_source(const DataConfig& data, const std::string& source, const std::string& place) {
  fs::path path;
  try {
    path = resolve_source(data, source);
  } catch (const Error& e) {
    throw Error(place + e.what());
  }
  if (fs::is_directory(path)) {
    const bool chunks = std::any_of(fs::directory_iterator(path), fs::directory_iterator(), [](const auto& entry) {
      const auto name = entry.path().filename().string();
      return name.find(".chunk.") != std::string::npos && name.ends_with(".jsonl");
    });
    LT2_CHECK(chunks,
              "{}data source {} has no *.chunk.*.jsonl files; expected such a folder, or one .txt or .jsonl file",
              place, path.string());
    return;
  }
  const auto extension = path.extension();
  LT2_CHECK(
      extension == ".txt" || extension == ".jsonl",
      "{}data source {} must be a folder of *.chunk.*.jsonl files or a .txt or .jsonl file; found extension \"{}\"",
      place, path.string(), extension.string());
  LT2_CHECK(fs::file_size(path) > 0, "{}data source {} is empty", place, path.string());
}

void check_tokenizer(const TrainConfig& c, const Where& where) {
  const auto& tokenizer = c.data.tokenizer;
  const auto place = where.prefix({"data.tokenizer.path", "data.tokenizer.name"});
  const bool needs_file = tokenizer.name != "bytes" && tokenizer.name != "mock";
  LT2_CHECK(!needs_file || tokenizer.path,
            "{}data.tokenizer.path must name the vocabulary of tokenizer \"{}\"; found null", place, tokenizer.name);
  LT2_CHECK(!needs_file || fs::exists(*tokenizer.path), "{}data.tokenizer.path {} does not exist", place,
            *tokenizer.path);
}

void check_data(const TrainConfig& c, Notes* notes, const ValidateOptions& options, const Where& where) {
  const auto place = where.prefix({"data.sources"});
  LT2_CHECK(!c.data.sources.empty(), "{}data.sources is empty; name at least one, as data.sources={{NAME: 1.0}}",
            place);
  double total = 0;
  for (const auto& [source, weight] : c.data.sources) total += weight;
  LT2_CHECK(total > 0 && std::isfinite(total), "{}the weights of data.sources must add up to more than 0; found {}",
            place, total);
  // A plan of the run needs no files.
  const auto files = [&](const auto& check) {
    if (!options.dry_run) return check();
    try {
      check();
    } catch (const Error& e) {
      if (notes) notes->warnings.push_back(fmt::format("{} (needed for training, not for this plan)", e.what()));
    }
  };
  for (const auto& [source, weight] : c.data.sources)
    files([&, &name = source] { check_source(c.data, name, where.prefix({"data.sources." + name, "data.sources"})); });
  if (c.val.source) files([&] { check_source(c.data, *c.val.source, where.prefix({"val.source"})); });
  files([&] { check_tokenizer(c, where); });
}

// ---- Schedule ----

void check_schedule(const TrainConfig& c, Notes* notes, const Where& where) {
  const auto& o = c.optim;
  const auto place = where.prefix({"optim.scheduler", "optim.warmup", "steps"});
  if (o.scheduler == "wsd") {
    LT2_CHECK(
        o.decay_fraction < o.cycle_length,
        "{}optim.decay_fraction must be below optim.cycle_length for wsd; found decay_fraction = {}, cycle_length = {}",
        place, o.decay_fraction, o.cycle_length);
    LT2_CHECK(o.lr_min_ratio > 0, "{}optim.lr_min_ratio must be above 0 for wsd (its decay divides by it); found 0",
              place);
    LT2_CHECK(static_cast<double>(c.steps) * o.cycle_length >= 1,
              "{}steps * optim.cycle_length must be at least 1 for wsd; found {} * {}", place, c.steps, o.cycle_length);
  }
  // Beyond warm-up both divide by steps - warmup.
  LT2_CHECK(!(o.scheduler == "linear" || o.scheduler == "cosine") || o.warmup != c.steps,
            "{}optim.warmup must differ from steps for {}; both are {}. Use a shorter warm-up", place, o.scheduler,
            c.steps);
  LT2_CHECK(o.scheduler != "inv_sqrt" || o.warmup > 0, "{}optim.warmup must be at least 1 for inv_sqrt; found 0",
            place);
  if (notes && o.scheduler != "constant" && o.warmup >= c.steps) {
    notes->warnings.push_back(fmt::format(
        "{}optim.warmup = {} is not shorter than the run (steps = {}): the learning rate never reaches its peak", place,
        o.warmup, c.steps));
  }
}

void check_decay_exempt(const OptimConfig& optim, const Where& where) {
  for (const auto& pattern : optim.decay_exempt)
    Regex(pattern, fmt::format("{}optim.decay_exempt: \"{}\"", where.prefix({"optim.decay_exempt"}), pattern));
}

// ---- Machine ----

void check_distributed(TrainConfig& c, Notes* notes, const ValidateOptions& options, const Where& where) {
  auto& d = c.distributed;
  const auto warn = [&](std::string line) {
    if (notes) notes->warnings.push_back(std::move(line));
  };
  LT2_CHECK(d.model_dtype != "fp16" || options.cuda,
            "{}distributed.model_dtype fp16 needs a CUDA device: its range is too small for training without loss "
            "scaling on CPU. Use bf16 or fp32",
            where.prefix({"distributed.model_dtype"}));
  LT2_CHECK(d.fsdp_type != "no_shard" || d.dp_shard == 1,
            "{}distributed.dp_shard must be 1 with distributed.fsdp_type no_shard; found {}. Use full_shard, zero1 or "
            "zero2, or dp_shard=1",
            where.prefix({"distributed.dp_shard", "distributed.fsdp_type"}), d.dp_shard);
  if (d.tp_size > 1) {
    warn(fmt::format(
        "distributed.tp_size = {}: there is no tensor parallelism here; training with 1, which gives the same result",
        d.tp_size));
    d.tp_size = 1;
  }
  const int64_t world = options.world_size;
  if (world % d.dp_shard != 0) {
    warn(
        fmt::format("distributed.dp_shard = {} does not divide the {} rank(s) of this run; training with 1, which "
                    "gives the same result",
                    d.dp_shard, world));
    d.dp_shard = 1;
  }
  if (d.dp_replicate * d.dp_shard != world) {
    if (where.origins.count("distributed.dp_replicate") != 0)
      warn(fmt::format("distributed.dp_replicate = {} becomes {} to fit {} rank(s) with dp_shard = {}", d.dp_replicate,
                       world / d.dp_shard, world, d.dp_shard));
    d.dp_replicate = world / d.dp_shard;
  }
  if (d.selective_activation_checkpointing && d.activation_checkpointing == "none")
    d.activation_checkpointing = "layer";
  if (d.fsdp_type == "full_shard" && world > 1 && d.activation_checkpointing != "layer") {
    warn(fmt::format(
        "distributed.activation_checkpointing = {}: full_shard lets a layer's weights go after each call, so "
        "layers are recomputed; training with layer, which gives the same result",
        d.activation_checkpointing));
    d.activation_checkpointing = "layer";
  }
  if (d.fsdp_type != "no_shard" && world == 1) {
    warn(fmt::format(
        "distributed.fsdp_type = {}: one rank has nothing to share out; training unsharded, which gives the "
        "same result",
        d.fsdp_type));
  } else if (d.fsdp_type != "no_shard" && d.dp_replicate > 1 && d.dp_shard > 1) {
    warn(
        fmt::format("distributed.dp_replicate = {}, dp_shard = {}: shared out over all {} ranks, which gives the same "
                    "result",
                    d.dp_replicate, d.dp_shard, world));
  }
}

}  // namespace

void validate_model(ModelConfig& config, const Where& where) {
  LT2_CHECK(config.vocab_size != 0, "{}model.vocab_size must be above 0, or -1 for the tokenizer's; found 0",
            where.prefix({"model.vocab_size"}));
  check_sizes(config, where);
  check_family(config, where);
  resolve_heads(config, where);
  LT2_CHECK(ffn_hidden_dim(config) > 0, "{}model.ffn_dim_multiplier = {} leaves no FFN channel",
            where.prefix({"model.ffn_dim_multiplier"}), config.ffn_dim_multiplier.value_or(1.0));
  try {
    attention_plan(config);
  } catch (const Error& e) {
    throw Error(where.prefix({"model.attention_pattern", "model.default_sliding_window"}) + e.what());
  }
  std::vector<std::string> types;
  try {
    types = layer_types(config.layer_pattern, config.n_layers);
  } catch (const Error& e) {
    throw Error(where.prefix({"model.layer_pattern"}) + e.what());
  }
  std::sort(types.begin(), types.end());
  types.erase(std::unique(types.begin(), types.end()), types.end());
  for (const auto& type : types) MixerCheck(config, where).check(type);
  const bool linear = std::any_of(types.begin(), types.end(), is_linear_layer_type);
  LT2_CHECK(config.state_carry == "none" || linear,
            "{}model.state_carry = {} needs linear mixers, which hold a state; model.layer_pattern \"{}\" has none",
            where.prefix({"model.state_carry"}), config.state_carry, config.layer_pattern);
}

void validate(TrainConfig& config, Notes* notes, const ValidateOptions& options) {
  const Where where = notes ? notes->where : Where();
  LT2_CHECK(!config.dump_dir.empty(),
            "{}dump_dir must be set: the folder that receives logs and checkpoints, as dump_dir=runs/NAME",
            where.prefix({"dump_dir"}));
  LT2_CHECK(!fs::exists(config.dump_dir) || fs::is_directory(config.dump_dir),
            "{}dump_dir {} exists and is not a folder", where.prefix({"dump_dir"}), config.dump_dir);
  if (!config.checkpoint.path) config.checkpoint.path = (fs::path(config.dump_dir) / "checkpoints").string();
  const auto& init = config.checkpoint.init_ckpt_path;
  LT2_CHECK(!init || fs::exists(*init), "{}checkpoint.init_ckpt_path {} does not exist",
            where.prefix({"checkpoint.init_ckpt_path"}), *init);
  config.model.max_seqlen = config.data.seq_len;
  validate_model(config.model, where);
  check_schedule(config, notes, where);
  check_decay_exempt(config.optim, where);
  check_distributed(config, notes, options, where);
  check_data(config, notes, options, where);
}

}  // namespace lt2
