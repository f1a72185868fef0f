#include <algorithm>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "ops/cross_entropy/kernel.h"
#include "ops/cross_entropy/op.h"
#include "ops/kernel_dispatch.h"
#include "ops/linear/kernel.h"
#include "ops/pointer.h"

namespace lt2 {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Rows of a block: 8 MiB of logits, but no more than 1024, and never so few that reading the weight costs more than
// multiplying with it. 256 rows of logits are 32 MiB at V = 32k, about 150 MiB at V = 150k.
int64_t block_rows(int64_t V) { return std::clamp<int64_t>((int64_t{1} << 21) / V, 256, 1024); }

struct LossAndGradients {
  torch::Tensor loss;     // scalar fp32
  torch::Tensor dh;       // shape and type of h, if wanted
  torch::Tensor dweight;  // [V, D] fp32, if wanted
};

// All contiguous. The gradients are those of the loss itself: an upstream factor of one.
LossAndGradients run(const torch::Tensor& h, const torch::Tensor& weight, const torch::Tensor& targets, bool want_dh,
                     bool want_dweight) {
  const torch::NoGradGuard no_grad;
  const int64_t V = weight.size(0), D = weight.size(1), rows = targets.numel();
  const bool gradient = want_dh || want_dweight;
  const Element element = element_of(h);
  constexpr const char* kOp = "linear_cross_entropy";
  const auto* h_bytes = static_cast<const std::byte*>(dense_data(h, h.scalar_type(), rows * D, {kOp, "h"}));
  const float* w = dense_data<float>(weight, V * D, {kOp, "weight"});
  const auto* target = dense_data<int64_t>(targets, rows, {kOp, "targets"});
  const Panels panels = linear_pack(w, V, D, element);

  LossAndGradients out;
  if (want_dh) out.dh = torch::empty_like(h);
  if (want_dweight) out.dweight = torch::empty_like(weight);
  auto* dh_bytes = static_cast<std::byte*>(
      want_dh ? dense_data(out.dh, h.scalar_type(), rows * D, {kOp, "gradient of h"}) : nullptr);
  float* dw = dense_data_or_null<float>(out.dweight, V * D, {kOp, "gradient of weight"});
  const int64_t most = std::min(rows, block_rows(V));
  const auto logits = torch::empty({most, V}, torch::kFloat32);
  float* y = dense_data<float>(logits, most * V, {kOp, "logits"});
  std::vector<double> losses(static_cast<size_t>(rows));
  for (int64_t first = 0; first < rows; first += most) {
    const int64_t M = std::min(most, rows - first), offset = first * D * h.element_size();
    const Matrix h_block{h_bytes + offset, element, D};
    linear_forward({M, h_block, &panels, {y, Element::kF32}});
    cross_entropy_block({M, V, y, target + first, losses.data() + first, gradient, 1.0f / static_cast<float>(rows)});
    // Where the processor has a unit for bf16 products, both operands must be bf16 for it.
    const auto block = logits.narrow(0, 0, M), dy = linear_uses_unit(element) ? block.to(torch::kBFloat16) : block;
    const Matrix dlogits{dense_data(dy, dy.scalar_type(), M * V, {kOp, "gradient of logits"}), element_of(dy), V};
    if (want_dh) {
      linear_backward_input(
          {M, V, D, dlogits, w, /*round_weight=*/element == Element::kBf16, dh_bytes + offset, element});
    }
    if (want_dweight) {
      linear_backward_weight({M, V, D, dlogits, h_block, dw, /*accumulate=*/first > 0});
    }
  }
  const double sum = std::accumulate(losses.begin(), losses.end(), 0.0);
  out.loss = torch::full({}, sum / static_cast<double>(rows), torch::kFloat32);
  return out;
}

class LinearCrossEntropy : public torch::autograd::Function<LinearCrossEntropy> {
 public:
  static torch::Tensor forward(AutogradContext* ctx, const torch::Tensor& h, const torch::Tensor& weight,
                               const torch::Tensor& targets) {
    const auto result = run(h, weight, targets, h.requires_grad(), weight.requires_grad());
    ctx->save_for_backward({result.dh, result.dweight});
    return result.loss;
  }

  static variable_list backward(AutogradContext* ctx, variable_list upstream) {
    const auto saved = ctx->get_saved_variables();
    const double factor = upstream[0].item<double>();
    const auto scaled = [&](const torch::Tensor& gradient) {
      return !gradient.defined() || factor == 1 ? gradient : gradient * factor;
    };
    return {scaled(saved[0]), scaled(saved[1]), {}};
  }
};

void check(const torch::Tensor& h, const torch::Tensor& weight, const torch::Tensor& targets) {
  LT2_CHECK(weight.dim() == 2 && h.dim() >= 1 && h.size(-1) == weight.size(1) && weight.size(1) > 0,
            "linear_cross_entropy: h {} does not fit weight {} ([vocabulary, width], width at least 1)",
            c10::str(h.sizes()), c10::str(weight.sizes()));
  LT2_CHECK(targets.scalar_type() == torch::kInt64 && targets.numel() * h.size(-1) == h.numel() && targets.numel() > 0,
            "linear_cross_entropy: expected one int64 target per row of h {}, found {} {}", c10::str(h.sizes()),
            c10::toString(targets.scalar_type()), c10::str(targets.sizes()));
  const int64_t V = weight.size(0);
  const auto range = torch::aminmax(targets);
  if (std::get<0>(range).item<int64_t>() >= 0 && std::get<1>(range).item<int64_t>() < V) return;
  const auto flat = targets.reshape({-1});
  const int64_t at = torch::logical_or(flat < 0, flat >= V).nonzero()[0].item<int64_t>();
  fail(
      "linear_cross_entropy: target {} at index {} is outside the vocabulary [0, {}). Was the data tokenized for "
      "another vocabulary?",
      flat[at].item<int64_t>(), at, V);
}

}  // namespace

torch::Tensor linear_cross_entropy(const torch::Tensor& h_any, const torch::Tensor& weight_any,
                                   const torch::Tensor& targets_any) {
  check(h_any, weight_any, targets_any);
  if (!kernel_takes("linear_cross_entropy", h_any) || !kernel_takes_fp32(weight_any)) {
    return linear_cross_entropy_reference(h_any, weight_any, targets_any);
  }
  const auto h = h_any.contiguous(), weight = weight_any.contiguous(), targets = targets_any.contiguous();
  if (!needs_gradient({h, weight})) return run(h, weight, targets, false, false).loss;
  return LinearCrossEntropy::apply(h, weight, targets);
}

}  // namespace lt2
