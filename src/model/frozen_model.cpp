#include "model/frozen_model.h"

#include <algorithm>
#include <functional>
#include <map>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "model/accounting.h"
#include "model/companions.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kLeastOutputs = 128;  // of a map in int8 or int4

// All maps, by the identity of their weights, and whether these can be frozen.
struct Map {
  LinearImpl* map;
  bool freezes;
};
std::map<const void*, Map> maps_of(const LoopedTransformer& model) {
  std::map<const void*, Map> maps;
  for (const auto& module : model.modules()) {
    if (auto* map = dynamic_cast<LinearImpl*>(module.get())) maps[map->weight.unsafeGetTensorImpl()] = {map, true};
  }
  for (const auto& layer : model.layers) {
    for (const auto* map : layer->mixer->read_maps()) maps.at(map->weight.unsafeGetTensorImpl()).freezes = false;
  }
  return maps;
}

WeightFormat format_of(WeightFormat wanted, const std::string& name, const torch::Tensor& weight) {
  const bool integers = wanted == WeightFormat::kInt8 || wanted == WeightFormat::kInt4;
  if (integers && weight.size(0) < kLeastOutputs) return WeightFormat::kBf16;
  const bool output = name == "output.weight" || name == "tok_embeddings.weight";
  return output && wanted == WeightFormat::kInt4 ? WeightFormat::kInt8 : wanted;
}

// fp16 as fp32, which holds all its numbers; other types as they lie.
torch::Tensor widened(const torch::Tensor& weight) {
  return weight.scalar_type() == torch::kFloat16 ? weight.to(torch::kFloat32) : weight;
}

// What becomes of weights in fp16: products know fp32 and bf16.
void report_fp16(const ModelFolder& folder, WeightFormat wanted) {
  const auto half = [](const auto& parameter) { return parameter.second.scalar_type() == torch::kFloat16; };
  if (std::none_of(folder.parameters.begin(), folder.parameters.end(), half)) return;
  log_info("{}: weights in fp16 are {}", folder.where.string(),
           wanted == WeightFormat::kF32    ? "widened to fp32, which changes none"
           : wanted == WeightFormat::kBf16 ? "rounded to bf16 (8 bits of their 11); weights=fp32 keeps them exactly"
                                           : "widened to fp32, which changes none, and packed from there");
}

// Gives every parameter its numbers: `weight(name)` for those that stay tensors, `freeze(name, map)` for maps.
void fill(LoopedTransformer& model, const std::function<torch::Tensor(const std::string&)>& weight,
          const std::function<void(const std::string&, LinearImpl&)>& freeze) {
  torch::NoGradGuard no_grad;
  const auto maps = maps_of(model);
  for (auto& [name, parameter] : model.official_parameters()) {
    const auto map = maps.find(parameter.unsafeGetTensorImpl());
    if (map != maps.end() && map->second.freezes) {
      freeze(name, *map->second.map);
    } else if (map != maps.end()) {
      map->second.map->set_weight(weight(name).to(torch::kFloat32).clone());
    } else if (name == "tok_embeddings.weight") {
      parameter.set_data(weight(name));  // rows are looked up where they lie, in fp32 or bf16
    } else {
      parameter.set_data(weight(name).to(torch::kFloat32).clone());
    }
  }
  if (model.output) return;
  const WithoutWeights sizes_only;
  model.tied_output = Linear(model.config().dim, model.config().vocab_size);
  freeze("tok_embeddings.weight", *model.tied_output);
}

}  // namespace

std::shared_ptr<LoopedTransformer> load_frozen(const ModelFolder& folder, std::optional<WeightFormat> format,
                                               torch::ScalarType compute_type) {
  const auto model = [&] {
    const WithoutWeights sizes_only;
    return std::make_shared<LoopedTransformer>(folder.config);
  }();
  model->compute_type = compute_type;
  const auto weight = [&](const std::string& name) { return widened(folder.weight(name)); };
  if (!folder.frozen) {
    const auto wanted = format.value_or(compute_type == torch::kBFloat16 ? WeightFormat::kBf16 : WeightFormat::kF32);
    report_fp16(folder, wanted);
    fill(*model, weight, [&](const std::string& name, LinearImpl& map) {
      map.freeze(weight(name), format_of(wanted, name, map.weight));
    });
    return model;
  }
  const auto& file = *folder.frozen;
  LT2_CHECK(!format || *format == folder.format,
            "{}: holds {} weights; {} cannot be made from them. Take the folder "
            "they were made from",
            file.path().string(), weight_format_name(folder.format),
            weight_format_name(format.value_or(folder.format)));
  fill(*model, weight, [&](const std::string& name, LinearImpl& map) {
    NamedTensors parts;
    for (const char* part : {"panels", "layout", "scales"}) {
      const auto key = name + "." + part;
      if (file.contains(key)) parts.emplace_back(part, file.view(key));
    }
    try {
      map.adopt(parts, format_of(folder.format, name, map.weight));
    } catch (const Error& error) {
      fail("{}: {}: {}", file.path().string(), name, error.what());
    }
  });
  return model;
}

void freeze_weights(LoopedTransformer& model, WeightFormat format) {
  NamedTensors own;
  for (const auto& [name, tensor] : model.official_parameters()) own.emplace_back(name, tensor.detach());
  const auto weight = [&](const std::string& name) {
    const auto found = std::find_if(own.begin(), own.end(), [&](const auto& item) { return item.first == name; });
    return found->second;
  };
  fill(model, weight, [&](const std::string& name, LinearImpl& map) {
    map.freeze(weight(name), format_of(format, name, map.weight));
    for (auto& [own_name, tensor] : own) {
      if (own_name == name && name != "tok_embeddings.weight") tensor = torch::Tensor();  // let go as we go
    }
  });
}

void write_frozen_folder(const fs::path& out, const LoopedTransformer& model, WeightFormat format,
                         const ModelFolder& from) {
  NamedTensors tensors;
  const auto maps = maps_of(model);
  const auto add = [&](const std::string& name, const LinearImpl& map) {
    for (const auto& [part, tensor] : map.frozen_parts()) tensors.emplace_back(name + "." + part, tensor);
  };
  for (const auto& [name, parameter] : model.official_parameters()) {
    const auto map = maps.find(parameter.unsafeGetTensorImpl());
    if (map != maps.end() && map->second.freezes) {
      add(name, *map->second.map);
    } else {
      tensors.emplace_back(name, parameter.detach());
    }
  }
  if (model.tied_output) add("tok_embeddings.weight", *model.tied_output);
  const auto companions = companions_of(from.where, from.tokenizer);
  write_folder_atomically(out, [&](const fs::path& aside) {
    write_safetensors(aside / kFrozenFile, tensors,
                      {{"format", kFrozenFormat}, {"weights", weight_format_name(format)}});
    companions.write(aside);
    for (const char* name : {"config.json", "params.json"}) {
      if (fs::exists(from.where / name)) write_file_atomically(aside / name, read_file(from.where / name));
    }
    // Only where the vocabulary now has another place: the text of other programs stays as they wrote it.
    if (from.run && companions.beside(*from.run) != *from.run)
      write_file_atomically(aside / "params.json", to_json(companions.beside(*from.run)));
  });
}

}  // namespace lt2
