#pragma once
// Prefill and decode with state: the one way text is made.
#include <functional>
#include <vector>

#include "infer/sampler.h"
#include "model/looped_transformer.h"

namespace lt2 {

struct GenerateRequest {
  std::vector<int32_t> prompt;  // at least one token
  int64_t max_gen_len = 512;
  std::vector<int32_t> stop_tokens;  // end after one of these (it is returned)
  SamplingOptions sampling;
  uint64_t seed = 0;
};

struct GenerateResult {
  std::vector<int32_t> tokens;         // generated ones only
  double prefill_s = 0, decode_s = 0;  // decode_s: of tokens.size() - 1 steps, the first token comes out of the prefill
  int64_t state_bytes = 0;             // at the end
};

/// Called with each token as soon as it is sampled; false ends the generation.
using TokenHook = std::function<bool(int32_t token)>;

/// Reads the prompt in pieces of at most kPrefillPiece tokens (bounded memory, exact at the ops' chunk borders), then
/// decodes token by token.
GenerateResult generate(LoopedTransformer& model, const GenerateRequest& request, const TokenHook& on_token = {});

inline constexpr int64_t kPrefillPiece = 2048;

/// Runs `tokens` [B, L] through the state piece by piece; returns the last token's logits [B, vocab] fp32.
torch::Tensor prefill(LoopedTransformer& model, const torch::Tensor& tokens, SequenceState& state);

}  // namespace lt2
