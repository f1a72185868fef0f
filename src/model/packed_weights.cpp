#include "model/packed_weights.h"

#include <algorithm>
#include <map>

namespace lt2 {
namespace {

constexpr int64_t kLeastOutputs = 128;  // of a linear layer in int8 or int4

// All linear layers, by the identity of their weights, and whether these can be packed.
struct Map {
  LinearImpl* map;
  bool packs;
};
std::map<const void*, Map> maps_of(const LoopedTransformer& model) {
  std::map<const void*, Map> maps;
  for (const auto& module : model.modules()) {
    if (auto* map = dynamic_cast<LinearImpl*>(module.get())) maps[map->weight.unsafeGetTensorImpl()] = {map, true};
  }
  for (const auto& layer : model.layers) {
    for (const auto* map : layer->mixer->read_maps()) maps.at(map->weight.unsafeGetTensorImpl()).packs = false;
  }
  return maps;
}

}  // namespace

WeightFormat packing_format(WeightFormat wanted, const std::string& name, const torch::Tensor& weight) {
  const bool integers = wanted == WeightFormat::kInt8 || wanted == WeightFormat::kInt4;
  if (integers && weight.size(0) < kLeastOutputs) return WeightFormat::kBf16;
  const bool output = name == "output.weight" || name == "tok_embeddings.weight";
  return output && wanted == WeightFormat::kInt4 ? WeightFormat::kInt8 : wanted;
}

void fill_packed(LoopedTransformer& model, const std::function<torch::Tensor(const std::string&)>& weight,
                 const std::function<void(const std::string&, LinearImpl&)>& pack) {
  torch::NoGradGuard no_grad;
  const auto maps = maps_of(model);
  for (auto& [name, parameter] : model.official_parameters()) {
    const auto map = maps.find(parameter.unsafeGetTensorImpl());
    if (map != maps.end() && map->second.packs) {
      pack(name, *map->second.map);
    } else if (map != maps.end()) {
      map->second.map->set_weight(weight(name).to(torch::kFloat32).clone());
    } else if (name == "tok_embeddings.weight") {
      parameter.set_data(weight(name));  // rows are read from it directly, in fp32 or bf16
    } else {
      parameter.set_data(weight(name).to(torch::kFloat32).clone());
    }
  }
  if (model.output) return;
  const WithoutWeights sizes_only;
  model.tied_output = Linear(model.config().dim, model.config().vocab_size);
  pack("tok_embeddings.weight", *model.tied_output);
}

void pack_weights(LoopedTransformer& model, WeightFormat format) {
  NamedTensors own;
  for (const auto& [name, tensor] : model.official_parameters()) own.emplace_back(name, tensor.detach());
  const auto weight = [&](const std::string& name) {
    const auto found = std::find_if(own.begin(), own.end(), [&](const auto& item) { return item.first == name; });
    return found->second;
  };
  fill_packed(model, weight, [&](const std::string& name, LinearImpl& map) {
    map.pack(weight(name), packing_format(format, name, map.weight));
    for (auto& [own_name, tensor] : own) {
      if (own_name == name && name != "tok_embeddings.weight") tensor = torch::Tensor();  // frees it
    }
  });
}

NamedTensors packed_tensors(const LoopedTransformer& model) {
  NamedTensors tensors;
  const auto maps = maps_of(model);
  const auto add = [&](const std::string& name, const LinearImpl& map) {
    for (const auto& [part, tensor] : map.packed_parts()) tensors.emplace_back(name + "." + part, tensor);
  };
  for (const auto& [name, parameter] : model.official_parameters()) {
    const auto map = maps.find(parameter.unsafeGetTensorImpl());
    if (map != maps.end() && map->second.packs) {
      add(name, *map->second.map);
    } else {
      tensors.emplace_back(name, parameter.detach());
    }
  }
  if (model.tied_output) add("tok_embeddings.weight", *model.tied_output);
  return tensors;
}

}  // namespace lt2
