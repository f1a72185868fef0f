#include "model/sequence_state.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "checkpoint/safetensors.h"

namespace lt2 {
namespace {

std::string slot_name(size_t draw, size_t slot) { return fmt::format("draw.{}.slot.{}.", draw, slot); }

nlohmann::json windows_json(const AttentionPlan& plan) {
  auto rows = nlohmann::json::array();
  for (const auto& loop : plan.windows) {
    auto row = nlohmann::json::array();
    for (const auto& window : loop) row.push_back(window ? nlohmann::json(*window) : nlohmann::json(nullptr));
    rows.push_back(row);
  }
  return rows;
}

}  // namespace

int64_t SequenceState::bytes() const {
  int64_t sum = 0;
  for (const auto& draw : draws) {
    for (const auto& slot : draw.slots) sum += slot->bytes();
  }
  return sum;
}

void SequenceState::save(const std::filesystem::path& path) const {
  NamedTensors tensors;
  auto windows = nlohmann::json::array();
  for (size_t d = 0; d < draws.size(); ++d) {
    windows.push_back(windows_json(draws[d].plan));
    for (size_t s = 0; s < draws[d].slots.size(); ++s) {
      for (const auto& [name, tensor] : draws[d].slots[s]->tensors())
        tensors.emplace_back(slot_name(d, s) + name, tensor);
    }
  }
  write_safetensors(path, tensors,
                    {{"format", "lt2-state-1"},
                     {"batch", std::to_string(batch)},
                     {"position", std::to_string(position)},
                     {"windows", windows.dump()}});
}

void SequenceState::load(const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  const auto field = [&](const std::string& key) {
    const auto found = file.metadata().find(key);
    LT2_CHECK(found != file.metadata().end(), "{}: no metadata field \"{}\". Not a state saved by this program?",
              path.string(), key);
    return found->second;
  };
  LT2_CHECK(field("format") == "lt2-state-1", "{}: format is {}, expected lt2-state-1", path.string(), field("format"));
  LT2_CHECK(field("batch") == std::to_string(batch), "{}: holds {} sequences, this state {}", path.string(),
            field("batch"), batch);
  auto windows = nlohmann::json::array();
  for (const auto& draw : draws) windows.push_back(windows_json(draw.plan));
  LT2_CHECK(nlohmann::json::parse(field("windows")) == windows,
            "{}: saved with other attention windows than this model's; load it with the model that wrote it",
            path.string());
  const int64_t saved_position = std::stoll(field("position"));
  for (size_t d = 0; d < draws.size(); ++d) {
    for (size_t s = 0; s < draws[d].slots.size(); ++s) {
      const auto prefix = slot_name(d, s);
      NamedTensors mine;
      for (const auto& name : file.names()) {
        if (name.rfind(prefix, 0) == 0) mine.emplace_back(name.substr(prefix.size()), file.tensor(name));
      }
      draws[d].slots[s]->restore(mine, saved_position);
    }
  }
  position = saved_position;
}

}  // namespace lt2
