#include "model/taps.h"

#include <array>
#include <charconv>
#include <string_view>

#include "base/error.h"

namespace lt2 {
namespace {

constexpr std::array<std::pair<std::string_view, TapKind>, 4> kOfLayers{{{"mixer_in", TapKind::kMixerIn},
                                                                         {"mixer_out", TapKind::kMixerOut},
                                                                         {"out", TapKind::kLayerOut},
                                                                         {"state", TapKind::kState}}};

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  for (size_t begin = 0;;) {
    const auto end = text.find('.', begin);
    words.push_back(text.substr(begin, end - begin));
    if (end == std::string_view::npos) return words;
    begin = end + 1;
  }
}

}  // namespace

std::string TapPoint::name() const {
  const auto layer_name = [&](std::string_view what) { return fmt::format("loop.{}.layer.{}.{}", loop, layer, what); };
  switch (kind) {
    case TapKind::kEmbedding:
      return "embedding";
    case TapKind::kMixerIn:
      return layer_name("mixer_in");
    case TapKind::kMixerOut:
      return layer_name("mixer_out");
    case TapKind::kLayerOut:
      return layer_name("out");
    case TapKind::kState:
      return layer_name(tensor.empty() ? "state" : "state." + tensor);
    case TapKind::kLoopOut:
      return fmt::format("loop.{}.out", loop);
    case TapKind::kLogits:
      return fmt::format("logits.{}", loop);
  }
  fail("a tap point of unknown kind");
}

void Taps::on(const std::string& pattern, Listener listener) {
  const auto refuse = [&]() {
    fail(
        "taps: no point is named \"{}\"; there are embedding, loop.T.layer.I.mixer_in, .mixer_out, .out, .state and "
        ".state.NAME, loop.T.out and logits.T, with a number from 0 or * for T and I",
        pattern);
  };
  const auto index = [&](std::string_view word) -> std::optional<int64_t> {
    if (word == "*") return {};
    int64_t value = -1;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (error != std::errc() || end != word.data() + word.size() || value < 0) refuse();
    return value;
  };
  Entry entry{.kind = TapKind::kEmbedding, .loop = {}, .layer = {}, .tensor = {}, .listener = std::move(listener)};
  const auto words = words_of(pattern);
  if (words.size() == 2 && words[0] == "logits") {
    entry.kind = TapKind::kLogits;
    entry.loop = index(words[1]);
  } else if (words.size() == 3 && words[0] == "loop" && words[2] == "out") {
    entry.kind = TapKind::kLoopOut;
    entry.loop = index(words[1]);
  } else if (words.size() >= 5 && words[0] == "loop" && words[2] == "layer") {
    const auto* found = kOfLayers.begin();
    while (found != kOfLayers.end() && found->first != words[4]) ++found;
    if (found == kOfLayers.end() || (words.size() > 5 && found->second != TapKind::kState)) refuse();
    entry.kind = found->second;
    entry.loop = index(words[1]);
    entry.layer = index(words[3]);
    // A state's tensors may have dots in their names.
    if (words.size() > 5) entry.tensor = std::string(words[5].data(), pattern.data() + pattern.size());
    if (words.size() > 5 && entry.tensor.empty()) refuse();
  } else if (pattern != "embedding") {
    refuse();
  }
  entries_.push_back(std::move(entry));
}

bool Taps::Entry::at(const TapPoint& point) const {
  return kind == point.kind && (!loop || *loop == point.loop) && (!layer || *layer == point.layer) &&
         (tensor.empty() || point.tensor.empty() || tensor == point.tensor);
}

bool Taps::wants(const TapPoint& at) const {
  for (const auto& entry : entries_) {
    if (entry.at(at)) return true;
  }
  return false;
}

void Taps::give(const TapPoint& at, const torch::Tensor& tensor) const {
  for (const auto& entry : entries_) {
    if (entry.at(at)) entry.listener(at, tensor);
  }
}

}  // namespace lt2
