#include "cli/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "config/overrides.h"
#include "config/train_config.h"

namespace lt2 {
namespace {

bool is_dashed(const std::string& word) { return word.size() > 2 && word.starts_with("--"); }

/// The key of `--seq-len=8` or `seq_len=8`.
std::string key_of(const std::string& word) {
  auto key = word.substr(0, word.find('='));
  if (!is_dashed(key)) return key;
  key.erase(0, 2);
  std::replace(key.begin(), key.end(), '-', '_');
  return key;
}

/// Up to the first group: "data" of data.sources."a.txt".
std::string root_of(const std::string& key) { return key.substr(0, key.find_first_of(".[")); }

std::vector<std::string> keys_of_all(const std::vector<Field>& fields) {
  std::vector<std::string> keys;
  for (const auto& field : fields) keys.push_back(field.key);
  return keys;
}

std::vector<Field> with_training_keys(std::vector<Field> fields) {
  const auto more = default_fields<TrainConfig>();
  fields.insert(fields.end(), more.begin(), more.end());
  return fields;
}

std::vector<Field> fields_of(const Command& command) {
  std::vector<Field> fields;
  for (const auto& keys : command.keys) fields.insert(fields.end(), keys.fields.begin(), keys.fields.end());
  return command.takes_training_keys ? with_training_keys(std::move(fields)) : fields;
}

bool is_flag(const std::string& key, const std::vector<Field>& fields) {
  const auto field = std::find_if(fields.begin(), fields.end(), [&](const Field& f) { return f.key == key; });
  return field != fields.end() && std::holds_alternative<bool*>(field->target);
}

/// Whether the word after the dashed option words[i] is its value.
bool takes_next(const std::vector<std::string>& words, size_t i, const std::vector<Field>& fields) {
  if (words[i].find('=') != std::string::npos || i + 1 == words.size()) return false;
  const auto& next = words[i + 1];
  return is_flag(key_of(words[i]), fields) ? next == "true" || next == "false" : !next.starts_with("--");
}

/// Whether values of the key merge, so that an earlier one still counts: groups, and maps of fixed keys.
bool merges(const std::string& key, const std::vector<Field>& fields) {
  return std::any_of(fields.begin(), fields.end(), [&](const Field& field) {
    const bool fixed_keys = std::holds_alternative<ConfigTree*>(field.target) && !field.check.words.empty();
    return field.key.starts_with(key + ".") || (fixed_keys && field.key == key);
  });
}

std::string suggestion(const std::string& key, const std::vector<Field>& fields, bool dashed) {
  auto near = nearest_key(key, keys_of_all(fields));
  if (dashed) std::replace(near.begin(), near.end(), '_', '-');
  return near.empty() ? "" : fmt::format("; did you mean {}{}?", dashed ? "--" : "", near);
}

}  // namespace

bool asks_for_help(const std::vector<std::string>& words, const Command& command) {
  if (!words.empty() && words[0] == "help") return true;
  const auto fields = fields_of(command);
  for (size_t i = 0; i < words.size() && words[i] != "--"; ++i) {
    if (words[i] == "--help" || words[i] == "-h") return true;
    if (is_dashed(words[i])) {
      if (takes_next(words, i, fields)) ++i;
    } else if (command.runs_a_command && words[i].find('=') == std::string::npos) {
      return false;
    }
  }
  return false;
}

Arguments join_dashed(const std::vector<std::string>& words, const Command& command) {
  const auto fields = fields_of(command);
  Arguments out;
  for (size_t i = 0; i < words.size(); ++i) {
    const auto& word = words[i];
    if (word == "--") {
      LT2_CHECK(command.runs_a_command, "lt2 {}: unexpected --; only lt2 launch runs another command. Leave -- out",
                command.name);
      out.rest.assign(words.begin() + static_cast<ptrdiff_t>(i) + 1, words.end());
      break;
    }
    if (!is_dashed(word)) {
      if (command.runs_a_command && word.find('=') == std::string::npos) {
        out.rest.assign(words.begin() + static_cast<ptrdiff_t>(i), words.end());
        break;
      }
      out.words.push_back(word);
      continue;
    }
    const auto key = key_of(word);
    LT2_CHECK(is_key(key, fields), "lt2 {}: unknown option {}{}", command.name, printable(word),
              suggestion(key, fields, true));
    if (takes_next(words, i, fields)) {
      out.words.push_back(word + "=" + words[++i]);
    } else if (word.find('=') != std::string::npos) {
      out.words.push_back(word);
    } else {
      const auto next = i + 1 < words.size() && is_dashed(words[i + 1]) ? printable(words[i + 1]) : "";
      LT2_CHECK(is_flag(key, fields), "lt2 {}: {} needs a value{}", command.name, word,
                next.empty() ? "" : fmt::format("; if {} is the value, write {}={}", next, key, next));
      out.words.push_back(word + "=true");
    }
  }
  return out;
}

Options read_fields(const std::vector<std::string>& words, const std::string& name, Others others,
                    const std::vector<Field>& fields, const std::vector<Field>& defaults) {
  Options out;
  std::vector<std::string> own;
  std::map<std::string, std::string> last;  // of each training key: the word
  const auto training = others == Others::kTrainingKeys ? default_fields<TrainConfig>() : std::vector<Field>{};
  for (const auto& word : words) {
    const auto key = key_of(word);
    const bool pair = word.find('=') != std::string::npos;
    if (is_key(root_of(key), fields) && (pair || others != Others::kPlainWords)) {
      LT2_CHECK(out.given.insert(key).second, "lt2 {}: {} is given twice; keep one", name, key);
      own.push_back(word);
    } else if (pair && is_key(root_of(key), training)) {
      const auto path = key_path(word, kCommandLine, training);
      const auto [earlier, first] = last.emplace(path, word);
      if (!first && !merges(path, training)) log_info("ignored: {} ({} comes after it)", earlier->second, word);
      earlier->second = word;
      out.training_keys.push_back(word);
    } else if (!pair || (others == Others::kPlainWords && std::filesystem::exists(word))) {
      LT2_CHECK(others == Others::kPlainWords, "lt2 {}: unexpected argument {}; options are key=value, or --key value",
                name, printable(word));
      out.plain.push_back(word);
    } else {
      const auto known = others == Others::kTrainingKeys ? with_training_keys(fields) : fields;
      fail("lt2 {}: {}: unknown key {}{}", name, printable(word), printable(key), suggestion(key, known, false));
    }
  }
  auto tree = to_tree(fields);
  merge_overrides(tree, own, fmt::format("lt2 {}: ", name), fields);
  resolve_references(tree);
  read_tree(tree, fields);
  for (const auto& line : ignored_fields(fields, defaults)) log_info("{}", line);
  return out;
}

void refuse_without_effect(const Options& options, const std::string& name, const std::vector<std::string>& keys,
                           const std::string& where) {
  for (const auto& key : keys) {
    LT2_CHECK(!options.given.contains(key), "lt2 {}: {} has no effect {}; leave it out", name, key, where);
  }
}

}  // namespace lt2
