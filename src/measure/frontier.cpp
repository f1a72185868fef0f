#include "measure/frontier.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/units.h"
#include "infer/generate.h"
#include "infer/memory_plan.h"
#include "measure/random_model.h"
#include "measure/speed.h"
#include "model/accounting.h"

namespace lt2 {
namespace {

/// Decoding one token must not make the buffers grow.
constexpr int64_t kRoom = 1;

int64_t resident_bytes() {
  std::ifstream in("/proc/self/statm");
  int64_t pages = 0, resident = 0;
  in >> pages >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

/// The largest multiple of kContextStep with which `bytes_at`, which grows with the context, is at most `memory`.
template <class BytesAt>
int64_t largest_multiple(int64_t memory, BytesAt bytes_at) {
  if (bytes_at(kEndlessContext) <= memory) return kEndlessContext;
  int64_t fits = 0, too_much = kEndlessContext / kContextStep;
  while (too_much - fits > 1) {
    const int64_t middle = fits + (too_much - fits) / 2;
    (bytes_at(middle * kContextStep) <= memory ? fits : too_much) = middle;
  }
  return fits * kContextStep;
}

}  // namespace

ServingMemory serving_memory(const LoopedTransformer& model, int64_t context, int64_t batch) {
  constexpr int64_t kNoLimit = int64_t{1} << 60;
  const int64_t rows = std::max(batch, std::min(context, kPrefillChunk));
  return {.weights = served_bytes(model, model.compute_type),
          .states = batch * sequence_bytes(model, context + kRoom, 0),
          .scratch = plan_memory(model, kNoLimit, rows, batch).scratch};
}

int64_t largest_context(const LoopedTransformer& model, int64_t batch, int64_t memory) {
  return largest_multiple(memory, [&](int64_t context) { return serving_memory(model, context, batch).total(); });
}

FrontierRow compute_frontier(const LoopedTransformer& model, int64_t batch, int64_t memory) {
  FrontierRow row;
  row.batch = batch;
  row.dtype = weight_format_name(model);
  row.memory = memory;
  row.context = largest_context(model, batch, memory);
  row.needs = serving_memory(model, row.context, batch);
  if (!row.endless()) {
    row.refused_context = std::max(row.context + row.context / 10, row.context + kContextStep);
    row.refused_bytes = serving_memory(model, row.refused_context, batch).total();
  }
  return row;
}

void try_frontier(LoopedTransformer& model, FrontierRow& row, int64_t here, bool shrink) {
  const auto states_and_scratch = [&](int64_t context) {
    const auto needs = serving_memory(model, context, row.batch);
    return needs.states + needs.scratch;
  };
  // If memory sets no limit, the tried length is one that the other models cannot reach.
  int64_t context = row.endless() ? int64_t{1} << 20 : row.context;
  if (context > 0 && states_and_scratch(context) > here) {
    row.not_tried = fmt::format("needs {} besides the weights, this machine has {}",
                                human_bytes(states_and_scratch(context)), human_bytes(here));
    if (!shrink) return;
    context = std::min(context, largest_multiple(here, states_and_scratch));
  }
  if (context == 0) {
    row.not_tried = row.context == 0 ? "nothing fits" : row.not_tried;
    return;
  }
  torch::InferenceMode inference;
  const auto token = torch::ones({row.batch, 1}, torch::kInt64);
  const int64_t before = resident_bytes();
  try {
    auto state = model.make_state(row.batch, context + kRoom);
    for (auto& draw : state.draws) {
      for (auto& slot : draw.slots) slot->fill_synthetic(context);
    }
    state.position = context;
    const auto begin = std::chrono::steady_clock::now();
    model.step(token, state);
    row.step_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    row.resident_bytes = resident_bytes() - before;
    row.tried_states = row.batch * state_bytes(model, context + kRoom, model.compute_type);
  } catch (const c10::Error& error) {
    fail("{} {}: {} tokens x {} were planned with {} and did not fit: {}", row.shape, row.model, context, row.batch,
         human_bytes(states_and_scratch(context)), error.what_without_backtrace());
  }
  row.tried = true;
  row.tried_context = context;
}

std::string to_json(const FrontierRow& row) {
  nlohmann::ordered_json json{{"kind", "frontier"}};
  if (!row.shape.empty()) json["shape"] = row.shape;
  json["model"] = row.model;
  if (row.endless()) {
    json["context"] = nullptr;
  } else {
    json["context"] = row.context;
  }
  json["endless"] = row.endless();
  json["batch"] = row.batch;
  json["dtype"] = row.dtype;
  json["memory_bytes"] = row.memory;
  json["planned_bytes"] = row.needs.total();
  json["weight_bytes"] = row.needs.weights;
  json["state_bytes"] = row.needs.states;
  json["scratch_bytes"] = row.needs.scratch;
  if (!row.endless()) {
    json["refused_context"] = row.refused_context;
    json["refused_bytes"] = row.refused_bytes;
  }
  json["tried"] = row.tried;
  if (row.tried) {
    json["tried_context"] = row.tried_context;
    json["tried_state_bytes"] = row.tried_states;
    json["resident_bytes"] = row.resident_bytes;
    json["step_s"] = row.step_s;
  }
  if (!row.not_tried.empty()) json["not_tried"] = row.not_tried;
  return json.dump();
}

}  // namespace lt2
