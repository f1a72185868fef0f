#pragma once
// The group `model` of a configuration: everything about a model but its weights. Keys of single mixers are in
// config/mixer_configs.h. Fields marked "ours" are extensions; the others are official.
#include <cstdint>
#include <optional>
#include <string>

#include "config/fields.h"
#include "config/mixer_configs.h"
#include "config/patterns.h"

namespace lt2 {

struct ModelConfig {
  int64_t dim = 512, n_layers = 8;
  std::optional<int64_t> head_dim, n_heads, n_kv_heads;  // all three hold values after validate_model
  std::optional<double> ffn_dim_multiplier;
  int64_t multiple_of = 256;
  double norm_eps = 1e-5, rope_theta = 10000.0;
  std::optional<double> init_base_std;
  std::string init_std_factor = "disabled";
  int64_t max_seqlen = 1024, seed = 42, vocab_size = -1;
  bool weight_tying = false;
  std::string attn_impl = "flash_attn3";
  std::string model_type = "lt2";
  std::optional<int64_t> intermediate_size, early_exit_step;
  std::optional<double> early_exit_threshold;

  int64_t loop_count = 1;
  bool use_residual = true, use_block_residual = true;
  std::string attention_pattern = "1:0";
  std::optional<int64_t> default_sliding_window = 2048;
  int64_t inference_ensemble_k = 5;
  bool legacy_iteration_weights = false;
  std::string layer_pattern = "full";
  bool use_attn_gate = false;
  std::string state_carry = "none";

  FullConfig full;
  GdnConfig gdn;
  KdaConfig kda;
  DeltanetConfig deltanet;
  Mamba2Config mamba2;
  RetnetConfig retnet;
  Hgrn2Config hgrn2;
  GlaConfig gla;
  LaConfig la;
  NsaConfig nsa;
  DsaConfig dsa;
  MlaConfig mla;

  /// Calls visit(type, config) for every mixer; `type` is its name in layer_pattern.
  template <class Visit>
  void mixers(Visit&& visit) {
    visit_mixers(*this, visit);
  }
  template <class Visit>
  void mixers(Visit&& visit) const {
    visit_mixers(*this, visit);
  }

  bool operator==(const ModelConfig&) const = default;

  template <class Visit>
  void fields(Visit&& visit) {
    visit("dim", dim, at_least(1), "residual width");
    visit("n_layers", n_layers, within(1, 10000), "physical layers, shared by all loops");
    visit("head_dim", head_dim, at_least(1), "channels per head; null: dim / n_heads");
    visit("n_heads", n_heads, at_least(1), "query heads; null: dim / head_dim");
    visit("n_kv_heads", n_kv_heads, at_least(1), "key/value heads; null: n_heads");
    visit("ffn_dim_multiplier", ffn_dim_multiplier, beside_model(above(0)), "scales the FFN width");
    visit("multiple_of", multiple_of, beside_model(at_least(1)), "the FFN width is rounded up to this");
    visit("norm_eps", norm_eps, above(0), "RMSNorm epsilon");
    visit("rope_theta", rope_theta, above(0), "rotary base");
    visit("init_base_std", init_base_std, beside_model(above(0)), "std of initial weights; null: 1 / sqrt(dim)");
    visit("init_std_factor", init_std_factor,
          beside_model(one_of({"disabled", "global_depth", "current_depth", "dim_ratio"})),
          "what divides the std of output projections");
    visit("max_seqlen", max_seqlen, beside_model(at_least(1)),
          "longest text of an exported model; training takes data.seq_len");
    visit("seed", seed, beside_model(at_least(0)), "seed of initial weights and random attention patterns");
    visit("vocab_size", vocab_size, beside_model(at_least(-1)), "words; -1: the tokenizer's");
    visit("weight_tying", weight_tying, any(), "the output projection is the embedding");
    visit("attn_impl", attn_impl, ignored(one_of({"flash_attn3", "flash_attn2", "fmha", "flex_attention", "sdpa"})),
          "official attention kernel");
    visit("model_type", model_type, one_of({"lt2", "ouro"}),
          "ours: ouro has norms after mixer and FFN too, the last norm in every loop, an exit gate, rotated halves");
    visit("intermediate_size", intermediate_size, beside_model(at_least(1)),
          "ours: FFN width; null: from dim and multiple_of");
    visit("early_exit_step", early_exit_step, beside_model(at_least(0)),
          "ours: inference reads the logits of this loop, from 0");
    visit("early_exit_threshold", early_exit_threshold, beside_model(above_up_to(0, 1)),
          "ours: ouro inference reads the first loop by which this much exit probability has come together");
    visit("loop_count", loop_count, within(1, 10000), "loops T over the shared layers");
    visit("use_residual", use_residual, any(), "add residual_weight[t] * input after loop t");
    visit("use_block_residual", use_block_residual, any(), "add block_residual_weight[k] * input after block k");
    visit("attention_pattern", attention_pattern, any(),
          "windows of full layers: a:b, bookend:k, sandwich:k, w1,w2,..., X->Y->..., random:a:b, bookend_random:a:b");
    visit("default_sliding_window", default_sliding_window, at_least(1), "the pattern's window, in tokens");
    visit("inference_ensemble_k", inference_ensemble_k, beside_model(), "random patterns: draws averaged at inference");
    visit("legacy_iteration_weights", legacy_iteration_weights, any(), "weights per loop as in old checkpoints");
    visit("layer_pattern", layer_pattern, any(), layer_pattern_help());
    visit("use_attn_gate", use_attn_gate, any(), "sigmoid output gate on full layers");
    visit("state_carry", state_carry, one_of({"none", "token"}),
          "ours: token lets a linear mixer also read the previous loop's state");
    mixers([&](const char*, auto& mixer) { mixer.fields(visit); });
  }

 private:
  // One line a mixer: those with a matrix memory stand between full attention and the others.
  template <class Self, class Visit>
  static void visit_mixers(Self& self, Visit& visit) {
    visit("full", self.full);
    visit("gdn", self.gdn);
    visit("kda", self.kda);
    visit("deltanet", self.deltanet);
    visit("mamba2", self.mamba2);
    visit("retnet", self.retnet);
    visit("hgrn2", self.hgrn2);
    visit("gla", self.gla);
    visit("la", self.la);
    visit("nsa", self.nsa);
    visit("dsa", self.dsa);
    visit("mla", self.mla);
  }
};

/// The `model` map of a params.json, or a bare map of model fields. Unknown keys are skipped: old checkpoints carry
/// more. Call validate_model next.
ModelConfig model_config_from_json(const std::string& json_text, const std::string& where);

/// Checks the model: sizes fit, patterns parse, the mixers in use are possible. Sets n_heads, head_dim, n_kv_heads.
void validate_model(ModelConfig& config, const Where& where = {});

/// Hidden width of the feed-forward layers: 8/3 dim, scaled, rounded up to multiple_of.
int64_t ffn_hidden_dim(const ModelConfig& config);

}  // namespace lt2
