#include "config/patterns.h"

#include <algorithm>

#include "base/error.h"
#include "base/random.h"
#include "config/train_config.h"

namespace lt2 {
namespace {

std::string trim(const std::string& text) {
  const auto first = text.find_first_not_of(" \t");
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

std::string lower(std::string text) {
  for (auto& c : text) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return text;
}

// Trimmed pieces between separators.
std::vector<std::string> split(const std::string& text, const std::string& separator) {
  std::vector<std::string> parts;
  for (size_t begin = 0;;) {
    const size_t end = text.find(separator, begin);
    parts.push_back(trim(text.substr(begin, end - begin)));
    if (end == std::string::npos) return parts;
    begin = end + separator.size();
  }
}

// A whole number of at most nine digits, so that products of two stay exact.
std::optional<int64_t> number(const std::string& text) {
  if (text.empty() || text.size() > 9 || text.find_first_not_of("0123456789") != std::string::npos) return std::nullopt;
  return std::stoll(text);
}

// ---- attention_pattern ----

using Window = std::optional<int64_t>;
using Row = std::vector<Window>;

class AttentionParser {
 public:
  explicit AttentionParser(const ModelConfig& config) : config_(config), text_(trim(config.attention_pattern)) {}

  AttentionPlan parse(int64_t draw) const {
    AttentionPlan plan;
    if (is_random_pattern(text_)) {
      plan.random = true;
      plan.block_size = config_.n_layers;
      plan.windows = random(draw);
    } else if (text_.find("->") != std::string::npos) {
      const auto parts = split(text_, "->");
      if (static_cast<int64_t>(parts.size()) != config_.loop_count) {
        reject(fmt::format("must have one part per loop (model.loop_count = {})", config_.loop_count));
      }
      for (const auto& part : parts) plan.windows.push_back(loop_part(part));
      const auto& first = plan.windows[0];
      const bool uniform = std::all_of(first.begin(), first.end(), [&](const Window& w) { return w == first[0]; });
      plan.block_size = uniform ? 1 : config_.n_layers;
    } else {
      plan.windows.assign(static_cast<size_t>(config_.loop_count), row(text_));
      const auto ratio_form = ratio(text_);
      plan.block_size = ratio_form ? ratio_form->first + ratio_form->second : config_.n_layers;
    }
    return plan;
  }

 private:
  [[noreturn]] void reject(const std::string& what) const {
    fail("model.attention_pattern {}; found \"{}\"", what, config_.attention_pattern);
  }

  int64_t window() const {
    if (!config_.default_sliding_window) reject("needs model.default_sliding_window, which is null");
    return *config_.default_sliding_window;
  }

  // "a:b" with a + b > 0. Only called where no word form can apply.
  std::optional<std::pair<int64_t, int64_t>> ratio(const std::string& text) const {
    const auto parts = split(text, ":");
    if (parts.size() != 2) return std::nullopt;
    const auto a = number(parts[0]), b = number(parts[1]);
    if (!a || !b || *a + *b == 0) return std::nullopt;
    return std::pair(*a, *b);
  }

  Row loop_part(const std::string& part) const {
    const auto word = lower(part);
    if (word == "full") return Row(static_cast<size_t>(config_.n_layers));
    if (word.starts_with("swa=")) {
      const auto w = number(trim(word.substr(4)));
      if (!w || *w < 1) reject(fmt::format("has a part \"{}\" whose window is not a whole number above 0", part));
      return Row(static_cast<size_t>(config_.n_layers), *w);
    }
    return row(part);
  }

  // bookend:k, sandwich:k, a:b or a comma list.
  Row row(const std::string& text) const {
    const int64_t n = config_.n_layers;
    Row windows(static_cast<size_t>(n));
    if (text.starts_with("bookend:") || text.starts_with("sandwich:")) {
      const auto k = number(trim(text.substr(text.find(':') + 1)));
      if (!k || 2 * *k > n) reject(fmt::format("takes bookend:k with 0 <= 2k <= model.n_layers = {}", n));
      for (int64_t i = *k; i < n - *k; ++i) windows[static_cast<size_t>(i)] = window();
      return windows;
    }
    if (text.find(':') != std::string::npos) {
      const auto parts = ratio(text);
      if (!parts) reject("takes a:b with whole numbers that are not both 0");
      const auto [a, b] = *parts;
      for (int64_t i = 0; i < n; ++i) {
        if (i % (a + b) < a) windows[static_cast<size_t>(i)] = window();
      }
      return windows;
    }
    const auto entries = split(text, ",");
    if (entries.size() == 1 && n != 1) {
      reject(
          "must be a:b, bookend:k, sandwich:k, a list w1,w2,... with one entry per layer, X->Y->... with one part per "
          "loop, "
          "random:a:b or bookend_random:a:b");
    }
    if (static_cast<int64_t>(entries.size()) != n)
      reject(fmt::format("must list one window per layer (model.n_layers = {})", n));
    for (size_t i = 0; i < entries.size(); ++i) {
      const auto word = lower(entries[i]);
      if (word == "none" || word == "null") continue;
      windows[i] = number(word);
      if (!windows[i] || *windows[i] < 1)
        reject(fmt::format("lists \"{}\", neither a window above 0 nor None", entries[i]));
    }
    return windows;
  }

  // Windows in the ratio a windowed : b unlimited, shuffled over all loops and layers.
  std::vector<Row> random(int64_t draw) const {
    const bool bookend = text_.starts_with("bookend_random:");
    const auto parts = ratio(text_.substr(text_.find(':') + 1));
    if (!parts) reject("takes random:a:b and bookend_random:a:b with whole numbers that are not both 0");
    const auto [a, b] = *parts;
    const int64_t T = config_.loop_count, n = config_.n_layers, slots = n * T, n_full = slots * b / (a + b);
    const Window windowed = a > 0 ? Window(window()) : std::nullopt;
    if (bookend && (n < 2 || n_full < 2 * T)) {
      reject(fmt::format(
          "leaves {} unlimited places, but the first and last layers of {} loops need {} (model.n_layers = {})", n_full,
          T, 2 * T, n));
    }
    const int64_t fixed = bookend ? 2 * T : 0;
    Row list(static_cast<size_t>(n_full - fixed));
    list.resize(static_cast<size_t>(slots - fixed), windowed);
    PythonRandom(static_cast<uint64_t>(config_.seed + draw)).shuffle(list);
    std::vector<Row> windows(static_cast<size_t>(T), Row(static_cast<size_t>(n)));
    size_t next = 0;
    for (auto& loop : windows) {
      for (int64_t i = bookend ? 1 : 0; i < (bookend ? n - 1 : n); ++i) loop[static_cast<size_t>(i)] = list[next++];
    }
    return windows;
  }

  const ModelConfig& config_;
  std::string text_;
};

// ---- layer_pattern ----

class LayerParser {
 public:
  explicit LayerParser(const std::string& pattern) : pattern_(pattern), parts_(split(lower(trim(pattern)), ":")) {}

  std::vector<std::string> parse(int64_t n_layers) const {
    std::vector<std::string> types(static_cast<size_t>(n_layers));
    if (parts_.size() == 1) {
      types.assign(types.size(), type(parts_[0]));
    } else if (parts_[0] == "interleaved") {
      if (parts_.size() != 5) reject("takes interleaved:N:M:A:B, a cycle of N layers of type A and M of type B");
      const auto n = number(parts_[1]), m = number(parts_[2]);
      const auto &a = type(parts_[3]), &b = type(parts_[4]);
      if (!n || !m || *n < 1) reject("takes interleaved:N:M:A:B with N >= 1 and M >= 0");
      if (a == b && *m > 0) reject("interleaves a type with itself; name it alone instead");
      for (int64_t i = 0; i < n_layers; ++i) types[static_cast<size_t>(i)] = i % (*n + *m) < *n ? a : b;
    } else if (parts_[0] == "bookend") {
      if (parts_.size() != 4) reject("takes bookend:K:OUTER:INNER, the first and last K layers of type OUTER");
      const auto k = number(parts_[1]);
      const auto &outer = type(parts_[2]), &inner = type(parts_[3]);
      if (!k || *k < 1 || 2 * *k > n_layers)
        reject(fmt::format("takes bookend:K:OUTER:INNER with K >= 1 and 2K <= model.n_layers = {}", n_layers));
      if (outer == inner) reject("bookends a type with itself; name it alone instead");
      for (int64_t i = 0; i < n_layers; ++i)
        types[static_cast<size_t>(i)] = i < *k || i >= n_layers - *k ? outer : inner;
    } else {
      reject(fmt::format("must be a type ({}), interleaved:N:M:A:B or bookend:K:OUTER:INNER",
                         fmt::join(layer_type_names(), ", ")));
    }
    return types;
  }

 private:
  [[noreturn]] void reject(const std::string& what) const {
    fail("model.layer_pattern {}; found \"{}\"", what, pattern_);
  }

  const std::string& type(const std::string& name) const {
    if (name.starts_with("cot_gdp")) reject("names the experimental mixer cot_gdp, which is not supported");
    if (name == "window") reject("cannot be window: write full, with model.attention_pattern \"1:0\"");
    const auto& known = layer_type_names();
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      reject(fmt::format("has an unknown type \"{}\" (known: {})", name, fmt::join(known, ", ")));
    }
    return name;
  }

  const std::string& pattern_;
  std::vector<std::string> parts_;
};

}  // namespace

namespace {

// The types of the mixers whose configuration `wanted` accepts.
template <class Wanted>
std::vector<std::string> types_where(Wanted wanted) {
  std::vector<std::string> names;
  ModelConfig().mixers([&](const char* type, const auto& mixer) {
    if (wanted(mixer)) names.emplace_back(type);
  });
  return names;
}

bool holds(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

const std::vector<std::string>& linear_layer_type_names() {
  static const auto names = types_where([](const auto& mixer) { return mixer.kLinear; });
  return names;
}

const std::vector<std::string>& layer_type_names() {
  static const auto names = types_where([](const auto&) { return true; });
  return names;
}

bool is_linear_layer_type(const std::string& name) { return holds(linear_layer_type_names(), name); }

bool sees_windows(const std::string& type) {
  static const auto names = types_where([](const auto& mixer) { return mixer.kWindows; });
  return holds(names, type);
}

const char* layer_pattern_help() {
  static const std::string text = fmt::format(
      "mixers: one of {}, or interleaved:N:M:A:B, or (ours) bookend:K:OUTER:INNER", fmt::join(layer_type_names(), " "));
  return text.c_str();
}

std::vector<std::string> layer_types(const std::string& layer_pattern, int64_t n_layers) {
  return LayerParser(layer_pattern).parse(n_layers);
}

AttentionPlan attention_plan(const ModelConfig& config, int64_t draw) { return AttentionParser(config).parse(draw); }

bool is_random_pattern(const std::string& attention_pattern) {
  const auto text = trim(attention_pattern);
  return text.starts_with("random:") || text.starts_with("bookend_random:");
}

}  // namespace lt2
