#pragma once
// key=value arguments, shared by all commands.
#include <string>
#include <vector>

#include "config/fields.h"

namespace lt2 {

/// One argument as a tree. `a.b.c=v` and `a[b]=v` nest; a component in quotes keeps its dots
/// (data.sources."dclm_1.0"=2); the value is YAML (until=[a, b]); `key` and `key=` mean null. `origin` stands in
/// errors.
ConfigTree parse_override(const std::string& argument, const std::string& origin);

/// The dotted path that an argument's key names, however it is spelled: "data.sources.a.txt" of data.sources."a.txt"=1,
/// "steps" of --steps=2. `where` precedes the argument in errors.
std::string key_path(const std::string& argument, const std::string& where, const std::vector<Field>& fields);

/// Lays the arguments over `tree`, left to right. `where` precedes each in errors. Groups of fields merge key by key. A
/// whole map replaces a map of names that the user chooses (data.sources, eval): data.sources={mine.txt: 1}; but
/// data.sources.mine.txt=1 adds the entry mine.txt. (OmegaConf adds in both cases.) Values of fields marked verbatim
/// are taken literally, without YAML; only null still means null if the field can be null and is no prose. `key`
/// without = means null for those, too. `--a-key=value` means a_key=value.
void merge_overrides(ConfigTree& tree, const std::vector<std::string>& arguments, const std::string& where,
                     const std::vector<Field>& fields);

/// Fills any struct with fields() from key=value arguments. Unknown keys and wrong types throw lt2::Error, named
/// "COMMAND: ARGUMENT: ...".
template <class T>
void apply_overrides(T& config, const std::vector<std::string>& arguments, const std::string& command) {
  const auto fields = collect_fields(config);
  auto tree = to_tree(fields);
  merge_overrides(tree, arguments, command + ": ", fields);
  resolve_references(tree);
  read_tree(tree, fields);
}

}  // namespace lt2
