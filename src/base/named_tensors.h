#pragma once
// Tensors by name, in an order that counts: parameters, optimizer states, memories.
#include <string>
#include <utility>
#include <vector>

#include "base/torch.h"

namespace lt2 {

using NamedTensors = std::vector<std::pair<std::string, torch::Tensor>>;

}  // namespace lt2
