// The checks of each mixer's keys.
#include "config/mixer_configs.h"

#include <cmath>
#include <numeric>

#include "base/error.h"
#include "config/divisors.h"
#include "config/unused_keys.h"

namespace lt2 {
namespace {

// The checks that several mixers make; `type` as layer_pattern names it.
struct Fits {
  const ModelConfig& model;
  const Where& where;
  const char* type;

  void even(const char* field, int64_t value) const {
    const std::string key = std::string("model.") + field;
    LT2_CHECK(value % 2 == 0, "{}{} must be even for the rotary embedding of {} layers; found {}",
              where.prefix({key, "model.n_heads", "model.dim"}), key, type, value);
  }
  void heads_divide(const char* what, int64_t width) const {
    LT2_CHECK(
        width % *model.n_heads == 0,
        "{}model.n_heads must divide {} = {} in {} layers; found model.n_heads = {}, model.dim = {}. Use one of {}",
        where.prefix({"model.n_heads", "model.dim"}), what, width, type, *model.n_heads, model.dim,
        divisors(std::gcd(width, model.dim)));
  }
  void whole(const char* field, int64_t key_dim, double expand) const {
    const double value_dim = static_cast<double>(key_dim) * expand;
    const std::string key = std::string("model.") + field;
    // 0.6 * 5 is a whole number, but not in a double.
    LT2_CHECK(value_dim >= 0.5 && std::abs(value_dim - std::round(value_dim)) <= 1e-5 * value_dim,
              "{}{} must give a whole number of value channels; found {} * {} = {} per head", where.prefix({key}), key,
              key_dim, expand, value_dim);
  }
};

int64_t three_quarters(int64_t dim) { return static_cast<int64_t>(0.75 * static_cast<double>(dim)); }

}  // namespace

void FullConfig::check(const ModelConfig& model, const Where& where) const {
  Fits{model, where, "full"}.even("head_dim", *model.head_dim);
}

void NsaConfig::check(const ModelConfig& model, const Where& where) const {
  Fits{model, where, "nsa"}.even("head_dim", *model.head_dim);
}

int64_t GdnConfig::key_dim(const ModelConfig& model) const {
  return head_dim ? *head_dim : three_quarters(model.dim) / *model.n_heads;
}

int64_t GdnConfig::value_dim(const ModelConfig& model) const {
  return std::llround(expand_v.value_or(2.0) * static_cast<double>(key_dim(model)));
}

void GdnConfig::check(const ModelConfig& model, const Where& where) const {
  const Fits fits{model, where, "gdn"};
  if (!head_dim) fits.heads_divide("int(0.75 dim)", three_quarters(model.dim));
  fits.whole("gdn_expand_v", key_dim(model), expand_v.value_or(2.0));
}

void KdaConfig::check(const ModelConfig& model, const Where& where) const {
  Fits{model, where, "kda"}.whole("kda_expand_v", model.dim / *model.n_heads, expand_v);
}

void Mamba2Config::check(const ModelConfig& model, const Where& where) const {
  Fits{model, where, "mamba2"}.heads_divide("mamba2_expand * dim", expand * model.dim);
}

void RetnetConfig::check(const ModelConfig& model, const Where& where) const {
  const int64_t head = model.dim / *model.n_heads;
  LT2_CHECK(head % 2 == 0 && head <= 256,
            "{}retnet layers need an even model.dim / model.n_heads of at most 256; found dim = {}, n_heads = {}",
            where.prefix({"model.n_heads", "model.dim"}), model.dim, *model.n_heads);
}

void GlaConfig::check(const ModelConfig& model, const Where& where) const {
  LT2_CHECK(model.dim % 2 == 0, "{}gla layers need an even model.dim; found {}", where.prefix({"model.dim"}),
            model.dim);
  Fits{model, where, "gla"}.heads_divide("dim / 2", model.dim / 2);
}

void MlaConfig::check(const ModelConfig& model, const Where& where) const {
  Fits{model, where, "mla"}.even("mla_qk_rope_head_dim", qk_rope_head_dim);
}

void DsaConfig::check(const ModelConfig& model, const Where& where) const {
  if (!lightning()) return;
  Fits{model, where, "dsa"}.even("dsa_index_rope_dim", index_rope_dim);
  LT2_CHECK(index_rope_dim <= index_head_dim,
            "{}model.dsa_index_rope_dim must be at most model.dsa_index_head_dim = {}; found {}",
            where.prefix({"model.dsa_index_rope_dim"}), index_head_dim, index_rope_dim);
}

void Hgrn2Config::unused(UnusedKeys& keys) const {
  if (!use_short_conv)
    keys.add({"model.hgrn2_conv_size", "model.hgrn2_conv_bias"}, "model.hgrn2_use_short_conv is false");
}

void DsaConfig::unused(UnusedKeys& keys) const {
  if (lightning()) {
    keys.add({"model.dsa_score_dim"}, "it belongs to model.dsa_indexer reference, which this is not");
  } else {
    keys.add({"model.dsa_index_n_heads", "model.dsa_index_head_dim", "model.dsa_index_rope_dim", "model.dsa_kl_coef",
              "model.dsa_kl_stage"},
             "model.dsa_indexer is not lightning");
  }
}

}  // namespace lt2
