#pragma once
// From the words of a command line to the structs of a command.
#include <set>
#include <string>
#include <vector>

#include "cli/command.h"
#include "config/fields.h"

namespace lt2 {

/// Whether the words after `lt2 COMMAND` ask for the command's help: `help` first, or --help or -h that is not the
/// value of a key. The words of another command (Command::runs_a_command) do not count.
bool asks_for_help(const std::vector<std::string>& words, const Command& command);

/// Makes each dashed option one word: `--seq-len 8` becomes `--seq-len=8`, `--strict` of a field that is true or false
/// `--strict=true`, unless the next word is true or false; - in a name stands for _. The command's fields are the known
/// options. Throws lt2::Error: unknown options, options without a value, -- unless the command runs another.
Arguments join_dashed(const std::vector<std::string>& words, const Command& command);

struct Options {
  std::vector<std::string> plain;          // words that are not key=value, in their order
  std::vector<std::string> training_keys;  // key=value of a training configuration
  std::set<std::string> given;             // the command's own keys that were given
};

/// What a command does with words that are not its keys.
enum class Others { kRefused, kPlainWords, kTrainingKeys };

/// Fills `fields` from the words, whose values before are the `defaults`, and reports those that are ignored: keys
/// without an effect, and a training key that a later word sets again. Throws lt2::Error, "lt2 NAME: WORD: ...":
/// unknown keys with the nearest known one, the command's own keys given twice, values that do not fit.
Options read_fields(const std::vector<std::string>& words, const std::string& name, Others others,
                    const std::vector<Field>& fields, const std::vector<Field>& defaults);

/// The same for one or more structs, new ones.
template <class... Structs>
Options read_options(const std::vector<std::string>& words, const std::string& name, Others others,
                     Structs&... structs) {
  std::vector<Field> fields, defaults;
  const auto add = [](std::vector<Field>& to, const std::vector<Field>& more) {
    to.insert(to.end(), more.begin(), more.end());
  };
  (add(fields, collect_fields(structs)), ...);
  (add(defaults, default_fields<Structs>()), ...);
  return read_fields(words, name, others, fields, defaults);
}

/// Throws lt2::Error "lt2 NAME: KEY has no effect WHERE; ..." if one of `keys` was given.
void refuse_without_effect(const Options& options, const std::string& name, const std::vector<std::string>& keys,
                           const std::string& where);

}  // namespace lt2
