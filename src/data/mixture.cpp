#include "data/mixture.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace lt2 {
namespace {

// numpy's sum, whose order of additions decides the last bit from eight weights on.
double numpy_sum(const double* values, size_t count) {
  if (count < 8) {
    double sum = 0;
    for (size_t i = 0; i < count; ++i) sum += values[i];
    return sum;
  }
  if (count > 128) {
    const size_t half = count / 2 - count / 2 % 8;
    return numpy_sum(values, half) + numpy_sum(values + half, count - half);
  }
  double r[8];
  std::copy_n(values, 8, r);
  size_t i = 8;
  for (; i < count - count % 8; i += 8)
    for (size_t j = 0; j < 8; ++j) r[j] += values[i + j];
  double sum = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
  for (; i < count; ++i) sum += values[i];
  return sum;
}

}  // namespace

Mixture::Mixture(const std::vector<Source>& sources, const Encoding& encoding, const Pcg64& rng)
    : encoding_(encoding), rng_(rng) {
  LT2_CHECK(!sources.empty(), "data.sources: no source. Name at least one, as in data.sources={{my_folder: 1.0}}.");
  std::vector<double> weights;
  for (const Source& source : sources) {
    LT2_CHECK(std::isfinite(source.weight) && source.weight >= 0, "data.sources.{}: expected a weight >= 0, found {}",
              source.name, source.weight);
    weights.push_back(source.weight);
    readers_.push_back(DocumentReader::open(source.part, encoding));
  }
  const double sum = numpy_sum(weights.data(), weights.size());
  LT2_CHECK(sum > 0, "data.sources: all weights are 0");
  double running = 0;
  for (const double weight : weights) cumulative_.push_back(running += weight / sum);
  for (double& value : cumulative_) value /= running;
  fruitful_iter_.resize(readers_.size(), 0);
}

size_t Mixture::choose() {
  const auto above = std::upper_bound(cumulative_.begin(), cumulative_.end(), rng_.uniform());
  return static_cast<size_t>(above - cumulative_.begin());
}

Tokens Mixture::next() {
  for (;;) {
    last_ = choose();
    DocumentReader& reader = *readers_[last_];
    Tokens tokens = reader.next();
    const int64_t iter = reader.state().current_iter;
    if (!tokens->empty()) {
      fruitful_iter_[last_] = iter;
      return tokens;
    }
    LT2_CHECK(iter < fruitful_iter_[last_] + 2, "{}: not one token in the whole file (every text is empty)",
              reader.part().path);
  }
}

Mixture::State Mixture::state() const {
  State state{{}, rng_.state()};
  for (const auto& reader : readers_) state.readers.push_back(reader->state());
  return state;
}

void Mixture::set_state(const State& state) {
  rng_.set_state(state.rng);
  for (size_t i = 0; i < readers_.size(); ++i) {
    readers_[i]->set_state(state.readers[i]);
    fruitful_iter_[i] = state.readers[i].current_iter;
  }
}

void Mixture::set_part(size_t source, const FilePart& part) {
  readers_[source] = DocumentReader::open(part, encoding_);
}

}  // namespace lt2
