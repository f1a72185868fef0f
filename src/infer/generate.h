#pragma once
// Runs a single request, or a single prefill.
#include "infer/engine.h"

namespace lt2 {

/// Runs one request to its end, with the exit rule of the model's configuration.
GenerateResult generate(LoopedTransformer& model, GenerateRequest request);

/// Runs `tokens` [B, L] through the state chunk by chunk (bounded memory, exact at the ops' chunk borders); returns the
/// last token's logits [B, vocab] fp32.
torch::Tensor prefill(LoopedTransformer& model, const torch::Tensor& tokens, SequenceState& state);

}  // namespace lt2
