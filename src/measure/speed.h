#pragma once
// How fast a model runs here, each figure beside its floor: the time that the bytes or the operations alone would take
// on this machine.
#include <cstdint>
#include <string>
#include <vector>

#include "model/looped_transformer.h"

namespace lt2 {

/// What the machine can do, measured in this process.
struct MachineLimits {
  double fma_gflops = 0;   // fp32 fused multiply-adds, all threads
  double bf16_gflops = 0;  // bf16 products on the processor's own unit; 0: it has none
  double byte_gflops = 0;  // of int8 or int4 weights with bf16, likewise
  double read_gbps = 0;    // streaming reads, all threads, in 10^9 bytes

  /// Of products of this type, with int8 or int4 weights if `quantised`: without a unit for them they are fp32
  /// multiply-adds.
  double product_gflops(torch::ScalarType type, bool quantised = false) const {
    const double unit = type != torch::kBFloat16 ? 0 : quantised ? byte_gflops : bf16_gflops;
    return unit > 0 ? unit : fma_gflops;
  }
  /// Of the model's own products.
  double product_gflops(const LoopedTransformer& model) const;
  /// "300 GFLOP/s fp32, 590 int8 x bf16, 23.5 GB/s reading".
  std::string text() const;
};
MachineLimits measure_machine();
/// Only the products, of the type `dtype`: 0.2 to 0.4 s. GFLOP/s.
double measure_product_gflops(torch::ScalarType dtype);

/// One row of `lt2 bench`.
struct SpeedRow {
  std::string mode;   // "decode" | "prefill" | "train"
  std::string shape;  // size of a recipe ("1.3B"); empty: of the user's own model
  std::string model;  // a label
  int64_t context = 0, batch = 1;
  std::string dtype;
  double tokens_per_s = 0;  // of all sequences together
  double floor_tokens_per_s = 0;
  double share = 0;            // tokens_per_s / floor_tokens_per_s
  double first_token_s = 0;    // prefill: until the prompt's logits; decode: the first step on a state just made
  int64_t state_bytes = 0;     // of all sequences
  int64_t peak_bytes = 0;      // most bytes of tensors, weights included (training: moments as well)
  int64_t planned_bytes = 0;   // the grid: weights as served, state and scratch, as the frontier counts them
  double predicted_share = 0;  // decode: against what the bytes predict from the first context's own figure
};

/// Seconds that one pass of `tokens` new tokens a sequence takes at the machine's limits after `context` tokens: bytes
/// of weights and states over the read bandwidth, or operations over the rate of products, whichever is more.
double decode_floor_s(const LoopedTransformer& model, int64_t context, int64_t batch, const MachineLimits& limits);
double prefill_floor_s(const LoopedTransformer& model, int64_t context, int64_t batch, const MachineLimits& limits);

/// How long a measurement goes on.
struct Effort {
  double seconds = 2;       // of decode steps
  int64_t least_steps = 5;  // however slow they are
  int64_t repeats = 3;      // of a prefill, after one of the same length; 1: after a short one, once
};

/// Decode steps after `context` tokens of synthetic state.
SpeedRow decode_speed(LoopedTransformer& model, const std::string& label, int64_t context, int64_t batch,
                      const MachineLimits& limits, const Effort& effort);
/// A whole prompt of `context` tokens from an empty state.
SpeedRow prefill_speed(LoopedTransformer& model, const std::string& label, int64_t context, int64_t batch,
                       const MachineLimits& limits, const Effort& effort);
/// Forward, backward and AdamW on one micro-batch, with model.recompute. Recomputation costs time, not a higher floor.
SpeedRow train_speed(LoopedTransformer& model, const std::string& label, int64_t seq_len, int64_t batch,
                     const MachineLimits& limits, int64_t repeats);

/// {"kind":"decode","model":...} for bench.jsonl.
std::string to_json(const SpeedRow& row);

}  // namespace lt2
