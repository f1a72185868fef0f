#pragma once
// A configuration as written: an ordered tree that keeps the origin and the spelling of every value. YAML
// files, JSON files (YAML's subset) and key=value arguments become such trees; fields.h turns the merged tree into
// typed structs.
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace lt2 {

/// One value. A plain (unquoted) scalar keeps its source text until a field's type decides what it means: "4:1" is a
/// ratio to a text field, although YAML 1.1 reads it as the base-60 number 241.
struct ConfigTree {
  enum class Kind { kNull, kPlain, kQuoted, kList, kMap };

  Kind kind = Kind::kNull;
  std::string text;                                         // kPlain, kQuoted
  std::vector<ConfigTree> items;                            // kList
  std::vector<std::pair<std::string, ConfigTree>> entries;  // kMap, in the order written
  std::string origin;                                       // "FILE:12", "command line: model.dim=64"; empty: a default

  static ConfigTree plain(std::string text);
  static ConfigTree quoted(std::string text);
  static ConfigTree map();

  bool is_null() const { return kind == Kind::kNull; }
  bool is_map() const { return kind == Kind::kMap; }
  bool is_scalar() const { return kind == Kind::kPlain || kind == Kind::kQuoted; }

  const ConfigTree* find(const std::string& key) const;
  ConfigTree* find(const std::string& key);
  /// The entry's value, added as null at the end if there is none. `this` must be a map.
  ConfigTree& at(const std::string& key);
  void erase(const std::string& key);

  /// Equal content; where it was written does not matter.
  bool operator==(const ConfigTree& other) const;
};

/// Reads one YAML document. `name` (a file name or a command-line argument) stands in errors and origins; with
/// `line_numbers` the line follows it. Throws lt2::Error on bad syntax and duplicate keys.
ConfigTree parse_yaml(const std::string& text, const std::string& name, bool line_numbers = true);

/// `over` on top of `base`: maps merge key by key, everything else (lists too) is replaced whole.
void merge(ConfigTree& base, const ConfigTree& over);

/// Replaces ${a.b}, ${.sibling}, ${..x} by the values they name. A scalar that is nothing but one reference takes the
/// whole value.
void resolve_references(ConfigTree& root);

/// The inverse for texts that are final: ${ becomes \${, so that resolve_references leaves them as they are.
ConfigTree escape_references(ConfigTree value);

// The value of a scalar for a field of a type; nullopt: it has none.
std::optional<int64_t> as_int(const ConfigTree& value);
std::optional<double> as_float(const ConfigTree& value);
std::optional<bool> as_bool(const ConfigTree& value);
std::optional<std::string> as_text(const ConfigTree& value);

/// Rewrites every plain scalar in one canonical spelling of its YAML type, for untyped fields.
ConfigTree canonical(const ConfigTree& value);

/// 0.1 -> "0.1", 10000 -> "10000.0", 1e-5 -> "1e-05": the shortest text that reads back as the same number.
std::string float_text(double value);

/// For messages: "abc" for text, 1.5 as it stands, null, "a list", "a map".
std::string display(const ConfigTree& value);

/// True for texts like 4:1, which YAML 1.1 would take for a number.
bool looks_like_ratio(const std::string& text);

std::string write_yaml(const ConfigTree& value);
std::string write_json(const ConfigTree& value);

}  // namespace lt2
