#include "config/unused_keys.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "config/patterns.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

std::set<std::string> types_of(const ModelConfig& model) {
  const auto types = layer_types(model.layer_pattern, model.n_layers);
  return {types.begin(), types.end()};
}

decltype(AttentionPlan::windows) windows_seen(const ModelConfig& model) {
  const auto types = layer_types(model.layer_pattern, model.n_layers);
  auto windows = attention_plan(model).windows;
  for (auto& loop : windows) {
    for (size_t i = 0; i < types.size(); ++i) {
      if (!sees_windows(types[i])) loop[i].reset();
    }
  }
  return windows;
}

// The attention pattern decides windows and which layers form a block.
void attention_keys(const ModelConfig& model, UnusedKeys& out) {
  const auto types = types_of(model);
  const auto plan = attention_plan(model);
  const bool windows = std::any_of(types.begin(), types.end(), sees_windows);
  if (!windows) {
    if (!model.use_block_residual || std::min(plan.block_size, model.n_layers) == 1)
      out.add({"model.attention_pattern"}, "no layer is full, and a block is one layer either way");
    out.add({"model.default_sliding_window"}, "no layer is full");
  } else if (!plan.random) {
    auto wider = model;
    wider.default_sliding_window = model.default_sliding_window.value_or(0) + 1;
    if (windows_seen(wider) == windows_seen(model))
      out.add({"model.default_sliding_window"}, "no full layer has the pattern's window");
  }
  if (!plan.random) out.add({"model.inference_ensemble_k"}, "model.attention_pattern is not random");
}

void mixer_keys(const ModelConfig& model, UnusedKeys& out) {
  const auto types = types_of(model);
  std::set<std::string> read;
  const std::vector<std::string> shared{"head_dim", "n_kv_heads", "rope_theta", "use_attn_gate"};
  auto copy = model;
  copy.mixers([&](const char* type, auto& mixer) {
    if (types.contains(type)) {
      for (const auto& key : shared) {
        if (mixer.reads(key)) read.insert(key);
      }
      mixer.unused(out);
      return;
    }
    std::vector<std::string> keys;
    for (const auto& field : collect_fields(mixer)) {
      if (field.check.ignored.empty()) keys.push_back("model." + field.key);
    }
    if (!keys.empty()) out.add(std::move(keys), fmt::format("no layer is {}", type));
  });
  std::vector<std::string> unread;
  for (const auto& key : shared) {
    if (!read.contains(key)) unread.push_back("model." + key);
  }
  if (!unread.empty()) out.add(std::move(unread), fmt::format("{} layers do not read it", fmt::join(types, " and ")));
}

void data_keys(const TrainConfig& config, const ValidateOptions& options, UnusedKeys& out) {
  const auto& data = config.data;
  if (data.n_views > 2) out.add({"data.n_views"}, "training reads two views, inputs and labels");
  const auto& tokenizer = data.tokenizer;
  if (tokenizer.name == "bytes") out.add({"data.tokenizer.path"}, "the tokenizer bytes has no file");
  if (tokenizer.name != "tiktoken")
    out.add({"data.tokenizer.specials"}, fmt::format("they are tiktoken's; the tokenizer is {}", tokenizer.name));
  if (options.dry_run) return;  // the sources may not exist yet
  bool below_root = false, folder = false;
  std::vector<std::string> sources;
  for (const auto& [source, weight] : data.sources) sources.push_back(source);
  if (config.val.source) sources.push_back(*config.val.source);
  for (const auto& source : sources) {
    const auto place = resolve_source(data, source);
    below_root = below_root || place != fs::path(source);
    folder = folder || fs::is_directory(place);
  }
  if (!below_root) out.add({"data.root_dir"}, "no source lies below it");
  if (!folder) out.add({"data.allow_unread_chunks"}, "no source is a folder of chunk files");
}

void schedule_keys(const OptimConfig& optim, UnusedKeys& out) {
  const auto belongs = [&](std::vector<std::string> keys, const std::vector<std::string>& schedulers) {
    if (std::find(schedulers.begin(), schedulers.end(), optim.scheduler) == schedulers.end())
      out.add(std::move(keys), fmt::format("optim.scheduler is {}", optim.scheduler));
  };
  belongs({"optim.warmup", "optim.lr_min_ratio"}, {"linear", "inv_sqrt", "cosine", "wsd"});
  belongs({"optim.cycle_length"}, {"cosine", "wsd"});
  belongs({"optim.cosine_theta"}, {"cosine"});
  belongs({"optim.decay_fraction"}, {"wsd"});
  belongs({"optim.exp_factor"}, {"inv_sqrt"});
  if (optim.weight_decay == 0) out.add({"optim.decay_exempt"}, "optim.weight_decay is 0");
}

bool has_entries(const fs::path& folder) {
  std::error_code none;
  return fs::is_directory(folder, none) && fs::directory_iterator(folder, none) != fs::directory_iterator();
}

void weight_keys(const TrainConfig& config, UnusedKeys& out) {
  if (config.checkpoint.init_ckpt_path) {
    std::vector<std::string> keys{"model.init_base_std", "model.init_std_factor"};
    if (!is_random_pattern(config.model.attention_pattern)) keys.emplace_back("model.seed");
    out.add(std::move(keys), "the weights come from checkpoint.init_ckpt_path");
  } else if (!has_entries(*config.checkpoint.path)) {
    out.add({"checkpoint.allow_model_change"}, "there are no weights to start from");
  }
}

void watching_keys(const TrainConfig& config, UnusedKeys& out) {
  const auto& profiling = config.profiling;
  if (!profiling.run) {
    out.add({"profiling.trace_folder", "profiling.profile_warmup", "profiling.profile_steps"},
            "profiling.run is false");
  } else if (profiling.profile_warmup >= config.steps) {
    out.add({"profiling.run"}, fmt::format("the trace begins at step profiling.profile_warmup = {}, the run ends "
                                           "before it (steps = {})",
                                           profiling.profile_warmup, config.steps));
  }
  const auto& val = config.val;
  if (val.every == 0) {
    out.add({"val.steps", "val.source", "val.fraction"}, "val.every is 0: no validation loss is measured");
  } else if (val.source) {
    out.add({"val.fraction"}, "val.source gives the text");
  }
  if (!val.prompt) out.add({"seed", "val.sample_len"}, "there is no val.prompt to continue");
}

}  // namespace

bool UnusedKeys::contains(const std::string& key) const {
  return std::any_of(reasons.begin(), reasons.end(), [&](const Reason& reason) {
    return std::find(reason.keys.begin(), reason.keys.end(), key) != reason.keys.end();
  });
}

UnusedKeys unused_model_keys(const ModelConfig& model) {
  UnusedKeys out;
  attention_keys(model, out);
  mixer_keys(model, out);
  if (model.intermediate_size) out.add({"model.multiple_of"}, "model.intermediate_size gives the FFN width");
  if (model.loop_count == 1) out.add({"model.state_carry"}, "one loop has no loop before it");
  return out;
}

UnusedKeys unused_keys(const TrainConfig& config, const ValidateOptions& options) {
  auto out = unused_model_keys(config.model);
  data_keys(config, options, out);
  schedule_keys(config.optim, out);
  weight_keys(config, out);
  watching_keys(config, out);
  if (options.world_size == 1) out.add({"distributed.timeout_s"}, "one rank waits for no other");
  return out;
}

std::vector<std::string> unused_lines(TrainConfig given, const UnusedKeys& unused) {
  TrainConfig defaults;
  // A resolved configuration also contains keys derived from others; the user did not choose their values.
  const auto& model = given.model;
  if (!model.n_heads || model.head_dim == model.dim / *model.n_heads) defaults.model.head_dim = model.head_dim;
  if (model.n_kv_heads == model.n_heads) defaults.model.n_kv_heads = model.n_kv_heads;
  std::map<std::string, std::string> changed;
  const auto fields = collect_fields(given), usual = collect_fields(defaults);
  for (size_t i = 0; i < fields.size(); ++i) {
    if (const auto text = changed_value(fields[i], usual[i])) changed[fields[i].key] = *text;
  }
  std::vector<std::string> lines;
  for (const auto& [keys, why] : unused.reasons) {
    std::vector<std::string> texts;
    for (const auto& key : keys) {
      if (const auto it = changed.find(key); it != changed.end()) texts.push_back(it->second);
    }
    if (!texts.empty()) lines.push_back(fmt::format("no effect: {}: {}", fmt::join(texts, ", "), why));
  }
  return lines;
}

}  // namespace lt2
