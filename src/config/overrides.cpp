#include "config/overrides.h"

#include <algorithm>

#include "base/error.h"

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
  return key;
}

void set_origin(ConfigTree& tree, const std::string& origin) {
  tree.origin = origin;
  for (auto& item : tree.items) set_origin(item, origin);
  for (auto& [key, entry] : tree.entries) set_origin(entry, origin);
}

}  // namespace

ConfigTree parse_override(const std::string& argument, const std::string& origin) {
  const auto key = parse_key(argument, origin);
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

void merge_overrides(ConfigTree& tree, const std::vector<std::string>& arguments, const std::string& where,
                     const std::vector<Field>& fields) {
  for (const auto& argument : arguments) {
    const std::string origin = where + argument;
    const auto equals = argument.find('=');
    const auto field = std::find_if(fields.begin(), fields.end(), [&](const Field& candidate) {
      return candidate.check.verbatim && argument.compare(0, equals, candidate.key) == 0;
    });
    if (field == fields.end() || equals == std::string::npos) {
      merge(tree, parse_override(argument, origin));
      continue;
    }
    auto over = parse_override(field->key, origin);
    ConfigTree* value = &over;
    while (value->is_map()) value = &value->entries[0].second;
    const auto text = argument.substr(equals + 1);
    const bool optional = std::holds_alternative<std::optional<std::string>*>(field->target);
    *value = optional && text == "null" ? ConfigTree() : escape_references(ConfigTree::quoted(text));
    value->origin = origin;
    merge(tree, over);
  }
}

}  // namespace lt2
