#pragma once
// What a model weighs and costs, computed from its parts before anything runs.
#include <string>
#include <utility>
#include <vector>

#include "model/looped_transformer.h"
#include "ops/linear/packed_weight.h"

namespace lt2 {

/// Parameters by part ("embedding", "gdn mixers", "feed-forward", ...), in the order of the model; tied weights count
/// once.
std::vector<std::pair<std::string, int64_t>> parameters_by_part(const LoopedTransformer& model);
int64_t parameter_count(const LoopedTransformer& model);
/// Parameters of a part of a model.
int64_t part_parameter_count(const torch::nn::Module& part);
/// Layer calls that a token passes: loops x layers.
int64_t effective_depth(const LoopedTransformer& model);

/// Floating-point operations of one token's forward pass that sees `context` tokens: every loop, output projection
/// included.
double forward_flops_per_token(const LoopedTransformer& model, int64_t context);
/// The same for the mean token of a sequence of `seq_len`.
double mean_forward_flops_per_token(const LoopedTransformer& model, int64_t seq_len);
/// Floating-point operations of training per token, on sequences of `seq_len`: the forward pass, and a backward pass of
/// twice its cost; the mean over the sequence's positions.
double training_flops_per_token(const LoopedTransformer& model, int64_t seq_len);

/// Bytes of one sequence's state after `tokens` tokens, all loops and layers (and draws of random layouts).
int64_t state_bytes(const LoopedTransformer& model, int64_t tokens, torch::ScalarType dtype);
/// Bytes of state that decoding one token after `tokens` tokens reads and writes, one sequence.
int64_t state_traffic_bytes(const LoopedTransformer& model, int64_t tokens, torch::ScalarType dtype);
/// Bytes of weights that decoding one token reads: every layer once per loop, the output once. Packed linear layers
/// count in their packed form, other linear layers in `dtype`, everything else in fp32.
double weight_bytes_per_token(const LoopedTransformer& model, torch::ScalarType dtype);
/// Bytes of a part's weights in inference, counted in the same way; and of the whole model's.
int64_t part_weight_bytes(const torch::nn::Module& part, torch::ScalarType dtype);
int64_t served_bytes(const LoopedTransformer& model, torch::ScalarType dtype);

/// The weight format of the large linear layers, packed or not: "fp32", "bf16", "int8" or "int4".
std::string weight_format_name(const LoopedTransformer& model);

/// Bytes of packed copies of the layers' weights in training: one for the forward pass, and one for the backward pass
/// where the processor has a unit for bf16 products.
int64_t packed_bytes(const LayerImpl& layer, torch::ScalarType dtype);
/// Bytes that a micro-step keeps for its backward pass, all loops: everything, or the inputs of the parts that are
/// recomputed and everything of one part.
int64_t activation_bytes(const LoopedTransformer& model, int64_t batch, int64_t seq_len, torch::ScalarType dtype,
                         Recompute recompute);

/// Bytes that training holds in memory on one rank that has all weights itself.
struct TrainingMemory {
  int64_t weights, packed, gradients, moments, activations;
  int64_t total() const { return weights + packed + gradients + moments + activations; }
};
TrainingMemory training_memory(const LoopedTransformer& model, int64_t batch, int64_t seq_len, torch::ScalarType dtype,
                               Recompute recompute = Recompute::kNone);

}  // namespace lt2
