#include "ops/short_conv/op.h"

namespace lt2 {

torch::Tensor short_conv_reference(const ShortConvInput& in) {
  const int64_t B = in.x.size(0), L = in.x.size(1), channels = in.x.size(2), W = in.weight.size(2);
  const auto type = in.x.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
  const auto past = in.tail.defined() ? in.tail.detach() : torch::zeros({B, W - 1, channels}, in.x.options());
  const auto x = torch::cat({past, in.x}, 1).to(type);  // [B, W - 1 + L, channels]
  const auto weight = in.weight.to(type).squeeze(1);    // [channels, W]
  auto c = in.bias.defined() ? in.bias.to(type) : torch::zeros({channels}, x.options());
  for (int64_t j = 0; j < W; ++j) c = c + weight.select(1, j) * x.narrow(1, j, L);
  return (in.silu ? torch::silu(c) : c).to(in.x.scalar_type());
}

}  // namespace lt2
