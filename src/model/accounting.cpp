#include "model/accounting.h"

#include <algorithm>

#include "ops/simd/tile_unit.h"

namespace lt2 {
namespace {

void add(std::vector<std::pair<std::string, int64_t>>& parts, const std::string& name, int64_t amount) {
  if (amount == 0) return;
  for (auto& part : parts) {
    if (part.first == name) return void(part.second += amount);
  }
  parts.emplace_back(name, amount);
}

// Calls visit(layer, window) for every layer call of one forward pass; the window as its mixer sees it.
template <class Visit>
void for_each_call(const LoopedTransformer& model, Visit visit) {
  const auto plan = attention_plan(model.config());
  for (const auto& windows : plan.windows) {
    for (size_t i = 0; i < model.layers.size(); ++i) visit(*model.layers[i], model.layers[i]->window(windows[i]));
  }
}

int64_t draws(const LoopedTransformer& model) {
  return is_random_pattern(model.config().attention_pattern) ? std::max<int64_t>(1, model.config().inference_ensemble_k)
                                                             : 1;
}

int64_t bytes_of(torch::ScalarType dtype) { return static_cast<int64_t>(c10::elementSize(dtype)); }

// Elements of the output projection's weight.
int64_t output_bytes(const LoopedTransformer& model, torch::ScalarType dtype) {
  if (model.output) return part_weight_bytes(*model.output, dtype);
  return model.tied_output ? model.tied_output->packed_weight_bytes() : model.tok_embeddings.numel() * bytes_of(dtype);
}

}  // namespace

std::vector<std::pair<std::string, int64_t>> parameters_by_part(const LoopedTransformer& model) {
  std::vector<std::pair<std::string, int64_t>> parts;
  add(parts, "embedding", model.tok_embeddings.numel());
  for (const auto& layer : model.layers) add(parts, layer->type + " mixers", part_parameter_count(*layer->mixer));
  for (const auto& layer : model.layers) add(parts, "feed-forward", part_parameter_count(*layer->feed_forward));
  for (const auto& layer : model.layers) {
    for (const auto* norm : {&layer->attention_norm, &layer->ffn_norm, &layer->attention_norm_2, &layer->ffn_norm_2}) {
      if (*norm) add(parts, "norms", part_parameter_count(**norm));
    }
  }
  add(parts, "norms", part_parameter_count(*model.norm));
  if (model.output) add(parts, "output", part_parameter_count(*model.output));
  if (model.early_exit_gate) add(parts, "exit gate", part_parameter_count(*model.early_exit_gate));
  for (const auto* residual : {&model.residual_weight, &model.block_residual_weight, &model.iteration_weights}) {
    if (residual->defined()) add(parts, "loop and block residuals", residual->numel());
  }
  return parts;
}

int64_t part_parameter_count(const torch::nn::Module& part) {
  int64_t sum = 0;
  for (const auto& parameter : part.parameters()) sum += parameter.numel();
  return sum;
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

double mean_forward_flops_per_token(const LoopedTransformer& model, int64_t seq_len) {
  // With windows and selections the cost is not linear in the position: the mean is taken over evenly spread positions.
  const int64_t samples = std::min<int64_t>(seq_len, 64);
  double sum = 0;
  for (int64_t i = 0; i < samples; ++i)
    sum += forward_flops_per_token(model, 1 + (2 * i + 1) * seq_len / (2 * samples));
  return sum / static_cast<double>(samples);
}

double training_flops_per_token(const LoopedTransformer& model, int64_t seq_len) {
  return 3 * mean_forward_flops_per_token(model, seq_len);
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
  int64_t bytes = output_bytes(model, dtype);
  for_each_call(model,
                [&](const LayerImpl& layer, std::optional<int64_t>) { bytes += part_weight_bytes(layer, dtype); });
  return static_cast<double>(bytes * draws(model));
}

int64_t part_weight_bytes(const torch::nn::Module& part, torch::ScalarType dtype) {
  int64_t bytes = 0;
  for (const auto& module : part.modules()) {
    const auto* map = dynamic_cast<const LinearImpl*>(module.get());
    if (map) bytes += map->is_packed() ? map->packed_weight_bytes() : map->weight.numel() * bytes_of(dtype);
    for (const auto& parameter : module->parameters(/*recurse=*/false)) {
      if (!map || !parameter.is_same(map->weight)) bytes += 4 * parameter.numel();
    }
  }
  return bytes;
}

int64_t served_bytes(const LoopedTransformer& model, torch::ScalarType dtype) {
  const auto& table = model.tok_embeddings;
  const int64_t own =
      part_weight_bytes(model, dtype) + table.numel() * (static_cast<int64_t>(table.element_size()) - 4);
  return model.output ? own : own + output_bytes(model, dtype);
}

std::string weight_format_name(const LoopedTransformer& model) {
  const auto& map = model.layers[0]->feed_forward->w1;
  if (!map->is_packed()) return model.compute_type == torch::kFloat32 ? "fp32" : "bf16";
  return weight_format_name(map->packed_format());
}

int64_t packed_bytes(const LayerImpl& layer, torch::ScalarType dtype) {
  int64_t elements = 0;
  for (const auto& parameter : layer.parameters()) elements += parameter.dim() == 2 ? parameter.numel() : 0;
  const int64_t copies = dtype == torch::kBFloat16 && tile_unit() ? 2 : 1;
  return copies * static_cast<int64_t>(c10::elementSize(dtype)) * elements;
}

int64_t activation_bytes(const LoopedTransformer& model, int64_t batch, int64_t seq_len, torch::ScalarType dtype,
                         Recompute recompute) {
  const auto& config = model.config();
  const int64_t width = static_cast<int64_t>(c10::elementSize(dtype)), D = config.dim, F = ffn_hidden_dim(config),
                T = config.loop_count, N = config.n_layers, block = attention_plan(config).block_size;
  // Bytes per token of one call: the residual stream after mixer and feed-forward in fp32, both norms, the
  // feed-forward's gate, product and combination of the two, and what the mixer keeps.
  const auto layers_from = [&](int64_t first, int64_t last) {
    int64_t kept = 0;
    for (int64_t i = first; i < std::min(last, N); ++i) {
      const auto& mixer = *model.layers[static_cast<size_t>(i)]->mixer;
      kept += 2 * D * 4 + width * (2 * D + 3 * F + mixer.saved_elements_per_token());
    }
    return kept;
  };
  // Parts of `size` layers: everything of the largest part, and only the input residual stream of the others.
  const auto in_parts = [&](int64_t size) {
    int64_t largest = 0;
    for (int64_t first = 0; first < N; first += size) largest = std::max(largest, layers_from(first, first + size));
    return T * ((N + size - 1) / size) * D * 4 + largest;
  };
  const int64_t head = 2 * width * D;  // the normed stream and its gradient
  const int64_t per_token = recompute == Recompute::kNone    ? T * layers_from(0, N)
                            : recompute == Recompute::kLoop  ? in_parts(N)
                            : recompute == Recompute::kBlock ? in_parts(std::min(block, N))
                                                             : in_parts(1);
  return (per_token + head) * batch * seq_len;
}

TrainingMemory training_memory(const LoopedTransformer& model, int64_t batch, int64_t seq_len, torch::ScalarType dtype,
                               Recompute recompute) {
  const int64_t parameters = parameter_count(model);
  // The packed output exists only while the loss is computed.
  int64_t packed = static_cast<int64_t>(c10::elementSize(dtype)) * model.tok_embeddings.numel();
  for (const auto& layer : model.layers) packed += packed_bytes(*layer, dtype);
  return {.weights = 4 * parameters,
          .packed = packed,
          .gradients = 4 * parameters,
          .moments = 8 * parameters,
          .activations = activation_bytes(model, batch, seq_len, dtype, recompute)};
}

}  // namespace lt2
