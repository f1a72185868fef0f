#include "model/accounting.h"

#include <algorithm>

namespace lt2 {
namespace {

int64_t count(const torch::nn::Module& module) {
  int64_t sum = 0;
  for (const auto& parameter : module.parameters()) sum += parameter.numel();
  return sum;
}

void add(std::vector<std::pair<std::string, int64_t>>& parts, const std::string& name, int64_t amount) {
  if (amount == 0) return;
  for (auto& part : parts) {
    if (part.first == name) return void(part.second += amount);
  }
  parts.emplace_back(name, amount);
}

// Calls visit(layer, window) for every layer call of one forward pass.
template <class Visit>
void for_each_call(const LoopedTransformer& model, Visit visit) {
  const auto plan = attention_plan(model.config());
  for (const auto& windows : plan.windows) {
    for (size_t i = 0; i < model.layers.size(); ++i) visit(*model.layers[i], windows[i]);
  }
}

int64_t draws(const LoopedTransformer& model) {
  return is_random_pattern(model.config().attention_pattern) ? std::max<int64_t>(1, model.config().inference_ensemble_k)
                                                             : 1;
}

}  // namespace

std::vector<std::pair<std::string, int64_t>> parameters_by_part(const LoopedTransformer& model) {
  std::vector<std::pair<std::string, int64_t>> parts;
  add(parts, "embedding", model.tok_embeddings.numel());
  for (const auto& layer : model.layers) add(parts, layer->type + " mixers", count(*layer->mixer));
  for (const auto& layer : model.layers) add(parts, "feed-forward", count(*layer->feed_forward));
  for (const auto& layer : model.layers) add(parts, "norms", count(*layer->attention_norm) + count(*layer->ffn_norm));
  add(parts, "norms", count(*model.norm));
  if (model.output) add(parts, "output", count(*model.output));
  for (const auto* residual : {&model.residual_weight, &model.block_residual_weight, &model.iteration_weights}) {
    if (residual->defined()) add(parts, "loop and block residuals", residual->numel());
  }
  return parts;
}

int64_t parameter_count(const LoopedTransformer& model) {
  int64_t sum = 0;
  for (const auto& [name, amount] : parameters_by_part(model)) sum += amount;
  return sum;
}

int64_t effective_depth(const LoopedTransformer& model) {
  return model.config().loop_count * static_cast<int64_t>(model.layers.size());
}

double forward_flops_per_token(const LoopedTransformer& model, int64_t context) {
  const double D = static_cast<double>(model.config().dim);
  double sum = 2 * D * static_cast<double>(model.config().vocab_size);
  for_each_call(model, [&](const LayerImpl& layer, std::optional<int64_t> window) {
    sum += layer.mixer->flops_per_token(context, window) + 6 * D * static_cast<double>(ffn_hidden_dim(model.config()));
  });
  return sum;
}

double training_flops_per_token(const LoopedTransformer& model, int64_t seq_len) {
  // A causal token sees half the sequence on average. Windows are cut per token, so this is exact only where the window
  // exceeds the sequence or is far below it.
  return 3 * forward_flops_per_token(model, (seq_len + 1) / 2);
}

int64_t state_bytes(const LoopedTransformer& model, int64_t tokens, torch::ScalarType dtype) {
  int64_t sum = 0;
  for_each_call(model, [&](const LayerImpl& layer, std::optional<int64_t> window) {
    sum += layer.mixer->state_bytes(tokens, window, dtype);
  });
  return sum * draws(model);
}

int64_t state_traffic_bytes(const LoopedTransformer& model, int64_t tokens, torch::ScalarType dtype) {
  int64_t sum = 0;
  for_each_call(model, [&](const LayerImpl& layer, std::optional<int64_t> window) {
    sum += layer.mixer->state_traffic_bytes(tokens, window, dtype);
  });
  return sum * draws(model);
}

double weight_bytes_per_token(const LoopedTransformer& model, torch::ScalarType dtype) {
  double elements = static_cast<double>((model.output ? model.output->weight : model.tok_embeddings).numel());
  for_each_call(model,
                [&](const LayerImpl& layer, std::optional<int64_t>) { elements += static_cast<double>(count(layer)); });
  return elements * static_cast<double>(draws(model)) * static_cast<double>(c10::elementSize(dtype));
}

TrainingMemory training_memory(const LoopedTransformer& model, int64_t batch, int64_t seq_len,
                               torch::ScalarType dtype) {
  const int64_t parameters = parameter_count(model), width = static_cast<int64_t>(c10::elementSize(dtype)),
                D = model.config().dim;
  int64_t kept = 0;  // bytes per token
  for_each_call(model, [&](const LayerImpl& layer, std::optional<int64_t>) {
    const int64_t F = ffn_hidden_dim(model.config());
    kept += 2 * D * 4 + width * (2 * D + 3 * F + layer.mixer->saved_elements_per_token());
  });
  return {.weights = 4 * parameters,
          .packed = width * parameters,
          .gradients = 4 * parameters,
          .moments = 8 * parameters,
          .activations = kept * batch * seq_len};
}

}  // namespace lt2
