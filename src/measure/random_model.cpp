#include "measure/random_model.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "model/packed_weights.h"

namespace lt2 {
namespace {

constexpr int64_t kVocabulary = 128256;

ModelConfig loop_of(int64_t dim, int64_t layers, const std::string& layer_pattern,
                    const std::string& attention_pattern) {
  ModelConfig config;
  config.dim = dim;
  config.n_layers = layers;
  config.n_heads = 16;
  config.vocab_size = kVocabulary;
  config.loop_count = 4;
  config.layer_pattern = layer_pattern;
  config.attention_pattern = attention_pattern;
  return config;
}

std::vector<BenchModel> loops_of(const std::string& shape, int64_t dim, int64_t window, int64_t attention_layers,
                                 int64_t gdn_layers, int64_t hybrid_layers) {
  const auto hybrid = [&](const std::string& linear, const std::string& other) {
    auto config = loop_of(dim, hybrid_layers, "interleaved:4:1:" + linear + ":" + other, "4:1");
    config.use_attn_gate = other == "full";
    config.default_sliding_window = window;
    return config;
  };
  auto windows = loop_of(dim, attention_layers, "full", "1:0");
  windows.default_sliding_window = window;
  return {{shape, "full", loop_of(dim, attention_layers, "full", "0:1")},
          {shape, "full+gdn", hybrid("gdn", "full")},
          {shape, "gdn", loop_of(dim, gdn_layers, "gdn", "1:0")},
          {shape, "window", windows},
          {shape, "full+kda", hybrid("kda", "full")},
          {shape, "dsa+gdn", hybrid("gdn", "dsa")}};
}

ModelConfig plain_transformer() {
  auto config = loop_of(2048, 24, "full", "0:1");
  config.loop_count = 1;
  config.use_residual = config.use_block_residual = false;
  config.vocab_size = 32000;
  return config;
}

/// Fills the rows after the first `made` with copies of them.
void repeat_rows(const torch::Tensor& weight, int64_t made) {
  for (int64_t row = made; row < weight.size(0); row += made) {
    const int64_t rows = std::min(made, weight.size(0) - row);
    weight.narrow(0, row, rows).copy_(weight.narrow(0, 0, rows));
  }
}

}  // namespace

std::vector<BenchModel> recipe_models() {
  auto models = loops_of("1.3B", 2048, 2048, 25, 21, 21);
  for (auto& model : loops_of("0.6B", 1024, 256, 25, 25, 25)) models.push_back(std::move(model));
  models.push_back({"plain", "once", plain_transformer()});
  for (auto& model : models) validate_model(model.config);
  return models;
}

std::shared_ptr<LoopedTransformer> make_empty_model(const ModelConfig& config, torch::ScalarType dtype) {
  const WithoutWeights sizes_only;
  auto model = std::make_shared<LoopedTransformer>(config);
  model->compute_type = dtype;
  return model;
}

std::shared_ptr<LoopedTransformer> make_random_model(const ModelConfig& config, torch::ScalarType dtype,
                                                     std::optional<WeightFormat> weights) {
  auto model = std::make_shared<LoopedTransformer>(config);
  model->compute_type = dtype;
  torch::NoGradGuard no_grad;
  // To draw a billion numbers takes longer than most rows: the first layer of each kind is drawn, the others copy it.
  const double dim_std = 1.0 / std::sqrt(static_cast<double>(config.dim));
  Initialiser init(static_cast<uint64_t>(config.seed), config.init_base_std.value_or(dim_std));
  std::map<std::string, Layer> drawn;
  for (auto& layer : model->layers) {
    if (const auto [first, is_new] = drawn.emplace(layer->type, layer); !is_new) {
      const auto from = first->second->parameters(), to = layer->parameters();
      for (size_t i = 0; i < to.size(); ++i) to[i].copy_(from[i]);
    } else {
      layer->initialise(init, config);
    }
  }
  for (const auto& weight : {model->tok_embeddings, model->output ? model->output->weight : torch::Tensor()}) {
    if (!weight.defined()) continue;
    const int64_t made = std::min<int64_t>(weight.size(0), 1024);
    init.truncated_normal(weight.narrow(0, 0, made), dim_std, 3 * dim_std);
    repeat_rows(weight, made);
  }
  Initialiser::constant(model->norm->weight, 1);
  for (const auto* residual : {&model->residual_weight, &model->block_residual_weight, &model->iteration_weights}) {
    if (residual->defined()) Initialiser::constant(*residual, 0.1);
  }
  pack_weights(*model, weights.value_or(dtype == torch::kBFloat16 ? WeightFormat::kBf16 : WeightFormat::kF32));
  return model;
}

}  // namespace lt2
