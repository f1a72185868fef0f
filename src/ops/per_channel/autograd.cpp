#include "base/error.h"
#include "ops/kernel_dispatch.h"
#include "ops/per_channel/kernel.h"
#include "ops/per_channel/op.h"
#include "ops/pointer.h"

namespace lt2 {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Optional = torch::optional<Tensor>;  // Function::apply refuses undefined tensors

float* of_channels(const Tensor& t, int64_t n, const char* name) {
  return dense_data_or_null<float>(t, n, {"per_channel", name});
}
// Rows of `shape` in `type`; null for an absent tensor.
void* rows_of(const Tensor& t, torch::ScalarType type, const PerChannelShape& shape, const char* name) {
  return t.defined() ? dense_data(t, type, shape.rows * shape.n, {"per_channel", name}) : nullptr;
}

// The channels' numbers as the kernel wants them, [N] side by side; they own what the shape points to.
struct Prepared {
  Tensor weight, bias;
  PerChannelShape shape;

  Prepared(const Tensor& x, const Tensor& weights, const Tensor& biases, torch::ScalarType y_type) {
    const int64_t n = x.size(-1);
    if (weights.defined()) {
      const int64_t heads = weights.numel();
      weight = weights.reshape({heads, 1}).expand({heads, n / heads}).reshape({n}).contiguous();
    }
    if (biases.defined()) bias = biases.contiguous();
    shape = {x.numel() / n,
             n,
             element_of(x),
             element_of(y_type),
             of_channels(weight, n, "weight"),
             of_channels(bias, n, "bias")};
  }
};

Tensor run(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& base, torch::ScalarType out) {
  const torch::NoGradGuard no_grad;
  const Prepared in(x, weight, bias, out);
  const auto y = torch::empty(x.sizes(), x.options().dtype(out));
  per_channel_forward(in.shape, rows_of(x, x.scalar_type(), in.shape, "x"), rows_of(base, out, in.shape, "base"),
                      rows_of(y, out, in.shape, "y"));
  return y;
}

class PerChannel : public torch::autograd::Function<PerChannel> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Optional& weight, const Optional& bias,
                        const Optional& base, int64_t out) {
    // Not needs_input_grad: it counts arguments without the absent ones.
    const bool wants_weight = weight && weight->requires_grad();
    ctx->save_for_backward({wants_weight ? x : Tensor(), weight.value_or(Tensor())});
    ctx->saved_data["x_type"] = static_cast<int64_t>(x.scalar_type());
    ctx->saved_data["wants_x"] = x.requires_grad();
    ctx->saved_data["wants_weight"] = wants_weight;
    ctx->saved_data["wants_bias"] = bias && bias->requires_grad();
    ctx->saved_data["wants_base"] = base && base->requires_grad();
    return run(x, weight.value_or(Tensor()), bias.value_or(Tensor()), base.value_or(Tensor()),
               static_cast<torch::ScalarType>(out));
  }

  static variable_list backward(AutogradContext* ctx, variable_list dys) {
    auto& data = ctx->saved_data;
    const auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1];
    const auto dy = dys[0].contiguous();
    const auto type = static_cast<torch::ScalarType>(data["x_type"].toInt());
    const int64_t n = dy.size(-1);
    // A result with the shape of dy, or with one number a channel, where it is wanted.
    const auto made = [&](const char* wanted, torch::IntArrayRef sizes, torch::ScalarType as) {
      return data[wanted].toBool() ? torch::empty(sizes, dy.options().dtype(as)) : Tensor();
    };
    const auto dx = made("wants_x", dy.sizes(), type);
    auto dweight = made("wants_weight", {n}, torch::kFloat32);
    const auto dbias = made("wants_bias", {n}, torch::kFloat32);
    Prepared in(dy, weight, {}, dy.scalar_type());
    in.shape.x_element = element_of(type);
    per_channel_backward(in.shape, rows_of(x, type, in.shape, "x"), rows_of(dy, dy.scalar_type(), in.shape, "dy"),
                         rows_of(dx, type, in.shape, "dx"), of_channels(dweight, n, "gradient of weight"),
                         of_channels(dbias, n, "gradient of bias"));
    if (dweight.defined()) {
      // Each number's channels, added up in ascending order.
      const auto channels = dweight.view({weight.numel(), -1});
      dweight = channels.select(1, 0).clone();
      if (channels.size(1) > 1) dweight = channels.cumsum(1, torch::kFloat64).select(1, -1).to(torch::kFloat32);
      dweight = dweight.view(weight.sizes());
    }
    return {dx, dweight, dbias, data["wants_base"].toBool() ? dy : Tensor(), Tensor()};
  }
};

class RepeatForHeads : public torch::autograd::Function<RepeatForHeads> {
 public:
  static Tensor forward(AutogradContext*, const Tensor& x, int64_t copies) {
    return x.unsqueeze(2).expand({x.size(0), x.size(1), copies, x.size(2)});
  }
  static variable_list backward(AutogradContext*, variable_list dys) {
    auto dx = dys[0].select(2, 0).clone();
    for (int64_t i = 1; i < dys[0].size(2); ++i) dx.add_(dys[0].select(2, i));
    return {dx, Tensor()};
  }
};

void check(const PerChannelInput& in) {
  LT2_CHECK(in.x.dim() >= 1 && in.x.size(-1) >= 1, "per_channel: x must be [.., N >= 1]; found {}",
            c10::str(in.x.sizes()));
  const int64_t n = in.x.size(-1);
  LT2_CHECK(!in.weight.defined() || (in.weight.numel() > 0 && n % in.weight.numel() == 0),
            "per_channel: the number of weights must divide the {} channels of x; found {}", n, in.weight.numel());
  LT2_CHECK(!in.bias.defined() || (in.bias.dim() == 1 && in.bias.size(0) == n),
            "per_channel: the bias must be [{}]; found {}", n, c10::str(in.bias.sizes()));
  LT2_CHECK(!in.base.defined() || in.base.sizes() == in.x.sizes(), "per_channel: base {} must have the shape of x {}",
            c10::str(in.base.sizes()), c10::str(in.x.sizes()));
}

}  // namespace

Tensor per_channel(const PerChannelInput& in, torch::ScalarType out) {
  check(in);
  const auto fp32_if_given = [](const Tensor& t) { return !t.defined() || kernel_takes_fp32(t); };
  const bool kernel_out = out == torch::kFloat32 || out == torch::kBFloat16;
  if (!kernel_takes("per_channel", in.x) || in.x.numel() == 0 || !kernel_out || !fp32_if_given(in.weight) ||
      !fp32_if_given(in.bias)) {
    return per_channel_reference(in, out);
  }
  const auto x = in.x.contiguous();
  const auto base = in.base.defined() ? in.base.to(out).contiguous() : in.base;
  if (!needs_gradient({x, in.weight, in.bias, base})) return run(x, in.weight, in.bias, base, out);
  const auto optional = [](const Tensor& t) { return t.defined() ? Optional(t) : Optional(); };
  return PerChannel::apply(x, optional(in.weight), optional(in.bias), optional(base), static_cast<int64_t>(out));
}

Tensor repeat_for_heads(const Tensor& x, int64_t copies) {
  LT2_CHECK(x.dim() == 3 && copies >= 1, "repeat_for_heads: x must be [B, L, N] and copies >= 1; found {} and {}",
            c10::str(x.sizes()), copies);
  return needs_gradient({x}) ? RepeatForHeads::apply(x, copies)
                             : x.unsqueeze(2).expand({x.size(0), x.size(1), copies, x.size(2)});
}

}  // namespace lt2
