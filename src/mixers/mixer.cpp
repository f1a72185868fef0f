#include "mixers/mixer.h"

#include <functional>
#include <map>

#include "base/error.h"
#include "mixers/deepseek_sparse_attention.h"
#include "mixers/delta_net.h"
#include "mixers/full_attention.h"
#include "mixers/gated_delta_net.h"
#include "mixers/gated_linear_attention.h"
#include "mixers/hgrn2.h"
#include "mixers/kimi_delta_attention.h"
#include "mixers/latent_attention.h"
#include "mixers/linear_attention.h"
#include "mixers/mamba2.h"
#include "mixers/native_sparse_attention.h"
#include "mixers/retention.h"

namespace lt2 {
namespace {

using Factory = std::function<std::shared_ptr<Mixer>(const ModelConfig&)>;

// One line for each mixer.
const std::map<std::string, Factory>& registry() {
  static const std::map<std::string, Factory> mixers{
      {"full", [](const ModelConfig& c) { return std::make_shared<FullAttention>(c); }},
      {"gdn", [](const ModelConfig& c) { return std::make_shared<GatedDeltaNet>(c); }},
      {"kda", [](const ModelConfig& c) { return std::make_shared<KimiDeltaAttention>(c); }},
      {"deltanet", [](const ModelConfig& c) { return std::make_shared<DeltaNet>(c); }},
      {"mamba2", [](const ModelConfig& c) { return std::make_shared<Mamba2>(c); }},
      {"retnet", [](const ModelConfig& c) { return std::make_shared<Retention>(c); }},
      {"hgrn2", [](const ModelConfig& c) { return std::make_shared<Hgrn2>(c); }},
      {"gla", [](const ModelConfig& c) { return std::make_shared<GatedLinearAttention>(c); }},
      {"la", [](const ModelConfig& c) { return std::make_shared<LinearAttention>(c); }},
      {"mla", [](const ModelConfig& c) { return std::make_shared<LatentAttention>(c); }},
      {"nsa", [](const ModelConfig& c) { return std::make_shared<NativeSparseAttention>(c); }},
      {"dsa", [](const ModelConfig& c) { return std::make_shared<DeepseekSparseAttention>(c); }},
  };
  return mixers;
}

}  // namespace

std::shared_ptr<Mixer> make_mixer(const std::string& type, const ModelConfig& config) {
  const auto found = registry().find(type);
  LT2_CHECK(found != registry().end(), "model.layer_pattern: this version runs {}; found layer type {}",
            fmt::join(mixer_types(), ", "), type);
  return found->second(config);
}

std::vector<std::string> mixer_types() {
  std::vector<std::string> names;
  for (const auto& [name, factory] : registry()) names.push_back(name);
  return names;
}

int64_t MixerState::bytes() const {
  int64_t sum = 0;
  for (const auto& [name, tensor] : tensors()) sum += static_cast<int64_t>(tensor.nbytes());
  return sum;
}

NamedTensors parameters_of(const torch::nn::Module& module) {
  NamedTensors out;
  for (const auto& item : module.named_parameters()) out.emplace_back(item.key(), item.value());
  return out;
}

torch::Tensor take(const NamedTensors& tensors, const std::string& name, const std::vector<int64_t>& shape) {
  for (const auto& [key, tensor] : tensors) {
    if (key != name) continue;
    bool fits = tensor.dim() == static_cast<int64_t>(shape.size());
    for (size_t i = 0; fits && i < shape.size(); ++i)
      fits = shape[i] < 0 || tensor.size(static_cast<int64_t>(i)) == shape[i];
    LT2_CHECK(fits, "state: {} is [{}], expected [{}] (-1: any). Saved by a model of another shape?", name,
              fmt::join(tensor.sizes(), ", "), fmt::join(shape, ", "));
    return tensor;
  }
  fail("state: tensor {} is missing. Saved by a model of another layout?", name);
}

}  // namespace lt2
