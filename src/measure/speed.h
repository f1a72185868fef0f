#pragma once
// The speed of a model on this machine, each figure with its floor: the time that the bytes or the operations alone
// would take.
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/statistics.h"
#include "model/looped_transformer.h"

namespace lt2 {

/// The machine's rates, measured in this process.
struct MachineLimits {
  double fma_gflops = 0;   // fp32 fused multiply-adds, all threads
  double bf16_gflops = 0;  // bf16 products on the processor's unit, from its first-level cache; 0: it has none
  double byte_gflops = 0;  // of int8 or int4 weights with bf16, likewise
  double read_gbps = 0;    // streaming reads, all threads, in 10^9 bytes
  // The same units on numbers that never leave the registers: the rate that the processor's maker states. No product
  // reaches it.
  double bf16_register_gflops = 0, byte_register_gflops = 0;

  /// Of products of this type, with int8 or int4 weights if `quantised`: without a unit for them they are fp32
  /// multiply-adds.
  double product_gflops(torch::ScalarType type, bool quantised = false) const {
    const double unit = type != torch::kBFloat16 ? 0 : quantised ? byte_gflops : bf16_gflops;
    return unit > 0 ? unit : fma_gflops;
  }
  /// Of the model's own products.
  double product_gflops(const LoopedTransformer& model) const;
  /// "300 GFLOP/s fp32, 5900 bf16 (7300 in registers), 23.5 GB/s reading".
  std::string text() const;
};
/// About half a second; measured before and after what is compared with it (measure/machine.h).
MachineLimits measure_machine();
/// "fp32 300 -> 210 GFLOP/s" for every limit that differs by more than 10 % between the two measurements: the machine
/// was busy, and shares of the limits are uncertain. Empty: no limit differs.
std::string moved_limits(const MachineLimits& begin, const MachineLimits& end);
/// {"kind":"machine",...} for bench.jsonl.
std::string to_json(const MachineLimits& begin, const MachineLimits& end);
/// The rate of products of the type `dtype` alone, in GFLOP/s. Takes about 0.1 s.
double measure_product_gflops(torch::ScalarType dtype);

/// The ratio of two speeds: the median over pairs of neighbouring turns.
struct Comparison {
  std::string baseline;  // the label of the other model
  Spread ratio;          // above 1: faster than the other
};

/// One row of `lt2 bench`.
struct SpeedRow {
  std::string mode;   // "decode" | "prefill" | "train"
  std::string shape;  // size of a recipe ("1.3B"); empty: the user's model
  std::string model;  // a label
  int64_t context = 0, batch = 1;
  std::string dtype;
  Spread tokens_per_s;            // of all sequences together
  double floor_tokens_per_s = 0;  // what the machine's limits allow
  double share = 0;               // median over floor
  double first_token_s = 0;       // prefill: until the prompt's logits; decode: the first step on a state just made
  int64_t state_bytes = 0;        // of all sequences
  int64_t peak_bytes = 0;         // most bytes of tensors, weights included (training: moments as well)
  int64_t planned_bytes = 0;      // the grid: weights as served, state and scratch, as the frontier counts them
  // decode: its share of the floor over that at the first context, in pairs; none if memory could not hold both
  std::optional<Spread> predicted_share;
  std::optional<Comparison> comparison;
};

/// Seconds that one pass of `tokens` new tokens a sequence takes at the machine's limits after `context` tokens: bytes
/// of weights and states over the read bandwidth, or operations over the rate of products, whichever is larger.
double decode_floor_s(const LoopedTransformer& model, int64_t context, int64_t batch, const MachineLimits& limits);
double prefill_floor_s(const LoopedTransformer& model, int64_t context, int64_t batch, const MachineLimits& limits);

/// How long a measurement takes.
struct Effort {
  double seconds = 2;  // of everything that takes turns, at most; half of it if nothing is noisy by then
  size_t least = 5;    // turns of each, however slow
};

/// A piece of work to be timed in turns with others. It is warmed up and holds everything that it needs.
struct Contestant {
  SpeedRow row;       // complete but for the measured values
  double tokens = 0;  // of one turn, all sequences together
  size_t most = 0;    // turns
  TimedRun turn;
  std::function<double(size_t turns)> floor_s;  // of the middle one of `turns` turns
  int64_t own_bytes = 0;                        // of tensors: the model and what lasts from turn to turn
  // Indices in the list of contestants: the model to compare with, and the same model at the first context.
  std::optional<size_t> baseline = {}, first = {};
};

/// An existing model, and the bytes of its own tensors.
struct TimedModel {
  std::shared_ptr<LoopedTransformer> model;
  std::string label;
  int64_t own_bytes = 0;
};

/// Decode steps after `context` tokens of synthetic state, with room for the steps that `effort` allows. A turn is some
/// 20 ms of steps, at least one; their median counts.
Contestant decode_contestant(const TimedModel& timed, int64_t context, int64_t batch, const MachineLimits& limits,
                             const Effort& effort);
/// A whole prompt of `context` tokens from an empty state, warmed up with a prompt of `warm` tokens.
Contestant prefill_contestant(const TimedModel& timed, int64_t context, int64_t warm, int64_t batch,
                              const MachineLimits& limits);
/// Forward, backward and AdamW on one micro-batch, one contestant for each level of recomputation. Recomputation costs
/// time and does not raise the floor.
std::vector<Contestant> train_contestants(const TimedModel& timed, const std::vector<std::string>& levels,
                                          int64_t seq_len, int64_t batch, const MachineLimits& limits);

/// Lets the contestants take turns; returns their rows in the same order.
std::vector<SpeedRow> time_in_turns(std::vector<Contestant>& contestants, const Effort& effort);

/// {"kind":"decode","model":...} for bench.jsonl.
std::string to_json(const SpeedRow& row);

}  // namespace lt2
