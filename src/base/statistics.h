#pragma once
// What repeated measurements say, and how sure they are. Times on a machine that others use as well are disturbed now
// and then: a median does not mind as long as most of them are not, and the width of their middle half tells.
#include <functional>
#include <string>
#include <vector>

namespace lt2 {

/// A middle half wider than this share of the median is noise.
inline constexpr double kNoisySpread = 0.1;
/// Fewer samples than this say nothing about their spread.
inline constexpr size_t kLeastSamples = 3;

/// Median and quartiles, interpolated between neighbours; NaN without samples.
struct Spread {
  double median = 0, low = 0, high = 0;  // low, high: the middle half of the samples lies between them
  size_t count = 0;

  /// Width of the middle half as a share of the median.
  double relative() const { return (high - low) / median; }
  /// Too few samples, too far apart, or not finite: not to be told as a fact.
  bool noisy() const { return count < kLeastSamples || !(relative() <= kNoisySpread); }
};

Spread spread_of(std::vector<double> samples);

/// Of a[i] / b[i]: what is compared is measured in turns, so that a disturbance meets both halves of a pair, or one
/// pair of many. Both must have one length.
Spread paired_ratio(const std::vector<double>& a, const std::vector<double>& b);

/// Does a thing once and returns the seconds of it that count.
using TimedRun = std::function<double()>;

struct TurnsBudget {
  double seconds = 2;  // of all runs together, at most; half of them where the samples are not noisy by then
  size_t least = 5;    // rounds, however long they take
  size_t most = 4096;  // rounds
};

/// Rounds of one turn each, A B C A B C ..: out[i][r] is what run i took in round r. Noisy is what spread_of says of
/// one run, or paired_ratio of one and the first.
std::vector<std::vector<double>> run_in_turns(const std::vector<TimedRun>& runs, const TurnsBudget& budget);

}  // namespace lt2
