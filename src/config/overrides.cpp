#include "config/overrides.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"

namespace lt2 {
namespace {

struct Key {
  std::vector<std::string> parts;
  size_t end = 0;  // where the key stops: at the first = outside quotes, or at the end
};

Key parse_key(const std::string& argument, const std::string& origin) {
  Key key;
  std::string part;
  bool ended = false;  // a quoted or bracketed component has just been closed
  const auto push = [&] {
    LT2_CHECK(!part.empty() || ended, "{}: a key has an empty component; write key=value, nested as group.key=value",
              origin);
    if (!ended) key.parts.push_back(part);
    part.clear();
    ended = false;
  };
  for (; key.end < argument.size() && argument[key.end] != '='; ++key.end) {
    const char c = argument[key.end];
    if (c == '"' || c == '\'' || c == '[') {
      const char close = c == '[' ? ']' : c;
      if (c == '[') {
        push();
      } else {
        LT2_CHECK(part.empty() && !ended, "{}: a quote inside a key must follow a dot", origin);
      }
      const size_t end = argument.find(close, key.end + 1);
      LT2_CHECK(end != std::string::npos, "{}: the key lacks a closing {}", origin, close);
      auto inside = argument.substr(key.end + 1, end - key.end - 1);
      LT2_CHECK(!inside.empty(), "{}: a key has an empty component; write key=value, nested as group.key=value",
                origin);
      key.parts.push_back(std::move(inside));
      ended = true;
      key.end = end;
    } else if (c == '.') {
      push();
    } else {
      LT2_CHECK(!ended, "{}: expected . or = after a quoted component", origin);
      part += c;
    }
  }
  push();
  for (const auto& component : key.parts)
    LT2_CHECK(printable(component) == component, "{}: a key must not hold control characters", origin);
  return key;
}

void set_origin(ConfigTree& tree, const std::string& origin) {
  tree.origin = origin;
  for (auto& item : tree.items) set_origin(item, origin);
  for (auto& [key, entry] : tree.entries) set_origin(entry, origin);
}

// A map of names that the user chooses, as data.sources: every key below it is content.
bool is_free_map(const Field& field) {
  if (std::holds_alternative<Weights*>(field.target)) return true;
  return std::holds_alternative<ConfigTree*>(field.target) && field.check.words.empty();
}

bool lies_at_or_below(const std::string& path, const std::string& key) {
  return path.starts_with(key) && (path.size() == key.size() || path[key.size()] == '.');
}

// Names of weights may have dots: everything after the field's own key is one name.
void join_name(Key& key, const std::vector<Field>& fields) {
  const auto path = fmt::format("{}", fmt::join(key.parts, "."));
  for (const auto& field : fields) {
    if (!std::holds_alternative<Weights*>(field.target) || !path.starts_with(field.key + ".")) continue;
    key.parts.resize(static_cast<size_t>(std::count(field.key.begin(), field.key.end(), '.')) + 1);
    key.parts.push_back(path.substr(field.key.size() + 1));
  }
}

// Lays `over` on `base`, both at `path`; the argument's key names the next `named` levels. Groups of fields merge. A
// free map that the key names, or that is part of the value, replaces the old one. A map that the key passes through
// gets a new entry.
void put(ConfigTree& base, const ConfigTree& over, const std::string& path, size_t named,
         const std::vector<Field>& fields) {
  const bool whole = named == 0 && std::any_of(fields.begin(), fields.end(), [&](const Field& field) {
                       return is_free_map(field) && lies_at_or_below(path, field.key);
                     });
  if (whole || !base.is_map() || !over.is_map()) {
    base = over;
    return;
  }
  base.origin = over.origin;
  for (const auto& [key, value] : over.entries)
    put(base.at(key), value, path.empty() ? key : path + "." + key, named > 0 ? named - 1 : 0, fields);
}

// `--seq-len=8` is another spelling of `seq_len=8`. A name that the user chose, after a map's key, keeps its dashes.
std::string without_dashes(const std::string& argument, const std::vector<Field>& fields) {
  if (!argument.starts_with("--")) return argument;
  auto plain = argument.substr(2);
  const auto end = plain.begin() + static_cast<ptrdiff_t>(std::min(plain.find('='), plain.size()));
  const auto typed = plain;
  std::replace(plain.begin(), end, '-', '_');
  for (const auto& field : fields) {
    if (is_free_map(field) && plain.starts_with(field.key + "."))
      plain.replace(field.key.size(), std::string::npos, typed, field.key.size());
  }
  return plain;
}

// The tree of one argument.
ConfigTree nested(const Key& key, const std::string& argument, const std::string& origin) {
  ConfigTree tree;
  if (key.end < argument.size()) tree = parse_yaml(argument.substr(key.end + 1), origin, /*line_numbers=*/false);
  for (auto part = key.parts.rbegin(); part != key.parts.rend(); ++part) {
    auto parent = ConfigTree::map();
    parent.at(*part) = std::move(tree);
    tree = std::move(parent);
  }
  set_origin(tree, origin);
  return tree;
}

}  // namespace

ConfigTree parse_override(const std::string& argument, const std::string& origin) {
  return nested(parse_key(argument, origin), argument, origin);
}

std::string key_path(const std::string& argument, const std::string& where, const std::vector<Field>& fields) {
  const auto key = parse_key(without_dashes(argument, fields), where + printable(argument));
  return fmt::format("{}", fmt::join(key.parts, "."));
}

void merge_overrides(ConfigTree& tree, const std::vector<std::string>& arguments, const std::string& where,
                     const std::vector<Field>& fields) {
  for (const auto& typed : arguments) {
    const std::string origin = where + printable(typed);
    const auto argument = without_dashes(typed, fields);
    const auto equals = argument.find('=');
    const auto field = std::find_if(fields.begin(), fields.end(), [&](const Field& candidate) {
      return candidate.check.verbatim && argument.compare(0, equals, candidate.key) == 0;
    });
    if (field == fields.end() || equals == std::string::npos) {
      auto key = parse_key(argument, origin);
      join_name(key, fields);
      put(tree, nested(key, argument, origin), "", key.parts.size(), fields);
      continue;
    }
    auto over = parse_override(field->key, origin);
    ConfigTree* value = &over;
    while (value->is_map()) value = &value->entries[0].second;
    const auto text = argument.substr(equals + 1);
    const bool optional = std::holds_alternative<std::optional<std::string>*>(field->target);
    *value =
        optional && !field->check.prose && text == "null" ? ConfigTree() : escape_references(ConfigTree::quoted(text));
    value->origin = origin;
    merge(tree, over);
  }
}

}  // namespace lt2
