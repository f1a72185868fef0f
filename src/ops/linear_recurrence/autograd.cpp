#include "ops/linear_recurrence/autograd.h"

#include "ops/dtype.h"
#include "ops/pointer.h"

namespace lt2 {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// An undefined tensor is no argument of a torch function; an absent one is.
using Optional = c10::optional<Tensor>;
Optional optional(const Tensor& x) { return x.defined() ? Optional(x) : Optional(); }

// The input in the layout of the kernels; the tensors own what the arguments point to. Batch, token and head may have
// any strides (slices and expanded heads cost no copy); a row's numbers lie side by side.
struct Prepared {
  Tensor q, k, v, g, beta, state;
  RecurrenceArgs args;

  explicit Prepared(const LinearRecurrenceInput& in)
      : q(dense_rows(in.q)),
        k(dense_rows(in.k)),
        v(dense_rows(in.v)),
        g(in.g.defined() && in.g.dim() == 4 ? dense_rows(in.g) : in.g),
        beta(in.beta),
        state(in.state.defined() ? in.state.contiguous() : in.state) {
    args.B = q.size(0);
    args.L = q.size(1);
    args.H = q.size(2);
    args.K = q.size(3);
    args.V = v.size(3);
    args.element = element_of(q);
    args.decay = !g.defined()   ? RecurrenceDecay::kNone
                 : g.dim() == 3 ? RecurrenceDecay::kScalar
                                : RecurrenceDecay::kVector;
    args.q = keys(q, "q");
    args.k = keys(k, "k");
    args.v = values(v, "v");
    args.g = decays(g, "g");
    args.beta = strengths(beta, "beta");
    args.state = memory(state, "state");
    args.scale = static_cast<float>(in.scale);
    args.position = in.position;
    args.chunk = kRecurrenceChunk;
  }

  // Views of tensors like q and k, like v and so on; of none where there is none.
  RecurrenceRows keys(const Tensor& t, const char* name) const {
    return rows(t, q.scalar_type(), {args.B, args.L, args.H, args.K}, name);
  }
  RecurrenceRows values(const Tensor& t, const char* name) const {
    return rows(t, q.scalar_type(), {args.B, args.L, args.H, args.V}, name);
  }
  RecurrenceRows decays(const Tensor& t, const char* name) const {
    return args.decay == RecurrenceDecay::kVector ? rows(t, torch::kFloat32, {args.B, args.L, args.H, args.K}, name)
                                                  : strengths(t, name);
  }
  RecurrenceRows strengths(const Tensor& t, const char* name) const {
    return rows(t, torch::kFloat32, {args.B, args.L, args.H}, name);
  }
  float* memory(const Tensor& t, const char* name) const {
    return dense_data_or_null<float>(t, args.B * args.H * args.K * args.V, {"linear_recurrence", name});
  }

 private:
  static RecurrenceRows rows(const Tensor& t, torch::ScalarType type, torch::IntArrayRef sizes, const char* name) {
    if (!t.defined()) return {};
    return rows_data<RecurrenceRows>(t, type, sizes, {"linear_recurrence", name});
  }
};

class RecurrenceFunction : public torch::autograd::Function<RecurrenceFunction> {
 public:
  static variable_list forward(AutogradContext* ctx, const Tensor& q, const Tensor& k, const Tensor& v,
                               const Optional& g_, const Optional& beta_, const Optional& state_, double scale,
                               int64_t position) {
    const Tensor g = g_.value_or(Tensor()), beta = beta_.value_or(Tensor()), state = state_.value_or(Tensor());
    ctx->save_for_backward({q, k, v, g, beta, state});
    ctx->saved_data["scale"] = scale;
    ctx->saved_data["position"] = position;
    ctx->saved_data["state_needs_grad"] = state.defined() && state.requires_grad();
    ctx->set_materialize_grads(false);
    const auto out = recurrence_run({q, k, v, g, beta, state, scale, position}, kRecurrenceMinChunkTokens);
    return {out.o, out.state};
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Prepared in({saved[0], saved[1], saved[2], saved[3], saved[4], saved[5], ctx->saved_data["scale"].toDouble(),
                       ctx->saved_data["position"].toInt()});
    const auto empty = [](const Tensor& x) { return x.defined() ? torch::empty(x.sizes(), x.options()) : Tensor(); };
    const Tensor d_o = grads[0].defined() ? dense_rows(grads[0]) : Tensor();
    const Tensor d_state = grads[1].defined() ? grads[1].contiguous() : Tensor();
    const Tensor dq = empty(in.q), dk = empty(in.k), dv = empty(in.v), dg = empty(in.g), dbeta = empty(in.beta);
    const Tensor d_initial = ctx->saved_data["state_needs_grad"].toBool() ? empty(in.state) : Tensor();
    RecurrenceGradients out;
    out.d_o = in.values(d_o, "gradient of o");
    out.d_state = in.memory(d_state, "gradient of the final state");
    out.dq = in.keys(dq, "gradient of q");
    out.dk = in.keys(dk, "gradient of k");
    out.dv = in.values(dv, "gradient of v");
    out.dg = in.decays(dg, "gradient of g");
    out.dbeta = in.strengths(dbeta, "gradient of beta");
    out.d_initial_state = in.memory(d_initial, "gradient of state");
    recurrence_backward(in.args, out);
    return {dq, dk, dv, dg, dbeta, d_initial, Tensor(), Tensor()};
  }
};

}  // namespace

bool recurrence_kernel_takes(const LinearRecurrenceInput& in) {
  return in.q.device().is_cpu() && (in.q.scalar_type() == torch::kFloat32 || in.q.scalar_type() == torch::kBFloat16);
}

LinearRecurrenceOutput recurrence_run(const LinearRecurrenceInput& in, int64_t min_chunk_tokens) {
  const Prepared prepared(in);
  const auto& args = prepared.args;
  const auto o = torch::empty({args.B, args.L, args.H, args.V}, in.v.options().requires_grad(false));
  const auto state = in.inplace_state
                         ? prepared.state
                         : torch::empty({args.B, args.H, args.K, args.V}, o.options().dtype(torch::kFloat32));
  recurrence_forward(args, prepared.values(o, "o"), prepared.memory(state, "final state"), min_chunk_tokens);
  return {o, state};
}

LinearRecurrenceOutput recurrence_with_graph(const LinearRecurrenceInput& in) {
  const auto out = RecurrenceFunction::apply(in.q, in.k, in.v, optional(in.g), optional(in.beta), optional(in.state),
                                             in.scale, in.position);
  return {out[0], out[1]};
}

}  // namespace lt2
