#include "base/error.h"
#include "ops/head_linear/kernel.h"
#include "ops/head_linear/op.h"
#include "ops/kernel_dispatch.h"
#include "ops/pointer.h"

namespace lt2 {

torch::Tensor head_linear(const torch::Tensor& x, const torch::Tensor& weight) {
  LT2_CHECK(x.dim() == 4 && weight.dim() == 3 && x.size(2) == weight.size(0) && x.size(3) == weight.size(1),
            "head_linear: x must be [B, L, H, K] for a weight [H, K, N]; found [{}] and [{}]",
            fmt::join(x.sizes(), ", "), fmt::join(weight.sizes(), ", "));
  LT2_CHECK(!needs_gradient({x, weight}), "head_linear: it has no gradient; use it under NoGradGuard");
  const torch::NoGradGuard no_grad;
  const int64_t B = x.size(0), L = x.size(1), H = x.size(2), K = x.size(3), N = weight.size(2);
  if (!kernel_takes("head_linear", x) || !kernel_takes_fp32(weight) || x.numel() == 0 || weight.numel() == 0) {
    return torch::einsum("blhk,hkn->blhn", {x, weight.to(x.scalar_type())});
  }
  // One stride has to lead from row to row, across sequences too.
  const auto rows = x.stride(3) == 1 && (L == 1 || B == 1 || x.stride(0) == L * x.stride(1)) ? x : x.contiguous();
  const auto dense = weight.contiguous();
  const auto y = torch::empty({B, L, H, N}, x.options());
  head_linear_forward({.R = B * L,
                       .H = H,
                       .K = K,
                       .N = N,
                       .element = element_of(x),
                       .x_row = L == 1 ? rows.stride(0) : rows.stride(1),
                       .x_head = rows.stride(2)},
                      strided_data(rows, x.scalar_type(), {B, L, H, K}, 1, {"head_linear", "x"}),
                      dense_data<float>(dense, H * K * N, {"head_linear", "weight"}),
                      dense_data(y, x.scalar_type(), B * L * H * N, {"head_linear", "y"}));
  return y;
}

}  // namespace lt2
