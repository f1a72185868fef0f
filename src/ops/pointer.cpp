#include "ops/pointer.h"

#include <fmt/ranges.h>

#include "base/error.h"

namespace lt2 {
namespace {

[[noreturn]] void refuse(const torch::Tensor& t, const std::string& expected, Argument who) {
  LT2_CHECK(t.defined(), "{}: {} must be {}; found no tensor", who.op, who.name, expected);
  const bool strided = t.layout() == torch::kStrided;
  fail("{}: {} must be {}; found {} [{}] with strides [{}] on {}{}", who.op, who.name, expected,
       c10::toString(t.scalar_type()), fmt::join(t.sizes(), ", "),
       fmt::join(strided ? t.strides() : torch::IntArrayRef(), ", "), t.device().str(),
       t.is_neg() ? ", negated lazily" : "");
}

bool readable(const torch::Tensor& t, torch::ScalarType type) {
  return t.defined() && t.device().is_cpu() && t.scalar_type() == type && t.layout() == torch::kStrided &&
         !t.is_neg() && !t._is_zerotensor();
}

// The numbers [0, span) from the first one on: inside of the storage, which may have been shrunk, and aligned.
bool in_memory(const torch::Tensor& t, int64_t span) {
  if (span == 0) return true;
  const auto bytes = static_cast<int64_t>(t.element_size());
  return (t.storage_offset() + span) * bytes <= static_cast<int64_t>(t.storage().nbytes()) &&
         reinterpret_cast<uintptr_t>(t.data_ptr()) % static_cast<uintptr_t>(bytes) == 0;
}

}  // namespace

void* dense_data(const torch::Tensor& t, torch::ScalarType type, int64_t count, Argument who) {
  if (readable(t, type) && t.is_contiguous() && t.numel() == count && in_memory(t, count)) return t.data_ptr();
  refuse(t, fmt::format("{} {} side by side in the CPU's memory", count, c10::toString(type)), who);
}

void* strided_data(const torch::Tensor& t, torch::ScalarType type, torch::IntArrayRef sizes, int64_t dense,
                   Argument who) {
  bool good = readable(t, type) && t.sizes() == sizes;
  int64_t span = 1, side_by_side = 1;
  for (int64_t d = static_cast<int64_t>(sizes.size()) - 1; good && d >= 0; --d) {
    const auto at = static_cast<size_t>(d);
    if (sizes[at] == 0) span = 0;
    if (sizes[at] <= 1) continue;
    const int64_t stride = t.strides()[at];
    good = d < static_cast<int64_t>(sizes.size()) - dense || stride == side_by_side;
    side_by_side *= sizes[at];
    if (span > 0) span += (sizes[at] - 1) * stride;
  }
  if (good && in_memory(t, span)) return t.data_ptr();
  refuse(t,
         fmt::format("{} [{}] in the CPU's memory, the last {} of its axes side by side", c10::toString(type),
                     fmt::join(sizes, ", "), dense),
         who);
}

const void* address_of(const torch::Tensor& t) { return t.data_ptr(); }

}  // namespace lt2
