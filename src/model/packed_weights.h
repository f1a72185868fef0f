#pragma once
// Models for inference alone: the weights of large maps packed once in the form they are multiplied in.
#include <functional>
#include <string>

#include "mixers/mixer.h"
#include "model/looped_transformer.h"

namespace lt2 {

/// The format of one map's weights where `wanted` was asked for. With int8 and int4, maps of fewer than 128 outputs
/// (gates) stay in bf16, and with int4 the output is in int8: together they are few bytes, and errors in them cost
/// most. `name`: the official one; `weight`: [N, K].
WeightFormat packing_format(WeightFormat wanted, const std::string& name, const torch::Tensor& weight);

/// Gives every parameter its numbers: `weight(name)` for those that stay tensors, `pack(name, map)` for maps.
void fill_packed(LoopedTransformer& model, const std::function<torch::Tensor(const std::string&)>& weight,
                 const std::function<void(const std::string&, LinearImpl&)>& pack);

/// Packs the weights of a model that has its own, in place.
void pack_weights(LoopedTransformer& model, WeightFormat format);

/// All that a model with packed weights is made of: NAME.panels, NAME.layout and NAME.scales of each packed map
/// (ops/linear/packed_weight.h), NAME of every other parameter.
NamedTensors packed_tensors(const LoopedTransformer& model);

}  // namespace lt2
