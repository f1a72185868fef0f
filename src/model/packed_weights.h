#pragma once
// Models for inference only: the weights of large linear layers are packed once, in the form in which they are
// multiplied.
#include <functional>
#include <string>

#include "mixers/mixer.h"
#include "model/looped_transformer.h"

namespace lt2 {

/// The format of one linear layer's weights if the user asks for `wanted`. With int8 and int4, linear layers of fewer
/// than 128 outputs (gates) stay in bf16, and with int4 the output is in int8: together they take few bytes, and errors
/// in them cost most. `name`: the official one; `weight`: [N, K].
WeightFormat packing_format(WeightFormat wanted, const std::string& name, const torch::Tensor& weight);

/// Fills every parameter: `weight(name)` for those that stay tensors, `pack(name, map)` for linear layers.
void fill_packed(LoopedTransformer& model, const std::function<torch::Tensor(const std::string&)>& weight,
                 const std::function<void(const std::string&, LinearImpl&)>& pack);

/// Packs the weights of a model with master weights, in place.
void pack_weights(LoopedTransformer& model, WeightFormat format);

/// All tensors of a model with packed weights: NAME.panels, NAME.layout and NAME.scales of each packed linear layer
/// (ops/linear/packed_weight.h), NAME of every other parameter.
NamedTensors packed_tensors(const LoopedTransformer& model);

}  // namespace lt2
