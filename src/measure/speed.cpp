#include "measure/speed.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "infer/generate.h"
#include "model/accounting.h"
#include "ops/machine/machine.h"
#include "ops/tensor_pool.h"
#include "train/step.h"

namespace lt2 {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

torch::Tensor random_tokens(const LoopedTransformer& model, int64_t batch, int64_t length) {
  return torch::randint(model.config().vocab_size, {batch, length}, torch::kInt64).to(model.tok_embeddings.device());
}

std::string dtype_name(const LoopedTransformer& model) {
  return model.compute_type == torch::kFloat32 ? "fp32" : "bf16";
}

// Median seconds of `body` over `repeats` runs after one that warms caches and packs weights.
template <class Body>
double time_runs(int64_t repeats, Body body) {
  body();
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
  return {.fma_gflops = measure_fma_gflops(), .bf16_gflops = measure_bf16_gflops(), .read_gbps = measure_read_gbps()};
}

double measure_product_gflops(torch::ScalarType dtype) {
  return MachineLimits{.fma_gflops = measure_fma_gflops(),
                       .bf16_gflops = dtype == torch::kBFloat16 ? measure_bf16_gflops() : 0,
                       .read_gbps = 0}
      .product_gflops(dtype);
}

std::vector<SpeedRow> decode_speed(LoopedTransformer& model, const std::string& label,
                                   const std::vector<int64_t>& contexts, int64_t batch, const MachineLimits& limits,
                                   double seconds_per_row) {
  torch::InferenceMode inference;
  std::vector<SpeedRow> rows;
  double first_seconds = 0, first_bytes = 0;
  for (const int64_t context : contexts) {
    auto state = model.make_state(batch, context + 4096);
    for (auto& draw : state.draws) {
      for (auto& slot : draw.slots) slot->fill_synthetic(context);
    }
    state.position = context;
    const auto tokens = random_tokens(model, batch, 1);
    std::vector<double> steps;
    for (int i = 0; i < 3; ++i) model.step(tokens, state);
    const auto begin = Clock::now();
    while (steps.size() < 5 || (seconds_since(begin) < seconds_per_row && steps.size() < 2048)) {
      const auto step_begin = Clock::now();
      model.step(tokens, state);
      steps.push_back(seconds_since(step_begin));
    }
    // The steps themselves lengthen the context; the median one saw half of them.
    const int64_t seen = context + 3 + static_cast<int64_t>(steps.size()) / 2;
    const double bytes = weight_bytes_per_token(model, model.compute_type) +
                         static_cast<double>(batch * state_traffic_bytes(model, seen, model.compute_type));
    const double step_seconds = median(steps);
    if (rows.empty()) first_seconds = step_seconds, first_bytes = bytes;
    SpeedRow row{.mode = "decode", .model = label, .context = context, .batch = batch, .dtype = dtype_name(model)};
    row.tokens_per_s = static_cast<double>(batch) / step_seconds;
    row.floor_tokens_per_s = static_cast<double>(batch) * limits.read_gbps * 1e9 / bytes;
    row.share = row.tokens_per_s / row.floor_tokens_per_s;
    row.state_bytes = batch * state_bytes(model, context, model.compute_type);
    row.predicted_share = first_seconds * bytes / first_bytes / step_seconds;
    rows.push_back(row);
  }
  return rows;
}

SpeedRow prefill_speed(LoopedTransformer& model, const std::string& label, int64_t context, int64_t batch,
                       const MachineLimits& limits, int64_t repeats) {
  torch::InferenceMode inference;
  const auto tokens = random_tokens(model, batch, context);
  const double seconds = time_runs(repeats, [&] {
    auto state = model.make_state(batch, context);
    prefill(model, tokens, state);
  });
  const double count = static_cast<double>(batch * context);
  SpeedRow row{.mode = "prefill", .model = label, .context = context, .batch = batch, .dtype = dtype_name(model)};
  row.tokens_per_s = count / seconds;
  // Logits are computed once a piece only.
  const double pieces = std::ceil(static_cast<double>(context) / static_cast<double>(kPrefillPiece));
  const double output = 2.0 * static_cast<double>(model.config().dim * model.config().vocab_size);
  const double flops =
      forward_flops_per_token(model, (context + 1) / 2) - output * (1 - pieces / static_cast<double>(context));
  row.floor_tokens_per_s = limits.product_gflops(model.compute_type) * 1e9 / flops;
  row.share = row.tokens_per_s / row.floor_tokens_per_s;
  row.state_bytes = batch * state_bytes(model, context, model.compute_type);
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
  const double seconds = time_runs(repeats, [&] {
    train_step(replica, optim, 1, 1000, 1, [&](int64_t) {
      return MicroBatch{.inputs = tokens.narrow(1, 0, seq_len), .targets = tokens.narrow(1, 1, seq_len), .draw = 0};
    });
  });
  SpeedRow row{.mode = "train", .model = label, .context = seq_len, .batch = batch, .dtype = dtype_name(model)};
  row.tokens_per_s = static_cast<double>(batch * seq_len) / seconds;
  row.floor_tokens_per_s = limits.product_gflops(model.compute_type) * 1e9 / training_flops_per_token(model, seq_len);
  row.share = row.tokens_per_s / row.floor_tokens_per_s;
  row.peak_bytes = tensor_pool_counts().peak_bytes;
  return row;
}

std::string to_json(const SpeedRow& row) {
  nlohmann::ordered_json json{{"kind", row.mode},
                              {"model", row.model},
                              {"context", row.context},
                              {"batch", row.batch},
                              {"dtype", row.dtype},
                              {"tokens_per_s", row.tokens_per_s},
                              {"floor_tokens_per_s", row.floor_tokens_per_s},
                              {"share", row.share}};
  if (row.mode != "train") json["state_bytes"] = row.state_bytes;
  if (row.mode == "decode") json["predicted_share"] = row.predicted_share;
  if (row.peak_bytes > 0) json["peak_bytes"] = row.peak_bytes;
  return json.dump();
}

}  // namespace lt2
