#include "measure/speed.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/units.h"
#include "infer/generate.h"
#include "model/accounting.h"
#include "ops/machine/machine.h"
#include "ops/tensor_pool.h"
#include "train/step.h"

namespace lt2 {
namespace {

using Clock = std::chrono::steady_clock;

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

torch::Tensor random_tokens(const LoopedTransformer& model, int64_t batch, int64_t length) {
  return torch::randint(model.config().vocab_size, {batch, length}, torch::kInt64).to(model.tok_embeddings.device());
}

// Median seconds of `body` over `repeats` runs; what warms caches and packs weights comes before.
template <class Body>
double time_runs(int64_t repeats, Body body) {
  std::vector<double> runs;
  for (int64_t i = 0; i < repeats; ++i) {
    const auto begin = Clock::now();
    body();
    runs.push_back(seconds_since(begin));
  }
  return median(runs);
}

}  // namespace

MachineLimits measure_machine() {
  return {.fma_gflops = measure_fma_gflops(),
          .bf16_gflops = measure_bf16_gflops(),
          .byte_gflops = measure_byte_gflops(),
          .read_gbps = measure_read_gbps()};
}

double MachineLimits::product_gflops(const LoopedTransformer& model) const {
  const auto format = weight_format_name(model);
  return product_gflops(model.compute_type, format == weight_format_name(WeightFormat::kInt8) ||
                                                format == weight_format_name(WeightFormat::kInt4));
}

std::string MachineLimits::text() const {
  auto text = fmt::format("{:.0f} GFLOP/s fp32, ", fma_gflops);
  if (bf16_gflops > 0) text += fmt::format("{:.0f} bf16, ", bf16_gflops);
  if (byte_gflops > 0) text += fmt::format("{:.0f} int8 x bf16, ", byte_gflops);
  return text + fmt::format("{:.1f} GB/s reading", read_gbps);
}

double measure_product_gflops(torch::ScalarType dtype) {
  return MachineLimits{.fma_gflops = measure_fma_gflops(),
                       .bf16_gflops = dtype == torch::kBFloat16 ? measure_bf16_gflops() : 0,
                       .byte_gflops = 0,
                       .read_gbps = 0}
      .product_gflops(dtype);
}

double decode_floor_s(const LoopedTransformer& model, int64_t context, int64_t batch, const MachineLimits& limits) {
  const double bytes = weight_bytes_per_token(model, model.compute_type) +
                       static_cast<double>(batch * state_traffic_bytes(model, context, model.compute_type));
  const double flops = static_cast<double>(batch) * forward_flops_per_token(model, context);
  return std::max(bytes / (limits.read_gbps * 1e9), flops / (limits.product_gflops(model) * 1e9));
}

double prefill_floor_s(const LoopedTransformer& model, int64_t context, int64_t batch, const MachineLimits& limits) {
  // Logits are computed once a piece only.
  const double tokens = static_cast<double>(context);
  const double pieces = std::ceil(tokens / static_cast<double>(kPrefillPiece));
  const double output = 2.0 * static_cast<double>(model.config().dim * model.config().vocab_size);
  const double flops = tokens * forward_flops_per_token(model, (context + 1) / 2) - output * (tokens - pieces);
  return std::max(pieces * weight_bytes_per_token(model, model.compute_type) / (limits.read_gbps * 1e9),
                  static_cast<double>(batch) * flops / (limits.product_gflops(model) * 1e9));
}

SpeedRow decode_speed(LoopedTransformer& model, const std::string& label, int64_t context, int64_t batch,
                      const MachineLimits& limits, const Effort& effort) {
  torch::InferenceMode inference;
  constexpr int64_t kWarm = 2, kMost = 2048;
  // Steps cannot be faster than their floor, so no more room than this is needed; rows for nothing may not fit.
  const double most = effort.seconds / decode_floor_s(model, context, batch, limits);
  const int64_t limit = std::max(effort.least_steps, static_cast<int64_t>(std::min<double>(most + 1, kMost)));
  tensor_pool_reset_peak();
  auto state = model.make_state(batch, context + kWarm + limit);
  for (auto& draw : state.draws) {
    for (auto& slot : draw.slots) slot->fill_synthetic(context);
  }
  state.position = context;
  const auto tokens = random_tokens(model, batch, 1);
  SpeedRow row{.mode = "decode",
               .shape = {},
               .model = label,
               .context = context,
               .batch = batch,
               .dtype = weight_format_name(model)};
  const auto timed_step = [&] {
    const auto begin = Clock::now();
    model.step(tokens, state);
    return seconds_since(begin);
  };
  row.first_token_s = timed_step();
  for (int64_t i = 1; i < kWarm; ++i) timed_step();
  std::vector<double> steps;
  const auto begin = Clock::now();
  while (static_cast<int64_t>(steps.size()) < effort.least_steps ||
         (seconds_since(begin) < effort.seconds && static_cast<int64_t>(steps.size()) < limit)) {
    steps.push_back(timed_step());
  }
  // The steps themselves lengthen the context; the median one saw half of them.
  const int64_t seen = context + kWarm + static_cast<int64_t>(steps.size()) / 2;
  row.tokens_per_s = static_cast<double>(batch) / median(steps);
  row.floor_tokens_per_s = static_cast<double>(batch) / decode_floor_s(model, seen, batch, limits);
  row.share = row.tokens_per_s / row.floor_tokens_per_s;
  row.state_bytes = batch * state_bytes(model, context, model.compute_type);
  row.peak_bytes = tensor_pool_counts().peak_bytes;
  row.predicted_share = 1;
  return row;
}

SpeedRow prefill_speed(LoopedTransformer& model, const std::string& label, int64_t context, int64_t batch,
                       const MachineLimits& limits, const Effort& effort) {
  torch::InferenceMode inference;
  const auto tokens = random_tokens(model, batch, context);
  const auto read = [&](int64_t length) {
    auto state = model.make_state(batch, length);
    prefill(model, tokens.narrow(1, 0, length), state);
  };
  tensor_pool_reset_peak();
  read(effort.repeats > 1 ? context : std::min<int64_t>(context, 256));
  const double seconds = time_runs(effort.repeats, [&] { read(context); });
  const double count = static_cast<double>(batch * context);
  SpeedRow row{.mode = "prefill",
               .shape = {},
               .model = label,
               .context = context,
               .batch = batch,
               .dtype = weight_format_name(model)};
  row.tokens_per_s = count / seconds;
  row.floor_tokens_per_s = count / prefill_floor_s(model, context, batch, limits);
  row.share = row.tokens_per_s / row.floor_tokens_per_s;
  row.first_token_s = seconds;
  row.state_bytes = batch * state_bytes(model, context, model.compute_type);
  row.peak_bytes = tensor_pool_counts().peak_bytes;
  return row;
}

SpeedRow train_speed(LoopedTransformer& model, const std::string& label, int64_t seq_len, int64_t batch,
                     const MachineLimits& limits, int64_t repeats) {
  OptimConfig optim;
  optim.lr = 1e-5;
  optim.scheduler = "constant";
  Replica replica(model, optim);
  const auto tokens = random_tokens(model, batch, seq_len + 1);
  tensor_pool_reset_peak();
  const auto step = [&] {
    train_step(replica, optim, 1, 1000, 1, [&](int64_t) {
      return MicroBatch{.inputs = tokens.narrow(1, 0, seq_len), .targets = tokens.narrow(1, 1, seq_len), .draw = 0};
    });
  };
  step();
  const double seconds = time_runs(repeats, step);
  SpeedRow row{.mode = "train",
               .shape = {},
               .model = label,
               .context = seq_len,
               .batch = batch,
               .dtype = weight_format_name(model)};
  row.tokens_per_s = static_cast<double>(batch * seq_len) / seconds;
  row.floor_tokens_per_s = limits.product_gflops(model) * 1e9 / training_flops_per_token(model, seq_len);
  row.share = row.tokens_per_s / row.floor_tokens_per_s;
  row.peak_bytes = tensor_pool_counts().peak_bytes;
  return row;
}

std::string to_json(const SpeedRow& row) {
  nlohmann::ordered_json json{{"kind", row.mode}};
  if (!row.shape.empty()) json["shape"] = row.shape;
  json.update({{"model", row.model},
               {"context", row.context},
               {"batch", row.batch},
               {"dtype", row.dtype},
               {"tokens_per_s", row.tokens_per_s},
               {"floor_tokens_per_s", row.floor_tokens_per_s},
               {"share", row.share}});
  if (row.mode != "train") json["first_token_s"] = row.first_token_s;
  if (row.mode != "train") json["state_bytes"] = row.state_bytes;
  if (row.mode == "decode") json["predicted_share"] = row.predicted_share;
  json["peak_bytes"] = row.peak_bytes;
  if (row.planned_bytes > 0) json["planned_bytes"] = row.planned_bytes;
  return json.dump();
}

}  // namespace lt2
