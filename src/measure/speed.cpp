#include "measure/speed.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <tuple>

#include "base/error.h"
#include "base/units.h"
#include "infer/generate.h"
#include "measure/machine.h"
#include "model/accounting.h"
#include "ops/tensor_pool.h"
#include "train/step.h"

namespace lt2 {
namespace {

using Clock = std::chrono::steady_clock;

torch::Tensor random_tokens(const LoopedTransformer& model, int64_t batch, int64_t length) {
  return torch::randint(model.config().vocab_size, {batch, length}, torch::kInt64).to(model.tok_embeddings.device());
}

constexpr size_t kMostTurns = 4096;

// A turn of decode steps lasts about this long, so that caches are warm and neighbouring turns meet the same machine.
constexpr double kDecodeTurn_s = 0.02;

int64_t live_bytes() { return tensor_pool_counts().live_bytes; }

}  // namespace

MachineLimits measure_machine() {
  const auto rates = measure_rates({.fma = true, .bf16 = true, .bytes = true, .read = true});
  return {.fma_gflops = rates.fma_gflops,
          .bf16_gflops = rates.bf16_gflops,
          .byte_gflops = rates.byte_gflops,
          .read_gbps = rates.read_gbps,
          .bf16_register_gflops = rates.bf16_register_gflops,
          .byte_register_gflops = rates.byte_register_gflops};
}

std::string moved_limits(const MachineLimits& begin, const MachineLimits& end) {
  constexpr double kMoved = 0.1;
  std::string out;
  for (const auto& [name, field, unit] : {std::tuple{"fp32", &MachineLimits::fma_gflops, "GFLOP/s"},
                                          {"bf16", &MachineLimits::bf16_gflops, "GFLOP/s"},
                                          {"int8 x bf16", &MachineLimits::byte_gflops, "GFLOP/s"},
                                          {"reading", &MachineLimits::read_gbps, "GB/s"}}) {
    const double before = begin.*field, after = end.*field;
    if (!(std::abs(after - before) > kMoved * std::min(before, after))) continue;
    out += fmt::format("{}{} {:.4g} -> {:.4g} {}", out.empty() ? "" : ", ", name, before, after, unit);
  }
  return out;
}

std::string to_json(const MachineLimits& begin, const MachineLimits& end) {
  const auto of = [](const MachineLimits& limits) {
    return nlohmann::ordered_json{{"fma_gflops", limits.fma_gflops},
                                  {"bf16_gflops", limits.bf16_gflops},
                                  {"bf16_register_gflops", limits.bf16_register_gflops},
                                  {"byte_gflops", limits.byte_gflops},
                                  {"byte_register_gflops", limits.byte_register_gflops},
                                  {"read_gbps", limits.read_gbps}};
  };
  const auto moved = moved_limits(begin, end);
  nlohmann::ordered_json json{{"kind", "machine"}, {"begin", of(begin)}, {"end", of(end)}, {"noisy", !moved.empty()}};
  if (!moved.empty()) json["moved"] = moved;
  return json.dump();
}

double MachineLimits::product_gflops(const LoopedTransformer& model) const {
  const auto format = weight_format_name(model);
  return product_gflops(model.compute_type, format == weight_format_name(WeightFormat::kInt8) ||
                                                format == weight_format_name(WeightFormat::kInt4));
}

std::string MachineLimits::text() const {
  auto text = fmt::format("{:.0f} GFLOP/s fp32, ", fma_gflops);
  if (bf16_gflops > 0) text += fmt::format("{:.0f} bf16 ({:.0f} in registers), ", bf16_gflops, bf16_register_gflops);
  if (byte_gflops > 0) {
    text += fmt::format("{:.0f} int8 x bf16 ({:.0f} in registers), ", byte_gflops, byte_register_gflops);
  }
  return text + fmt::format("{:.1f} GB/s reading", read_gbps);
}

double measure_product_gflops(torch::ScalarType dtype) {
  const auto rates = measure_rates({.fma = true, .bf16 = dtype == torch::kBFloat16});
  return MachineLimits{.fma_gflops = rates.fma_gflops, .bf16_gflops = rates.bf16_gflops}.product_gflops(dtype);
}

double decode_floor_s(const LoopedTransformer& model, int64_t context, int64_t batch, const MachineLimits& limits) {
  const double bytes = weight_bytes_per_token(model, model.compute_type) +
                       static_cast<double>(batch * state_traffic_bytes(model, context, model.compute_type));
  const double flops = static_cast<double>(batch) * forward_flops_per_token(model, context);
  return std::max(bytes / (limits.read_gbps * 1e9), flops / (limits.product_gflops(model) * 1e9));
}

double prefill_floor_s(const LoopedTransformer& model, int64_t context, int64_t batch, const MachineLimits& limits) {
  // Logits are computed once a prefill chunk.
  const double tokens = static_cast<double>(context);
  const double chunks = std::ceil(tokens / static_cast<double>(kPrefillChunk));
  const double output = 2.0 * static_cast<double>(model.config().dim * model.config().vocab_size);
  const double flops = tokens * forward_flops_per_token(model, (context + 1) / 2) - output * (tokens - chunks);
  return std::max(chunks * weight_bytes_per_token(model, model.compute_type) / (limits.read_gbps * 1e9),
                  static_cast<double>(batch) * flops / (limits.product_gflops(model) * 1e9));
}

Contestant decode_contestant(const TimedModel& timed, int64_t context, int64_t batch, const MachineLimits& limits,
                             const Effort& effort) {
  torch::InferenceMode inference;
  constexpr int64_t kWarm = 2, kMost = 2048, kLeastSteps = 3;
  const auto model = timed.model;
  const int64_t before = live_bytes();
  // Steps cannot be faster than their floor, so this much room is enough; unneeded rows of the cache may not fit.
  const double most = effort.seconds / decode_floor_s(*model, context, batch, limits);
  const auto least = static_cast<int64_t>(effort.least);
  const int64_t limit = std::max(least * kLeastSteps, static_cast<int64_t>(std::min<double>(most + 1, kMost)));
  struct Decoding {
    SequenceState state;
    torch::Tensor tokens;
  };
  auto of = std::make_shared<Decoding>();
  of->state = model->make_state(batch, context + kWarm + limit);
  for (auto& draw : of->state.draws) {
    for (auto& slot : draw.slots) slot->fill_synthetic(context);
  }
  of->state.position = context;
  of->tokens = random_tokens(*model, batch, 1);
  const auto step = [model, of] {
    torch::InferenceMode of_a_turn;
    const auto begin = Clock::now();
    model->step(of->tokens, of->state);
    return seconds_since(begin);
  };
  Contestant out{.row = {.mode = "decode",
                         .shape = {},
                         .model = timed.label,
                         .context = context,
                         .batch = batch,
                         .dtype = weight_format_name(*model)}};
  out.row.first_token_s = step();
  double warm = 0;
  for (int64_t i = 1; i < kWarm; ++i) warm = step();
  // Several short steps a turn: the first finds the caches as another model left them, and its share must be small.
  const int64_t steps = warm >= kDecodeTurn_s ? 1
                                              : std::clamp<int64_t>(static_cast<int64_t>(kDecodeTurn_s / warm),
                                                                    kLeastSteps, limit / least);
  out.most = static_cast<size_t>(limit / steps);
  out.turn = [step, steps] {
    double seconds = 0;  // stalls count, because real decoding has them, too
    for (int64_t i = 0; i < steps; ++i) seconds += step();
    return seconds;
  };
  out.tokens = static_cast<double>(batch * steps);
  out.floor_s = [=](size_t turns) {
    // The steps themselves lengthen the context; the middle step saw half of them.
    const int64_t seen = context + kWarm + static_cast<int64_t>(turns) * steps / 2;
    return static_cast<double>(steps) * decode_floor_s(*model, seen, batch, limits);
  };
  out.row.state_bytes = batch * state_bytes(*model, context, model->compute_type);
  out.own_bytes = timed.own_bytes + live_bytes() - before;
  return out;
}

Contestant prefill_contestant(const TimedModel& timed, int64_t context, int64_t warm, int64_t batch,
                              const MachineLimits& limits) {
  const auto model = timed.model;
  const int64_t before = live_bytes();
  const auto tokens = random_tokens(*model, batch, context);
  const auto read = [model, tokens, batch](int64_t length) {
    torch::InferenceMode inference;
    const auto begin = Clock::now();
    auto state = model->make_state(batch, length);
    prefill(*model, tokens.narrow(1, 0, length), state);
    return seconds_since(begin);
  };
  read(std::min(warm, context));
  Contestant out{.row = {.mode = "prefill",
                         .shape = {},
                         .model = timed.label,
                         .context = context,
                         .batch = batch,
                         .dtype = weight_format_name(*model)},
                 .tokens = static_cast<double>(batch * context),
                 .most = kMostTurns,
                 .turn = [read, context] { return read(context); },
                 .floor_s = [=](size_t) { return prefill_floor_s(*model, context, batch, limits); }};
  out.row.state_bytes = batch * state_bytes(*model, context, model->compute_type);
  out.own_bytes = timed.own_bytes + live_bytes() - before;
  return out;
}

std::vector<Contestant> train_contestants(const TimedModel& timed, const std::vector<std::string>& levels,
                                          int64_t seq_len, int64_t batch, const MachineLimits& limits) {
  struct Training {
    OptimConfig optim;
    std::unique_ptr<Replica> replica;
    torch::Tensor tokens;
  };
  const auto model = timed.model;
  const int64_t before = live_bytes();
  auto of = std::make_shared<Training>();
  of->optim.lr = 1e-5;
  of->optim.scheduler = "constant";
  of->replica = std::make_unique<Replica>(*model, of->optim);
  of->tokens = random_tokens(*model, batch, seq_len + 1);
  std::vector<Contestant> all;
  for (const auto& level : levels) {
    const auto recompute = parse_recompute(level, "recompute");
    const auto step = [=] {
      model->recompute = recompute;
      const auto begin = Clock::now();
      train_step(*of->replica, of->optim, 1, 1000, 1, [&](int64_t) {
        return MicroBatch{
            .inputs = of->tokens.narrow(1, 0, seq_len), .targets = of->tokens.narrow(1, 1, seq_len), .draw = 0};
      });
      return seconds_since(begin);
    };
    step();
    all.push_back({.row = {.mode = "train",
                           .shape = {},
                           .model = level == "none" ? timed.label : timed.label + "/" + level,
                           .context = seq_len,
                           .batch = batch,
                           .dtype = weight_format_name(*model)},
                   .tokens = static_cast<double>(batch * seq_len),
                   .most = kMostTurns,
                   .turn = step,
                   .floor_s = [=](size_t) {
                     return static_cast<double>(batch * seq_len) * training_flops_per_token(*model, seq_len) /
                            (limits.product_gflops(*model) * 1e9);
                   }});
  }
  for (auto& contestant : all) contestant.own_bytes = timed.own_bytes + live_bytes() - before;
  return all;
}

std::vector<SpeedRow> time_in_turns(std::vector<Contestant>& contestants, const Effort& effort) {
  std::vector<TimedRun> runs;
  size_t most = kMostTurns;
  for (auto& contestant : contestants) {
    most = std::min(most, contestant.most);
    runs.push_back([&contestant] {
      const int64_t before = live_bytes();
      tensor_pool_reset_peak();
      const double seconds = contestant.turn();
      // The tensors of the other contestants exist all the time.
      const int64_t peak = contestant.own_bytes + tensor_pool_counts().peak_bytes - before;
      contestant.row.peak_bytes = std::max(contestant.row.peak_bytes, peak);
      return seconds;
    });
  }
  const auto seconds = run_in_turns(runs, {.seconds = effort.seconds, .least = effort.least, .most = most});
  const auto in_turns = [&](size_t i, auto of) {
    std::vector<double> out;
    for (size_t turn = 0; turn < seconds[i].size(); ++turn) out.push_back(of(seconds[i][turn]));
    return out;
  };
  const auto speeds = [&](size_t i) { return in_turns(i, [&](double s) { return contestants[i].tokens / s; }); };
  const auto shares = [&](size_t i) {
    const double floor = contestants[i].floor_s(seconds[i].size());
    return in_turns(i, [&](double s) { return floor / s; });
  };
  std::vector<SpeedRow> rows;
  for (size_t i = 0; i < contestants.size(); ++i) {
    auto row = contestants[i].row;
    row.tokens_per_s = spread_of(speeds(i));
    row.floor_tokens_per_s = contestants[i].tokens / contestants[i].floor_s(seconds[i].size());
    row.share = row.tokens_per_s.median / row.floor_tokens_per_s;
    if (row.mode == "prefill") row.first_token_s = contestants[i].tokens / row.tokens_per_s.median;
    if (const auto first = contestants[i].first) row.predicted_share = paired_ratio(shares(i), shares(*first));
    if (const auto other = contestants[i].baseline) {
      row.comparison = Comparison{contestants[*other].row.model, paired_ratio(speeds(i), speeds(*other))};
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

std::string to_json(const SpeedRow& row) {
  nlohmann::ordered_json json{{"kind", row.mode}};
  if (!row.shape.empty()) json["shape"] = row.shape;
  json.update({{"model", row.model},
               {"context", row.context},
               {"batch", row.batch},
               {"dtype", row.dtype},
               {"tokens_per_s", row.tokens_per_s.median},
               {"tokens_per_s_low", row.tokens_per_s.low},
               {"tokens_per_s_high", row.tokens_per_s.high},
               {"repeats", row.tokens_per_s.count},
               {"noisy", row.tokens_per_s.noisy()},
               {"floor_tokens_per_s", row.floor_tokens_per_s},
               {"share", row.share}});
  if (row.mode != "train") json["first_token_s"] = row.first_token_s;
  if (row.mode != "train") json["state_bytes"] = row.state_bytes;
  if (row.predicted_share) {
    json["predicted_share"] = row.predicted_share->median;
    json["predicted_share_noisy"] = row.predicted_share->noisy();
  }
  if (row.comparison) {
    json.update({{"baseline", row.comparison->baseline},
                 {"speed_ratio", row.comparison->ratio.median},
                 {"speed_ratio_low", row.comparison->ratio.low},
                 {"speed_ratio_high", row.comparison->ratio.high},
                 {"speed_ratio_noisy", row.comparison->ratio.noisy()}});
  }
  json["peak_bytes"] = row.peak_bytes;
  if (row.planned_bytes > 0) json["planned_bytes"] = row.planned_bytes;
  return json.dump();
}

}  // namespace lt2
