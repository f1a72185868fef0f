// block_selection for torch: checks, the choice of form, and the link to autograd.
#include <ATen/MemoryOverlap.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"
#include "ops/block_selection/kernel.h"
#include "ops/block_selection/op.h"
#include "ops/block_selection/torch_form.h"
#include "ops/kernel_dispatch.h"
#include "ops/pointer.h"

namespace lt2 {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

void check_means(const torch::Tensor& x, int64_t block_size) {
  LT2_CHECK(x.dim() == 4, "block_means: x must be [B, L, Hk, E]; found {}", c10::str(x.sizes()));
  LT2_CHECK(block_size >= 1, "block_means: block size must be at least 1; found {}", block_size);
}

torch::Tensor run_means(const torch::Tensor& x, int64_t block_size) {
  const auto options = x.options().dtype(torch::kFloat32);
  const auto means = torch::empty({x.size(0), x.size(1) / block_size, x.size(2), x.size(3)}, options);
  const auto sum = torch::zeros({x.size(0), x.size(2), x.size(3)}, options);
  extend_block_means(x.narrow(1, 0, means.size(1) * block_size), 0, block_size, sum, means);
  return means;
}

class BlockMeans : public torch::autograd::Function<BlockMeans> {
 public:
  static torch::Tensor forward(AutogradContext* ctx, const torch::Tensor& x, int64_t block_size) {
    ctx->saved_data["block_size"] = block_size;
    ctx->saved_data["tokens"] = x.size(1);
    ctx->saved_data["type"] = static_cast<int64_t>(x.scalar_type());
    return run_means(x, block_size);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const int64_t b = ctx->saved_data["block_size"].toInt(), L = ctx->saved_data["tokens"].toInt();
    const auto& g = grads[0];
    const int64_t B = g.size(0), N = g.size(1), Hk = g.size(2), E = g.size(3);
    const auto type = static_cast<torch::ScalarType>(ctx->saved_data["type"].toInt());
    auto dx = torch::zeros({B, L, Hk, E}, g.options().dtype(type));
    dx.narrow(1, 0, N * b).view({B, N, b, Hk, E}).copy_((g / static_cast<double>(b)).unsqueeze(2));
    return {dx, {}};
  }
};

void check(const BlockSelectionInput& in) {
  const auto shapes = [&] {
    return fmt::format("q {}, k_mean {}, v_mean {}", c10::str(in.q.sizes()), c10::str(in.k_mean.sizes()),
                       c10::str(in.v_mean.sizes()));
  };
  LT2_CHECK(in.q.dim() == 4 && in.k_mean.dim() == 4 && in.v_mean.dim() == 4 && in.q.size(0) == in.k_mean.size(0) &&
                in.q.size(3) == in.k_mean.size(3) && in.k_mean.sizes().slice(0, 3) == in.v_mean.sizes().slice(0, 3),
            "block_selection: q [B, L, H, E], k_mean [B, N, Hk, E], v_mean [B, N, Hk, Ev]; found {}", shapes());
  LT2_CHECK(in.q.size(1) >= 1 && in.q.size(2) >= 1 && in.k_mean.size(2) >= 1 && in.q.size(2) % in.k_mean.size(2) == 0,
            "block_selection: needs a query, and key heads that divide the query heads; found {}", shapes());
  LT2_CHECK(in.block_size >= 1 && in.count >= 1 && in.first_position >= 0,
            "block_selection: block size and count must be at least 1, positions at least 0; found {}, {}, {}",
            in.block_size, in.count, in.first_position);
  const int64_t complete = (in.first_position + in.q.size(1)) / in.block_size;
  LT2_CHECK(in.k_mean.size(1) >= complete, "block_selection: the last query sees {} complete blocks; found means of {}",
            complete, in.k_mean.size(1));
}

struct Options {
  int64_t first_position, block_size, count;
  double scale;
};

BlockSelectionShape shape_of(const torch::Tensor& q, const torch::Tensor& k_mean, const torch::Tensor& v_mean,
                             const Options& options) {
  return {.B = q.size(0),
          .L = q.size(1),
          .N = k_mean.size(1),
          .H = q.size(2),
          .Hk = k_mean.size(2),
          .E = q.size(3),
          .Ev = v_mean.size(3),
          .first_position = options.first_position,
          .block_size = options.block_size,
          .count = options.count,
          .scale = static_cast<float>(options.scale),
          .element = element_of(q)};
}

// The kernel's views of tensors, of the sizes that the shape states.
struct Views {
  const BlockSelectionShape& s;

  template <typename Pointer>
  BlockView<Pointer> tokens(const torch::Tensor& t, int64_t channels, const char* name) const {
    return rows_data<BlockView<Pointer>>(t, torch_type(s.element), {s.B, s.L, s.H, channels},
                                         {"block_selection", name});
  }
  BlockView<const float*> means(const torch::Tensor& t, int64_t channels, const char* name) const {
    return rows_data<BlockView<const float*>>(t, torch::kFloat32, {s.B, s.N, s.Hk, channels},
                                              {"block_selection", name});
  }
  float* lse(const torch::Tensor& t) const {
    return dense_data_or_null<float>(t, s.B * s.H * s.L, {"block_selection", "lse"});
  }
};

// lse undefined: not wanted.
BlockSelection run(const torch::Tensor& q, const torch::Tensor& k_mean, const torch::Tensor& v_mean,
                   const Options& options, const torch::Tensor& lse) {
  const auto shape = shape_of(q, k_mean, v_mean, options);
  BlockSelection out{.o = torch::empty({shape.B, shape.L, shape.H, shape.Ev}, q.options()),
                     .blocks = torch::empty({shape.B, shape.L, shape.Hk, shape.count}, torch::kInt32)};
  const Views views{shape};
  block_selection_forward(
      shape, views.tokens<const void*>(q, shape.E, "q"), views.means(k_mean, shape.E, "k_mean"),
      views.means(v_mean, shape.Ev, "v_mean"), views.tokens<void*>(out.o, shape.Ev, "o"),
      dense_data<int32_t>(out.blocks, shape.B * shape.L * shape.Hk * shape.count, {"block_selection", "blocks"}),
      views.lse(lse));
  return out;
}

class Select : public torch::autograd::Function<Select> {
 public:
  static variable_list forward(AutogradContext* ctx, const torch::Tensor& q, const torch::Tensor& k_mean,
                               const torch::Tensor& v_mean, const Options& options) {
    const auto lse = torch::empty({q.size(0), q.size(2), q.size(1)}, q.options().dtype(torch::kFloat32));
    const auto out = run(q, k_mean, v_mean, options, lse);
    ctx->save_for_backward({q, k_mean, v_mean, out.o, lse});
    ctx->saved_data["first_position"] = options.first_position;
    ctx->saved_data["block_size"] = options.block_size;
    ctx->saved_data["count"] = options.count;
    ctx->saved_data["scale"] = options.scale;
    ctx->mark_non_differentiable({out.blocks});
    return {out.o, out.blocks};
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const auto &q = saved[0], &k_mean = saved[1], &v_mean = saved[2], &o = saved[3], &lse = saved[4];
    const Options options{.first_position = ctx->saved_data["first_position"].toInt(),
                          .block_size = ctx->saved_data["block_size"].toInt(),
                          .count = ctx->saved_data["count"].toInt(),
                          .scale = ctx->saved_data["scale"].toDouble()};
    const auto grad_o = dense_rows(grads[0].to(q.scalar_type()));
    const auto grad_q = torch::empty(q.sizes(), q.options());
    const auto grad_k = torch::empty(k_mean.sizes(), k_mean.options());
    const auto grad_v = torch::empty(v_mean.sizes(), v_mean.options());
    const auto s = shape_of(q, k_mean, v_mean, options);
    const Views views{s};
    const int64_t rows = s.B * s.N * s.Hk;
    block_selection_backward(s, views.tokens<const void*>(q, s.E, "q"), views.means(k_mean, s.E, "k_mean"),
                             views.means(v_mean, s.Ev, "v_mean"), views.tokens<const void*>(o, s.Ev, "o"),
                             views.lse(lse), views.tokens<const void*>(grad_o, s.Ev, "gradient of o"),
                             views.tokens<void*>(grad_q, s.E, "gradient of q"),
                             dense_data<float>(grad_k, rows * s.E, {"block_selection", "gradient of k_mean"}),
                             dense_data<float>(grad_v, rows * s.Ev, {"block_selection", "gradient of v_mean"}));
    return {grad_q, grad_k, grad_v, {}};
  }
};

}  // namespace

torch::Tensor block_means(const torch::Tensor& x, int64_t block_size) {
  check_means(x, block_size);
  if (!kernel_takes("block_means", x)) return block_means_reference(x, block_size);
  return needs_gradient({x}) ? BlockMeans::apply(x, block_size) : run_means(x, block_size);
}

void extend_block_means(const torch::Tensor& x_any, int64_t position, int64_t block_size, const torch::Tensor& sum,
                        const torch::Tensor& means) {
  check_means(x_any, block_size);
  const int64_t B = x_any.size(0), L = x_any.size(1), Hk = x_any.size(2), E = x_any.size(3);
  LT2_CHECK(
      position >= 0 && means.dim() == 4 && means.size(0) == B && means.size(1) >= (position + L) / block_size &&
          means.size(2) == Hk && means.size(3) == E && sum.sizes() == torch::IntArrayRef({B, Hk, E}),
      "extend_block_means: x [B, L, Hk, E], sum [B, Hk, E], means [B, N, Hk, E] with room for {} blocks; found {}, "
      "{}, {} at position {}",
      (position + L) / block_size, c10::str(x_any.sizes()), c10::str(sum.sizes()), c10::str(means.sizes()), position);
  LT2_CHECK(at::has_internal_overlap(means) != at::MemOverlap::Yes,
            "extend_block_means: rows of means [{}] with strides [{}] share memory; they are written",
            fmt::join(means.sizes(), ", "), fmt::join(means.strides(), ", "));
  if (x_any.numel() == 0) return;
  torch::NoGradGuard no_grad;
  if (!kernel_takes("extend_block_means", x_any)) {
    for (int64_t begin = 0, end; begin < L; begin = end) {
      const int64_t block = (position + begin) / block_size;
      end = std::min(L, (block + 1) * block_size - position);
      sum.add_(x_any.narrow(1, begin, end - begin).to(sum.scalar_type()).sum(1));
      if ((position + end) % block_size != 0) continue;
      means.select(1, block).copy_(sum / static_cast<double>(block_size));
      sum.zero_();
    }
    return;
  }
  const auto x = dense_rows(x_any);
  block_means_extend(
      {.B = B, .L = L, .Hk = Hk, .E = E, .position = position, .block_size = block_size, .element = element_of(x)},
      rows_data<BlockView<const void*>>(x, x.scalar_type(), {B, L, Hk, E}, {"extend_block_means", "x"}),
      dense_data<float>(sum, B * Hk * E, {"extend_block_means", "sum"}),
      rows_data<BlockView<float*>>(means, torch::kFloat32, {B, means.size(1), Hk, E}, {"extend_block_means", "means"}));
}

BlockSelection block_selection(const BlockSelectionInput& in) {
  check(in);
  if (!kernel_takes("block_selection", in.q)) return block_selection_by_query_block(in);
  const auto q = dense_rows(in.q), k_mean = dense_rows(in.k_mean), v_mean = dense_rows(in.v_mean);
  LT2_CHECK(k_mean.scalar_type() == torch::kFloat32 && v_mean.scalar_type() == torch::kFloat32,
            "block_selection: means must be fp32; found {} and {}", c10::toString(k_mean.scalar_type()),
            c10::toString(v_mean.scalar_type()));
  const int64_t blocks = (in.first_position + q.size(1) - 1) / in.block_size + 1;
  const Options options{in.first_position, in.block_size, std::min(in.count, blocks), in.scale};
  if (!needs_gradient({q, k_mean, v_mean})) return run(q, k_mean, v_mean, options, {});
  const auto out = Select::apply(q, k_mean, v_mean, options);
  return {.o = out[0], .blocks = out[1]};
}

}  // namespace lt2
