#include "ops/linear_recurrence/op.h"

#include <fmt/ranges.h>

#include <limits>

#include "base/error.h"
#include "ops/kernel_dispatch.h"
#include "ops/linear_recurrence/autograd.h"

namespace lt2 {
namespace {

using torch::Tensor;

void check_shape(const char* name, const Tensor& x, std::vector<int64_t> expected) {
  LT2_CHECK(x.sizes() == torch::IntArrayRef(expected), "linear_recurrence: {} must be [{}], found [{}]", name,
            fmt::join(expected, ", "), fmt::join(x.sizes(), ", "));
}

bool wants_graph(const LinearRecurrenceInput& in) {
  return needs_gradient({in.q, in.k, in.v, in.g, in.beta, in.state});
}

// The input checked, with g, beta and state in fp32 (the casts are part of the graph).
LinearRecurrenceInput checked(LinearRecurrenceInput in) {
  LT2_CHECK(in.q.defined() && in.k.defined() && in.v.defined(), "linear_recurrence: q, k and v must be given");
  LT2_CHECK(in.q.dim() == 4 && in.v.dim() == 4,
            "linear_recurrence: q and v must be [B, L, H, K] and [B, L, H, V], found [{}] and [{}]",
            fmt::join(in.q.sizes(), ", "), fmt::join(in.v.sizes(), ", "));
  const int64_t B = in.q.size(0), L = in.q.size(1), H = in.q.size(2), K = in.q.size(3), V = in.v.size(3);
  LT2_CHECK(L >= 1, "linear_recurrence: at least one token is needed, found L = 0");
  LT2_CHECK(in.position >= 0, "linear_recurrence: position must be >= 0, found {}", in.position);
  check_shape("k", in.k, {B, L, H, K});
  check_shape("v", in.v, {B, L, H, V});
  if (in.g.defined()) check_shape("g", in.g, in.g.dim() == 4 ? std::vector{B, L, H, K} : std::vector{B, L, H});
  if (in.beta.defined()) check_shape("beta", in.beta, {B, L, H});
  if (in.state.defined()) check_shape("state", in.state, {B, H, K, V});
  LT2_CHECK(in.q.scalar_type() == in.k.scalar_type() && in.q.scalar_type() == in.v.scalar_type(),
            "linear_recurrence: q, k and v must have one type, found {}, {} and {}", c10::toString(in.q.scalar_type()),
            c10::toString(in.k.scalar_type()), c10::toString(in.v.scalar_type()));
  if (in.inplace_state) {
    LT2_CHECK(in.state.defined() && in.state.is_contiguous() && in.state.scalar_type() == torch::kFloat32,
              "linear_recurrence: inplace_state needs a contiguous fp32 state to write to");
    LT2_CHECK(!wants_graph(in),
              "linear_recurrence: inplace_state would overwrite what the gradient needs; use it without gradients");
  }
  if (in.q.scalar_type() != torch::kFloat64) {
    for (auto* x : {&in.g, &in.beta, &in.state}) {
      if (x->defined()) *x = x->to(torch::kFloat32);
    }
  }
  return in;
}

}  // namespace

LinearRecurrenceInput part_of(const LinearRecurrenceInput& in, int64_t begin, int64_t count) {
  auto out = in;
  if (begin == 0 && count == in.q.size(1)) return out;
  for (auto* tensor : {&out.q, &out.k, &out.v, &out.g, &out.beta}) {
    if (tensor->defined()) *tensor = tensor->narrow(1, begin, count);
  }
  return out;
}

LinearRecurrenceOutput linear_recurrence(const LinearRecurrenceInput& input) {
  const auto in = checked(input);
  if (recurrence_kernel_takes(in)) {
    return wants_graph(in) ? recurrence_with_graph(in) : recurrence_run(in, kRecurrenceMinChunkTokens);
  }
  // fp64 on the CPU is for judging: the plainest form.
  const bool judge = in.q.is_cpu() && in.q.scalar_type() == torch::kFloat64;
  auto out = judge ? linear_recurrence_reference(in) : linear_recurrence_torch(in);
  if (in.inplace_state) out.state = in.state.copy_(out.state);
  return out;
}

LinearRecurrenceOutput linear_recurrence_steps(const LinearRecurrenceInput& input) {
  const auto in = checked(input);
  LT2_CHECK(recurrence_kernel_takes(in) && !wants_graph(in),
            "linear_recurrence_steps: fp32 or bf16 on the CPU, without gradients");
  return recurrence_run(in, std::numeric_limits<int64_t>::max());
}

}  // namespace lt2
