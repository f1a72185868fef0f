#pragma once
// From logits to a token.
#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/random.h"

namespace lt2 {

struct SamplingOptions {
  double temperature = 0;         // 0: the likeliest token, the smaller one on ties
  std::optional<double> top_p;    // nucleus: the smallest sorted prefix whose mass before its last token is <= top_p;
                                  // wins over top_k
  std::optional<int64_t> top_k;   // tokens at least as probable as the k-th; ties stay
  std::optional<double> min_p;    // of the remaining tokens, those at least min_p times as probable as the likeliest
  double repetition_penalty = 1;  // of tokens in prompt or text: positive logits are divided, others multiplied by it
  double presence_penalty = 0;    // subtracted from the logits of tokens that the text already holds
  std::vector<std::pair<int32_t, double>> logit_bias;  // added to the logits of these tokens
};

/// Throws lt2::Error unless temperature >= 0, 0 < top_p <= 1, top_k >= 1, 0 <= min_p <= 1, repetition_penalty > 0 and
/// the biased tokens are in a vocabulary of `vocab`.
void validate(const SamplingOptions& options, int64_t vocab);

/// The tokens that sampling may give.
struct Candidates {
  std::vector<int32_t> tokens;
  std::vector<double> probability;  // sum to 1
};

/// Same options, seed, prompt and logits: same tokens.
class Sampler {
 public:
  Sampler(SamplingOptions options, uint64_t seed) : options_(std::move(options)), random_({seed}) {}

  /// Tokens of the prompt, for the repetition penalty.
  void read(const std::vector<int32_t>& prompt);
  /// The distribution after penalties, temperature and cuts. logits fp32 [vocab]. Throws lt2::Error on NaN or +inf.
  Candidates candidates(const float* logits, int64_t vocab) const;
  /// A token of the distribution; one random number unless there is no choice.
  int32_t draw(const Candidates& candidates);
  /// Draws from the logits and puts the token into the text.
  int32_t next(const float* logits, int64_t vocab);
  /// Puts a token into the text, or takes it back.
  void write(int32_t token);
  void unwrite(int32_t token);
  /// Uniform in [0, 1).
  double uniform() { return random_.uniform(); }

 private:
  SamplingOptions options_;
  Pcg64 random_;
  std::map<int32_t, int64_t> in_prompt_, in_text_;  // times
};

/// Logits that are no numbers: the weights are damaged, or training diverged.
class NotFinite : public Error {
 public:
  using Error::Error;
};

/// Throws NotFinite if one of logits fp32 [vocab] is NaN or +inf.
void check_logits(const float* logits, int64_t vocab);

/// log softmax of logits fp32 [vocab] at `token`.
double log_probability(const float* logits, int64_t vocab, int32_t token);

/// The `count` likeliest tokens and their log probabilities, likeliest first.
std::vector<std::pair<int32_t, double>> top_log_probabilities(const float* logits, int64_t vocab, int64_t count);

}  // namespace lt2
