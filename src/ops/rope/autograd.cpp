#include "base/error.h"
#include "ops/kernel_dispatch.h"
#include "ops/pointer.h"
#include "ops/rope/kernel.h"
#include "ops/rope/op.h"
#include "ops/rope/table.h"

namespace lt2 {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

torch::Tensor rotate(const torch::Tensor& x, double base, int64_t first, RopeLayout layout, RopeAngles angles,
                     bool inverse) {
  const int64_t B = x.size(0), L = x.size(1), H = x.size(2), E = x.size(3);
  const auto rows = rope_cached_rows(base, E, first, L, angles);
  auto y = torch::empty_like(x);
  const auto data = [&](const torch::Tensor& t, const char* name) {
    return dense_data(t, x.scalar_type(), B * L * H * E, {"rope", name});
  };
  rope_rotate({B, L, H, E, layout == RopeLayout::kPairs, element_of(x), inverse}, data(x, "x"), rows.data(),
              data(y, "y"));
  return y;
}

class Rope : public torch::autograd::Function<Rope> {
 public:
  static torch::Tensor forward(AutogradContext* ctx, const torch::Tensor& x, double base, int64_t first, int64_t layout,
                               int64_t angles) {
    ctx->saved_data["base"] = base;
    ctx->saved_data["first"] = first;
    ctx->saved_data["layout"] = layout;
    ctx->saved_data["angles"] = angles;
    return rotate(x, base, first, static_cast<RopeLayout>(layout), static_cast<RopeAngles>(angles), /*inverse=*/false);
  }

  static variable_list backward(AutogradContext* ctx, variable_list dys) {
    auto& data = ctx->saved_data;
    const auto dx =
        rotate(dys[0].contiguous(), data["base"].toDouble(), data["first"].toInt(),
               static_cast<RopeLayout>(data["layout"].toInt()), static_cast<RopeAngles>(data["angles"].toInt()),
               /*inverse=*/true);
    return {dx, {}, {}, {}, {}};
  }
};

}  // namespace

torch::Tensor rope(const torch::Tensor& x_any, double base, int64_t first_position, RopeLayout layout,
                   RopeAngles angles) {
  LT2_CHECK(x_any.dim() == 4 && x_any.size(3) % 2 == 0, "rope: x must be [B, L, H, E] with even E, found {}",
            c10::str(x_any.sizes()));
  LT2_CHECK(first_position >= 0, "rope: first position must be at least 0, found {}", first_position);
  if (!kernel_takes("rope", x_any) || x_any.numel() == 0) {
    return rope_reference(x_any, base, first_position, layout, angles);
  }
  const auto x = x_any.contiguous();
  if (!needs_gradient({x})) return rotate(x, base, first_position, layout, angles, /*inverse=*/false);
  return Rope::apply(x, base, first_position, static_cast<int64_t>(layout), static_cast<int64_t>(angles));
}

}  // namespace lt2
