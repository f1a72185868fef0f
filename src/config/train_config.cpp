#include "config/train_config.h"

#include <algorithm>

#include "base/error.h"
#include "base/files.h"
#include "base/text.h"
#include "config/overrides.h"
#include "config/patterns.h"
#include "config/tokenizer_path.h"
#include "config/unused_keys.h"

namespace lt2 {
namespace {

std::string normal(std::string text) {
  std::erase_if(text, [](char c) { return c == ' ' || c == '\t'; });
  for (auto& c : text) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return text;
}

std::string at(const ConfigTree& value) { return value.origin.empty() ? "" : value.origin + ": "; }

/// Rewrites other spellings of model fields into canonical ones. Works on the merged tree, where defaults have no
/// origin.
class ModelAliases {
 public:
  ModelAliases(ConfigTree& model, Notes* notes) : model_(model), notes_(notes) {}

  void apply() {
    ratio_from_integer();
    gated_attn();
    mixer();
    sliding_window();
    drop_cot_gdp();
    if (auto* window = model_.find("nsa_window_size"); window && window->is_null()) {
      const std::string origin = window->origin;
      *window = ConfigTree::plain("512");
      window->origin = origin;
    }
  }

 private:
  const ConfigTree* written(const std::string& key) const {
    const auto* value = model_.find(key);
    return value && !value->origin.empty() ? value : nullptr;
  }

  /// `alias` says that `key` is `value`; a different value written for it is a contradiction.
  void set(const std::string& alias, const ConfigTree& source, const std::string& key, ConfigTree value) {
    const auto* other = written(key);
    const auto meaning = as_text(value);
    const auto said = other ? as_text(*other) : std::nullopt;
    LT2_CHECK(!other || (said && normal(*said) == normal(*meaning)),
              "{}model.{} = {} means model.{} = {}, but {}model.{} is {}. Keep one of them", at(source), alias,
              display(source), key, display(value), at(*other), key, display(*other));
    value.origin = source.origin;
    model_.at(key) = std::move(value);
  }

  // An unquoted 4:1 passes through a plain YAML 1.1 reader as 4 * 60 + 1.
  void ratio_from_integer() {
    auto* pattern = model_.find("attention_pattern");
    const auto* layers = model_.find("n_layers");
    if (!pattern || !pattern->is_scalar() || looks_like_ratio(pattern->text)) return;
    const auto number = as_int(*pattern);
    // With one layer, "128" is a list of one window.
    if (!number || *number < 60 || (layers && as_int(*layers) == 1)) return;
    const std::string ratio = fmt::format("{}:{}", *number / 60, *number % 60);
    if (notes_) {
      notes_->warnings.push_back(
          fmt::format("{}model.attention_pattern {} read as \"{}\": a YAML reader took the ratio for a base-60 number",
                      at(*pattern), pattern->text, ratio));
    }
    pattern->kind = ConfigTree::Kind::kQuoted;
    pattern->text = ratio;
  }

  void gated_attn() {
    const auto* found = model_.find("gated_attn");
    if (!found) return;
    const ConfigTree source = *found;
    const auto on = as_bool(source);
    LT2_CHECK(on, "{}model.gated_attn must be true or false; found {}", at(source), display(source));
    set("gated_attn", source, "use_attn_gate", ConfigTree::plain(*on ? "true" : "false"));
    model_.erase("gated_attn");
  }

  void mixer() {
    const auto* found = model_.find("mixer");
    if (!found) return;
    const ConfigTree source = *found;
    const auto text = as_text(source);
    const std::string name = text ? normal(*text) : "";
    const auto& names = layer_type_names();
    const bool known = name == "window" || std::find(names.begin(), names.end(), name) != names.end();
    LT2_CHECK(known, "{}model.mixer must be one of window, {}; found {}", at(source), fmt::join(names, ", "),
              display(source));
    if (name == "full" || name == "window") {
      set("mixer", source, "layer_pattern", ConfigTree::quoted("full"));
      if (name == "full") set("mixer", source, "attention_pattern", ConfigTree::quoted("0:1"));
    } else {
      set("mixer", source, "layer_pattern", ConfigTree::quoted(mixed_with_full(name, source)));
    }
    model_.erase("mixer");
  }

  // The README gives the share of full layers by attention_pattern a:b.
  std::string mixed_with_full(const std::string& name, const ConfigTree& source) const {
    const auto* pattern = written("attention_pattern");
    if (!pattern) return name;
    const std::string text = normal(as_text(*pattern).value_or(""));
    const size_t colon = text.find(':');
    const bool ratio = looks_like_ratio(text) && text.find(':', colon + 1) == std::string::npos;
    const auto a = ratio ? as_int(ConfigTree::quoted(text.substr(0, colon))) : std::nullopt;
    const auto b = ratio ? as_int(ConfigTree::quoted(text.substr(colon + 1))) : std::nullopt;
    LT2_CHECK(
        a && b && *a > 0,
        "{}model.mixer = {} goes with model.attention_pattern a:b, a > 0 (a layers of {}, then b full ones), but {}"
        "model.attention_pattern is {}. Write model.layer_pattern instead of model.mixer",
        at(source), display(source), name, at(*pattern), display(*pattern));
    return *b == 0 ? name : fmt::format("interleaved:{}:{}:{}:full", *a, *b, name);
  }

  void sliding_window() {
    const auto* found = model_.find("sliding_window");
    if (!found) return;
    const ConfigTree source = *found;
    if (source.is_null()) {
      const bool ours = written("attention_pattern") || written("layer_pattern") || written("default_sliding_window");
      if (!ours) set("sliding_window", source, "attention_pattern", ConfigTree::quoted("0:1"));
    } else {
      const auto width = as_int(source);
      LT2_CHECK(width, "{}model.sliding_window must be an integer or null; found {}", at(source), display(source));
      set("sliding_window", source, "attention_pattern", ConfigTree::quoted("1:0"));
      set("sliding_window", source, "default_sliding_window", ConfigTree::plain(std::to_string(*width)));
    }
    model_.erase("sliding_window");
  }

  // Fields of an experimental mixer; layer_pattern cannot name it.
  void drop_cot_gdp() {
    for (const auto& [key, value] : model_.entries) {
      if (!key.starts_with("cot_gdp_") || !notes_) continue;
      notes_->ignored.push_back(
          fmt::format("model.{}={} (the mixer cot_gdp is not supported)", key, as_text(value).value_or("null")));
    }
    std::erase_if(model_.entries, [](const auto& entry) { return entry.first.starts_with("cot_gdp_"); });
  }

  ConfigTree& model_;
  Notes* notes_;
};

// The upstream code has this name, its configuration does not; recipes contain it all the same.
void drop_reduced_precision(ConfigTree& distributed, Notes* notes) {
  const std::string key = "allow_bf16_reduced_precision_reduction";
  const auto* value = distributed.find(key);
  if (!value) return;
  LT2_CHECK(as_bool(*value), "{}distributed.{} must be true or false; found {}", at(*value), key, display(*value));
  if (notes) notes->ignored.push_back(fmt::format("distributed.{}={}", key, value->text));
  distributed.erase(key);
}

// The official values include it, but here it is no type of products.
void refuse_fp16(const ConfigTree& distributed) {
  const auto* type = distributed.find("model_dtype");
  LT2_CHECK(!type || as_text(*type) != "fp16",
            "{}distributed.model_dtype fp16 is not offered: its range is too small to train without loss scaling. Use "
            "bf16 or fp32",
            at(*type));
}

}  // namespace

std::string ignored_line(const Notes& notes) {
  return notes.ignored.empty() ? "" : fmt::format("ignored, no effect here: {}", fmt::join(notes.ignored, ", "));
}

TrainConfig parse_train_config(const std::string& text, const std::string& name,
                               const std::vector<std::string>& overrides, Notes* notes) {
  TrainConfig config, defaults;
  const auto fields = collect_fields(config), default_fields = collect_fields(defaults);
  auto tree = to_tree(fields);
  const auto file = parse_yaml(text, name);
  LT2_CHECK(file.is_null() || file.is_map(), "{}: expected a map of keys; found {}", name, display(file));
  if (file.is_map()) merge(tree, file);
  merge_overrides(tree, overrides, kCommandLine, fields);
  resolve_references(tree);
  if (auto* model = tree.find("model"); model && model->is_map()) ModelAliases(*model, notes).apply();
  if (auto* distributed = tree.find("distributed"); distributed && distributed->is_map()) {
    drop_reduced_precision(*distributed, notes);
    refuse_fp16(*distributed);
  }

  Where where(name);
  read_tree(tree, fields, /*lenient=*/false, &where);
  if (notes) {
    for (size_t i = 0; i < fields.size(); ++i) {
      const auto& why = fields[i].check.ignored;
      const auto change = changed_value(fields[i], default_fields[i]);
      const bool threads = fields[i].key == "env.OMP_NUM_THREADS" && where.on_command_line(fields[i].key);
      if (why.empty() || threads || !change) continue;
      notes->ignored.push_back(why == ignored().ignored ? *change : fmt::format("{} ({})", *change, why));
    }
    notes->where = std::move(where);
  }
  return config;
}

TrainConfig load_train_config(const std::string& file, const std::vector<std::string>& overrides, Notes* notes) {
  LT2_CHECK(printable(file) == file, "config=\"{}\": a file's name must not hold control characters", printable(file));
  Notes own;
  if (!notes) notes = &own;
  auto config = parse_train_config(read_stream(file), file, overrides, notes);
  if (!notes->where.on_command_line("data.tokenizer.path"))
    config.data.tokenizer = located(config.data.tokenizer, std::filesystem::path(file).parent_path());
  return config;
}

ModelConfig model_config_from_json(const std::string& json_text, const std::string& where) {
  const auto root = parse_yaml(json_text, where, /*line_numbers=*/false);  // JSON is a part of YAML
  LT2_CHECK(root.is_map(), "{}: expected a JSON object; found {}", where, display(root));
  const auto* model = root.find("model");
  LT2_CHECK(!model || model->is_map(), "{}: model must be an object; found {}", where, display(*model));
  ModelConfig config;
  const auto fields = collect_fields(config);
  auto tree = to_tree(fields);
  merge(tree, model ? *model : root);
  ModelAliases(tree, nullptr).apply();
  read_tree(tree, fields, /*lenient=*/true);
  return config;
}

std::string to_yaml(const TrainConfig& config) {
  auto copy = config;
  return write_yaml(to_tree(collect_fields(copy)));
}

std::string to_json(const TrainConfig& config) {
  auto copy = config;
  return write_json(to_tree(collect_fields(copy)));
}

int64_t ffn_hidden_dim(const ModelConfig& config) {
  if (config.intermediate_size) return *config.intermediate_size;
  auto hidden = 8 * config.dim / 3;
  if (config.ffn_dim_multiplier)
    hidden = static_cast<int64_t>(*config.ffn_dim_multiplier * static_cast<double>(hidden));
  return (hidden + config.multiple_of - 1) / config.multiple_of * config.multiple_of;
}

TokenizerConfig located(TokenizerConfig tokenizer, const std::filesystem::path& folder) {
  const std::filesystem::path path = tokenizer.path.value_or("");
  std::error_code none;  // a path that cannot be examined counts as missing
  if (!path.empty() && path.is_relative() && !folder.empty() && std::filesystem::exists(folder / path, none))
    tokenizer.path = (folder / path).string();
  return tokenizer;
}

std::filesystem::path resolve_source(const DataConfig& config, const std::string& source) {
  namespace fs = std::filesystem;
  const fs::path plain(source);
  if (!config.root_dir) {
    LT2_CHECK(fs::exists(plain), "data source \"{}\" does not exist (working directory {}; data.root_dir is null)",
              source, fs::current_path().string());
    return plain;
  }
  const auto below = fs::path(*config.root_dir) / plain;
  if (fs::exists(below)) return below;
  LT2_CHECK(fs::exists(plain), "data source \"{}\" does not exist: neither {} nor {}", source, below.string(),
            fs::absolute(plain).string());
  return plain;
}

}  // namespace lt2
