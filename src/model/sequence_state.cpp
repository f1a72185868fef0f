#include "model/sequence_state.h"

#include <algorithm>
#include <charconv>
#include <map>

#include "base/error.h"
#include "checkpoint/safetensors.h"
#include "config/plan_json.h"

namespace lt2 {
namespace {

std::string slot_name(size_t draw, size_t slot) { return fmt::format("draw.{}.slot.{}.", draw, slot); }

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
  const auto field = [&](const std::string& key) -> const std::string& {
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
  LT2_CHECK(field("windows") == windows.dump(),
            "{}: saved with other attention windows than this model's; load it with the model that wrote it",
            path.string());
  const auto& digits = field("position");
  int64_t saved_position = -1;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), saved_position);
  LT2_CHECK(parsed.ec == std::errc() && parsed.ptr == digits.data() + digits.size() && saved_position >= 0,
            "{}: position is \"{}\", expected a number of tokens", path.string(), digits);
  // Everything is looked at before anything changes, so that a file that does not fit leaves the state as it was.
  std::map<std::pair<size_t, size_t>, NamedTensors> saved;
  for (size_t d = 0; d < draws.size(); ++d) {
    for (size_t s = 0; s < draws[d].slots.size(); ++s) {
      const auto prefix = slot_name(d, s);
      auto& mine = saved[{d, s}];
      for (const auto& name : file.names()) {
        if (name.rfind(prefix, 0) == 0) mine.emplace_back(name.substr(prefix.size()), file.tensor(name));
      }
      for (const auto& [name, tensor] : draws[d].slots[s]->tensors()) {
        const auto found = std::find_if(mine.begin(), mine.end(), [&](const auto& item) { return item.first == name; });
        LT2_CHECK(found != mine.end(), "{}: {}{} is missing. Saved by a model of another layout?", path.string(),
                  prefix, name);
        LT2_CHECK(found->second.scalar_type() == tensor.scalar_type(),
                  "{}: {}{} is {}, this state keeps {}; load it with the dtype that saved it", path.string(), prefix,
                  name, c10::toString(found->second.scalar_type()), c10::toString(tensor.scalar_type()));
      }
    }
  }
  for (auto& [where, tensors] : saved) draws[where.first].slots[where.second]->restore(tensors, saved_position);
  position = saved_position;
}

}  // namespace lt2
