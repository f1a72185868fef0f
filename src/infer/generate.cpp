#include "infer/generate.h"

#include <algorithm>

namespace lt2 {

torch::Tensor prefill(LoopedTransformer& model, const torch::Tensor& tokens, SequenceState& state) {
  const int64_t L = tokens.size(1);
  torch::Tensor logits;
  for (int64_t begin = 0; begin < L;) {
    // Chunks end at absolute multiples of their size, which are chunk borders of every op.
    const int64_t chunk = std::min(L - begin, kPrefillChunk - state.position % kPrefillChunk);
    logits = model.step(tokens.narrow(1, begin, chunk), state);
    begin += chunk;
  }
  return logits.select(1, 0);
}

GenerateResult generate(LoopedTransformer& model, GenerateRequest request) {
  Engine engine(model, {.exit = model.exit_rule()});
  const auto id = engine.submit(std::move(request));
  engine.run();
  return engine.take(id);
}

}  // namespace lt2
