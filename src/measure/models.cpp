#include "measure/models.h"

#include <algorithm>

namespace lt2 {
namespace {

/// Lets `all` take turns; reports the first `rows` of them.
void tell(std::vector<Contestant>& all, size_t rows, const Effort& effort,
          const std::function<void(const SpeedRow&)>& done) {
  const auto timed = time_in_turns(all, effort);
  for (size_t i = 0; i < rows; ++i) done(timed[i]);
}

/// Compares the first `rows` with the first of them, if they do the same work.
void compare_with_the_first(std::vector<Contestant>& all, size_t rows) {
  for (size_t i = 1; i < rows; ++i) {
    const auto &a = all[0].row, &b = all[i].row;
    if (a.context == b.context && a.batch == b.batch && a.dtype == b.dtype) all[i].baseline = 0;
  }
}

}  // namespace

void time_models(const std::vector<OwnModel>& models, const OwnOptions& options, const MachineLimits& limits,
                 const std::function<void(const SpeedRow&)>& done) {
  const auto wants = [&](const char* mode) {
    return std::find(options.modes.begin(), options.modes.end(), mode) != options.modes.end();
  };
  const auto effort_for = [&](size_t rows, size_t least) {
    return Effort{.seconds = options.seconds * static_cast<double>(rows), .least = least};
  };
  if (wants("train")) {
    std::vector<Contestant> all;
    for (const auto& own : models) {
      for (auto& each :
           train_contestants(own.timed, own.recompute, own.seq_len, options.batch.value_or(own.batch_size), limits))
        all.push_back(std::move(each));
    }
    compare_with_the_first(all, all.size());
    tell(all, all.size(), effort_for(all.size(), kLeastSamples), done);
  }
  if (wants("prefill")) {
    // Without contexts the prompt has the configuration's length.
    for (size_t i = 0; i < std::max<size_t>(1, options.contexts.size()); ++i) {
      std::vector<Contestant> all;
      for (const auto& own : models) {
        const int64_t length = options.contexts.empty() ? own.seq_len : options.contexts[i];
        all.push_back(prefill_contestant(own.timed, length, length, options.batch.value_or(1), limits));
      }
      compare_with_the_first(all, all.size());
      tell(all, all.size(), effort_for(all.size(), kLeastSamples), done);
    }
  }
  if (!wants("decode")) return;
  const auto contexts =
      options.contexts.empty() ? std::vector<int64_t>{1024, 2048, 4096, 8192, 16384, 32768} : options.contexts;
  for (const int64_t context : contexts) {
    const auto effort = effort_for(models.size(), 5);
    std::vector<Contestant> all;
    const auto add = [&](int64_t at) {
      for (const auto& own : models)
        all.push_back(decode_contestant(own.timed, at, options.batch.value_or(1), limits, effort));
    };
    add(context);
    if (context != contexts.front()) add(contexts.front());
    for (size_t i = 0; i < models.size(); ++i) all[i].first = all.size() - models.size() + i;
    compare_with_the_first(all, models.size());
    tell(all, models.size(), effort, done);
  }
}

}  // namespace lt2
