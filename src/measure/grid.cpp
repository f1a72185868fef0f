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

// First guesses, put right by what the rows take: shares of the floors, and bytes a second of memory that is filled
// for the first time (states) and of making a model (weights drawn, copied, packed).
constexpr double kDecodeShare = 0.7, kPrefillShare = 0.4, kFillRate = 2e9, kMakeRate = 1e9;
constexpr int64_t kLeastSteps = 5;
// Steps before the timed ones, and the short prompt before the timed one.
constexpr double kWarmSteps = 2;
constexpr int64_t kWarmPrompt = 256;
// Left over for what no row counts.
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

Effort effort_of(const GridOptions& options) {
  return {.seconds = options.seconds, .least_steps = kLeastSteps, .repeats = 1};
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
                .held = 0};
    const auto needs = serving_memory(model, context, batch);
    row.planned = needs.total();
    row.held = held_weight_bytes(model) + needs.states + needs.scratch;
    if (decode) {
      const double step = row.floor_s / kDecodeShare;
      const double timed = std::max(kLeastSteps * step, options.seconds);
      row.seconds = kWarmSteps * step + timed + static_cast<double>(needs.states) / kFillRate;
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

/// How much longer than predicted things take, by kind.
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
  const auto left = [&] {
    return 60 * options.minutes - elapsed_s - kSlack_s - std::chrono::duration<double>(Clock::now() - begin).count();
  };
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
  // The rows from `next` on that are to be run, of those that fit into memory.
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
  std::map<int64_t, double> first_share;  // by batch: of the decode row with the shortest context
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
      if (!wanted.model)
        slowness.note("setup", setup[row.model], std::chrono::duration<double>(Clock::now() - from).count());
      setup[row.model] = 0;
      loaded = row.model;
      first_share.clear();
    }
    tensor_pool_trim();  // of the row before: large states of another size
    const auto from = Clock::now();
    SpeedRow done =
        row.mode == "decode"
            ? decode_speed(*model, models[row.model].layout, row.context, row.batch, limits, effort_of(options))
            : prefill_speed(*model, models[row.model].layout, row.context, row.batch, limits, effort_of(options));
    slowness.note(row.mode, row.seconds, std::chrono::duration<double>(Clock::now() - from).count());
    done.shape = models[row.model].shape;
    done.planned_bytes = row.planned;
    if (row.mode == "decode") {
      const auto first = first_share.emplace(row.batch, done.share).first;
      done.predicted_share = done.share / first->second;
    }
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
