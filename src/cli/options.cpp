#include "cli/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

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

std::string suggestion(const std::string& key, const std::vector<Field>& fields, bool dashed) {
  auto near = nearest_key(key, keys_of_all(fields));
  if (dashed) std::replace(near.begin(), near.end(), '_', '-');
  return near.empty() ? "" : fmt::format("; did you mean {}{}?", dashed ? "--" : "", near);
}

}  // namespace

Arguments join_dashed(const std::vector<std::string>& words, const Command& command) {
  std::vector<Field> fields;
  for (const auto& keys : command.keys) fields.insert(fields.end(), keys.fields.begin(), keys.fields.end());
  if (command.takes_training_keys) fields = with_training_keys(std::move(fields));
  Arguments out;
  for (size_t i = 0; i < words.size(); ++i) {
    const auto& word = words[i];
    if (word == "--") {
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
    const auto field = std::find_if(fields.begin(), fields.end(), [&](const Field& f) { return f.key == key; });
    const bool flag = field != fields.end() && std::holds_alternative<bool*>(field->target);
    if (word.find('=') != std::string::npos) {
      out.words.push_back(word);
    } else if (flag) {
      out.words.push_back(word + "=true");
    } else {
      LT2_CHECK(i + 1 < words.size() && !is_dashed(words[i + 1]), "lt2 {}: {} needs a value", command.name, word);
      out.words.push_back(word + "=" + words[++i]);
    }
  }
  return out;
}

Options read_fields(const std::vector<std::string>& words, const std::string& name, Others others,
                    const std::vector<Field>& fields) {
  Options out;
  std::vector<std::string> own;
  const auto training = others == Others::kTrainingKeys ? default_fields<TrainConfig>() : std::vector<Field>{};
  for (const auto& word : words) {
    const auto key = key_of(word);
    const bool pair = word.find('=') != std::string::npos;
    if (is_key(root_of(key), fields) && (pair || others != Others::kPlainWords)) {
      LT2_CHECK(out.given.insert(key).second, "lt2 {}: {} is given twice; keep one", name, key);
      own.push_back(word);
    } else if (pair && is_key(root_of(key), training)) {
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
  std::vector<std::string> before;
  for (const auto& field : fields) before.push_back(value_text(field));
  read_tree(tree, fields);
  for (size_t i = 0; i < fields.size(); ++i) {
    const auto& why = fields[i].check.ignored;
    if (!why.empty() && value_text(fields[i]) != before[i])
      log_info("ignored: {}={} ({})", fields[i].key, value_text(fields[i]), why);
  }
  return out;
}

void refuse_without_effect(const Options& options, const std::string& name, const std::vector<std::string>& keys,
                           const std::string& where) {
  for (const auto& key : keys) {
    LT2_CHECK(!options.given.contains(key), "lt2 {}: {} has no effect {}; leave it out", name, key, where);
  }
}

}  // namespace lt2
