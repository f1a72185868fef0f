#pragma once
// Small models for tests: every layout in a size that runs in milliseconds.
#include <memory>
#include <string>

#include "model/looped_transformer.h"

namespace lt2::test {

struct ModelCase {
  std::string name, layer_pattern = "full", attention_pattern = "0:1";
  int64_t loops = 2, layers = 3;
  std::optional<int64_t> window = 24;
  bool gate = false, tied = false, legacy = false, neg_eigval = false;
  int64_t kv_heads = 4;
  int64_t dim = 48, heads = 4;
  std::string indexer = "reference", kl_stage = "sparse", carry = "none", type = "lt2";
};
inline std::ostream& operator<<(std::ostream& out, const ModelCase& c) { return out << c.name; }

inline ModelConfig config_of(const ModelCase& c) {
  ModelConfig config;
  config.dim = c.dim;
  config.n_layers = c.layers;
  config.n_heads = c.heads;
  config.n_kv_heads = std::min(c.kv_heads, c.heads);
  config.multiple_of = 16;
  config.vocab_size = 61;
  config.loop_count = c.loops;
  config.layer_pattern = c.layer_pattern;
  config.attention_pattern = c.attention_pattern;
  config.default_sliding_window = c.window;
  config.use_attn_gate = c.gate;
  config.weight_tying = c.tied;
  config.legacy_iteration_weights = c.legacy;
  config.gdn.allow_neg_eigval = c.neg_eigval;
  config.inference_ensemble_k = 3;
  config.state_carry = c.carry;
  config.model_type = c.type;
  config.use_residual = config.use_block_residual = c.type == "lt2";
  config.mamba2.d_state = 16;
  config.nsa.block_size = 8;
  config.nsa.block_counts = 4;
  config.nsa.window_size = 12;
  config.dsa.dim = 16;
  config.dsa.tail_dim = 8;
  config.dsa.topk = 20;
  config.dsa.score_dim = 8;
  config.dsa.indexer = c.indexer;
  config.dsa.kl_stage = c.kl_stage;
  config.dsa.index_n_heads = 2;
  config.dsa.index_head_dim = 16;
  config.dsa.index_rope_dim = 8;
  config.mla.kv_lora_rank = 20;
  config.mla.qk_rope_head_dim = 8;
  config.mla.qk_nope_head_dim = 10;
  config.mla.v_head_dim = 14;
  validate_model(config);
  return config;
}

/// Initialised; the zero-initialised residuals, gates and carries get values that have an effect.
inline std::shared_ptr<LoopedTransformer> model_of_config(const ModelConfig& config) {
  auto model = std::make_shared<LoopedTransformer>(config);
  model->initialise();
  torch::NoGradGuard no_grad;
  torch::manual_seed(5);
  for (auto& [name, parameter] : model->official_parameters()) {
    if (name.find("residual_weight") != std::string::npos || name.find("w_gate") != std::string::npos ||
        name.find("state_gate") != std::string::npos) {
      parameter.copy_(0.2 * torch::randn(parameter.sizes()));
    }
  }
  return model;
}
inline std::shared_ptr<LoopedTransformer> make_model(const ModelCase& c) { return model_of_config(config_of(c)); }

inline std::vector<ModelCase> all_layouts() {
  return {
      {.name = "full"},
      {.name = "window", .attention_pattern = "1:0"},
      {.name = "gqa_gate_tied", .attention_pattern = "2:1", .gate = true, .tied = true, .kv_heads = 2},
      {.name = "gdn", .layer_pattern = "gdn"},
      {.name = "gdn_neg_eigval", .layer_pattern = "gdn", .neg_eigval = true},
      {.name = "hybrid", .layer_pattern = "interleaved:2:1:gdn:full", .attention_pattern = "2:1", .gate = true},
      {.name = "bookend_gdn", .layer_pattern = "bookend:1:full:gdn", .attention_pattern = "bookend:1"},
      {.name = "per_loop", .attention_pattern = "full->SWA=7", .loops = 2},
      {.name = "list", .attention_pattern = "5,none,9"},
      {.name = "random", .attention_pattern = "random:1:1"},
      {.name = "bookend_random", .attention_pattern = "bookend_random:1:3", .loops = 2, .layers = 4},
      {.name = "legacy", .legacy = true},
      {.name = "one_loop", .layer_pattern = "gdn", .loops = 1, .layers = 1},
      {.name = "odd_dim", .layer_pattern = "interleaved:1:1:gdn:full", .dim = 40, .heads = 2},
      {.name = "kda", .layer_pattern = "kda"},
      {.name = "deltanet", .layer_pattern = "deltanet"},
      {.name = "mamba2", .layer_pattern = "mamba2"},
      {.name = "retnet", .layer_pattern = "retnet"},
      {.name = "hgrn2", .layer_pattern = "hgrn2"},
      {.name = "gla", .layer_pattern = "gla"},
      {.name = "la", .layer_pattern = "la"},
      {.name = "nsa", .layer_pattern = "nsa"},
      {.name = "nsa_grouped", .layer_pattern = "nsa", .kv_heads = 2},
      {.name = "dsa", .layer_pattern = "dsa"},
      {.name = "dsa_lightning", .layer_pattern = "dsa", .indexer = "lightning"},
      {.name = "mla", .layer_pattern = "mla"},
      {.name = "gdn_carry", .layer_pattern = "gdn", .loops = 3, .layers = 2, .carry = "token"},
      {.name = "kda_full_carry", .layer_pattern = "interleaved:1:1:kda:full", .carry = "token"},
      {.name = "ouro", .loops = 3, .type = "ouro"},
      {.name = "ouro_gdn", .layer_pattern = "interleaved:1:1:gdn:full", .type = "ouro"},
  };
}

inline std::string case_name(const ::testing::TestParamInfo<ModelCase>& info) { return info.param.name; }

}  // namespace lt2::test
