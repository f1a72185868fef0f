#include "infer/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace lt2 {
namespace {

double log_normaliser(const float* logits, int64_t vocab) {
  const double best = *std::max_element(logits, logits + vocab);
  double sum = 0;
  for (int64_t i = 0; i < vocab; ++i) sum += std::exp(static_cast<double>(logits[i]) - best);
  return best + std::log(sum);
}

// The number of tokens in `order` that stay; they are moved to the front. `weight` is not normalised, its sum is `sum`.
size_t cut(const SamplingOptions& options, const std::vector<double>& weight, double sum, std::vector<int32_t>& order) {
  const auto weight_of = [&](size_t i) { return weight[static_cast<size_t>(order[i])]; };
  const auto more_probable = [&](int32_t a, int32_t b) {
    const double wa = weight[static_cast<size_t>(a)], wb = weight[static_cast<size_t>(b)];
    return wa != wb ? wa > wb : a < b;
  };
  size_t kept = order.size();
  const bool top_k = !options.top_p && options.top_k && *options.top_k < static_cast<int64_t>(order.size());
  if (!options.top_p && !top_k && !options.min_p) return kept;
  std::sort(order.begin(), order.end(), more_probable);
  if (options.top_p) {
    double before = 0;
    for (kept = 0; kept < order.size() && before <= *options.top_p * sum; ++kept) before += weight_of(kept);
  } else if (top_k) {
    kept = static_cast<size_t>(*options.top_k);
    while (kept < order.size() && weight_of(kept) == weight_of(static_cast<size_t>(*options.top_k) - 1)) ++kept;
  }
  if (options.min_p) {
    while (kept > 1 && weight_of(kept - 1) < *options.min_p * weight_of(0)) --kept;
  }
  return kept;
}

}  // namespace

void validate(const SamplingOptions& options, int64_t vocab) {
  LT2_CHECK(options.temperature >= 0 && std::isfinite(options.temperature), "temperature must be >= 0; found {}",
            options.temperature);
  LT2_CHECK(!options.top_p || (*options.top_p > 0 && *options.top_p <= 1), "top_p must be in (0, 1]; found {}",
            *options.top_p);
  LT2_CHECK(!options.top_k || *options.top_k >= 1, "top_k must be >= 1; found {}", *options.top_k);
  LT2_CHECK(!options.min_p || (*options.min_p >= 0 && *options.min_p <= 1), "min_p must be in [0, 1]; found {}",
            *options.min_p);
  LT2_CHECK(options.repetition_penalty > 0 && std::isfinite(options.repetition_penalty),
            "repetition_penalty must be > 0 (1: none); found {}", options.repetition_penalty);
  LT2_CHECK(std::isfinite(options.presence_penalty), "presence_penalty must be a number; found {}",
            options.presence_penalty);
  for (const auto& [token, bias] : options.logit_bias) {
    LT2_CHECK(token >= 0 && token < vocab, "logit_bias names token {}, outside the model's vocabulary of {}", token,
              vocab);
    LT2_CHECK(!std::isnan(bias) && bias < INFINITY, "logit_bias of token {} must be a number or -inf; found {}", token,
              bias);
  }
}

void Sampler::read(const std::vector<int32_t>& prompt) {
  if (options_.repetition_penalty == 1) return;
  for (const int32_t token : prompt) ++in_prompt_[token];
}

void Sampler::write(int32_t token) { ++in_text_[token]; }

void Sampler::unwrite(int32_t token) {
  if (--in_text_[token] == 0) in_text_.erase(token);
}

void check_logits(const float* logits, int64_t vocab) {
  const auto bad = std::find_if(logits, logits + vocab, [](float x) { return std::isnan(x) || x == INFINITY; });
  if (bad == logits + vocab) return;
  throw NotFinite(fmt::format(
      "generate: the logit of token {} is {}; the checkpoint is damaged or its training diverged. Try an earlier one",
      bad - logits, *bad));
}

Candidates Sampler::candidates(const float* logits, int64_t vocab) const {
  check_logits(logits, vocab);
  std::vector<double> weight(logits, logits + vocab);
  if (options_.repetition_penalty != 1) {
    const auto penalise = [&](int32_t token) {
      double& logit = weight[static_cast<size_t>(token)];
      logit = logit > 0 ? logit / options_.repetition_penalty : logit * options_.repetition_penalty;
    };
    for (const auto& [token, times] : in_prompt_) penalise(token);
    for (const auto& [token, times] : in_text_) {
      if (in_prompt_.count(token) == 0) penalise(token);
    }
  }
  for (const auto& [token, times] : in_text_) weight[static_cast<size_t>(token)] -= options_.presence_penalty;
  for (const auto& [token, bias] : options_.logit_bias) weight[static_cast<size_t>(token)] += bias;
  const auto best = std::max_element(weight.begin(), weight.end());
  LT2_CHECK(std::isfinite(*best), "generate: the largest logit is {}; look at logit_bias and the penalties", *best);
  if (options_.temperature == 0) return {{static_cast<int32_t>(best - weight.begin())}, {1.0}};

  const double highest = *best;
  double sum = 0;
  for (double& x : weight) sum += x = std::exp((x - highest) / options_.temperature);
  std::vector<int32_t> order(static_cast<size_t>(vocab));
  std::iota(order.begin(), order.end(), 0);
  order.resize(cut(options_, weight, sum, order));
  // A token without weight (a bias of -inf) is no candidate.
  order.erase(std::remove_if(order.begin(), order.end(),
                             [&](int32_t token) { return weight[static_cast<size_t>(token)] <= 0; }),
              order.end());
  Candidates out{.tokens = std::move(order), .probability = {}};
  double mass = 0;
  for (const int32_t token : out.tokens) mass += weight[static_cast<size_t>(token)];
  for (const int32_t token : out.tokens) out.probability.push_back(weight[static_cast<size_t>(token)] / mass);
  return out;
}

int32_t Sampler::draw(const Candidates& candidates) {
  const auto& [tokens, probability] = candidates;
  if (tokens.size() == 1) return tokens[0];
  double left = random_.uniform();
  for (size_t i = 0; i + 1 < tokens.size(); ++i) {
    left -= probability[i];
    if (left < 0) return tokens[i];
  }
  return tokens.back();
}

int32_t Sampler::next(const float* logits, int64_t vocab) {
  const int32_t token = draw(candidates(logits, vocab));
  write(token);
  return token;
}

double log_probability(const float* logits, int64_t vocab, int32_t token) {
  return static_cast<double>(logits[token]) - log_normaliser(logits, vocab);
}

std::vector<std::pair<int32_t, double>> top_log_probabilities(const float* logits, int64_t vocab, int64_t count) {
  std::vector<int32_t> order(static_cast<size_t>(vocab));
  std::iota(order.begin(), order.end(), 0);
  const auto kept = order.begin() + std::min(count, vocab);
  std::partial_sort(order.begin(), kept, order.end(),
                    [&](int32_t a, int32_t b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; });
  const double normaliser = log_normaliser(logits, vocab);
  std::vector<std::pair<int32_t, double>> out;
  for (auto it = order.begin(); it != kept; ++it) out.emplace_back(*it, static_cast<double>(logits[*it]) - normaliser);
  return out;
}

}  // namespace lt2
