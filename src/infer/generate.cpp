#include "infer/generate.h"

#include <algorithm>
#include <chrono>

#include "base/error.h"

namespace lt2 {
namespace {

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

torch::Tensor prefill(LoopedTransformer& model, const torch::Tensor& tokens, SequenceState& state) {
  const int64_t L = tokens.size(1);
  torch::Tensor logits;
  for (int64_t begin = 0; begin < L;) {
    // Pieces end at absolute multiples of the piece, which are chunk borders of every op.
    const int64_t piece = std::min(L - begin, kPrefillPiece - state.position % kPrefillPiece);
    logits = model.step(tokens.narrow(1, begin, piece), state);
    begin += piece;
  }
  return logits.select(1, 0);
}

GenerateResult generate(LoopedTransformer& model, const GenerateRequest& request, const TokenHook& on_token) {
  LT2_CHECK(!request.prompt.empty(),
            "generate: the prompt has no token; give a prompt or a tokenizer with a BOS token");
  validate(request.sampling);
  const int64_t vocab = model.config().vocab_size;
  for (const int32_t token : request.prompt) {
    LT2_CHECK(token >= 0 && token < vocab, "generate: prompt token {} is outside the model's vocabulary of {}", token,
              vocab);
  }
  torch::InferenceMode inference;
  const auto device = model.tok_embeddings.device();
  const auto as_tokens = [&](const std::vector<int32_t>& ids) {
    return torch::tensor(ids, torch::kInt32).to(torch::kInt64).unsqueeze(0).to(device);
  };
  GenerateResult result;
  Sampler sampler(request.sampling, request.seed);
  auto state = model.make_state(1, static_cast<int64_t>(request.prompt.size()) + request.max_gen_len);

  auto begin = std::chrono::steady_clock::now();
  auto logits = prefill(model, as_tokens(request.prompt), state).to(torch::kCPU);
  result.prefill_s = seconds_since(begin);
  begin = std::chrono::steady_clock::now();
  while (static_cast<int64_t>(result.tokens.size()) < request.max_gen_len) {
    const int32_t token = sampler.next(logits.contiguous().data_ptr<float>(), vocab);
    result.tokens.push_back(token);
    const bool stop =
        std::find(request.stop_tokens.begin(), request.stop_tokens.end(), token) != request.stop_tokens.end();
    if ((on_token && !on_token(token)) || stop || static_cast<int64_t>(result.tokens.size()) == request.max_gen_len)
      break;
    logits = model.step(as_tokens({token}), state).select(1, 0).to(torch::kCPU);
  }
  result.decode_s = seconds_since(begin);
  result.state_bytes = state.bytes();
  return result;
}

}  // namespace lt2
