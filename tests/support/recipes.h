#pragma once
// The recipe files, and the size that a model must have by the formulas of the mixers' papers, written out without the
// model's code. docs/recipes.md shows the numbers.
#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "config/patterns.h"
#include "config/train_config.h"

namespace lt2::test {

/// The training recipes of configs/FOLDER, sorted; eval.yaml is another kind of file.
inline std::vector<std::string> recipes_in(const std::string& folder) {
  std::vector<std::string> out;
  for (const auto& entry : std::filesystem::directory_iterator(std::string(LT2_SOURCE_DIR) + "/configs/" + folder)) {
    if (entry.path().extension() == ".yaml" && entry.path().filename() != "eval.yaml")
      out.push_back(entry.path().string());
  }
  std::sort(out.begin(), out.end());
  return out;
}

/// Parameters of one mixer. d width, H heads, e = d / H; defaults of the options that no recipe changes.
inline int64_t mixer_parameters(const std::string& type, const ModelConfig& c) {
  const int64_t d = c.dim, H = *c.n_heads, e = d / H;
  if (type == "full") return 4 * d * d + (c.use_attn_gate ? d * d : 0);
  if (type == "gdn") return 6 * d * d + 2 * d * H + 12 * d + 2 * H + 2 * (3 * d / 4 / H);
  if (type == "kda") return 4 * d * d + 4 * d * e + d * H + 14 * d + H + e;
  if (type == "deltanet") return 4 * d * d + d * H + 12 * d + e;
  if (type == "mamba2") {
    const int64_t N = c.mamba2.d_state;
    return 6 * d * d + d * (2 * N + H) + 10 * (d + N) + 2 * d + 3 * H;
  }
  if (type == "retnet") return 8 * d * d + 2 * d / H;
  if (type == "hgrn2") return 4 * d * d + d;
  if (type == "gla") return 4 * d * d + 24 * d + d / 2 + d / H;
  if (type == "la") return 4 * d * d + 4 * (e * e + e) + e;
  if (type == "nsa") return 4 * d * d + 3 * H * d;
  if (type == "mla") {
    const int64_t r = c.mla.qk_rope_head_dim, n = c.mla.qk_nope_head_dim, v = c.mla.v_head_dim, l = c.mla.kv_lora_rank;
    return H * (n + r) * d + r * d + l * d + l + H * (n + v) * l + d * H * v;
  }
  if (type == "dsa") {
    const int64_t m = c.dsa.dim, row = m + c.dsa.tail_dim, f = c.dsa.score_dim;
    const int64_t I = c.dsa.index_n_heads, E = c.dsa.index_head_dim;
    const int64_t scores = c.dsa.indexer == "lightning" ? I * E * d + E * d + 2 * E + I * d : H * f * d + f * d;
    return H * row * d + row * d + d * H * m + scores;
  }
  return -1;
}

/// Parameters of the whole model but for the vocabulary's two matrices.
inline int64_t inner_parameters(const ModelConfig& c) {
  const int64_t d = c.dim, F = ffn_hidden_dim(c), T = c.loop_count;
  int64_t sum = d + (c.use_residual ? T * d : 0) + (c.use_block_residual ? attention_plan(c).n_blocks() : 0);
  for (const auto& type : layer_types(c.layer_pattern, c.n_layers))
    sum += mixer_parameters(type, c) + 3 * d * F + 2 * d;
  return sum;
}

inline int64_t total_parameters(const ModelConfig& c) { return inner_parameters(c) + 2 * c.vocab_size * c.dim; }

}  // namespace lt2::test
