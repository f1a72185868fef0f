#include "model/looped_transformer.h"

#include <cmath>

#include "base/error.h"
#include "ops/cross_entropy/op.h"
#include "ops/linear/op.h"
#include "ops/rms_norm/op.h"

namespace lt2 {

LoopedTransformer::LoopedTransformer(const ModelConfig& config)
    : config_(config), types_(layer_types(config.layer_pattern, config.n_layers)), plan_(attention_plan(config)) {
  const int64_t T = config.loop_count, D = config.dim, V = config.vocab_size;
  tok_embeddings = register_parameter("tok_embeddings_weight", torch::empty({V, D}));
  for (int64_t i = 0; i < config.n_layers; ++i) {
    layers.push_back(register_module(fmt::format("layer_{}", i), Layer(types_[static_cast<size_t>(i)], config)));
  }
  norm = register_module("norm", Norm(D));
  if (!config.weight_tying) output = register_module("output", Linear(D, V));
  if (config.use_residual) {
    residual_weight = register_parameter("residual_weight",
                                         config.legacy_iteration_weights ? torch::empty({T}) : torch::empty({T, D}));
  }
  if (config.use_block_residual) {
    block_residual_weight = register_parameter("block_residual_weight", torch::empty({plan_.n_blocks()}));
  }
  if (config.legacy_iteration_weights) iteration_weights = register_parameter("iteration_weights", torch::empty({T}));
  if (config.model_type == "ouro") early_exit_gate = register_module("early_exit_gate", BiasedLinear(D, 1));
}

void LoopedTransformer::initialise() {
  const double dim_std = 1.0 / std::sqrt(static_cast<double>(config_.dim));
  Initialiser init(static_cast<uint64_t>(config_.seed), config_.init_base_std.value_or(dim_std));
  // Embedding and output ignore init_base_std, as in the official code.
  init.truncated_normal(tok_embeddings, dim_std, 3 * dim_std);
  for (size_t i = 0; i < layers.size(); ++i) {
    const double depth = static_cast<double>(i), layers_total = static_cast<double>(config_.n_layers);
    const auto& rule = config_.init_std_factor;
    init.depth_factor = rule == "current_depth"  ? std::sqrt(2 * (depth + 1))
                        : rule == "global_depth" ? std::sqrt(2 * (layers_total + 1))
                        : rule == "dim_ratio"    ? static_cast<double>(config_.dim) / 4096
                                                 : 1.0;
    layers[i]->initialise(init, config_);
  }
  Initialiser::constant(norm->weight, 1);
  if (output) init.truncated_normal(output->weight, dim_std, 3 * dim_std);
  if (residual_weight.defined()) Initialiser::constant(residual_weight, 0);
  if (block_residual_weight.defined()) Initialiser::constant(block_residual_weight, 0);
  if (iteration_weights.defined())
    Initialiser::constant(iteration_weights, 1.0 / static_cast<double>(config_.loop_count));
  if (early_exit_gate) {
    init.truncated_normal(early_exit_gate->weight, dim_std, 3 * dim_std);
    Initialiser::constant(early_exit_gate->bias, 0);
  }
}

AttentionPlan LoopedTransformer::plan_of(int64_t draw) const {
  return plan_.random ? attention_plan(config_, draw) : plan_;
}

torch::Tensor LoopedTransformer::hidden(const torch::Tensor& tokens, int64_t draw) {
  const auto plan = plan_of(draw);
  return run(embed(tokens), {.plan = plan, .draw = draw});
}

torch::Tensor LoopedTransformer::embed(const torch::Tensor& tokens) const {
  const auto h = torch::embedding(tok_embeddings, tokens);
  // The residual stream starts in fp32, even if the table has a narrow type (from a file, for inference).
  return h.scalar_type() == torch::kBFloat16 ? h.to(torch::kFloat32) : h;
}

torch::Tensor LoopedTransformer::head_input(const torch::Tensor& h) {
  if (early_exit_gate) return h.to(compute_type);
  return rms_norm(h, norm->weight, config_.norm_eps, compute_type);
}

torch::Tensor LoopedTransformer::logits(const torch::Tensor& h) {
  const auto x = head_input(h);
  const auto y = output        ? output->forward(x)
                 : tied_output ? tied_output->forward(x)
                               : linear(x, tok_embeddings, &tied_pack_cache_);
  return y.to(torch::kFloat32);
}

LoopedTransformer::Losses LoopedTransformer::losses(const torch::Tensor& tokens, const torch::Tensor& targets,
                                                    int64_t draw) {
  std::vector<torch::Tensor> of_mixers;
  const auto plan = plan_of(draw);
  const auto h =
      run(embed(tokens),
          {.plan = plan, .draw = draw, .mixer_losses = torch::GradMode::is_enabled() ? &of_mixers : nullptr});
  const auto x = head_input(h);
  Losses out;
  out.cross_entropy = linear_cross_entropy(x, output ? output->weight : tok_embeddings, targets);
  out.total = out.cross_entropy;
  if (of_mixers.empty()) return out;
  out.mixers = torch::stack(of_mixers).sum();
  out.total = out.cross_entropy + config_.dsa.kl_coef * out.mixers;
  return out;
}

torch::Tensor LoopedTransformer::loss(const torch::Tensor& tokens, const torch::Tensor& targets, int64_t draw) {
  return losses(tokens, targets, draw).total;
}

SequenceState LoopedTransformer::make_state(int64_t batch, int64_t reserve_tokens, int64_t first_draw) const {
  SequenceState state;
  state.batch = batch;
  const int64_t draws = plan_.random ? std::max<int64_t>(1, config_.inference_ensemble_k) : 1;
  for (int64_t d = 0; d < draws; ++d) {
    SequenceState::Draw draw{.plan = plan_of(first_draw + d), .slots = {}};
    for (const auto& windows : draw.plan.windows) {
      for (size_t i = 0; i < layers.size(); ++i) {
        draw.slots.push_back(layers[i]->mixer->make_state({.batch = batch,
                                                           .dtype = compute_type,
                                                           .device = tok_embeddings.device(),
                                                           .window = layers[i]->window(windows[i]),
                                                           .reserve_tokens = reserve_tokens}));
      }
    }
    state.draws.push_back(std::move(draw));
  }
  return state;
}

NamedTensors LoopedTransformer::official_parameters() const {
  NamedTensors out{{"tok_embeddings.weight", tok_embeddings}};
  for (size_t i = 0; i < layers.size(); ++i) {
    const auto prefix = fmt::format("layers.{}.", i);
    for (const auto& [name, tensor] : parameters_of(*layers[i]->mixer)) {
      out.emplace_back(prefix + layers[i]->mixer->prefix() + name, tensor);
    }
    for (const auto& [name, tensor] : parameters_of(*layers[i]->feed_forward))
      out.emplace_back(prefix + "feed_forward." + name, tensor);
    out.emplace_back(prefix + "attention_norm.weight", layers[i]->attention_norm->weight);
    out.emplace_back(prefix + "ffn_norm.weight", layers[i]->ffn_norm->weight);
    if (!layers[i]->attention_norm_2) continue;
    out.emplace_back(prefix + "attention_norm_2.weight", layers[i]->attention_norm_2->weight);
    out.emplace_back(prefix + "ffn_norm_2.weight", layers[i]->ffn_norm_2->weight);
  }
  out.emplace_back("norm.weight", norm->weight);
  if (output) out.emplace_back("output.weight", output->weight);
  if (residual_weight.defined()) out.emplace_back("residual_weight", residual_weight);
  if (block_residual_weight.defined()) out.emplace_back("block_residual_weight", block_residual_weight);
  if (iteration_weights.defined()) out.emplace_back("iteration_weights", iteration_weights);
  if (early_exit_gate) {
    out.emplace_back("early_exit_gate.weight", early_exit_gate->weight);
    out.emplace_back("early_exit_gate.bias", early_exit_gate->bias);
  }
  return out;
}

}  // namespace lt2
