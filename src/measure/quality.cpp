#include "measure/quality.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "infer/engine.h"

namespace lt2 {
namespace {

// The log probability of `text` after its first token; `on_logits` gets the logits it was computed from. Both engines
// cut a text into the same chunks.
double score(Engine& engine, const std::vector<int32_t>& text, std::function<void(const torch::Tensor&)> on_logits) {
  const auto id =
      engine.submit({.prompt = text, .max_gen_len = 0, .score_from = 1, .on_score_logits = std::move(on_logits)});
  engine.run();
  double sum = 0;
  for (const auto& token : engine.take(id).scored) sum += token.log_probability;
  return sum;
}

}  // namespace

double Quality::reference_perplexity() const { return std::exp(reference_loss); }
double Quality::perplexity() const { return std::exp(loss); }

Quality compare_quality(LoopedTransformer& reference, LoopedTransformer& model, const std::vector<int32_t>& tokens,
                        int64_t window) {
  LT2_CHECK(tokens.size() >= 2 && window >= 1, "quality: at least two tokens of text are needed; found {}",
            tokens.size());
  const auto total = static_cast<int64_t>(tokens.size()) - 1;
  Engine of_reference(reference, {.scores = true}), of_model(model, {.scores = true});
  Quality sum;
  for (int64_t begin = 0; begin < total; begin += window) {
    const int64_t count = std::min(window, total - begin);
    const std::vector<int32_t> text(tokens.begin() + begin, tokens.begin() + begin + count + 1);
    std::vector<torch::Tensor> expected;  // log probabilities, a few rows each
    sum.reference_loss -= score(
        of_reference, text, [&](const torch::Tensor& logits) { expected.push_back(torch::log_softmax(logits, -1)); });
    size_t next = 0;
    sum.loss -= score(of_model, text, [&](const torch::Tensor& logits) {
      const auto &p = expected.at(next++), q = torch::log_softmax(logits, -1);
      sum.divergence += (p.exp() * (p - q)).sum(torch::kFloat64).item<double>();
      sum.same_first_choice += (p.argmax(-1) == q.argmax(-1)).sum().item<double>();
    });
    sum.tokens += count;
  }
  const auto n = static_cast<double>(sum.tokens);
  sum.reference_loss /= n;
  sum.loss /= n;
  sum.divergence /= n;
  sum.same_first_choice /= n;
  return sum;
}

}  // namespace lt2
