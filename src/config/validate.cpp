// The checks that need several fields: whether the fields fit each other, the named files and the machine.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/regex/regex.h"
#include "config/divisors.h"
#include "config/patterns.h"
#include "config/train_config.h"
#include "config/unused_keys.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

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

// Sizes far beyond any model would overflow the arithmetic: they are refused before anything computes with them.
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
  // Structs made by code have not passed the range checks of their fields.
  const auto of_mixer = [&](const Field& field) {
    const auto within_limit = [&](auto value) { at_most(field.key.c_str(), value, *field.check.max); };
    if (!field.check.max) return;
    if (const auto* whole = std::get_if<int64_t*>(&field.target)) within_limit(static_cast<double>(**whole));
    if (const auto* number = std::get_if<double*>(&field.target)) within_limit(**number);
    if (const auto* whole = std::get_if<std::optional<int64_t>*>(&field.target))
      within_limit(static_cast<double>((*whole)->value_or(0)));
    if (const auto* number = std::get_if<std::optional<double>*>(&field.target)) within_limit((*number)->value_or(0));
  };
  auto copy = c;
  copy.mixers([&](const char*, auto& mixer) {
    for (const auto& field : collect_fields(mixer)) of_mixer(field);
  });
}

// The options of the loops: those that both families share, and those of one.
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
  const bool needs_file = tokenizer.name != "bytes";
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
  } else if (d.fsdp_type != "no_shard" && d.dp_replicate > 1) {
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
  config.mixers([&](const char* type, const auto& mixer) {
    if (std::find(types.begin(), types.end(), type) != types.end()) mixer.check(config, where);
  });
  const bool linear = std::any_of(types.begin(), types.end(), is_linear_layer_type);
  LT2_CHECK(config.state_carry == "none" || linear,
            "{}model.state_carry = {} needs linear mixers, which hold a state; model.layer_pattern \"{}\" has none",
            where.prefix({"model.state_carry"}), config.state_carry, config.layer_pattern);
}

void validate(TrainConfig& config, Notes* notes, const ValidateOptions& options) {
  const Where where = notes ? notes->where : Where();
  const TrainConfig given = config;
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
  if (!notes) return;
  auto unused = unused_keys(config, options);
  if (given.model.max_seqlen != config.data.seq_len)
    unused.add({"model.max_seqlen"}, fmt::format("training takes data.seq_len = {}", config.data.seq_len));
  if (given.distributed.activation_checkpointing != "none")
    unused.add({"distributed.selective_activation_checkpointing"},
               fmt::format("distributed.activation_checkpointing = {} says what is recomputed",
                           given.distributed.activation_checkpointing));
  notes->unused = unused_lines(given, unused);
}

}  // namespace lt2
