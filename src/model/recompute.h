#pragma once
// Activation checkpointing: a part of the forward pass keeps only its inputs, and runs again in the backward pass.
// Source: arXiv 1604.06174.
#include <functional>
#include <vector>

#include "base/torch.h"

namespace lt2 {

/// The part that is recomputed at a time.
enum class Recompute { kNone, kLoop, kBlock, kLayer };

/// "none", "loop", "block", "layer"; `key` names the field in the error.
Recompute parse_recompute(const std::string& text, const std::string& key);

using Tensors = std::vector<torch::Tensor>;
using Part = std::function<Tensors(const Tensors& inputs)>;

/// part(inputs), all tensors defined. `part` must return the same tensors each time: it runs a first time without
/// gradients, and a second time with them, in the backward pass. Gradients of the parameters it uses are added to their
/// .grad then, each time in one piece, and `after_backward`, if given, is called.
Tensors recomputed(const Part& part, const Tensors& inputs, const std::function<void()>& after_backward = {});

}  // namespace lt2
