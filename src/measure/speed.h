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
  double read_gbps = 0;    // streaming reads, all threads, in 10^9 bytes

  /// Of products in this type: bf16 without a unit runs as fp32 multiply-adds.
  double product_gflops(torch::ScalarType type) const {
    return type == torch::kBFloat16 && bf16_gflops > 0 ? bf16_gflops : fma_gflops;
  }
};
MachineLimits measure_machine();
/// Only the products, of the type `dtype`: 0.2 to 0.4 s. GFLOP/s.
double measure_product_gflops(torch::ScalarType dtype);

/// One row of `lt2 bench`.
struct SpeedRow {
  std::string mode;   // "decode" | "prefill" | "train"
  std::string model;  // a label
  int64_t context = 0, batch = 1;
  std::string dtype;
  double tokens_per_s = 0;  // of all sequences together
  double floor_tokens_per_s = 0;
  double share = 0;            // tokens_per_s / floor_tokens_per_s
  int64_t state_bytes = 0;     // decode: of all sequences
  int64_t peak_bytes = 0;      // train: most bytes of tensors during a step, weights and moments included
  double predicted_share = 0;  // decode: against what the bytes predict from the first context's own figure
};

/// Decode steps after `contexts` tokens of synthetic state. Floor: weights and state traffic over the read bandwidth.
std::vector<SpeedRow> decode_speed(LoopedTransformer& model, const std::string& label,
                                   const std::vector<int64_t>& contexts, int64_t batch, const MachineLimits& limits,
                                   double seconds_per_row);
/// A whole prompt of `context` tokens from an empty state. Floor: operations over the rate of products in its type.
SpeedRow prefill_speed(LoopedTransformer& model, const std::string& label, int64_t context, int64_t batch,
                       const MachineLimits& limits, int64_t repeats);
/// Forward, backward and AdamW on one micro-batch, with model.recompute. Recomputation costs time, not a higher floor.
SpeedRow train_speed(LoopedTransformer& model, const std::string& label, int64_t seq_len, int64_t batch,
                     const MachineLimits& limits, int64_t repeats);

/// {"kind":"decode","model":...} for bench.jsonl.
std::string to_json(const SpeedRow& row);

}  // namespace lt2
