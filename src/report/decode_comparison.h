#pragma once
// What a page says about one model compared with another: only what one run of the benchmark measured in turns.
#include <optional>
#include <string>
#include <vector>

#include "report/run_record.h"

namespace lt2 {

/// Two models measured under the same conditions, at the longest context both have.
struct DecodeComparison {
  std::string model, baseline;
  double context = kAbsent;
  // model / baseline, > 1: the model is faster. The median of pairs of turns; absent where they took none together.
  double speed_ratio = kAbsent, speed_ratio_low = kAbsent, speed_ratio_high = kAbsent;
  double pairs = kAbsent;
  bool noisy = false;            // the pairs lie too far apart, or are too few
  double state_ratio = kAbsent;  // baseline / model, > 1: the model's state is smaller
  double model_state_bytes = kAbsent, baseline_state_bytes = kAbsent;
};

/// "hybrid" (else the first other model) against "full"; none if there is no such pair with equal dtype and batch.
std::optional<DecodeComparison> compare_decode(const std::vector<BenchRow>& bench);

/// "At a context of 32,768 tokens the hybrid decodes 3.4 times as fast as full attention ..."; empty without a pair.
std::string efficiency_summary(const std::vector<BenchRow>& bench);

/// The rows of decoding a run's own models.
std::vector<BenchRow> decode_rows(const std::vector<BenchRow>& bench);
/// The row of `model` in the place of `like`, or null.
const BenchRow* find_row(const std::vector<BenchRow>& rows, const BenchRow& like, const std::string& model);
/// "full" -> "full attention": the benchmark's names are short, the page's are words.
std::string display_name(const std::string& model);

}  // namespace lt2
