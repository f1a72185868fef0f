#pragma once
// The optimizer's state of each parameter: what AdamW needs to continue.
#include <filesystem>
#include <string>

#include "base/named_tensors.h"

namespace lt2 {

/// Adds NAME.exp_avg, NAME.exp_avg_sq and NAME.step (I64, one element), as optimizer.safetensors holds them. Throws
/// lt2::Error beginning with `where` unless both moments have the parameter's shape and a floating type.
void add_moments(NamedTensors& out, const std::string& where, const std::string& name, const torch::Tensor& parameter,
                 const torch::Tensor& exp_avg, const torch::Tensor& exp_avg_sq, int64_t step);

/// optimizer.safetensors, in the order of `parameters`; those without state are left out. Views of the mapped file.
/// Throws lt2::Error if anything in it belongs to no parameter.
NamedTensors read_optimizer(const std::filesystem::path& path, const NamedTensors& parameters);

}  // namespace lt2
