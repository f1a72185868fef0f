#include "model/looped_transformer.h"

#include <cmath>

#include "base/error.h"
#include "ops/cross_entropy/op.h"
#include "ops/linear/op.h"
#include "ops/per_channel/op.h"
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

torch::Tensor LoopedTransformer::run_layer(const torch::Tensor& h, const Place& place, const Pass& pass) {
  const auto i = static_cast<size_t>(place.first), t = static_cast<size_t>(place.t);
  const size_t slot = t * layers.size() + i;
  std::vector<SequenceRows> sequences;
  if (pass.rows) {
    for (const auto& [draw, count] : *pass.rows) sequences.push_back({draw->slots[slot].get(), count});
  }
  const bool several = sequences.size() > 1;
  const MixerCall call{.window = pass.plan.windows[t][i],
                       .state = pass.slots              ? (*pass.slots)[slot].get()
                                : pass.rows && !several ? sequences[0].state
                                                        : nullptr,
                       .sequences = several ? &sequences : nullptr,
                       .carry = pass.carries ? &(*pass.carries)[i] : nullptr,
                       .losses = pass.mixer_losses};
  if (at_each_layer) at_each_layer();
  if (watch) watch->enter(i);
  const auto out = layers[i]->forward(h, call, compute_type);
  if (watch && !torch::GradMode::is_enabled()) watch->leave(i);
  return out;
}

torch::Tensor LoopedTransformer::run_block(const torch::Tensor& h_block, const Place& place, const Pass& pass) {
  auto h = h_block;
  for (int64_t i = place.first; i < place.last; ++i)
    h = run_part(Recompute::kLayer, &LoopedTransformer::run_layer, h, {place.t, i, i + 1}, pass);
  if (!block_residual_weight.defined()) return h;
  const auto weight = block_residual_weight[place.first / pass.plan.block_size];
  return per_channel({.x = h_block, .weight = weight, .base = h}, h.scalar_type());
}

torch::Tensor LoopedTransformer::run_loop(const torch::Tensor& h_loop, const Place& place, const Pass& pass) {
  auto h = h_loop;
  for (int64_t first = 0; first < place.last; first += pass.plan.block_size) {
    const Place block{place.t, first, std::min(first + pass.plan.block_size, place.last)};
    h = run_part(Recompute::kBlock, &LoopedTransformer::run_block, h, block, pass);
  }
  if (early_exit_gate) return rms_norm(h, norm->weight, config_.norm_eps, h.scalar_type());
  if (!residual_weight.defined()) return h;
  return per_channel({.x = h_loop, .weight = residual_weight[place.t], .base = h}, h.scalar_type());
}

// `part`, recomputed in the backward pass if that is the level: the carries of its layers and the losses of its mixers
// go in and out beside h.
torch::Tensor LoopedTransformer::run_part(Recompute level, Run part, const torch::Tensor& h, const Place& place,
                                          const Pass& pass) {
  if (!torch::GradMode::is_enabled() || !h.requires_grad()) return (this->*part)(h, place, pass);
  // A node of its own for the part's input: its gradients are summed inside the part first, recomputed or not.
  if (level != recompute) {
    const auto input = h.view_as(h);
    if (at_each_layer && level == Recompute::kLayer)
      input.register_hook([this](const torch::Tensor&) { at_each_layer(); });
    return (this->*part)(input, place, pass);
  }
  const auto each_carried = [place](std::vector<LoopCarry>& carries, const auto& visit) {
    for (int64_t i = place.first; i < place.last; ++i) {
      LoopCarry& carry = carries[static_cast<size_t>(i)];
      for (auto* tensor : {&carry.k, &carry.v, &carry.g, &carry.beta}) visit(*tensor);
    }
  };
  Tensors inputs{h};
  std::vector<bool> given;
  if (pass.carries) {
    each_carried(*pass.carries, [&](const torch::Tensor& tensor) {
      given.push_back(tensor.defined());
      if (tensor.defined()) inputs.push_back(tensor);
    });
  }
  // Which carried tensors come back, in their order, and whether a loss does; the second run gives the same.
  auto returned = std::make_shared<std::vector<bool>>();
  auto has_loss = std::make_shared<bool>(false);
  const AttentionPlan plan = pass.plan;
  const bool with_carries = pass.carries != nullptr, with_losses = pass.mixer_losses != nullptr;
  const auto again = [=, this](const Tensors& in) {
    std::vector<LoopCarry> carries(with_carries ? layers.size() : 0);
    size_t next = 1, at = 0;
    if (with_carries)
      each_carried(carries, [&](torch::Tensor& tensor) {
        if (given[at++]) tensor = in[next++];
      });
    Tensors losses;
    Tensors out{(this->*part)(
        in[0], place,
        {.plan = plan, .mixer_losses = with_losses ? &losses : nullptr, .carries = with_carries ? &carries : nullptr})};
    returned->clear();
    if (with_carries) {
      each_carried(carries, [&](const torch::Tensor& tensor) {
        returned->push_back(tensor.defined());
        if (tensor.defined()) out.push_back(tensor);
      });
    }
    *has_loss = !losses.empty();
    if (*has_loss) out.push_back(losses.size() == 1 ? losses[0] : torch::stack(losses).sum());
    return out;
  };
  std::function<void()> after;
  if (watch) after = [this, layer = static_cast<size_t>(place.first)] { watch->backward_done(layer); };
  const Tensors out = recomputed(again, inputs, after);
  if (with_carries) {
    size_t next = 1, at = 0;
    each_carried(*pass.carries,
                 [&](torch::Tensor& tensor) { tensor = (*returned)[at++] ? out[next++] : torch::Tensor(); });
  }
  if (*has_loss) pass.mixer_losses->push_back(out.back());
  return out[0];
}

torch::Tensor LoopedTransformer::run(const torch::Tensor& tokens, const Pass& given) {
  LT2_CHECK(!watch || !torch::GradMode::is_enabled() || recompute == Recompute::kLayer,
            "training with sharded layers must recompute them: distributed.activation_checkpointing layer");
  const auto N = static_cast<int64_t>(layers.size());
  std::vector<LoopCarry> carries(config_.state_carry == "token" ? layers.size() : 0);
  Pass pass = given;
  if (!carries.empty()) pass.carries = &carries;
  auto h = embed(tokens);
  // Parts are recomputed by nodes on the residual stream: it needs a gradient even where the embedding does not train.
  if (torch::GradMode::is_enabled() && recompute != Recompute::kNone && !h.requires_grad()) h.requires_grad_();
  torch::Tensor weighted;
  for (int64_t t = 0; t < config_.loop_count; ++t) {
    h = run_part(Recompute::kLoop, &LoopedTransformer::run_loop, h, {t, 0, N}, pass);
    if (pass.hook) pass.hook(t, h);
    if (iteration_weights.defined()) {
      weighted = per_channel({.x = h, .weight = iteration_weights[t], .base = weighted}, h.scalar_type());
    }
  }
  return weighted.defined() ? weighted : h;
}

AttentionPlan LoopedTransformer::plan_of(int64_t draw) const {
  return plan_.random ? attention_plan(config_, draw) : plan_;
}

torch::Tensor LoopedTransformer::hidden(const torch::Tensor& tokens, int64_t draw, const LoopHook& hook) {
  const auto plan = plan_of(draw);
  return run(tokens, {.plan = plan, .hook = hook});
}

torch::Tensor LoopedTransformer::embed(const torch::Tensor& tokens) const {
  const auto h = torch::embedding(tok_embeddings, tokens);
  // A table in a narrow type (a file's, for inference) still starts an fp32 stream.
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
  const auto h = run(tokens, {.plan = plan, .mixer_losses = torch::GradMode::is_enabled() ? &of_mixers : nullptr});
  const auto x = head_input(h);
  Losses out;
  out.cross_entropy = linear_cross_entropy(x, output ? output->weight : tok_embeddings, targets);
  out.total = out.cross_entropy;
  if (of_mixers.empty()) return out;
  out.mixers = torch::stack(of_mixers).sum();
  out.total = out.cross_entropy + config_.dsa_kl_coef * out.mixers;
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
                                                           .window = windows[i],
                                                           .reserve_tokens = reserve_tokens}));
      }
    }
    state.draws.push_back(std::move(draw));
  }
  return state;
}

torch::Tensor LoopedTransformer::step(const torch::Tensor& tokens, SequenceState& state, bool all_positions) {
  LT2_CHECK(tokens.dim() == 2 && tokens.size(0) == state.batch && tokens.size(1) >= 1,
            "step: tokens must be [{}, L >= 1], found [{}]", state.batch, fmt::join(tokens.sizes(), ", "));
  torch::NoGradGuard no_grad;
  torch::Tensor sum;
  for (auto& draw : state.draws) {
    auto h = run(tokens, {.plan = draw.plan, .slots = &draw.slots});
    if (!all_positions) h = h.narrow(1, h.size(1) - 1, 1);
    const auto out = logits(h);
    sum = sum.defined() ? sum + out : out;
  }
  state.position += tokens.size(1);
  return state.draws.size() > 1 ? sum / static_cast<double>(state.draws.size()) : sum;
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
