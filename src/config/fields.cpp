#include "config/fields.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "base/text.h"
#include "base/units.h"

namespace lt2 {
namespace {

template <class... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};

std::string at(const ConfigTree& value) { return value.origin.empty() ? "" : value.origin + ": "; }

std::string joined(const std::vector<std::string>& words) { return fmt::format("{}", fmt::join(words, ", ")); }

// "at least 1", "above 0 and at most 1", ...; empty without a range.
std::string bounds(const Check& check) {
  std::string text;
  if (check.min) text = fmt::format("{} {}", check.min_open ? "above" : "at least", *check.min);
  if (check.max)
    text += fmt::format("{}{} {}", text.empty() ? "" : " and ", check.max_open ? "below" : "at most", *check.max);
  return text;
}

std::string type_phrase(const Field& field) {
  if (field.check.amount) return "a whole number such as 4096, 1k, 24G (1024 to the third) or 5GB (1000 to the third)";
  if (field.check.commas) return "words with commas between";
  static const char* const kPhrases[] = {"an integer",
                                         "a number",
                                         "true or false",
                                         "text",
                                         "an integer or null",
                                         "a number or null",
                                         "text or null",
                                         "a list of texts",
                                         "a map of numbers",
                                         "anything",
                                         "numbers with commas between, for example 1k,4k,32k"};
  return kPhrases[field.target.index()];
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == separator) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

class Reader {
 public:
  Reader(const Field& field, const ConfigTree& value) : field_(field), value_(value) {}

  void operator()(int64_t* target) const { *target = checked(required(integer(value_))); }
  void operator()(double* target) const { *target = checked(required(as_float(value_))); }
  void operator()(bool* target) const { *target = required(as_bool(value_)); }
  void operator()(std::string* target) const { *target = checked(required(as_text(value_))); }
  void operator()(std::optional<int64_t>* target) const { optional(target); }
  void operator()(std::optional<double>* target) const { optional(target); }
  void operator()(std::optional<std::string>* target) const { optional(target); }
  void operator()(std::vector<int64_t>* target) const {
    target->clear();
    const auto text = value_.is_scalar() ? value_.text : "";
    if (!value_.is_null() && !value_.is_scalar()) wrong_type();
    if (text.empty()) return;
    for (const auto& part : split(text, ',')) target->push_back(checked(required(amount_from_text(part))));
  }
  void operator()(std::vector<std::string>* target) const {
    if (field_.check.commas && (value_.is_scalar() || value_.is_null())) {
      *target = words(value_.is_null() ? "" : value_.text);
      return;
    }
    if (value_.kind != ConfigTree::Kind::kList) wrong_type();
    target->clear();
    for (const auto& item : value_.items) {
      const auto text = as_text(item);
      LT2_CHECK(text, "{}{} must hold texts; found {}", at(item), field_.key, display(item));
      target->push_back(checked(*text));
    }
  }
  void operator()(Weights* target) const {
    if (!value_.is_map()) wrong_type();
    target->clear();
    for (const auto& [name, weight] : value_.entries) {
      const auto number = as_float(weight);
      LT2_CHECK(number, "{}{}.{} must be a number; found {}", at(weight), field_.key, name, display(weight));
      without_control(name, weight);
      in_range(*number, field_.key + "." + name, weight);
      finite(*number, field_.key + "." + name, weight);
      target->emplace_back(expanded(name), *number);
    }
  }
  void operator()(ConfigTree* target) const {
    const auto& known = field_.check.words;
    for (const auto& [key, entry] : value_.entries) {
      if (known.empty() || std::find(known.begin(), known.end(), key) != known.end()) continue;
      const auto near = nearest_key(key, known);
      fail("{}unknown key {}.{}{}", at(entry), field_.key, key,
           near.empty() ? "" : fmt::format("; did you mean {}.{}?", field_.key, near));
    }
    LT2_CHECK(known.empty() || value_.is_null() || value_.is_map(), "{}{} must be a map or null; found {}", at(value_),
              field_.key, display(value_));
    *target = canonical(value_);
  }

 private:
  [[noreturn]] void wrong_type() const {
    fail("{}{} must be {}; found {}", at(value_), field_.key, type_phrase(field_), display(value_));
  }

  std::optional<int64_t> integer(const ConfigTree& value) const {
    if (!field_.check.amount) return as_int(value);
    return value.is_scalar() ? amount_from_text(value.text) : std::nullopt;
  }

  std::vector<std::string> words(const std::string& text) const {
    if (text.empty()) return {};
    std::error_code none;
    if (field_.check.path && std::filesystem::exists(expanded(text), none)) return {checked(text)};
    auto parts = split(text, ',');
    for (auto& part : parts) {
      if (part.empty()) wrong_type();
      part = checked(part);
    }
    return parts;
  }

  template <class T>
  T required(const std::optional<T>& value) const {
    if (!value) wrong_type();
    return *value;
  }

  template <class T>
  void optional(std::optional<T>* target) const {
    target->reset();
    if (value_.is_null()) return;
    if constexpr (std::is_same_v<T, int64_t>) {
      *target = checked(required(integer(value_)));
    } else if constexpr (std::is_same_v<T, double>) {
      *target = checked(required(as_float(value_)));
    } else {
      *target = checked(required(as_text(value_)));
    }
  }

  void in_range(double number, const std::string& key, const ConfigTree& value) const {
    if (value.origin.empty()) return;  // a default may be outside the range: it means that no value was given
    const auto& check = field_.check;
    const bool low = !check.min || (check.min_open ? number > *check.min : number >= *check.min);
    const bool high = !check.max || (check.max_open ? number < *check.max : number <= *check.max);
    LT2_CHECK(low && high, "{}{} must be {}; found {}", at(value), key, bounds(check), display(value));
  }

  int64_t checked(int64_t number) const { return in_range(static_cast<double>(number), field_.key, value_), number; }
  void finite(double number, const std::string& key, const ConfigTree& value) const {
    LT2_CHECK(std::isfinite(number), "{}{} must be a finite number; found {}", at(value), key, display(value));
  }
  double checked(double number) const {
    in_range(number, field_.key, value_);
    finite(number, field_.key, value_);
    return number;
  }
  // Texts name files and go into job files, logs and headings: a line break would inject a line there.
  void without_control(const std::string& text, const ConfigTree& value) const {
    LT2_CHECK(field_.check.prose || printable(text) == text, "{}{} must not hold control characters; found \"{}\"",
              at(value), field_.key, printable(text));
  }
  std::string checked(const std::string& text) const {
    without_control(text, value_);
    const auto& words = field_.check.words;
    const bool known = words.empty() || std::find(words.begin(), words.end(), text) != words.end();
    if (!known && !value_.origin.empty()) {
      const auto near = nearest_key(text, words);
      fail("{}{} must be one of {}; found \"{}\"{}", at(value_), field_.key, joined(words), text,
           near.empty() ? "" : fmt::format("; did you mean {}?", near));
    }
    return expanded(text);
  }
  std::string expanded(const std::string& text) const {
    return field_.check.path ? expand_home(text, at(value_) + field_.key) : text;
  }

  const Field& field_;
  const ConfigTree& value_;
};

ConfigTree value_of(const Field& field) {
  const auto whole = [&](int64_t v) {
    return ConfigTree::plain(field.check.amount ? amount_text(v) : std::to_string(v));
  };
  return std::visit(
      Overloaded{[&](const int64_t* v) { return whole(*v); },
                 [](const double* v) { return ConfigTree::plain(float_text(*v)); },
                 [](const bool* v) { return ConfigTree::plain(*v ? "true" : "false"); },
                 [](const std::string* v) { return ConfigTree::quoted(*v); },
                 [&](const std::optional<int64_t>* v) { return *v ? whole(**v) : ConfigTree(); },
                 [](const std::optional<double>* v) { return *v ? ConfigTree::plain(float_text(**v)) : ConfigTree(); },
                 [](const std::optional<std::string>* v) { return *v ? ConfigTree::quoted(**v) : ConfigTree(); },
                 [&](const std::vector<std::string>* v) {
                   if (field.check.commas) return ConfigTree::quoted(fmt::format("{}", fmt::join(*v, ",")));
                   ConfigTree list;
                   list.kind = ConfigTree::Kind::kList;
                   for (const auto& item : *v) list.items.push_back(ConfigTree::quoted(item));
                   return list;
                 },
                 [](const Weights* v) {
                   auto map = ConfigTree::map();
                   for (const auto& [name, weight] : *v) map.at(name) = ConfigTree::plain(float_text(weight));
                   return map;
                 },
                 [](const ConfigTree* v) { return *v; },
                 [](const std::vector<int64_t>* v) {
                   std::vector<std::string> parts;
                   for (const int64_t amount : *v) parts.push_back(amount_text(amount));
                   return ConfigTree::quoted(fmt::format("{}", fmt::join(parts, ",")));
                 }},
      field.target);
}

size_t edit_distance(const std::string& a, const std::string& b) {
  // Two neighbouring letters swapped count once.
  std::vector<std::vector<size_t>> d(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  }
  return d[a.size()][b.size()];
}

std::string leaf(const std::string& key) { return key.substr(key.rfind('.') + 1); }

}  // namespace

std::string expand_home(const std::string& path, const std::string& where) {
  if (path != "~" && !path.starts_with("~/")) return path;
  const char* home = std::getenv("HOME");
  LT2_CHECK(home && *home, "{}: {} begins with ~, but HOME is not set; write the whole path", where, path);
  return home + path.substr(1);
}

std::string Where::prefix(const std::vector<std::string>& keys) const {
  for (const auto& key : keys) {
    if (const auto it = origins.find(key); it != origins.end()) return it->second + ": ";
  }
  return source.empty() ? "" : source + ": ";
}

bool Where::on_command_line(const std::string& key) const {
  const auto it = origins.find(key);
  return it != origins.end() && it->second.starts_with(kCommandLine);
}

ConfigTree to_tree(const std::vector<Field>& fields) {
  auto root = ConfigTree::map();
  for (const auto& field : fields) {
    ConfigTree* node = &root;
    for (const auto& part : split(field.key, '.')) {
      if (!node->is_map()) *node = ConfigTree::map();
      node = &node->at(part);
    }
    *node = escape_references(value_of(field));
  }
  return root;
}

namespace {

struct TreeReader {
  std::map<std::string, const Field*> leaves;
  std::set<std::string> groups;
  std::vector<std::string> known;
  bool lenient;
  Where* where;

  void remember(const std::string& key, const ConfigTree& value) const {
    if (!value.origin.empty()) where->origins[key] = value.origin;
    for (const auto& [name, entry] : value.entries) remember(key + "." + name, entry);
  }

  void read(const ConfigTree& tree, const std::string& prefix) const {
    for (const auto& [name, value] : tree.entries) {
      const std::string key = prefix + name;
      if (const auto it = leaves.find(key); it != leaves.end()) {
        std::visit(Reader(*it->second, value), it->second->target);
        if (where) remember(key, value);
      } else if (groups.contains(key)) {
        LT2_CHECK(value.is_map(), "{}{} must be a group of keys; found {}", at(value), key, display(value));
        read(value, key + ".");
      } else if (!lenient) {
        const auto near = nearest_key(key, known);
        fail("{}unknown key {}{}", at(value), key, near.empty() ? "" : fmt::format("; did you mean {}?", near));
      }
    }
  }
};

}  // namespace

void read_tree(const ConfigTree& tree, const std::vector<Field>& fields, bool lenient, Where* where) {
  TreeReader reader{{}, {}, {}, lenient, where};
  for (const auto& field : fields) {
    reader.leaves[field.key] = &field;
    reader.known.push_back(field.key);
    for (size_t dot = field.key.find('.'); dot != std::string::npos; dot = field.key.find('.', dot + 1)) {
      const auto group = field.key.substr(0, dot);
      if (reader.groups.insert(group).second) reader.known.push_back(group);
    }
  }
  LT2_CHECK(tree.is_map(), "{}expected a map of keys; found {}", at(tree), display(tree));
  reader.read(tree, "");
}

std::optional<std::string> changed_value(const Field& field, const Field& usual) {
  const auto value = value_of(field);
  if (value == value_of(usual)) return std::nullopt;
  return fmt::format("{}={}", field.key, value.is_scalar() ? value.text : value.is_null() ? "null" : "...");
}

std::vector<std::string> ignored_fields(const std::vector<Field>& fields, const std::vector<Field>& defaults) {
  std::vector<std::string> lines;
  for (size_t i = 0; i < fields.size(); ++i) {
    const auto& why = fields[i].check.ignored;
    if (why.empty()) continue;
    if (const auto change = changed_value(fields[i], defaults[i]))
      lines.push_back(fmt::format("ignored: {} ({})", *change, why));
  }
  return lines;
}

namespace {

std::string one_line(const ConfigTree& value) {
  std::string text;
  bool layout = false;  // of the JSON text; a line break in a value is written as \n
  for (const char c : write_json(value)) {
    if (c == '\n' || (layout && c == ' ')) {
      layout = true;
      continue;
    }
    if (layout && !text.empty() && text.back() == ',') text += ' ';
    layout = false;
    text += c;
  }
  return text;
}

}  // namespace

std::vector<FieldChange> changed_fields(const std::vector<Field>& before, const std::vector<Field>& now) {
  std::vector<FieldChange> changes;
  for (size_t i = 0; i < now.size(); ++i) {
    const auto old_value = value_of(before[i]), value = value_of(now[i]);
    if (!now[i].check.ignored.empty() || old_value == value) continue;
    changes.push_back({now[i].key, one_line(old_value), one_line(value), now[i].defines_model});
  }
  return changes;
}

std::string nearest_key(const std::string& key, const std::vector<std::string>& known) {
  // "--seed" means seed; "dim" at the root means model.dim.
  const std::string wanted = key.substr(std::min(key.find_first_not_of('-'), key.size()));
  std::string best;
  size_t best_distance = std::string::npos;
  for (const auto& candidate : known) {
    const size_t whole = edit_distance(wanted, candidate);
    const size_t last = edit_distance(leaf(wanted), leaf(candidate)) + 1;
    const size_t distance = std::min(whole, last);
    if (distance < best_distance) best_distance = distance, best = candidate;
  }
  const size_t allowed = std::max<size_t>(1, leaf(wanted).size() / 3);
  return best_distance <= allowed ? best : "";
}

std::string type_text(const Field& field) {
  static const char* const kNames[] = {"int",          "float",        "bool", "text", "int or null", "float or null",
                                       "text or null", "list of text", "map",  "any",  "amounts"};
  const bool optional = std::holds_alternative<std::optional<int64_t>*>(field.target);
  if (field.check.amount) return optional ? "amount or null" : "amount";
  if (field.check.commas) return "words";
  return kNames[field.target.index()];
}

std::string range_text(const Field& field) {
  const bool words = !field.check.words.empty() && !std::holds_alternative<ConfigTree*>(field.target);
  if (words) return joined(field.check.words);
  const auto& check = field.check;
  if (check.min && check.max && !check.min_open && !check.max_open)
    return fmt::format("{} to {}", *check.min, *check.max);
  return bounds(check);
}

std::string value_text(const Field& field) {
  const auto value = value_of(field);
  if (value.is_null()) return std::holds_alternative<ConfigTree*>(field.target) ? "{}" : "null";
  return value.kind == ConfigTree::Kind::kList ? "[]" : value.is_map() ? "{}" : value.text;
}

bool is_key(const std::string& key, const std::vector<Field>& fields) {
  return std::any_of(fields.begin(), fields.end(), [&](const Field& field) {
    const bool map =
        std::holds_alternative<Weights*>(field.target) || std::holds_alternative<ConfigTree*>(field.target);
    return field.key == key || field.key.starts_with(key + ".") || (map && key.starts_with(field.key + "."));
  });
}

}  // namespace lt2
