#include "base/error.h"
#include "ops/gates/op.h"
#include "ops/kernel_dispatch.h"
#include "ops/per_channel/op.h"
#include "ops/pointer.h"
#include "ops/short_conv/kernel.h"
#include "ops/short_conv/op.h"

namespace lt2 {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

float* weight_data(const torch::Tensor& t, int64_t channels, const char* name) {
  return dense_data<float>(t, channels * kShortConvWidth, {"short_conv", name});
}
float* bias_data(const torch::Tensor& t, int64_t channels, const char* name) {
  return dense_data_or_null<float>(t, channels, {"short_conv", name});
}
// [B, tokens, channels] of x's type.
void* rows_like(const torch::Tensor& x, const torch::Tensor& t, int64_t tokens, const char* name) {
  return dense_data(t, x.scalar_type(), x.size(0) * tokens * x.size(2), {"short_conv", name});
}

ShortConvShape shape_of(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias, bool silu) {
  return {x.size(0),
          x.size(1),
          x.size(2),
          element_of(x),
          silu,
          weight_data(weight, x.size(2), "weight"),
          bias_data(bias, x.size(2), "bias")};
}

torch::Tensor run_forward(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                          const torch::Tensor& tail, bool silu) {
  auto y = torch::empty_like(x);
  short_conv_forward(shape_of(x, weight, bias, silu), rows_like(x, x, x.size(1), "x"),
                     rows_like(x, tail, kShortConvWidth - 1, "tail"), rows_like(x, y, x.size(1), "y"));
  return y;
}

class ShortConv : public torch::autograd::Function<ShortConv> {
 public:
  // Function::apply refuses undefined tensors, hence the optional bias.
  static torch::Tensor forward(AutogradContext* ctx, const torch::Tensor& x, const torch::Tensor& weight,
                               const torch::optional<torch::Tensor>& bias_or_none, const torch::Tensor& tail,
                               bool silu) {
    const auto bias = bias_or_none.value_or(torch::Tensor());
    ctx->save_for_backward({x, weight, bias, tail});
    ctx->saved_data["silu"] = silu;
    return run_forward(x, weight, bias, tail, silu);
  }

  static variable_list backward(AutogradContext* ctx, variable_list dys) {
    const auto saved = ctx->get_saved_variables();
    const auto &x = saved[0], &weight = saved[1], &bias = saved[2], &tail = saved[3];
    const auto dy = dys[0].contiguous();
    auto dx = torch::empty_like(x), dweight = torch::empty_like(weight);
    const auto dbias = bias.defined() ? torch::empty_like(bias) : torch::Tensor();
    short_conv_backward(shape_of(x, weight, bias, ctx->saved_data["silu"].toBool()), rows_like(x, x, x.size(1), "x"),
                        rows_like(x, tail, kShortConvWidth - 1, "tail"), rows_like(x, dy, x.size(1), "gradient of y"),
                        rows_like(x, dx, x.size(1), "gradient of x"),
                        weight_data(dweight, x.size(2), "gradient of weight"),
                        bias_data(dbias, x.size(2), "gradient of bias"));
    return {dx, dweight, dbias, {}, {}};
  }
};

// Widths without a kernel, one tap after the other.
torch::Tensor by_taps(const ShortConvInput& in) {
  const int64_t L = in.x.size(1), W = in.weight.size(2);
  const auto past =
      in.tail.defined() ? in.tail.detach() : torch::zeros({in.x.size(0), W - 1, in.x.size(2)}, in.x.options());
  const auto x = torch::cat({past, in.x}, 1);  // [B, W - 1 + L, channels]
  torch::Tensor y;
  for (int64_t j = 0; j < W; ++j) {
    const bool last = j == W - 1;
    y = per_channel(
        {.x = x.narrow(1, j, L), .weight = in.weight.select(2, j), .bias = last ? in.bias : torch::Tensor(), .base = y},
        last && !in.silu ? in.x.scalar_type() : torch::kFloat32);
  }
  return in.silu ? swish(y).to(in.x.scalar_type()) : y;
}

void check(const ShortConvInput& in) {
  LT2_CHECK(in.x.dim() == 3 && in.weight.dim() == 3 && in.weight.size(0) == in.x.size(2) && in.weight.size(1) == 1,
            "short_conv: x must be [B, L, channels] and weight [channels, 1, width]; found {} and {}",
            c10::str(in.x.sizes()), c10::str(in.weight.sizes()));
  LT2_CHECK(!in.bias.defined() || (in.bias.dim() == 1 && in.bias.size(0) == in.x.size(2)),
            "short_conv: bias must be [{}], found {}", in.x.size(2), c10::str(in.bias.sizes()));
  const std::vector<int64_t> tail = {in.x.size(0), in.weight.size(2) - 1, in.x.size(2)};
  LT2_CHECK(!in.tail.defined() || (in.tail.sizes() == tail && in.tail.scalar_type() == in.x.scalar_type()),
            "short_conv: tail must be {} {}, found {} {}", c10::str(tail), c10::toString(in.x.scalar_type()),
            c10::str(in.tail.sizes()), c10::toString(in.tail.scalar_type()));
}

}  // namespace

torch::Tensor short_conv(const ShortConvInput& in) {
  check(in);
  const bool kernel = kernel_takes("short_conv", in.x) && kernel_takes_fp32(in.weight) &&
                      (!in.bias.defined() || kernel_takes_fp32(in.bias));
  if (!kernel || in.x.numel() == 0) return short_conv_reference(in);
  if (in.weight.size(2) != kShortConvWidth) return by_taps(in);
  const auto x = in.x.contiguous(), weight = in.weight.contiguous();
  const auto bias = in.bias.defined() ? in.bias.contiguous() : in.bias;
  const auto tail = in.tail.defined()
                        ? in.tail.detach().contiguous()
                        : torch::zeros({x.size(0), kShortConvWidth - 1, x.size(2)}, x.options().requires_grad(false));
  if (!needs_gradient({x, weight, bias})) return run_forward(x, weight, bias, tail, in.silu);
  return ShortConv::apply(x, weight, bias.defined() ? torch::optional<torch::Tensor>(bias) : torch::nullopt, tail,
                          in.silu);
}

torch::Tensor short_conv_next_tail(const ShortConvInput& in) {
  check(in);
  const auto x = in.x.detach();
  const int64_t past = in.weight.size(2) - 1, L = x.size(1);
  if (L >= past) return x.narrow(1, L - past, past).clone(torch::MemoryFormat::Contiguous);
  const auto old = in.tail.defined() ? in.tail.detach().narrow(1, L, past - L)
                                     : torch::zeros({x.size(0), past - L, x.size(2)}, x.options());
  return torch::cat({old, x}, 1);
}

}  // namespace lt2
