#pragma once
// One declaration per configuration field. A config struct lists its fields once,
//
//   template <class Visit> void fields(Visit&& visit) {
//     visit("loop_count", loop_count, at_least(1), "loops over the shared layers");
//   }
//
// That line serves reading (YAML, JSON, key=value), range checks, the nearest known name for a misspelt key, --help and
// docs/configuration.md (config/help.h), and the copy of the configuration in a run's folder. A member whose type has
// fields() itself is a group.
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "config/tree.h"

namespace lt2 {

/// The values that a field takes, beyond its type, and whether it has an effect here.
struct Check {
  std::optional<double> min = {}, max = {};
  bool min_open = false, max_open = false;
  std::vector<std::string> words = {};  // text: the allowed values; an untyped map: the allowed keys
  std::string ignored = {};             // why a value other than the default has no effect; empty: it has an effect
  bool verbatim = false;                // the command line's text is the value (null: none): names are not YAML
  bool prose = false;   // text that people read: may hold line breaks and other control characters; verbatim: null too
  bool path = false;    // text, a map's keys: ~ at its start is $HOME (expand_home)
  bool commas = false;  // a list: one word with commas between the items; an existing path with a comma is one item
  bool amount = false;  // an integer: may have a unit (amount_from_text)
  // Whether the same trained weights are another function under another value. Unset: the group decides; the default of
  // a group is no. A key that acts on the weights' shapes alone is not marked: reading weights refuses other shapes.
  std::optional<bool> defines_model = {};
};

inline Check any() { return {}; }
inline Check at_least(double min) { return Check{.min = min}; }
inline Check above(double min) { return Check{.min = min, .min_open = true}; }
inline Check within(double min, double max) { return Check{.min = min, .max = max}; }
inline Check above_up_to(double min, double max) { return Check{.min = min, .max = max, .min_open = true}; }
inline Check from_below(double min, double max) { return Check{.min = min, .max = max, .max_open = true}; }
inline Check one_of(std::vector<std::string> words) { return Check{.words = std::move(words)}; }
inline Check keys_of(std::vector<std::string> words) { return Check{.words = std::move(words)}; }
inline Check verbatim() { return Check{.verbatim = true}; }
inline Check prose() { return Check{.prose = true}; }
/// Text as a person types it: on the command line it is taken literally, also the word null.
inline Check verbatim_prose() { return Check{.verbatim = true, .prose = true}; }
/// Names of files and folders.
inline Check any_path() { return Check{.path = true}; }
inline Check verbatim_path() { return Check{.verbatim = true, .path = true}; }
/// Several values, with commas between: mode=train,prefill.
inline Check commas(Check check = {}) {
  check.commas = true;
  return check;
}
/// 4096, 1k, 24G, 5GB.
inline Check amount(Check check = {}) {
  check.amount = true;
  return check;
}
inline Check ignored(std::string why = "no effect here") { return Check{.ignored = std::move(why)}; }
inline Check ignored(Check check, std::string why = "no effect here") {
  check.ignored = std::move(why);
  return check;
}
inline Check defines_model(Check check = {}) {
  check.defines_model = true;
  return check;
}
inline Check beside_model(Check check = {}) {
  check.defines_model = false;
  return check;
}

/// A map name -> weight in the order written.
using Weights = std::vector<std::pair<std::string, double>>;

/// Where a field lives in its struct. ConfigTree is an untyped value ("any").
using FieldTarget =
    std::variant<int64_t*, double*, bool*, std::string*, std::optional<int64_t>*, std::optional<double>*,
                 std::optional<std::string>*, std::vector<std::string>*, Weights*, ConfigTree*, std::vector<int64_t>*>;

struct Field {
  std::string key;  // dotted: "model.loop_count"
  FieldTarget target;
  Check check;
  std::string help;
  bool defines_model = false;
  std::string section;  // heading in lists of fields: the group's key, or the last Heading
};

/// A heading in lists of fields: visit("sampling", kHeading, any(), "") stands above the fields that follow it.
struct Heading {};
inline constexpr Heading kHeading;

template <class T>
concept HasFields = requires(T& group) {
  group.fields([](auto&&...) {});
};

namespace fields_detail {

struct Collector {
  std::string prefix;
  std::vector<Field>& fields;
  bool defines_model;
  std::string section;
  template <class T>
  void operator()(const char* name, T& member, const Check& check, const char* help) {
    const bool model = check.defines_model.value_or(defines_model);
    if constexpr (std::is_same_v<T, const Heading>) {
      section = name;
    } else if constexpr (HasFields<T>) {
      member.fields(Collector{prefix + name + ".", fields, model, prefix + name});
    } else {
      fields.push_back({prefix + name, &member, check, help, model, section});
    }
  }
};

}  // namespace fields_detail

/// All fields of `config`, groups flattened, in declaration order. The targets point into `config`.
template <class T>
std::vector<Field> collect_fields(T& config) {
  std::vector<Field> fields;
  config.fields(fields_detail::Collector{"", fields, false, ""});
  return fields;
}

/// The fields of a T that holds its defaults. Use them to read what a field is and what its default is.
template <class T>
std::vector<Field> default_fields() {
  static T defaults;
  return collect_fields(defaults);
}

/// A path as a shell reads it: ~ and ~/x become $HOME and $HOME/x, because shells do not expand ~ after `key=`. Other
/// paths stay as they are. Throws lt2::Error that begins with `where` if HOME is not set.
std::string expand_home(const std::string& path, const std::string& where);

/// Where every value was written, so that later checks can name the line.
class Where {
 public:
  Where() = default;
  Where(std::string file) : source(std::move(file)) {}  // NOLINT: a file name is enough where lines are not known
  Where(const char* file) : source(file) {}             // NOLINT
  /// "configs/gdn.yaml:12: " for the first of these keys that was written somewhere, else "FILE: ", else "".
  std::string prefix(const std::vector<std::string>& keys) const;
  /// True if the key's value came from the command line.
  bool on_command_line(const std::string& key) const;

  std::string source;                          // the file
  std::map<std::string, std::string> origins;  // dotted key -> origin, for keys not left at their default
};

inline constexpr const char* kCommandLine = "command line: ";

/// The current values as a tree, canonical, references escaped.
ConfigTree to_tree(const std::vector<Field>& fields);

/// Writes the tree's values into the fields: types, ranges, unknown keys (an error that suggests the nearest known key,
/// unless `lenient`), no control characters but in prose. `where`, if given, receives the origins. Values without an
/// origin are defaults: their ranges are not checked.
void read_tree(const ConfigTree& tree, const std::vector<Field>& fields, bool lenient = false, Where* where = nullptr);

/// "KEY=VALUE" ("KEY=..." of a list or a map) if the field's value is not the usual one.
std::optional<std::string> changed_value(const Field& field, const Field& usual);

/// One line "ignored: KEY=VALUE (why)" per field that has no effect and differs from its default.
std::vector<std::string> ignored_fields(const std::vector<Field>& fields, const std::vector<Field>& defaults);

/// A field that has an effect and whose value changed.
struct FieldChange {
  std::string key, before, now;  // the values on one line, as JSON
  bool defines_model = false;
};
/// The changes between two sets of fields of the same struct.
std::vector<FieldChange> changed_fields(const std::vector<Field>& before, const std::vector<Field>& now);

/// The known key nearest to `key`; empty if none is near.
std::string nearest_key(const std::string& key, const std::vector<std::string>& known);

/// The description of a field for people. Types: "int", "text or null", "list". Values: "at least 1", "0 to 1", "fp32,
/// bf16", empty if the type says it all. The value as a user types it: 0.1, null, text without quotes, [], {}.
std::string type_text(const Field& field);
std::string range_text(const Field& field);
std::string value_text(const Field& field);

/// Whether `key` is a field, a group of fields or a name in a map that is a field.
bool is_key(const std::string& key, const std::vector<Field>& fields);

}  // namespace lt2
