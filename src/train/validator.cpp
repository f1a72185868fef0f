#include "train/validator.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/signals.h"
#include "infer/engine.h"
#include "train/diverged.h"
#include "train/plan.h"
#include "train/step_loop.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

struct Sums {
  double loss = 0, tokens = 0, bytes = 0;
};

// The text of a row: its inputs, and the last target.
std::vector<int32_t> text_of(const Batch& batch, int64_t row) {
  const auto token = [&](int64_t i, int64_t view) {
    return batch.tokens[static_cast<size_t>((row * batch.seq_len + i) * batch.n_views + view)];
  };
  std::vector<int32_t> out;
  for (int64_t i = 0; i < batch.seq_len; ++i) out.push_back(token(i, 0));
  out.push_back(token(batch.seq_len - 1, 1));
  return out;
}

void add_batch(Sums& sums, LoopedTransformer& model, const Batch& batch, const Tokenizer& tokenizer) {
  Engine engine(model, {.slots = batch.rows, .scores = true});
  std::vector<Engine::Id> rows;
  for (int64_t row = 0; row < batch.rows; ++row)
    rows.push_back(engine.submit({.prompt = text_of(batch, row), .max_gen_len = 0, .score_from = 1}));
  try {
    engine.run();
  } catch (const NotFinite&) {
    sums.loss = NAN;  // all ranks must hear of it before the run ends
    return;
  }
  for (const auto id : rows) {
    for (const auto& token : engine.take(id).scored) {
      sums.loss -= token.log_probability;
      sums.bytes += static_cast<double>(tokenizer.token_bytes(token.id).size());
      ++sums.tokens;
    }
  }
}

}  // namespace

Validator::Validator(const TrainConfig& config, const Tokenizer& tokenizer, const StopWatch& stop)
    : config_(config), tokenizer_(tokenizer), stop_(stop) {
  try {
    if (config.val.every > 0)
      set_.emplace(config.data, config.val.source, config.val.steps, held_back(config), tokenizer);
  } catch (const StoppedBySignal&) {  // the run sees it too, and no rank leaves before all have seen it
  }
}

bool Validator::due(int64_t step) const { return set_ && (step % config_.val.every == 0 || step == config_.steps); }

std::optional<Validation> Validator::measure(Replica& replica) const {
  torch::NoGradGuard no_grad;
  Group& group = replica.group();
  Sums sums;
  bool cut = false;  // an incomplete measurement is dropped
  // The ranks share the batches out, unless each forward pass needs them all.
  const bool share = group.world() > 1 && !replica.forward_is_collective();
  const auto& batches = set_->batches();
  for (size_t b = 0; b < batches.size(); ++b) {
    if ((cut = stop_.stopped(replica.forward_is_collective()))) break;
    if (share && static_cast<int>(b % static_cast<size_t>(group.world())) != group.rank()) continue;
    add_batch(sums, replica.model(), batches[b], tokenizer_);
  }
  if (share) {
    const auto all = group.sum({sums.loss, sums.tokens, sums.bytes, cut ? 1.0 : 0.0});
    sums = {.loss = all[0], .tokens = all[1], .bytes = all[2]};
    cut = all[3] > 0;
  }
  if (cut) return std::nullopt;
  const Validation out{.loss_per_token = sums.loss / sums.tokens,
                       .bits_per_byte = sums.loss / std::log(2.0) / std::max(sums.bytes, 1.0)};
  if (!std::isfinite(out.loss_per_token))
    throw Diverged{fmt::format("the validation loss is not finite ({})", out.loss_per_token)};
  return out;
}

std::string Validator::source_name() const {
  const auto name_of = [](const std::string& source) {
    const fs::path path = fs::path(source).lexically_normal();
    return (path.has_filename() ? path.filename() : path.parent_path().filename()).string();
  };
  if (config_.val.source) return name_of(*config_.val.source);
  std::string names;
  for (const auto& [source, weight] : config_.data.sources) names += (names.empty() ? "" : "+") + name_of(source);
  return names;
}

}  // namespace lt2
