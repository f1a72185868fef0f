#include "folders/tensor_source.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "config/patterns.h"

namespace lt2 {
namespace {

std::string hint(const ModelConfig& config, const std::string& name) {
  const bool legacy = name == "iteration_weights" && !config.legacy_iteration_weights;
  return legacy ? "An old checkpoint: set model.legacy_iteration_weights to true in its params.json"
                : "Another layer_pattern or option?";
}

NamedTensors parameters_without_memory(const ModelConfig& config) {
  try {
    return LoopedTransformer(config).official_parameters();
  } catch (const c10::Error&) {
    fail("a layer of this configuration does not fit any memory (model.dim = {}, feed-forward {}, vocabulary {})",
         config.dim, ffn_hidden_dim(config), config.vocab_size);
  }
}

void check_shape(const TensorSource& source, const std::string& own, const std::vector<int64_t>& shape) {
  const auto found = source.shape(own);
  LT2_CHECK(found == shape, "{}: {} is [{}], the model needs [{}]. Saved with another configuration?", source.file(own),
            own, fmt::join(found, ", "), fmt::join(shape, ", "));
}

}  // namespace

std::string shown_name(const std::string& name) {
  const bool plain =
      name.size() <= 200 && std::all_of(name.begin(), name.end(), [](char c) { return c > 0x20 && c < 0x7f; });
  return plain ? name
               : nlohmann::json(name.substr(0, 200)).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

void check_floating(const std::string& where, const std::string& name, const torch::Tensor& tensor) {
  const auto type = tensor.scalar_type();
  LT2_CHECK(type == torch::kFloat32 || type == torch::kBFloat16 || type == torch::kFloat16,
            "{}: {} has type {}; expected fp32, bf16 or fp16, which fp32 master weights hold exactly", where, name,
            torch::toString(type));
}

TensorSource tensor_source(const std::shared_ptr<SafetensorsFile>& file) {
  return {.where = file->path().string(),
          .names = file->names(),
          .file = [file](const std::string&) { return file->path().string(); },
          .shape = [file](const std::string& name) { return file->info(name).shape; },
          .view = [file](const std::string& name) { return file->view(name); }};
}

TensorSource tensor_source(const std::shared_ptr<HfFolder>& folder,
                           std::function<std::string(const std::string&)> own_name) {
  return {.where = folder->path().string(),
          .names = folder->names(),
          .file = [folder](const std::string& name) { return folder->shard(name).path().string(); },
          .shape = [folder](const std::string& name) { return folder->info(name).shape; },
          .view = [folder](const std::string& name) { return folder->view(name); },
          .own_name = std::move(own_name)};
}

TensorSource tensor_source(std::string where, const NamedTensors& tensors) {
  const auto by_name = std::make_shared<std::map<std::string, torch::Tensor>>(tensors.begin(), tensors.end());
  TensorSource out;
  for (const auto& [name, tensor] : tensors) out.names.push_back(name);
  out.file = [where](const std::string&) { return where; };
  out.where = std::move(where);
  out.shape = [by_name](const std::string& name) { return by_name->at(name).sizes().vec(); };
  out.view = [by_name](const std::string& name) { return by_name->at(name); };
  return out;
}

std::vector<std::pair<std::string, std::vector<int64_t>>> parameter_shapes(const ModelConfig& config) {
  const auto types = layer_types(config.layer_pattern, config.n_layers);
  ModelConfig one = config;
  one.n_layers = 1;
  one.attention_pattern = "0:1";
  const std::string first_layer = "layers.0.";
  std::map<std::string, NamedTensors> layers;  // by type
  NamedTensors around;                         // everything else
  for (const auto& type : types) {
    if (layers.count(type)) continue;
    one.layer_pattern = type;
    around.clear();
    for (auto& [name, tensor] : parameters_without_memory(one)) {
      if (name.starts_with(first_layer))
        layers[type].emplace_back(name.substr(first_layer.size()), tensor);
      else
        around.emplace_back(name, tensor);
    }
  }
  std::vector<std::pair<std::string, std::vector<int64_t>>> out;
  out.emplace_back(around[0].first, around[0].second.sizes().vec());  // the embedding stands before the layers
  for (size_t i = 0; i < types.size(); ++i) {
    for (const auto& [name, tensor] : layers.at(types[i]))
      out.emplace_back(fmt::format("layers.{}.{}", i, name), tensor.sizes().vec());
  }
  for (size_t i = 1; i < around.size(); ++i) {
    const bool blocks = around[i].first == "block_residual_weight";
    out.emplace_back(around[i].first,
                     blocks ? std::vector<int64_t>{attention_plan(config).n_blocks()} : around[i].second.sizes().vec());
  }
  return out;
}

NamedTensors take_parameters(const TensorSource& source, const ModelConfig& config) {
  const std::set<std::string> there(source.names.begin(), source.names.end());
  const std::string embedding = source.own("tok_embeddings.weight");
  // First of all: what the configuration says of the largest tensor is then no more than the file holds.
  if (there.count(embedding)) check_shape(source, embedding, {config.vocab_size, config.dim});
  std::set<std::string> known, tied;
  if (config.weight_tying) tied = {source.own("output.tied_module.weight"), source.own("output.weight")};
  const auto shapes = parameter_shapes(config);
  for (const auto& [name, shape] : shapes) known.insert(source.own(name));
  for (const auto& name : source.names) {
    LT2_CHECK(known.count(name) || tied.count(name) || name.ends_with("rotary_emb.inv_freq"),
              "{}: {} has no place in the model of this configuration. {}", source.file(name), shown_name(name),
              hint(config, name));
  }
  NamedTensors out;
  for (const auto& [name, shape] : shapes) {
    const std::string own = source.own(name);
    if (source.elsewhere.count(name)) continue;
    LT2_CHECK(there.count(own), "{}: {} is missing; the model of this configuration has it. {}", source.where, own,
              hint(config, name));
    check_shape(source, own, shape);
    out.emplace_back(name, source.view(own));
    check_floating(source.file(own), own, out.back().second);
  }
  for (const auto& name : tied) {
    const torch::Tensor& table = out[0].second;
    if (!there.count(name)) continue;
    const bool same_shape = source.shape(name) == table.sizes().vec();
    const auto repeated = same_shape ? source.view(name) : torch::Tensor();
    const bool same_type = same_shape && repeated.scalar_type() == table.scalar_type();
    LT2_CHECK(same_type    ? torch::equal(repeated, table)
              : same_shape ? torch::equal(repeated.to(torch::kFloat32), table.to(torch::kFloat32))
                           : false,
              "{}: {} differs from {}, although the configuration ties them", source.file(name), name, embedding);
  }
  return out;
}

void take_parameters(LoopedTransformer& model, const TensorSource& source) {
  torch::NoGradGuard no_grad;
  auto parameters = model.official_parameters();
  const auto given = take_parameters(source, model.config());
  LT2_CHECK(given.size() == parameters.size(),
            "{}: holds weights packed for inference; nothing else can be done with them", source.where);
  for (size_t i = 0; i < given.size(); ++i) {
    LT2_CHECK(given[i].first == parameters[i].first, "internal: {} stands where {} belongs", given[i].first,
              parameters[i].first);
    parameters[i].second.copy_(given[i].second);
  }
}

}  // namespace lt2
