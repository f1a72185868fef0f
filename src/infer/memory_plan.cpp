#include "infer/memory_plan.h"

#include <algorithm>
#include <fstream>

#include "base/error.h"
#include "base/units.h"
#include "config/patterns.h"
#include "model/accounting.h"

namespace lt2 {
namespace {

std::optional<int64_t> number_in(const char* path) {
  std::ifstream in(path);
  int64_t value = 0;
  if (in >> value) return value;
  return std::nullopt;  // "max", or no such file
}

}  // namespace

int64_t held_weight_bytes(const LoopedTransformer& model) {
  int64_t masters = 0;  // besides the packed copies
  for (const auto& module : model.modules()) {
    const auto* map = dynamic_cast<const LinearImpl*>(module.get());
    if (map && !map->weight.is_meta()) masters += static_cast<int64_t>(map->weight.nbytes());
  }
  int64_t read = 0;  // mixers that read a weight directly keep a copy of it in another order
  for (const auto& layer : model.layers) {
    for (const auto* map : layer->mixer->read_maps()) read += 4 * map->weight.numel();
  }
  return masters + read + served_bytes(model, model.compute_type);
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
            "the model does not fit: weights of {} and scratch of {} for {} tokens a pass exceed the available {} "
            "(memory=). Take int8 or int4 weights, or more memory",
            human_bytes(plan.weights), human_bytes(plan.scratch), rows, human_bytes(budget));
  return plan;
}

int64_t sequence_bytes(const LoopedTransformer& model, int64_t tokens, int64_t rewinds) {
  const auto dtype = model.compute_type;
  const auto& c = model.config();
  int64_t state = 0;
  const auto plan = attention_plan(c);
  for (const auto& windows : plan.windows) {
    for (size_t i = 0; i < model.layers.size(); ++i) {
      const auto& layer = *model.layers[i];
      state += layer.mixer->allocated_bytes(tokens, layer.window(windows[i]), dtype);
    }
  }
  const int64_t draws = plan.random ? std::max<int64_t>(1, c.inference_ensemble_k) : 1;
  // The part that does not grow with the context: a second copy for the next loop (carry), and two more for a mark: the
  // copy, and what is needed to run it again.
  const int64_t fixed = state_bytes(model, 1, dtype);
  return state * draws + (c.state_carry == "token" ? fixed : 0) + (rewinds > 0 ? 2 * fixed : 0);
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
  if (!limit || !used) return bytes;
  int64_t cached = 0;  // counted as used, but the system frees it on demand
  std::ifstream stat("/sys/fs/cgroup/memory.stat");
  for (std::string key; stat >> key;) {
    if (key == "inactive_file") stat >> cached;
    std::getline(stat, key);
  }
  bytes = std::min(bytes, std::max<int64_t>(0, *limit - *used + cached));
  return bytes;
}

}  // namespace lt2
