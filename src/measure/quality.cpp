#include "measure/quality.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace lt2 {

double Quality::reference_perplexity() const { return std::exp(reference_loss); }
double Quality::perplexity() const { return std::exp(loss); }

Quality compare_quality(LoopedTransformer& reference, LoopedTransformer& model, const std::vector<int32_t>& tokens,
                        int64_t window) {
  LT2_CHECK(tokens.size() >= 2 && window >= 1, "quality: at least two tokens of text are needed; found {}",
            tokens.size());
  torch::InferenceMode inference;
  const auto all = torch::tensor(tokens, torch::kInt32).to(torch::kInt64);
  const int64_t total = all.size(0) - 1;
  Quality sum;
  for (int64_t begin = 0; begin < total; begin += window) {
    const int64_t count = std::min(window, total - begin);
    const auto input = all.narrow(0, begin, count), target = all.narrow(0, begin + 1, count).unsqueeze(1);
    const auto log_probabilities = [&](LoopedTransformer& of) {
      auto state = of.make_state(1, count);
      return torch::log_softmax(of.advance({{.state = &state, .tokens = input, .all_positions = true}})[0].logits, -1);
    };
    const auto p = log_probabilities(reference), q = log_probabilities(model);
    sum.tokens += count;
    sum.reference_loss -= p.gather(1, target).sum(torch::kFloat64).item<double>();
    sum.loss -= q.gather(1, target).sum(torch::kFloat64).item<double>();
    sum.divergence += (p.exp() * (p - q)).sum(torch::kFloat64).item<double>();
    sum.same_first_choice += (p.argmax(-1) == q.argmax(-1)).sum().item<double>();
  }
  const auto n = static_cast<double>(sum.tokens);
  sum.reference_loss /= n;
  sum.loss /= n;
  sum.divergence /= n;
  sum.same_first_choice /= n;
  return sum;
}

}  // namespace lt2
