// selected_attention for torch: checks, the choice of form, and the link to autograd.
#include <algorithm>
#include <atomic>

#include "base/error.h"
#include "base/threads.h"
#include "ops/causal_attention/views.h"
#include "ops/dtype.h"
#include "ops/selected_attention/kernel.h"
#include "ops/selected_attention/op.h"
#include "ops/selected_attention/torch_form.h"

namespace lt2 {
namespace {

std::string text(const torch::Tensor& t) { return fmt::format("[{}]", fmt::join(t.sizes(), ", ")); }

void check_shapes(const SelectedAttentionInput& in) {
  for (const auto& [name, t] : {std::pair{"q", in.q}, {"k", in.k}, {"v", in.v}}) {
    LT2_CHECK(t.defined() && t.dim() == 4, "selected_attention: {} must be [B, L, H, E]; found {}", name,
              t.defined() ? text(t) : "no tensor");
    LT2_CHECK(t.scalar_type() == in.q.scalar_type() && t.device() == in.q.device(),
              "selected_attention: q, k and v must share type and device; q is {} on {}, {} is {} on {}",
              c10::toString(in.q.scalar_type()), in.q.device().str(), name, c10::toString(t.scalar_type()),
              t.device().str());
  }
  LT2_CHECK(in.k.sizes().slice(0, 3) == in.v.sizes().slice(0, 3) && in.v.size(3) > 0,
            "selected_attention: k and v must be [B, S, Hk, .] with equal B, S and Hk; found k {}, v {}", text(in.k),
            text(in.v));
  LT2_CHECK(in.q.size(0) == in.k.size(0) && in.q.size(3) == in.k.size(3) && in.q.size(3) > 0,
            "selected_attention: q and k must agree in batch and head dimension; found q {}, k {}", text(in.q),
            text(in.k));
  LT2_CHECK(in.q.size(2) > 0 && in.k.size(2) > 0 && in.q.size(2) % in.k.size(2) == 0,
            "selected_attention: the key heads must divide the query heads; found {} query heads, {} key heads",
            in.q.size(2), in.k.size(2));
  const int64_t L = in.q.size(1), S = in.k.size(1), first = in.first_query.value_or(S - L);
  LT2_CHECK(L > 0 && first >= 0 && first + L <= S && S <= INT32_MAX,
            "selected_attention: every query needs its own key; found queries {} .. {} and {} keys", first,
            first + L - 1, S);
  LT2_CHECK(in.block_size >= 1, "selected_attention: block_size must be at least 1; found {}", in.block_size);
  const auto& lists = in.blocks;
  LT2_CHECK(lists.defined() && lists.dim() == 4 && lists.size(0) == in.q.size(0) && lists.size(1) == L &&
                lists.size(2) == in.k.size(2),
            "selected_attention: blocks must be [{}, {}, {}, N]; found {}", in.q.size(0), L, in.k.size(2),
            lists.defined() ? text(lists) : "no tensor");
  LT2_CHECK(
      (lists.scalar_type() == torch::kInt32 || lists.scalar_type() == torch::kInt64) && lists.device() == in.q.device(),
      "selected_attention: blocks must be int32 or int64 on the device of q, {}; found {} on {}", in.q.device().str(),
      c10::toString(lists.scalar_type()), lists.device().str());
}

/// blocks [B, L, Hk, N] of type Index, contiguous, on the CPU.
template <typename Index>
void check_lists(const torch::Tensor& blocks, int64_t count) {
  const int64_t N = blocks.size(3), lists = N == 0 ? 0 : blocks.numel() / N;
  const Index* data = dense_data<Index>(blocks, lists * N, {"selected_attention", "blocks"});
  std::atomic<int64_t> bad{-1};
  parallel_for(lists, 256, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Index* list = data + i * N;
      bool good = list[0] >= -1 && list[0] < count;
      for (int64_t n = 1; n < N; ++n) {
        good &= list[n - 1] < 0 ? list[n] == -1 : list[n] == -1 || (list[n] > list[n - 1] && list[n] < count);
      }
      if (!good) bad = i;
    }
  });
  const int64_t i = bad;
  LT2_CHECK(i < 0,
            "selected_attention: a list must hold block indices 0 .. {}, strictly ascending, then -1; blocks[{}, {}, "
            "{}] does not",
            count - 1, i / blocks.size(2) / blocks.size(1), i / blocks.size(2) % blocks.size(1), i % blocks.size(2));
}

/// The same by torch, on any device.
void check_lists_by_torch(const torch::Tensor& blocks, int64_t count) {
  const int64_t N = blocks.size(3);
  auto good = ((blocks >= -1) & (blocks < count)).all();
  if (N > 1) {
    const auto before = blocks.narrow(3, 0, N - 1), after = blocks.narrow(3, 1, N - 1);
    good = good & ((after == -1) | ((before >= 0) & (after > before))).all();
  }
  LT2_CHECK(good.item<bool>(),
            "selected_attention: a list must hold block indices 0 .. {}, strictly ascending, then -1; one does not",
            count - 1);
}

/// Throws unless `in` is as described; gives blocks contiguous.
torch::Tensor checked_blocks(const SelectedAttentionInput& in) {
  check_shapes(in);
  const int64_t count = (in.k.size(1) + in.block_size - 1) / in.block_size;
  const auto blocks = in.blocks.contiguous();
  if (!blocks.is_cpu()) {
    check_lists_by_torch(blocks, count);
  } else if (blocks.scalar_type() == torch::kInt32) {
    check_lists<int32_t>(blocks, count);
  } else {
    check_lists<int64_t>(blocks, count);
  }
  return blocks;
}

struct Options {
  int64_t block_size, first_query;
  double scale;
};

SelectedShape shape_of(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                       const torch::Tensor& blocks, const Options& options) {
  return {.B = q.size(0),
          .L = q.size(1),
          .S = k.size(1),
          .H = q.size(2),
          .Hk = k.size(2),
          .E = q.size(3),
          .Ev = v.size(3),
          .N = blocks.size(3),
          .block_size = options.block_size,
          .first_query = options.first_query,
          .blocks = dense_data<int32_t>(blocks, q.size(0) * q.size(1) * k.size(2) * blocks.size(3),
                                        {"selected_attention", "blocks"}),
          .scale = static_cast<float>(options.scale),
          .element = element_of(q)};
}

AttentionViews<SelectedShape> views_of(const SelectedShape& shape, const torch::Tensor& q) {
  return {"selected_attention", q.scalar_type(), shape};
}

/// q, k, v with dense rows; blocks int32. lse2 undefined: not wanted.
torch::Tensor forward(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                      const torch::Tensor& blocks, const Options& options, const torch::Tensor& lse2) {
  const auto s = shape_of(q, k, v, blocks, options);
  auto o = torch::empty({s.B, s.L, s.H, s.Ev}, q.options());
  const auto views = views_of(s, q);
  selected_attention_forward(s, views.q(q), views.k(k), views.v(v), views.o<AttentionOutputView>(o), views.lse2(lse2));
  return o;
}

class SelectedAttention : public torch::autograd::Function<SelectedAttention> {
 public:
  static torch::Tensor forward(torch::autograd::AutogradContext* ctx, const torch::Tensor& q, const torch::Tensor& k,
                               const torch::Tensor& v, const torch::Tensor& blocks, const Options& options) {
    const auto lse2 = torch::empty({q.size(0), q.size(2), q.size(1)}, q.options().dtype(torch::kFloat32));
    const auto o = lt2::forward(q, k, v, blocks, options, lse2);
    ctx->save_for_backward({q, k, v, blocks, o, lse2});
    ctx->saved_data["block_size"] = options.block_size;
    ctx->saved_data["first_query"] = options.first_query;
    ctx->saved_data["scale"] = options.scale;
    return o;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const auto &q = saved[0], &k = saved[1], &v = saved[2], &blocks = saved[3], &o = saved[4], &lse2 = saved[5];
    const Options options{.block_size = ctx->saved_data["block_size"].toInt(),
                          .first_query = ctx->saved_data["first_query"].toInt(),
                          .scale = ctx->saved_data["scale"].toDouble()};
    const auto grad_o = dense_rows(grads[0].to(q.scalar_type()));
    const auto like = [](const torch::Tensor& t) { return torch::empty(t.sizes(), t.options()); };
    const auto grad_q = like(q), grad_k = like(k), grad_v = like(v);
    const auto s = shape_of(q, k, v, blocks, options);
    const auto views = views_of(s, q);
    selected_attention_backward(s, views.q(q), views.k(k), views.v(v), views.o(o), views.lse2(lse2),
                                views.o(grad_o, "gradient of o"), views.gradients(grad_q, grad_k, grad_v));
    return {grad_q, grad_k, grad_v, torch::Tensor(), torch::Tensor()};
  }
};

}  // namespace

torch::Tensor selected_attention(const SelectedAttentionInput& given) {
  const auto blocks = checked_blocks(given);
  auto in = given;
  in.block_size = std::min(in.block_size, std::max<int64_t>(in.k.size(1), 1));  // longer ones hold nothing more
  const auto type = in.q.scalar_type();
  if (!in.q.is_cpu() || type == torch::kFloat64) return selected_attention_by_query_block(in);
  LT2_CHECK(type == torch::kFloat32 || type == torch::kBFloat16,
            "selected_attention: the CPU computes in fp32, bf16 or fp64; found {}", c10::toString(type));
  const auto q = dense_rows(in.q), k = dense_rows(in.k), v = dense_rows(in.v), lists = blocks.to(torch::kInt32);
  const Options options{
      .block_size = in.block_size, .first_query = in.first_query.value_or(k.size(1) - q.size(1)), .scale = in.scale};
  const bool train = torch::GradMode::is_enabled() && (q.requires_grad() || k.requires_grad() || v.requires_grad());
  return train ? SelectedAttention::apply(q, k, v, lists, options) : forward(q, k, v, lists, options, {});
}

torch::Tensor selected_attention_mean_probabilities(const SelectedAttentionInput& in) {
  auto checked = in;
  checked.blocks = checked_blocks(in);
  return selected_attention_mean_probabilities_by_query_block(checked);
}

}  // namespace lt2
