#pragma once
// The published form of Ouro models: the names of their tensors and the keys of their config.json, both ways. Hybrids
// have the same form; their linear layers keep the mixer's own names under self_attn.
//
// Source: arXiv 2510.25741 and the folders published with it.
#include <string>

#include "base/named_tensors.h"
#include "config/train_config.h"

namespace lt2 {

/// layers.3.attention.wq.weight -> model.layers.3.self_attn.q_proj.weight
std::string ouro_tensor_name(const std::string& official);

/// The model that a config.json of model_type ouro describes, validated. What would change the model and cannot be
/// honoured is an lt2::Error that names `where` and the key; keys without influence are not looked at.
ModelConfig ouro_model_config(const std::string& config_json, const std::string& where);

/// The other way; `dtype`: type of the weights next to it. Throws lt2::Error, beginning with `where`, for a model that
/// this form cannot describe: other mixers than full and gdn, windows that differ between loops or in width, an
/// attention gate, carried states.
std::string ouro_config_json(const ModelConfig& config, torch::ScalarType dtype, const std::string& where);

/// The parameters (official names) under their published names.
NamedTensors ouro_parameters(const NamedTensors& parameters);

}  // namespace lt2
