#pragma once
// Small files changed at random, the same on every machine: JSON by its values, anything by its bytes.
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

namespace lt2::test {

class Mutator {
 public:
  explicit Mutator(uint32_t seed) : random_(seed) {}

  /// `text` with one value of it (or its JSON, by lines if it is .jsonl) replaced, renamed or removed, or with a few
  /// bytes changed.
  std::string operator()(const std::string& text) {
    const auto json = nlohmann::ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (below(4) > 0 && json.is_structured() && !json.empty()) {
      auto changed = json;
      change(changed);
      return changed.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
    }
    return change_bytes(text);
  }

 private:
  using Json = nlohmann::ordered_json;
  size_t below(size_t count) { return random_() % count; }

  void change(Json& json) {
    auto at = json.begin();
    std::advance(at, static_cast<std::ptrdiff_t>(below(json.size())));
    if (at->is_structured() && !at->empty() && below(5) > 0) return change(*at);
    if (below(8) == 0) {
      json.erase(at);
    } else {
      *at = value();
    }
  }

  Json value() {
    Json deep;
    for (int i = 0; i < 100; ++i) deep = Json::array({deep});
    const std::vector<Json> values{nullptr,
                                   true,
                                   0,
                                   1,
                                   -1,
                                   -5,
                                   1 << 30,
                                   INT64_MAX,
                                   INT64_MIN,
                                   UINT64_MAX,
                                   1e308,
                                   -0.5,
                                   1e-320,
                                   "",
                                   "text",
                                   "\u00e9\n\t",
                                   "-5",
                                   Json::array(),
                                   Json::object(),
                                   Json{1, "a"},
                                   Json{{"a", 1}},
                                   deep,
                                   "../../x",
                                   std::string(3000, 'x')};
    return values[below(values.size())];
  }

  std::string change_bytes(std::string text) {
    for (size_t left = 1 + below(3); left > 0 && !text.empty(); --left) {
      const size_t at = below(text.size());
      switch (below(5)) {
        case 0:
          text[at] = static_cast<char>(random_());
          break;
        case 1:
          text.resize(at);
          break;
        case 2:
          text.erase(at, 1 + below(8));
          break;
        case 3:
          text.insert(at, text.substr(below(text.size()), 1 + below(40)));
          break;
        default:
          text.insert(at, 1 + below(4), "0-{[\"\n"[below(6)]);
      }
    }
    return text;
  }

  std::mt19937 random_;
};

}  // namespace lt2::test
