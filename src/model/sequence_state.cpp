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
std::string pending_name(size_t loop) { return fmt::format("pending.{}", loop); }

nlohmann::json windows_of(const std::vector<SequenceState::Draw>& draws) {
  auto all = nlohmann::json::array();
  for (const auto& draw : draws) all.push_back(windows_json(draw.plan));
  return all;
}

// Throws for the first difference in shape between a saved state and this one. Both windows are [draw][loop][layer].
void check_windows(const std::string& where, const std::string& saved_text, const nlohmann::json& mine) {
  if (saved_text == mine.dump()) return;
  const auto saved = nlohmann::json::parse(saved_text, nullptr, /*allow_exceptions=*/false);
  const auto rows = [](const nlohmann::json& of) { return of.is_array() ? of.size() : 0; };
  const auto row = [&](const nlohmann::json& of) { return rows(of) > 0 ? of[0] : nlohmann::json(); };
  LT2_CHECK(rows(row(saved)) == rows(row(mine)),
            "{}: saved by a model that runs {} loops, this one runs {}; continue with the same number (total_ut_steps)",
            where, rows(row(saved)), rows(row(mine)));
  LT2_CHECK(rows(row(row(saved))) == rows(row(row(mine))), "{}: saved by a model of {} layers, this one has {}", where,
            rows(row(row(saved))), rows(row(row(mine))));
  LT2_CHECK(rows(saved) == rows(mine),
            "{}: saved with {} draws of a random attention pattern, this model makes {} (inference_ensemble_k)", where,
            rows(saved), rows(mine));
  fail("{}: saved with other attention windows than this model's; load it with the model that wrote it", where);
}

}  // namespace

int64_t SequenceState::bytes() const {
  int64_t sum = 0;
  for (const auto& draw : draws) {
    for (const auto& slot : draw.slots) sum += slot->bytes();
  }
  for (const auto& rows : pending) {
    if (rows.defined()) sum += static_cast<int64_t>(rows.nbytes());
  }
  return sum;
}

SequenceState SequenceState::clone(int64_t reserve_tokens) const {
  SequenceState copy;
  copy.batch = batch;
  copy.position = position;
  for (const auto& draw : draws) {
    Draw other{.plan = draw.plan, .slots = {}};
    for (const auto& slot : draw.slots) other.slots.push_back(slot->clone(reserve_tokens));
    copy.draws.push_back(std::move(other));
  }
  copy.pending = pending;  // rows are replaced, never written
  return copy;
}

void SequenceState::mark() {
  for (const auto& rows : pending)
    LT2_CHECK(!rows.defined() || rows.size(1) == 0, "a state in which tokens wait for their loops cannot be marked");
  for (auto& draw : draws) {
    for (auto& slot : draw.slots) slot->mark();
  }
  marked_ = position;
}

void SequenceState::rewind(int64_t keep) {
  const int64_t to = marked_ + keep;
  LT2_CHECK(keep >= 0 && to <= position, "rewind to {} tokens after the mark, of {}", keep, position - marked_);
  int64_t before = to;  // tokens that the previous loop keeps
  for (size_t t = 0; t < pending.size(); ++t) {
    const int64_t seen = std::min(to, draws[0].slots[t * draws[0].slots.size() / pending.size()]->position);
    auto& rows = pending[t];
    if (rows.defined()) rows = rows.narrow(1, 0, before - seen);
    before = seen;
  }
  for (auto& draw : draws) {
    for (auto& slot : draw.slots) slot->rewind(std::min(to, slot->position) - marked_);
  }
  position = to;
}

void SequenceState::save(const std::filesystem::path& path, const NamedTensors& beside,
                         const std::map<std::string, std::string>& notes) const {
  NamedTensors tensors = beside;
  for (size_t d = 0; d < draws.size(); ++d) {
    for (size_t s = 0; s < draws[d].slots.size(); ++s) {
      for (const auto& [name, tensor] : draws[d].slots[s]->tensors())
        tensors.emplace_back(slot_name(d, s) + name, tensor);
    }
  }
  for (size_t t = 0; t < pending.size(); ++t) {
    if (pending[t].defined() && pending[t].size(1) > 0) tensors.emplace_back(pending_name(t), pending[t]);
  }
  auto metadata = notes;
  metadata["format"] = "lt2-state-1";
  metadata["batch"] = std::to_string(batch);
  metadata["position"] = std::to_string(position);
  metadata["windows"] = windows_of(draws).dump();
  write_safetensors(path, tensors, metadata);
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
  check_windows(path.string(), field("windows"), windows_of(draws));
  const auto& digits = field("position");
  int64_t saved_position = -1;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), saved_position);
  LT2_CHECK(parsed.ec == std::errc() && parsed.ptr == digits.data() + digits.size() && saved_position >= 0,
            "{}: position is \"{}\", expected a number of tokens", path.string(), digits);
  // Names, types and waiting rows are checked before anything changes. restore() checks shapes, slot by slot: if one is
  // wrong, the slots before it have changed.
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
  // The states of a loop and of later loops have not seen the tokens that wait for it.
  const size_t loops = draws[0].plan.windows.size(), layers = draws[0].slots.size() / loops;
  std::vector<torch::Tensor> waiting(loops);
  std::vector<int64_t> seen;
  int64_t tokens = saved_position;
  for (size_t t = 0; t < loops; ++t) {
    if (file.contains(pending_name(t))) {
      waiting[t] = file.tensor(pending_name(t));
      LT2_CHECK(waiting[t].dim() == 3 && waiting[t].size(0) == batch && waiting[t].size(1) <= tokens,
                "{}: {} is [{}], expected [{}, up to {}, D]", path.string(), pending_name(t),
                fmt::join(waiting[t].sizes(), ", "), batch, tokens);
      tokens -= waiting[t].size(1);
    }
    seen.push_back(tokens);
  }
  for (auto& [where, tensors_of] : saved)
    draws[where.first].slots[where.second]->restore(tensors_of, seen[where.second / layers]);
  pending = std::move(waiting);
  position = saved_position;
}

}  // namespace lt2
