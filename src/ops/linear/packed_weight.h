#pragma once
// A weight that no longer changes, as it is multiplied.
#include "base/torch.h"
#include "ops/linear/kernel.h"
#include "ops/linear/op.h"

namespace lt2 {

/// The tensors, all contiguous:
///   fp32, bf16   panels [numbers] of that type
///                layout [5] int64: out, in, width, vector, tiles (PanelLayout)
///   int8         panels [ceil(out / 16), ceil(in / 4), 16, 4] uint8, numbers plus 128,
///                scales [ceil(out / 16), 16] fp32
///                layout: out, in, 16, 0, 2
///   int4         panels [ceil(out / 16), ceil(in / 8), 16, 4] uint8, numbers plus 8 (elements 0 to 3 of eight in the
///                lower halves), scales [ceil(out / 16), ceil(in / 64), 16] bf16
///                layout: out, in, 16, 64, 2
/// The last number of their layout counts ways to lay them out: folders of another one are refused.
/// Those of int8 and int4 are the same on every machine.
struct PackedWeight {
  WeightFormat format;
  torch::Tensor panels, scales, layout;
  Panels view;  // of the tensors' memory
};

/// "fp32", "bf16", "int8", "int4".
std::string weight_format_name(WeightFormat format);

/// Packs `from` [N, K], fp32 or bf16 on the CPU.
std::shared_ptr<const PackedWeight> pack_weight(const torch::Tensor& from, WeightFormat format);

using PackedParts = std::vector<std::pair<std::string, torch::Tensor>>;
PackedParts packed_weight_parts(const PackedWeight& weight);
/// Of a weight [N, K]. Keeps the tensors where they can be multiplied as they lie.
std::shared_ptr<const PackedWeight> adopt_weight(const PackedParts& parts, WeightFormat format, int64_t N, int64_t K);

}  // namespace lt2
