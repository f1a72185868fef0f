#include "folders/ouro_form.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "checkpoint/hf_folder.h"
#include "config/patterns.h"
#include "folders/settings.h"

namespace lt2 {
namespace {

using nlohmann::json;

constexpr const char *kFull = "full_attention", *kSliding = "sliding_attention", *kLinear = "linear_attention";

// ---- Names ----

struct Renamed {
  const char *official, *published;
};

// Beginnings of names, within a layer and outside. `attention.` stands last: what is left of it is a linear mixer's,
// which keeps its names.
constexpr Renamed kInLayer[] = {
    {"attention_norm.", "input_layernorm."},    {"attention_norm_2.", "input_layernorm_2."},
    {"ffn_norm.", "post_attention_layernorm."}, {"ffn_norm_2.", "post_attention_layernorm_2."},
    {"feed_forward.w1.", "mlp.gate_proj."},     {"feed_forward.w3.", "mlp.up_proj."},
    {"feed_forward.w2.", "mlp.down_proj."},     {"attention.wq.", "self_attn.q_proj."},
    {"attention.wk.", "self_attn.k_proj."},     {"attention.wv.", "self_attn.v_proj."},
    {"attention.wo.", "self_attn.o_proj."},     {"attention.", "self_attn."}};
constexpr Renamed kAround[] = {{"tok_embeddings.", "model.embed_tokens."},
                               {"norm.", "model.norm."},
                               {"output.", "lm_head."},
                               {"early_exit_gate.", "model.early_exit_gate."}};

template <size_t N>
std::string renamed(const Renamed (&table)[N], const std::string& name) {
  for (const auto& [official, published] : table) {
    if (name.starts_with(official)) return published + name.substr(std::string(official).size());
  }
  return name;
}

// ---- Reading config.json ----

int64_t needed(const Settings& settings, const char* key) {
  const auto value = settings.whole(key);
  LT2_CHECK(value, "{}: {} is missing; an ouro model needs it", settings.where(), key);
  return *value;
}

// What the published code can do and this program cannot: silently another model would come out.
void refuse_variants(const Settings& keys) {
  const auto act = keys.text("hidden_act");
  LT2_CHECK(!act || *act == "silu", "{}: hidden_act must be \"silu\"; found {}", keys.where(), shown(act.value_or("")));
  for (const char* bias : {"attention_bias", "mlp_bias"}) {
    LT2_CHECK(!keys.flag(bias).value_or(false), "{}: {} is true; expected false: Ouro's projections have no biases",
              keys.where(), bias);
  }
  const auto partial = keys.positive("partial_rotary_factor");
  LT2_CHECK(!partial || *partial == 1, "{}: partial_rotary_factor must be 1, whole heads are rotated; found {}",
            keys.where(), *partial);
  LT2_CHECK(!keys.find("quantization_config"), "{}: quantization_config is given; expected weights in bf16 or fp32",
            keys.where());
}

double rope_theta(const Settings& keys) {
  auto theta = keys.positive("rope_theta");
  for (const char* group : {"rope_parameters", "rope_scaling"}) {
    const auto rope = keys.object(group);
    if (!rope) continue;
    for (const char* key : {"rope_type", "type"}) {
      const auto type = rope->text(key);
      LT2_CHECK(!type || *type == "default", "{}: {} must be \"default\", rotary angles are not scaled; found {}",
                rope->where(), key, shown(*type));
    }
    const auto nested = rope->positive("rope_theta");
    LT2_CHECK(!nested || !theta || *nested == *theta, "{}: rope_theta is {} here and {} outside", rope->where(),
              nested.value_or(0), theta.value_or(0));
    if (nested) theta = nested;
  }
  LT2_CHECK(theta, "{}: rope_theta is missing; an ouro model needs it", keys.where());
  return *theta;
}

std::vector<std::string> kinds_of_layers(const Settings& keys, const ModelConfig& config, bool windows_used) {
  std::vector<std::string> kinds(static_cast<size_t>(config.n_layers), kFull);
  const auto* given = keys.find("layer_types");
  if (given) {
    LT2_CHECK(given->is_array() && given->size() == kinds.size(),
              "{}: layer_types must list one kind per layer (num_hidden_layers = {}); found {}", keys.where(),
              kinds.size(), given->is_array() ? std::to_string(given->size()) : shown(*given));
    for (size_t i = 0; i < kinds.size(); ++i) {
      const auto& kind = (*given)[i];
      LT2_CHECK(kind == kFull || kind == kSliding || kind == kLinear,
                "{}: layer_types[{}] must be {}, {} or, where layer_pattern has a linear mixer, {}; found {}",
                keys.where(), i, kFull, kSliding, kLinear, shown(kind));
      kinds[i] = kind.get<std::string>();
    }
  } else if (windows_used) {
    // Before layer_types there was this: from that layer on.
    const auto first = keys.whole("max_window_layers", 0);
    LT2_CHECK(first, "{}: use_sliding_window is true, but neither layer_types nor max_window_layers says where",
              keys.where());
    for (auto i = static_cast<size_t>(std::min(*first, config.n_layers)); i < kinds.size(); ++i) kinds[i] = kSliding;
  }
  return kinds;
}

// Windows of the full layers as an explicit list.
void read_windows(const Settings& keys, ModelConfig& config) {
  const bool forbidden = !keys.flag("use_sliding_window").value_or(true),
             asked = keys.flag("use_sliding_window").value_or(false);
  const auto window = keys.whole("sliding_window");
  const auto kinds = kinds_of_layers(keys, config, asked && window);
  std::vector<std::string> types;
  try {
    types = layer_types(config.layer_pattern, config.n_layers);
  } catch (const Error& error) {
    fail("{}: {}", keys.where(), error.what());
  }
  std::string pattern;
  bool any = false;
  for (size_t i = 0; i < kinds.size(); ++i) {
    LT2_CHECK(kinds[i] != kLinear || is_linear_layer_type(types[i]),
              "{}: layer_types[{}] is {}, but layer_pattern \"{}\" makes this layer {}", keys.where(), i, kLinear,
              config.layer_pattern, types[i]);
    const bool slides = kinds[i] == kSliding;
    LT2_CHECK(!slides || (window && !forbidden), "{}: layer_types[{}] is {}, but {}", keys.where(), i, kSliding,
              forbidden ? "use_sliding_window is false" : "sliding_window is missing");
    any = any || slides;
    pattern += (i == 0 ? "" : ",") + (slides ? std::to_string(*window) : "None");
  }
  config.attention_pattern = any ? pattern : "0:1";
}

void read_hybrid(const Settings& keys, ModelConfig& config) {
  config.layer_pattern = keys.text("layer_pattern").value_or("full");
  if (!keys.find("layer_pattern")) return;
  // What is not said is the teacher's geometry, which makes its weights fit as they are.
  config.gdn.head_dim = keys.whole("gdn_head_dim").value_or(*config.head_dim);
  config.gdn.expand_v = keys.positive("gdn_expand_v").value_or(1.0);
  config.gdn.allow_neg_eigval = keys.flag("gdn_allow_neg_eigval").value_or(false);
}

}  // namespace

std::string ouro_tensor_name(const std::string& official) {
  const std::string layers = "layers.";
  const size_t dot = official.find('.', layers.size());
  if (!official.starts_with(layers) || dot == std::string::npos) return renamed(kAround, official);
  return "model." + official.substr(0, dot + 1) + renamed(kInLayer, official.substr(dot + 1));
}

ModelConfig ouro_model_config(const std::string& config_json, const std::string& where) {
  const auto root = json::parse(config_json, nullptr, /*allow_exceptions=*/false);
  LT2_CHECK(root.is_object(), "{}: expected a JSON object", where);
  const Settings keys(root, where);
  refuse_variants(keys);
  ModelConfig config;
  config.model_type = "ouro";
  config.use_residual = config.use_block_residual = false;
  config.dim = needed(keys, "hidden_size");
  config.intermediate_size = needed(keys, "intermediate_size");
  config.n_layers = needed(keys, "num_hidden_layers");
  config.n_heads = needed(keys, "num_attention_heads");
  config.n_kv_heads = keys.whole("num_key_value_heads").value_or(*config.n_heads);
  const auto head_dim = keys.whole("head_dim");
  LT2_CHECK(head_dim || config.dim % *config.n_heads == 0,
            "{}: head_dim is missing and num_attention_heads = {} does not divide hidden_size = {}", where,
            *config.n_heads, config.dim);
  config.head_dim = head_dim.value_or(config.dim / *config.n_heads);
  config.vocab_size = needed(keys, "vocab_size");
  config.norm_eps = keys.positive("rms_norm_eps").value_or(1e-6);
  config.rope_theta = rope_theta(keys);
  config.loop_count = needed(keys, "total_ut_steps");
  config.max_seqlen = keys.whole("max_position_embeddings").value_or(config.max_seqlen);
  config.weight_tying = keys.flag("tie_word_embeddings").value_or(false);
  config.early_exit_step = keys.whole("early_exit_step", 0);
  config.early_exit_threshold = keys.positive("early_exit_threshold");
  LT2_CHECK(config.early_exit_threshold.value_or(1) <= 1, "{}: early_exit_threshold must be at most 1; found {}", where,
            *config.early_exit_threshold);
  // Lists of windows and kinds are made per layer before validation.
  for (const auto& [key, value] :
       {std::pair("num_hidden_layers", config.n_layers), {"total_ut_steps", config.loop_count}})
    LT2_CHECK(value <= 10000, "{}: {} must be at most 10000; found {}", where, key, value);
  read_hybrid(keys, config);
  read_windows(keys, config);
  validate_model(config, where);
  return config;
}

std::string ouro_config_json(const ModelConfig& config, torch::ScalarType dtype, const std::string& where) {
  LT2_CHECK(config.model_type == "ouro", "{}: a model of type {} has no Ouro form", where, config.model_type);
  const auto types = layer_types(config.layer_pattern, config.n_layers);
  const auto plan = attention_plan(config);
  const bool uniform = !plan.random && std::all_of(plan.windows.begin(), plan.windows.end(),
                                                   [&](const auto& loop) { return loop == plan.windows[0]; });
  std::optional<int64_t> window;
  bool gdn = false;
  nlohmann::ordered_json kinds = nlohmann::ordered_json::array();
  for (size_t i = 0; i < types.size(); ++i) {
    LT2_CHECK(types[i] == "full" || types[i] == "gdn",
              "{}: layer {} is {}; the Ouro form knows full and gdn layers. Use another form", where, i, types[i]);
    gdn = gdn || types[i] == "gdn";
    if (types[i] == "gdn") {
      kinds.push_back(kLinear);
      continue;
    }
    const auto own = plan.windows[0][i];
    LT2_CHECK(uniform && (!own || !window || *own == *window),
              "{}: attention_pattern \"{}\" gives windows that differ between loops or in width; the Ouro form has one "
              "width for all loops. Use another form",
              where, config.attention_pattern);
    if (own) window = own;
    kinds.push_back(own ? kSliding : kFull);
  }
  LT2_CHECK(!config.use_attn_gate && config.state_carry == "none", "{}: the Ouro form has no {}. Use another form",
            where,
            config.use_attn_gate ? "gated attention (use_attn_gate)" : "state carried across loops (state_carry)");
  nlohmann::ordered_json out{{"architectures", {"OuroForCausalLM"}},
                             {"model_type", "ouro"},
                             {"torch_dtype", dtype == torch::kFloat32 ? "float32" : "bfloat16"},
                             {"hidden_size", config.dim},
                             {"intermediate_size", ffn_hidden_dim(config)},
                             {"num_hidden_layers", config.n_layers},
                             {"num_attention_heads", *config.n_heads},
                             {"num_key_value_heads", *config.n_kv_heads},
                             {"head_dim", *config.head_dim},
                             {"hidden_act", "silu"},
                             {"rms_norm_eps", config.norm_eps},
                             {"rope_theta", config.rope_theta},
                             {"vocab_size", config.vocab_size},
                             {"max_position_embeddings", config.max_seqlen},
                             {"total_ut_steps", config.loop_count},
                             {"tie_word_embeddings", config.weight_tying},
                             {"layer_types", kinds},
                             {"sliding_window", nullptr},
                             {"use_sliding_window", window.has_value()}};
  if (window) out["sliding_window"] = *window;
  if (config.early_exit_threshold) out["early_exit_threshold"] = *config.early_exit_threshold;
  if (config.early_exit_step) out["early_exit_step"] = *config.early_exit_step;
  if (gdn) {
    out["layer_pattern"] = config.layer_pattern;
    out["gdn_head_dim"] = config.gdn.key_dim(config);
    out["gdn_expand_v"] = config.gdn.expand_v.value_or(2.0);
    if (config.gdn.allow_neg_eigval) out["gdn_allow_neg_eigval"] = true;
  }
  return out.dump(2) + "\n";
}

NamedTensors ouro_parameters(const NamedTensors& parameters) {
  NamedTensors published;
  for (const auto& [name, tensor] : parameters) published.emplace_back(ouro_tensor_name(name), tensor);
  return published;
}

}  // namespace lt2
