#include "infer/memory_plan.h"

#include <algorithm>
#include <fstream>

#include "base/error.h"
#include "base/units.h"
#include "model/accounting.h"

namespace lt2 {
namespace {

std::string human(int64_t bytes) { return human_bytes(static_cast<double>(bytes)); }

std::optional<int64_t> number_in(const char* path) {
  std::ifstream in(path);
  int64_t value = 0;
  if (in >> value) return value;
  return std::nullopt;  // "max", or no such file
}

}  // namespace

int64_t held_weight_bytes(const LoopedTransformer& model) {
  int64_t masters = 0;  // beside the packed copies
  for (const auto& module : model.modules()) {
    const auto* map = dynamic_cast<const LinearImpl*>(module.get());
    if (map && !map->weight.is_meta()) masters += static_cast<int64_t>(map->weight.nbytes());
  }
  return masters + served_bytes(model, model.compute_type);
}

MemoryPlan plan_memory(const LoopedTransformer& model, int64_t budget, int64_t rows, int64_t outputs) {
  const auto& c = model.config();
  const auto element = static_cast<int64_t>(c10::elementSize(model.compute_type));
  int64_t widest = 0;
  for (const auto& layer : model.layers) widest = std::max(widest, layer->mixer->saved_elements_per_token());
  // The stream and its sums in fp32; a mixer's intermediates, half of them also in fp32 while they are made; the FFN's
  // two halves.
  const int64_t of_row = 6 * 4 * c.dim + widest * (element + 4) + 3 * element * ffn_hidden_dim(c);
  MemoryPlan plan{
      .weights = held_weight_bytes(model), .scratch = rows * of_row + 3 * 4 * outputs * c.vocab_size, .budget = budget};
  LT2_CHECK(plan.for_states() > 0,
            "the model does not fit: weights {} and {} of scratch for {} tokens a pass are more than the {} there are "
            "(memory=). Take int8 or int4 weights, or more memory",
            human(plan.weights), human(plan.scratch), rows, human(budget));
  return plan;
}

int64_t sequence_bytes(const LoopedTransformer& model, int64_t tokens, int64_t rewinds) {
  const int64_t state = state_bytes(model, tokens, model.compute_type);
  if (rewinds == 0) return state;
  // Rows are taken back in place; what does not grow with the context (matrices) is kept twice.
  const int64_t fixed = state_bytes(model, 1, model.compute_type);
  return state + fixed * 2;
}

int64_t available_memory() {
  int64_t bytes = 0;
  std::ifstream in("/proc/meminfo");
  for (std::string key; in >> key;) {
    int64_t kib = 0;
    if (key == "MemAvailable:" && in >> kib) bytes = kib * 1024;
    std::getline(in, key);
  }
  const auto limit = number_in("/sys/fs/cgroup/memory.max"), used = number_in("/sys/fs/cgroup/memory.current");
  if (limit && used) bytes = std::min(bytes, std::max<int64_t>(0, *limit - *used));
  return bytes;
}

}  // namespace lt2
