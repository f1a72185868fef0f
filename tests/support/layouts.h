#pragma once
// Memory layouts for a tensor. Between and around its numbers lie NaNs (integers: a large number), so that a read
// outside the tensor shows in the result, also without a sanitizer.
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "base/torch.h"

namespace lt2::test {

/// A tensor of the values and sizes of `t`, lying in another way; "expanded" ones repeat the first of an axis.
struct Layout {
  std::string name;
  std::function<torch::Tensor(const torch::Tensor& t)> of_some;  // that has axes and numbers

  torch::Tensor lay(const torch::Tensor& t) const { return t.dim() > 0 && t.numel() > 0 ? of_some(t) : t; }
};

inline torch::Tensor guarded(torch::IntArrayRef sizes, const torch::Tensor& like) {
  auto out = torch::empty(sizes, like.options().requires_grad(false));
  if (out.is_floating_point()) return out.fill_(std::numeric_limits<double>::quiet_NaN());
  return out.fill_(1 << 30);
}

inline const std::vector<Layout>& layouts() {
  using torch::Tensor;
  static const std::vector<Layout> all{
      {"offset",
       [](const Tensor& t) {
         const auto out = guarded({t.numel() + 14}, t).narrow(0, 7, t.numel()).view(t.sizes());
         return out.copy_(t);
       }},
      {"rows_of_more",
       [](const Tensor& t) {
         auto sizes = t.sizes().vec();
         sizes.back() += 3;
         return guarded(sizes, t).narrow(-1, 2, t.size(-1)).copy_(t);
       }},
      {"every_other_number",
       [](const Tensor& t) {
         auto sizes = t.sizes().vec();
         sizes.back() *= 2;
         return guarded(sizes, t).slice(-1, 1, sizes.back(), 2).copy_(t);
       }},
      {"every_other_row",
       [](const Tensor& t) {
         auto sizes = t.sizes().vec();
         sizes.front() *= 2;
         return guarded(sizes, t).slice(0, 1, sizes.front(), 2).copy_(t);
       }},
      {"axes_reversed",
       [](const Tensor& t) {
         std::vector<int64_t> axes;
         for (int64_t d = t.dim() - 1; d >= 0; --d) axes.push_back(d);
         return t.permute(axes).contiguous().permute(axes);
       }},
      {"middle_axes_swapped",
       [](const Tensor& t) { return t.dim() < 3 ? t.clone() : t.transpose(1, 2).contiguous().transpose(1, 2); }},
      {"first_axis_expanded", [](const Tensor& t) { return t.narrow(0, 0, 1).clone().expand(t.sizes()); }},
      {"second_axis_expanded", [](const Tensor& t) { return t.narrow(t.dim() > 1, 0, 1).clone().expand(t.sizes()); }},
      {"last_axis_expanded", [](const Tensor& t) { return t.narrow(-1, 0, 1).clone().expand(t.sizes()); }},
      {"one_number_expanded", [](const Tensor& t) { return t.flatten().narrow(0, 0, 1).clone().expand(t.sizes()); }},
      {"strides_of_single_axes_mean_nothing",
       [](const Tensor& t) {
         const auto dense = t.clone(torch::MemoryFormat::Contiguous);
         auto strides = dense.strides().vec();
         for (int64_t d = 0; d < t.dim(); ++d) {
           if (t.size(d) == 1) strides[static_cast<size_t>(d)] = d % 2 == 0 ? 0 : 10007;
         }
         return dense.as_strided(t.sizes(), strides);
       }},
  };
  return all;
}

}  // namespace lt2::test
