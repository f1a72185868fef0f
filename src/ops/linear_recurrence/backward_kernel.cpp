// Backward on the CPU from the inputs alone: the chunks once forward for the states before them, then backward.
//
// A reader's reading y of a chunk is x_start S + w U, with the sign of its use: the output adds, the erase key's
// reading is subtracted from beta v. With dy the signed gradient of each reading, dS that of the state after the chunk:
//     -dR = (I + w_erase)^-T (-(w_query^T dO + k_end dS)),    dy_query = dO,  dy_erase = -dR,  dv = beta dR
//     dw = lower(dy U^T),   dx_start = dy S^T,   dk_end = U dS^T,   dkeep = rows of <S, dS>
//     dS before = keep dS + sum over readers x_start^T dy
// and the decay policy takes these back to q, k and g; dbeta = k . dx_erase + v . dR.
#include "base/threads.h"
#include "ops/linear_recurrence/kernel.h"
#include "ops/simd/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/linear_recurrence/backward_kernel.cpp"
#include <hwy/foreach_target.h>

#include "ops/linear_recurrence/chunk-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lt2 {
namespace HWY_NAMESPACE {
namespace {

struct Buffers {
  Block states, writes;  // [n, K, V] before each chunk, [L, V] what each token writes
  Block dS, S_t, dS_t;   // [K, V], [V, K], [V, K]
  Block u_t;             // [V, C]
  Block v, dy[2];        // [C, V] v as given; signed gradients of the readings
  ChunkGradients d;
  Chunk chunk;

  Buffers(Scratch& scratch, const RecurrenceArgs& args, RecurrenceDecay decay, bool delta, int64_t chunks)
      : states(scratch.block(chunks * args.K, args.V)),
        writes(scratch.block(args.L, args.V)),
        dS(scratch.block(args.K, args.V)),
        S_t(scratch.block(args.V, args.K)),
        dS_t(scratch.block(args.V, args.K)),
        u_t(scratch.block(args.V, args.chunk)),
        v(scratch.block(args.chunk, args.V)),
        chunk(scratch, decay, delta, args.chunk, args.K, args.V) {
    for (int r = 0; r < 2; ++r) {
      dy[r] = scratch.block(args.chunk, args.V);
      if (r == kErase && !delta) continue;
      d.w[r] = scratch.block(args.chunk, args.chunk);
      d.x[r] = scratch.block(args.chunk, args.K);
    }
    d.k = scratch.block(args.chunk, args.K);
    d.keep = scratch.block(1, args.K);
    d.pairs = scratch.block(1, args.chunk);
  }
};

template <class Decay, bool kDelta>
HWY_ATTR void backward_chunk(const RecurrenceArgs& args, const RecurrenceGradients& out, int64_t b, int64_t h,
                             int64_t t, int64_t tokens, Block S, Block U, Buffers& x) {
  const int64_t K = args.K, V = args.V, C = tokens;
  constexpr int kLast = kDelta ? kErase : kQuery;
  Chunk& c = x.chunk;
  const ChunkGradients& d = x.d;
  const Block dO = x.dy[kQuery], minus_dR = x.dy[kErase];
  load_chunk<Decay, kDelta>(args, b, h, t, C, kQuery, kLast, c);
  load_rows(args.element, C, V, at(args.v, args.element, b, t, h), one, x.v);
  if (out.d_o.data != nullptr) {
    load_rows(args.element, C, V, at(out.d_o, args.element, b, t, h), one, dO);
  } else {
    std::fill_n(dO.data, C * dO.ld, 0.0f);
  }
  Prefetch prefetch(std::min(args.chunk, t), product_ticks(args, 5));
  const int64_t next = t - std::min(args.chunk, t);
  for (const auto& rows : {args.k, args.q}) prefetch.add(rows, K, args.element, b, next, h);
  for (const auto& rows : {args.v, out.d_o}) prefetch.add(rows, V, args.element, b, next, h);
  transpose(K, V, S.data, S.ld, x.S_t.data, x.S_t.ld);
  transpose(K, V, x.dS.data, x.dS.ld, x.dS_t.data, x.dS_t.ld);
  transpose(C, V, U.data, U.ld, x.u_t.data, x.u_t.ld);

  std::fill_n(minus_dR.data, C * minus_dR.ld, 0.0f);
  lower_transposed_times<Store::kSub>(C, V, c.w[kQuery], dO, minus_dR);
  product<Store::kSub>(C, V, K, c.k_end.rows(), x.dS, minus_dR, prefetch);
  if constexpr (kDelta) {
    const Block A = c.w[kErase];
    solve(C, V, {A[C - 1] + C - 1, -1, -A.ld}, minus_dR[C - 1], -minus_dR.ld);
  }
  store_rows(
      args.element, C, V, minus_dR, [&](int64_t i) { return kDelta ? -c.beta.data[i] : -1.0f; },
      at(out.dv, args.element, b, t, h));

  for (int r = 0; r <= kLast; ++r) {
    lower_product(C, V, x.dy[r], x.u_t, d.w[r]);
    product<Store::kSet>(C, K, V, x.dy[r].rows(), x.S_t, d.x[r], prefetch);
  }
  product<Store::kSet>(C, K, V, U.rows(), x.dS_t, d.k, prefetch);
  if constexpr (Decay::kDecay != RecurrenceDecay::kNone) {
    for (int64_t r = 0; r < K; ++r) {
      d.keep.data[r] = dot(V, S[r], x.dS[r]);
      scale_row(V, c.keep.data[r], x.dS[r], x.dS[r]);
    }
  }
  for (int r = 0; r <= kLast; ++r) product<Store::kAdd>(K, V, C, c.x_start[r].columns(), x.dy[r], x.dS, prefetch);

  Decay::pull_back(c, kLast, d, at(out.dg, Element::kF32, b, t, h));
  if constexpr (kDelta) {
    for (int64_t i = 0; i < C; ++i) {
      *at(out.dbeta, b, t + i, h) = dot(K, c.k[i], d.x[kErase][i]) - dot(V, x.v[i], minus_dR[i]);
      const VF beta = hn::Set(F(), c.beta.data[i]);
      for_each_vector(K, [&](int64_t j, auto) HWY_ATTR {
        store(hn::MulAdd(beta, load(d.x[kErase][i] + j, Whole()), load(d.k[i] + j, Whole())), d.k[i] + j, Whole());
      });
    }
  }
  store_rows(
      args.element, C, K, d.x[kQuery], [&](int64_t) { return args.scale; }, at(out.dq, args.element, b, t, h));
  store_rows(args.element, C, K, d.k, one, at(out.dk, args.element, b, t, h));
}

template <class Decay, bool kDelta>
HWY_ATTR void backward_head(const RecurrenceArgs& args, const RecurrenceGradients& out, int64_t b, int64_t h) {
  const int64_t K = args.K, V = args.V, L = args.L, first = args.position % args.chunk;
  const int64_t chunks = (first + L + args.chunk - 1) / args.chunk;
  const auto begin = [&](int64_t n) { return std::clamp<int64_t>(n * args.chunk - first, 0, L); };
  Scratch scratch;
  Buffers(scratch, args, Decay::kDecay, kDelta, chunks);
  scratch.allocate();
  Buffers x(scratch, args, Decay::kDecay, kDelta, chunks);
  const int64_t offset = (b * args.H + h) * K * V;
  const auto state = [&](int64_t n) { return Block{x.states[n * K], x.states.ld}; };

  for (int64_t r = 0; r < K; ++r) {
    if (args.state != nullptr) {
      std::copy_n(args.state + offset + r * V, V, x.states[r]);
    } else {
      std::fill_n(x.states[r], V, 0.0f);
    }
  }
  Chunk forward = x.chunk;
  for (int64_t n = 0; n < chunks; ++n) {
    forward.u = {x.writes[begin(n)], x.writes.ld};
    load_chunk<Decay, kDelta>(args, b, h, begin(n), begin(n + 1) - begin(n), kErase, kDelta ? kErase : kQuery, forward);
    Prefetch prefetch(begin(n + 2) - begin(n + 1), product_ticks(args, kDelta ? 2 : 1));
    prefetch.add(args.k, K, args.element, b, begin(n + 1), h);
    prefetch.add(args.v, V, args.element, b, begin(n + 1), h);
    chunk_writes<kDelta>(forward, state(n), prefetch);
    if (n + 1 == chunks) break;
    std::copy_n(x.states[n * K], K * x.states.ld, x.states[(n + 1) * K]);
    advance_state<Decay>(forward, state(n + 1), prefetch);
  }

  for (int64_t r = 0; r < K; ++r) {
    if (out.d_state != nullptr) {
      std::copy_n(out.d_state + offset + r * V, V, x.dS[r]);
    } else {
      std::fill_n(x.dS[r], V, 0.0f);
    }
  }
  for (int64_t n = chunks - 1; n >= 0; --n) {
    backward_chunk<Decay, kDelta>(args, out, b, h, begin(n), begin(n + 1) - begin(n), state(n),
                                  {x.writes[begin(n)], x.writes.ld}, x);
  }
  if (out.d_initial_state != nullptr) {
    for (int64_t r = 0; r < K; ++r) std::copy_n(x.dS[r], V, out.d_initial_state + offset + r * V);
  }
}

struct Backward {
  const RecurrenceArgs& args;
  const RecurrenceGradients& out;

  template <class Decay, bool kDelta>
  void operator()() const {
    parallel_for(args.B * args.H, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) backward_head<Decay, kDelta>(args, out, i / args.H, i % args.H);
    });
  }
};

void backward(const RecurrenceArgs& args, const RecurrenceGradients& gradients) {
  dispatch_kind(args.decay, args.beta.data != nullptr, Backward{args, gradients});
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace lt2
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lt2 {
HWY_EXPORT(backward);

void recurrence_backward(const RecurrenceArgs& args, const RecurrenceGradients& gradients) {
  HWY_DYNAMIC_DISPATCH(backward)(args, gradients);
}
}  // namespace lt2
#endif
