#pragma once
// The options of each token mixer: one struct a mixer, with its keys, its checks and its traits. The keys are the
// official flat ones of the group `model` (gdn_head_dim); ModelConfig holds one struct of each kind and visits their
// fields as its own. ModelConfig::mixers() lists them under their layer types.
#include <string_view>

#include "config/fields.h"

namespace lt2 {

struct ModelConfig;
struct UnusedKeys;

/// No model has larger sizes, and arithmetic with them would overflow.
inline constexpr double kMostChannels = 1 << 24, kMostTokens = int64_t{1} << 31, kMostExpansion = 1024;

/// The traits of a mixer, with their defaults. Each struct below declares those that differ.
struct MixerConfig {
  static constexpr bool kLinear = false;   // has a state of fixed size: built on the linear recurrence
  static constexpr bool kWindows = false;  // obeys the windows of model.attention_pattern

  bool operator==(const MixerConfig&) const = default;

  template <class Visit>
  void fields(Visit&&) {}
  /// Throws lt2::Error if the keys do not fit each other or the model's; called where a layer is of this type.
  void check(const ModelConfig&, const Where&) const {}
  /// Whether it reads this shared key: head_dim, n_kv_heads, rope_theta or use_attn_gate.
  bool reads(std::string_view) const { return false; }
  /// Adds its keys that have no effect because of the values of other keys.
  void unused(UnusedKeys&) const {}
};

struct FullConfig : MixerConfig {
  static constexpr bool kWindows = true;
  void check(const ModelConfig& model, const Where& where) const;
  bool reads(std::string_view) const { return true; }
};

struct GdnConfig : MixerConfig {
  static constexpr bool kLinear = true;
  bool allow_neg_eigval = false;
  std::optional<int64_t> head_dim;
  std::optional<double> expand_v;

  bool operator==(const GdnConfig&) const = default;

  template <class Visit>
  void fields(Visit&& visit) {
    visit("gdn_allow_neg_eigval", allow_neg_eigval, any(), "GDN: write strength in (0, 2) instead of (0, 1)");
    visit("gdn_head_dim", head_dim, within(1, kMostChannels),
          "ours: GDN key channels per head; null: 0.75 dim / n_heads");
    visit("gdn_expand_v", expand_v, above_up_to(0, kMostExpansion),
          "ours: GDN value channels per key channel; null: 2");
  }
  void check(const ModelConfig& model, const Where& where) const;
  int64_t key_dim(const ModelConfig& model) const;    // per head
  int64_t value_dim(const ModelConfig& model) const;  // per head
};

struct KdaConfig : MixerConfig {
  static constexpr bool kLinear = true;
  double expand_v = 1.0;

  bool operator==(const KdaConfig&) const = default;

  template <class Visit>
  void fields(Visit&& visit) {
    visit("kda_expand_v", expand_v, above_up_to(0, kMostExpansion), "KDA: value channels per key channel");
  }
  void check(const ModelConfig& model, const Where& where) const;
};

struct DeltanetConfig : MixerConfig {
  static constexpr bool kLinear = true;
};

struct Mamba2Config : MixerConfig {
  static constexpr bool kLinear = true;
  int64_t expand = 2, d_state = 64, d_conv = 4;

  bool operator==(const Mamba2Config&) const = default;

  template <class Visit>
  void fields(Visit&& visit) {
    visit("mamba2_expand", expand, within(1, kMostExpansion), "Mamba2: inner width / dim");
    visit("mamba2_d_state", d_state, within(1, kMostChannels), "Mamba2: state channels");
    visit("mamba2_d_conv", d_conv, within(1, kMostChannels), "Mamba2: width of the convolution");
  }
  void check(const ModelConfig& model, const Where& where) const;
};

struct RetnetConfig : MixerConfig {
  static constexpr bool kLinear = true;
  void check(const ModelConfig& model, const Where& where) const;
};

struct Hgrn2Config : MixerConfig {
  static constexpr bool kLinear = true;
  std::string mode = "chunk";
  bool use_short_conv = false;
  int64_t conv_size = 4;
  bool conv_bias = false;

  bool operator==(const Hgrn2Config&) const = default;

  template <class Visit>
  void fields(Visit&& visit) {
    visit("hgrn2_mode", mode, ignored(), "official HGRN2 kernel");
    visit("hgrn2_use_short_conv", use_short_conv, any(), "HGRN2: short convolutions");
    visit("hgrn2_conv_size", conv_size, within(1, kMostChannels), "HGRN2: width of the convolutions");
    visit("hgrn2_conv_bias", conv_bias, any(), "HGRN2: bias of the convolutions");
  }
  void unused(UnusedKeys& keys) const;
};

struct GlaConfig : MixerConfig {
  static constexpr bool kLinear = true;
  void check(const ModelConfig& model, const Where& where) const;
};

struct LaConfig : MixerConfig {
  static constexpr bool kLinear = true;
};

struct NsaConfig : MixerConfig {
  int64_t block_size = 64, block_counts = 16, window_size = 512;
  bool qkv_bias = false;

  bool operator==(const NsaConfig&) const = default;

  template <class Visit>
  void fields(Visit&& visit) {
    visit("nsa_block_size", block_size, within(1, kMostTokens), "NSA: tokens per block");
    visit("nsa_block_counts", block_counts, within(1, kMostTokens), "NSA: blocks selected per query");
    visit("nsa_window_size", window_size, within(0, kMostTokens), "NSA: sliding window; 0: none, null: 512");
    visit("nsa_qkv_bias", qkv_bias, any(), "NSA: bias of the projections");
  }
  void check(const ModelConfig& model, const Where& where) const;
  bool reads(std::string_view key) const { return key != "use_attn_gate"; }
};

struct DsaConfig : MixerConfig {
  int64_t dim = 512, tail_dim = 64, topk = 2048, score_dim = 64, block_i = 64;
  std::optional<double> sm_scale;
  std::string indexer = "reference";
  int64_t index_n_heads = 4, index_head_dim = 64, index_rope_dim = 32;
  double kl_coef = 1.0;
  std::string kl_stage = "sparse";

  bool operator==(const DsaConfig&) const = default;

  template <class Visit>
  void fields(Visit&& visit) {
    visit("dsa_dim", dim, within(1, kMostChannels), "DSA: channels that serve as key and value");
    visit("dsa_tail_dim", tail_dim, within(0, kMostChannels), "DSA: further key channels");
    visit("dsa_topk", topk, within(1, kMostTokens), "DSA: keys selected per query");
    visit("dsa_score_dim", score_dim, within(1, kMostChannels), "DSA: channels of the reference scores");
    visit("dsa_block_i", block_i, ignored(at_least(1)), "tile of the official DSA kernel");
    visit("dsa_sm_scale", sm_scale, above(0), "DSA: logit scale; null: 1 / sqrt(dsa_dim + dsa_tail_dim)");
    visit("dsa_indexer", indexer, one_of({"reference", "lightning"}), "ours: what scores the keys");
    visit("dsa_index_n_heads", index_n_heads, within(1, kMostChannels), "ours: heads of the lightning indexer");
    visit("dsa_index_head_dim", index_head_dim, within(1, kMostChannels), "ours: channels per indexer head");
    visit("dsa_index_rope_dim", index_rope_dim, within(0, kMostChannels), "ours: rotated channels per indexer head");
    visit("dsa_kl_coef", kl_coef, beside_model(at_least(0)), "ours: weight of the indexer loss");
    visit("dsa_kl_stage", kl_stage, beside_model(one_of({"sparse", "dense"})), "ours: keys the indexer loss looks at");
  }
  void check(const ModelConfig& model, const Where& where) const;
  bool lightning() const { return indexer == "lightning"; }
  bool reads(std::string_view key) const { return key == "rope_theta" && lightning(); }
  void unused(UnusedKeys& keys) const;
};

struct MlaConfig : MixerConfig {
  std::optional<int64_t> q_lora_rank;
  int64_t kv_lora_rank = 256, qk_rope_head_dim = 64, qk_nope_head_dim = 64, v_head_dim = 64;
  std::optional<int64_t> window_size;

  bool operator==(const MlaConfig&) const = default;

  template <class Visit>
  void fields(Visit&& visit) {
    visit("mla_q_lora_rank", q_lora_rank, within(1, kMostChannels), "MLA: rank of the query projection; null: direct");
    visit("mla_kv_lora_rank", kv_lora_rank, within(1, kMostChannels), "MLA: channels of the key/value latent");
    visit("mla_qk_rope_head_dim", qk_rope_head_dim, within(2, kMostChannels), "MLA: rotated channels per head");
    visit("mla_qk_nope_head_dim", qk_nope_head_dim, within(1, kMostChannels), "MLA: other query/key channels per head");
    visit("mla_v_head_dim", v_head_dim, within(1, kMostChannels), "MLA: value channels per head");
    visit("mla_window_size", window_size, at_least(1), "MLA: sliding window");
  }
  void check(const ModelConfig& model, const Where& where) const;
  bool reads(std::string_view key) const { return key == "rope_theta"; }
};

}  // namespace lt2
