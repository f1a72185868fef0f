#include "measure/grid.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/units.h"
#include "infer/memory_plan.h"
#include "measure/frontier.h"
#include "model/accounting.h"
#include "ops/tensor_pool.h"

namespace lt2 {
namespace {

using Clock = std::chrono::steady_clock;

// First guesses, corrected by the measured rows: shares of the floors, and bytes a second to fill memory for the first
// time (states) and to make a model (weights drawn, copied, packed).
constexpr double kDecodeShare = 0.7, kPrefillShare = 0.4, kFillRate = 2e9, kMakeRate = 1e9;
constexpr int64_t kLeastTurns = 5;
// Steps before the timed ones, and the short prompt before the timed one.
constexpr double kWarmSteps = 2;
constexpr int64_t kWarmPrompt = 256;
// Reserved for memory that no row counts.
constexpr double kSlack_s = 5;

struct GridRow {
  size_t model;
  std::string mode;
  int64_t context, batch;
  int rank;
  double floor_s;   // of one step, or of the prompt
  double seconds;   // predicted
  int64_t planned;  // bytes as served
  int64_t held;     // bytes as this process will hold them
  // decode: the same model and batch at the first context takes turns with this row, if this is another row and memory
  // is left.
  bool beside_first;
};

template <class T>
int index_of(const std::vector<T>& values, const T& value) {
  return static_cast<int>(std::find(values.begin(), values.end(), value) - values.begin());
}

/// The ends of the curves first, then every other point, then the rest; small batches and short prompts first.
int rank_of(const std::string& mode, int64_t context, int64_t batch, const GridOptions& options) {
  if (mode == "prefill") return 1 + 2 * index_of(options.prompts, context);
  const int at = index_of(options.contexts, context), last = static_cast<int>(options.contexts.size()) - 1;
  return 2 * index_of(options.batches, batch) + (at == 0 || at == last ? 0 : at % 2 == 0 ? 1 : 4);
}

void add_rows(const LoopedTransformer& model, size_t index, const GridOptions& options, const MachineLimits& limits,
              std::vector<GridRow>& rows) {
  const auto add = [&](const char* mode, int64_t context, int64_t batch) {
    const bool decode = std::string(mode) == "decode";
    GridRow row{.model = index,
                .mode = mode,
                .context = context,
                .batch = batch,
                .rank = rank_of(mode, context, batch, options),
                .floor_s = decode ? decode_floor_s(model, context, batch, limits)
                                  : prefill_floor_s(model, context, batch, limits),
                .seconds = 0,
                .planned = 0,
                .held = 0,
                .beside_first = false};
    const auto needs = serving_memory(model, context, batch);
    row.planned = needs.total();
    row.held = held_weight_bytes(model) + needs.states + needs.scratch;
    if (decode) {
      const int64_t shortest = options.contexts.front();
      const int64_t of_first = serving_memory(model, shortest, batch).states;
      row.beside_first = context != shortest && row.held + of_first <= options.memory;
      if (row.beside_first) row.held += of_first;
      const double first = row.beside_first ? decode_floor_s(model, shortest, batch, limits) / kDecodeShare : 0;
      const double step = row.floor_s / kDecodeShare + first;
      const double states = static_cast<double>(needs.states + (row.beside_first ? of_first : 0));
      row.seconds = kWarmSteps * step + std::max(kLeastTurns * step, options.seconds) + states / kFillRate;
    } else {
      row.seconds = row.floor_s / kPrefillShare +
                    prefill_floor_s(model, std::min(context, kWarmPrompt), batch, limits) / kPrefillShare;
    }
    rows.push_back(row);
  };
  for (const auto& mode : options.modes) {
    if (mode == "prefill") {
      for (const int64_t context : options.prompts) add("prefill", context, 1);
    } else {
      for (const int64_t batch : options.batches) {
        for (const int64_t context : options.contexts) add("decode", context, batch);
      }
    }
  }
}

/// The ratio of actual to predicted seconds, by kind.
class Slowness {
 public:
  void note(const std::string& kind, double predicted, double actual) {
    auto& sum = sums_[kind];
    sum.first += predicted;
    sum.second += actual;
  }
  /// The first guess counts as much as three seconds of measurements.
  double factor(const std::string& kind) const {
    const auto at = sums_.find(kind);
    return at == sums_.end() ? 1 : (at->second.second + 3) / (at->second.first + 3);
  }

 private:
  std::map<std::string, std::pair<double, double>> sums_;  // predicted, actual seconds
};

SpeedRow run_row(const GridRow& row, const TimedModel& model, const GridOptions& options, const MachineLimits& limits) {
  if (row.mode == "prefill") {
    // Long prompts are read once: the row says that it is a single run.
    std::vector<Contestant> one{prefill_contestant(model, row.context, kWarmPrompt, row.batch, limits)};
    return time_in_turns(one, {.seconds = options.seconds, .least = 1})[0];
  }
  const Effort effort{.seconds = options.seconds, .least = kLeastTurns};
  std::vector<Contestant> all{decode_contestant(model, row.context, row.batch, limits, effort)};
  if (row.beside_first) {
    all.push_back(decode_contestant(model, options.contexts.front(), row.batch, limits, effort));
    all[0].first = 1;
  } else if (row.context == options.contexts.front()) {
    all[0].first = 0;
  }
  return time_in_turns(all, effort)[0];
}

}  // namespace

std::vector<bool> choose_rows(const std::vector<RowCost>& rows, const std::vector<double>& setup, double seconds) {
  std::vector<size_t> order(rows.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return rows[a].rank < rows[b].rank; });
  std::vector<double> still_to_make = setup;
  std::vector<bool> chosen(rows.size(), false);
  for (const size_t i : order) {
    const double cost = rows[i].seconds + still_to_make[rows[i].model];
    if (cost > seconds) continue;
    seconds -= cost;
    still_to_make[rows[i].model] = 0;
    chosen[i] = true;
  }
  return chosen;
}

void run_grid(const std::vector<BenchModel>& models, const GridOptions& options, const MachineLimits& limits,
              double elapsed_s, const GridWatch& watch) {
  const auto begin = Clock::now();
  const auto left = [&] { return 60 * options.minutes - elapsed_s - kSlack_s - seconds_since(begin); };
  std::vector<GridRow> rows;
  std::vector<double> setup;
  for (size_t m = 0; m < models.size(); ++m) {
    const auto model = models[m].model ? models[m].model : make_empty_model(models[m].config, options.dtype);
    setup.push_back(models[m].model ? 0 : static_cast<double>(held_weight_bytes(*model)) / kMakeRate);
    add_rows(*model, m, options, limits, rows);
  }

  const auto own = options.dtype == torch::kFloat32 ? WeightFormat::kF32 : WeightFormat::kBf16;
  const std::string dtype = weight_format_name(options.weights.value_or(own));
  const auto skip = [&](const GridRow& row, const std::string& reason) {
    const auto& model = models[row.model];
    const double tokens = static_cast<double>(row.mode == "decode" ? row.batch : row.batch * row.context);
    watch.skipped({.mode = row.mode,
                   .shape = model.shape,
                   .model = model.layout,
                   .dtype = dtype,
                   .reason = reason,
                   .context = row.context,
                   .batch = row.batch,
                   .planned_bytes = row.planned,
                   .floor_tokens_per_s = tokens / row.floor_s});
  };
  Slowness slowness;
  // The rows to run from `next` on, of those that fit into memory.
  const auto choose = [&](size_t next) {
    std::vector<RowCost> costs;
    for (size_t i = next; i < rows.size(); ++i) {
      const auto& row = rows[i];
      const bool fits = row.held <= options.memory;
      costs.push_back({row.model, row.rank, fits ? row.seconds * slowness.factor(row.mode) : 1e300});
    }
    auto made = setup;
    for (auto& seconds : made) seconds *= slowness.factor("setup");
    return std::pair(choose_rows(costs, made, left()), costs);
  };
  if (watch.planned) {
    const auto [chosen, costs] = choose(0);
    double seconds = 0;
    std::vector<bool> made(models.size(), false);
    for (size_t i = 0; i < costs.size(); ++i) {
      if (!chosen[i]) continue;
      seconds += costs[i].seconds + (made[costs[i].model] ? 0 : setup[costs[i].model]);
      made[costs[i].model] = true;
    }
    watch.planned(rows.size(), static_cast<size_t>(std::count(chosen.begin(), chosen.end(), true)), seconds);
  }

  std::shared_ptr<LoopedTransformer> model;
  size_t loaded = models.size();
  int64_t own_bytes = 0;  // of the model
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto& row = rows[i];
    if (row.held > options.memory) {
      skip(row, fmt::format("needs {} of memory, {} are free", human_bytes(row.held), human_bytes(options.memory)));
      continue;
    }
    const auto [chosen, costs] = choose(i);
    if (!chosen[0]) {
      skip(row, fmt::format("no time: would take about {:.0f} s", costs[0].seconds));
      continue;
    }
    if (loaded != row.model) {
      const auto& wanted = models[row.model];
      const auto from = Clock::now();
      model.reset();
      tensor_pool_trim();
      model = wanted.model ? wanted.model : make_random_model(wanted.config, options.dtype, options.weights);
      if (!wanted.model) slowness.note("setup", setup[row.model], seconds_since(from));
      setup[row.model] = 0;
      loaded = row.model;
      tensor_pool_trim();
      own_bytes = tensor_pool_counts().live_bytes;
    }
    tensor_pool_trim();  // of the row before: large states of another size
    const auto from = Clock::now();
    SpeedRow done = run_row(row, {model, models[row.model].layout, own_bytes}, options, limits);
    slowness.note(row.mode, row.seconds, seconds_since(from));
    done.shape = models[row.model].shape;
    done.planned_bytes = row.planned;
    watch.done(done);
  }
}

std::string to_json(const SkippedRow& row) {
  nlohmann::ordered_json json{{"kind", "skipped"}, {"mode", row.mode}};
  if (!row.shape.empty()) json["shape"] = row.shape;
  json.update({{"model", row.model},
               {"context", row.context},
               {"batch", row.batch},
               {"dtype", row.dtype},
               {"floor_tokens_per_s", row.floor_tokens_per_s},
               {"planned_bytes", row.planned_bytes},
               {"reason", row.reason}});
  return json.dump();
}

}  // namespace lt2
