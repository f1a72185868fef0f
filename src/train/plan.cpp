#include "train/plan.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/units.h"
#include "data/sources.h"
#include "ops/dtype.h"

namespace lt2 {
namespace {

std::string bytes(int64_t amount) { return human_bytes(static_cast<double>(amount)); }

int64_t vocabulary(const TrainConfig& config) {
  const auto& tokenizer = config.data.tokenizer;
  const int64_t given = config.model.vocab_size;
  const bool from_file = tokenizer.name != "bytes";
  if (from_file && (!tokenizer.path || !std::filesystem::exists(*tokenizer.path))) {
    LT2_CHECK(
        given > 0,
        "the size of the vocabulary is unknown: model.vocab_size is -1 and data.tokenizer.path {} does not exist. "
        "Give one of them",
        tokenizer.path.value_or("null"));
    return given;
  }
  return vocabulary_size(config, *make_tokenizer(tokenizer.name, tokenizer.path, tokenizer.specials));
}

// Refuses the existing sources that a start would refuse; a plan may be made before the data exists.
void check_sources(const TrainConfig& config, int64_t world) {
  for (const auto& [name, weight] : config.data.sources) {
    const SourcePlace place{config.data.root_dir, name};
    if (is_there(place)) training_part(place, held_back(config), 0, world, config.data.allow_unread_chunks);
  }
}

constexpr std::pair<const char*, Sharding> kShardings[] = {{"no_shard", Sharding::kNone},
                                                           {"zero1", Sharding::kZero1},
                                                           {"zero2", Sharding::kZero2},
                                                           {"full_shard", Sharding::kFull}};
constexpr std::pair<const char*, Recompute> kLevels[] = {
    {"none", Recompute::kNone}, {"loop", Recompute::kLoop}, {"block", Recompute::kBlock}, {"layer", Recompute::kLayer}};

// The memory that the other settings need: one row an activation_checkpointing, one column a fsdp_type.
std::string alternatives(const LoopedTransformer& model, const TrainConfig& config, int64_t world) {
  const int64_t ranks = world > 1 ? world : 8;
  std::string text = fmt::format("other settings, total per rank of {}\n  {:<24}", ranks, "");
  for (const auto& [name, sharding] : kShardings) text += fmt::format(" {:>12}", name);
  for (const auto& [level_name, level] : kLevels) {
    text += fmt::format("\n  recompute {:<14}", level_name);
    for (const auto& [name, sharding] : kShardings) {
      const bool possible = sharding != Sharding::kFull || level == Recompute::kLayer;
      text +=
          fmt::format(" {:>12}", possible ? bytes(rank_memory(model, config, sharding, level, ranks).total()) : "-");
    }
  }
  return text + "\n";
}

}  // namespace

double held_back(const TrainConfig& config) {
  return config.val.every > 0 && !config.val.source ? config.val.fraction : 0;
}

int64_t vocabulary_size(const TrainConfig& config, const Tokenizer& tokenizer) {
  const int64_t given = config.model.vocab_size, words = tokenizer.n_words();
  LT2_CHECK(given < 0 || given == words,
            "model.vocab_size is {}, the tokenizer {} has {} words; leave vocab_size out or set {}", given,
            config.data.tokenizer.name, words, words);
  return words;
}

TrainingMemory rank_memory(const LoopedTransformer& model, const TrainConfig& config, Sharding sharding,
                           Recompute recompute, int64_t world) {
  const auto type = parse_dtype(config.distributed.model_dtype, "distributed.model_dtype");
  if (world == 1) sharding = Sharding::kNone;
  if (sharding == Sharding::kFull) recompute = Recompute::kLayer;
  auto memory = training_memory(model, config.data.batch_size, config.data.seq_len, type, recompute);
  const auto share = [world](int64_t amount) { return (amount + world - 1) / world; };
  // The sum of the micro-steps so far, and the gradient of this one.
  const int64_t sums = config.grad_acc_steps > 1 ? 2 : 1, all = 4 * parameter_count(model);
  memory.gradients = sums * all;
  if (sharding == Sharding::kNone) return memory;
  memory.moments = share(2 * all);
  // zero2 frees gradients after the last exchange of a step: it holds all of them at most, and a share afterwards.
  if (sharding != Sharding::kFull) return memory;

  // Layers are shared out, embedding and output are not. While a layer runs backward its gradient is there twice: as
  // its parameters' and in the flat buffer that is exchanged.
  int64_t in_layers = 0, largest = 0, largest_packed = 0, layers_packed = 0;
  for (const auto& layer : model.layers) {
    const int64_t size = 4 * part_parameter_count(*layer), copies = packed_bytes(*layer, type);
    in_layers += size;
    largest = std::max(largest, size);
    layers_packed += copies;
    largest_packed = std::max(largest_packed, copies);
  }
  memory.weights = all - in_layers + share(in_layers) + largest;
  memory.packed += largest_packed - layers_packed;
  memory.gradients = sums * (all - in_layers) + share(in_layers) + 2 * largest;
  return memory;
}

std::string training_plan(const TrainConfig& original, int64_t world) {
  auto config = original;
  config.model.vocab_size = vocabulary(config);
  // Its parameters are allocated and never written: untouched pages cost nothing.
  const LoopedTransformer model(config.model);
  const auto& distributed = config.distributed;
  const auto sharding = world > 1 ? parse_sharding(distributed.fsdp_type) : Sharding::kNone;
  const auto recompute = parse_recompute(distributed.activation_checkpointing, "distributed.activation_checkpointing");
  const int64_t micro = config.data.batch_size * config.data.seq_len, step = micro * config.grad_acc_steps * world;
  const double total = static_cast<double>(step) * static_cast<double>(config.steps);
  const double forward = mean_forward_flops_per_token(model, config.data.seq_len);
  const double training = training_flops_per_token(model, config.data.seq_len);

  std::string text = fmt::format("parameters       {}\n", parameter_count(model));
  for (const auto& [name, amount] : parameters_by_part(model)) text += fmt::format("  {:<26} {:>14}\n", name, amount);
  text += fmt::format("depth            {} loops x {} layers = {} layer calls a token\n", config.model.loop_count,
                      config.model.n_layers, effective_depth(model));
  text += fmt::format(
      "FLOPs per token  {} forward, {} training: all loops, without recomputation, mean over {} "
      "positions\n",
      human_count(forward), human_count(training), config.data.seq_len);
  text += fmt::format("tokens per step  {} = {} ranks x {} micro-steps x {} sequences x {}\n", step, world,
                      config.grad_acc_steps, config.data.batch_size, config.data.seq_len);
  text += fmt::format("total tokens     {} in {} steps, {:.3g} FLOPs\n", human_count(total), config.steps,
                      total * training);

  for (const auto& line : source_lines(config.data.root_dir, config.data.sources))
    text += "data             " + line + "\n";
  check_sources(config, world);

  const auto memory = rank_memory(model, config, sharding, recompute, world);
  text += fmt::format("memory per rank  {}: {}, activation_checkpointing {}, {}\n", bytes(memory.total()),
                      world > 1 ? fmt::format("{} over {} ranks", distributed.fsdp_type, world) : "one rank",
                      distributed.activation_checkpointing, distributed.model_dtype);
  const std::pair<const char*, int64_t> rows[] = {{"weights", memory.weights},
                                                  {"packed copies", memory.packed},
                                                  {"gradients", memory.gradients},
                                                  {"AdamW moments", memory.moments},
                                                  {"activations", memory.activations}};
  for (const auto& [name, amount] : rows) text += fmt::format("  {:<26} {:>14}\n", name, bytes(amount));
  return text + alternatives(model, config, world);
}

}  // namespace lt2
