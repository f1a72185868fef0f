// Forward on the CPU: chunk after chunk, and token by token where a stretch is too short to be worth a chunk.
#include "base/threads.h"
#include "ops/linear_recurrence/kernel.h"
#include "ops/simd/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/linear_recurrence/forward_kernel.cpp"
#include <hwy/foreach_target.h>

#include "ops/linear_recurrence/chunk-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lt2 {
namespace HWY_NAMESPACE {
namespace {

// What one token brings: rows in scratch.
struct Token {
  Block fade, k, q;      // [K]; q scaled
  Block k_fade, q_fade;  // [K] k and q times fade: they read the state before it fades
  Block v, o;            // [V]
  float beta = 1, k_dot_q = 0;

  Token(Scratch& scratch, int64_t K, int64_t V) {
    for (Block* block : {&fade, &k, &q, &k_fade, &q_fade}) *block = scratch.block(1, K);
    for (Block* block : {&v, &o}) *block = scratch.block(1, V);
  }
};

// NV vectors of columns of one step, from -> to (which may be the same). With the delta write the first pass reads the
// columns once for both recalls, R^T k and R^T q with R the faded state before the write; the second finds them in the
// first cache. o = R^T q + (k . q) u spares a third.
template <bool kDelta, int NV, class Part>
HWY_ATTR HWY_INLINE void step_columns(int64_t K, const Token& token, int64_t column, Part part, const float* from,
                                      ptrdiff_t ld_from, float* to, ptrdiff_t ld_to) {
  const F d;
  const ptrdiff_t lanes = static_cast<ptrdiff_t>(hn::Lanes(d));
  VF read[NV], u[NV];
#pragma GCC unroll 8
  for (int n = 0; n < NV; ++n) {
    read[n] = hn::Zero(d);
    u[n] = hn::LoadU(d, token.v.data + column + n * lanes);
  }
  from += column;
  to += column;
  if constexpr (kDelta) {
    VF recalled[NV];
#pragma GCC unroll 8
    for (int n = 0; n < NV; ++n) recalled[n] = hn::Zero(d);
    for (int64_t r = 0; r < K; ++r) {
      const VF k = hn::Set(d, token.k_fade.data[r]), q = hn::Set(d, token.q_fade.data[r]);
#pragma GCC unroll 8
      for (int n = 0; n < NV; ++n) {
        const VF s = load(from + r * ld_from + n * lanes, part);
        recalled[n] = hn::MulAdd(k, s, recalled[n]);
        read[n] = hn::MulAdd(q, s, read[n]);
      }
    }
    const VF beta = hn::Set(d, token.beta), k_dot_q = hn::Set(d, token.k_dot_q);
#pragma GCC unroll 8
    for (int n = 0; n < NV; ++n) {
      u[n] = hn::Mul(beta, hn::Sub(u[n], recalled[n]));
      read[n] = hn::MulAdd(k_dot_q, u[n], read[n]);
    }
  }
  for (int64_t r = 0; r < K; ++r) {
    const VF k = hn::Set(d, token.k.data[r]), q = hn::Set(d, token.q.data[r]), fade = hn::Set(d, token.fade.data[r]);
#pragma GCC unroll 8
    for (int n = 0; n < NV; ++n) {
      const VF s = hn::MulAdd(k, u[n], hn::Mul(fade, load(from + r * ld_from + n * lanes, part)));
      if constexpr (!kDelta) read[n] = hn::MulAdd(q, s, read[n]);
      store(s, to + r * ld_to + n * lanes, part);
    }
  }
#pragma GCC unroll 8
  for (int n = 0; n < NV; ++n) hn::StoreU(read[n], d, token.o.data + column + n * lanes);
}

template <class Decay, bool kDelta>
HWY_ATTR void step(const RecurrenceArgs& args, int64_t b, int64_t h, int64_t t, const RecurrenceRows& o, Token& token,
                   const float* from, ptrdiff_t ld_from, float* to, ptrdiff_t ld_to) {
  const int64_t K = args.K, V = args.V;
  load_rows(
      args.element, 1, K, at(args.q, args.element, b, t, h), [&](int64_t) { return args.scale; }, token.q);
  load_rows(args.element, 1, K, at(args.k, args.element, b, t, h), one, token.k);
  load_rows(args.element, 1, V, at(args.v, args.element, b, t, h), one, token.v);
  Decay::step_fade(K, at(args.g, b, t, h), token.fade.data);
  if constexpr (kDelta) {
    token.beta = *at(args.beta, b, t, h);
    token.k_dot_q = dot(K, token.k.data, token.q.data);
    for_each_vector(K, [&](int64_t i, auto) HWY_ATTR {
      const VF fade = load(token.fade.data + i, Whole());
      store(hn::Mul(fade, load(token.k.data + i, Whole())), token.k_fade.data + i, Whole());
      store(hn::Mul(fade, load(token.q.data + i, Whole())), token.q_fade.data + i, Whole());
    });
  }
  constexpr int kVecs = 4;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(F()));
  int64_t n = 0;
  for (; n + kVecs * lanes <= V; n += kVecs * lanes) {
    step_columns<kDelta, kVecs>(K, token, n, Whole(), from, ld_from, to, ld_to);
  }
  for (; n + lanes <= V; n += lanes) step_columns<kDelta, 1>(K, token, n, Whole(), from, ld_from, to, ld_to);
  if (n < V) step_columns<kDelta, 1>(K, token, n, First{static_cast<size_t>(V - n)}, from, ld_from, to, ld_to);
  store_rows(args.element, 1, V, token.o, one, at(o, args.element, b, t, h));
}

template <class Decay, bool kDelta>
HWY_ATTR void forward_chunk(const RecurrenceArgs& args, int64_t b, int64_t h, int64_t t, int64_t tokens,
                            const RecurrenceRows& o, Chunk& c, Block S) {
  load_chunk<Decay, kDelta>(args, b, h, t, tokens, kQuery, kDelta ? kErase : kQuery, c);
  Prefetch prefetch(std::min(args.chunk, args.L - t - tokens), product_ticks(args, 3));
  prefetch.add(args.k, args.K, args.element, b, t + tokens, h);
  prefetch.add(args.q, args.K, args.element, b, t + tokens, h);
  prefetch.add(args.v, args.V, args.element, b, t + tokens, h);
  chunk_writes<kDelta>(c, S, prefetch);
  product<Store::kSet>(tokens, c.V, c.K, c.x_start[kQuery].rows(), S, c.o, prefetch);
  lower_times<Store::kAdd>(tokens, c.V, c.w[kQuery], c.u, c.o);
  store_rows(args.element, tokens, c.V, c.o, one, at(o, args.element, b, t, h));
  advance_state<Decay>(c, S, prefetch);
}

inline int64_t segment_tokens(const RecurrenceArgs& args, int64_t t) {
  return std::min(args.L - t, args.chunk - (args.position + t) % args.chunk);
}

template <class Decay, bool kDelta>
HWY_ATTR void forward_head(const RecurrenceArgs& args, int64_t b, int64_t h, const RecurrenceRows& o,
                           float* final_state, int64_t min_chunk_tokens) {
  const int64_t K = args.K, V = args.V, L = args.L;
  bool chunks = false;
  for (int64_t t = 0; t < L && !chunks; t += segment_tokens(args, t))
    chunks = segment_tokens(args, t) >= min_chunk_tokens;
  const int64_t offset = (b * args.H + h) * K * V;
  float* const to = final_state + offset;
  const float* from = args.state == nullptr ? nullptr : args.state + offset;
  if (from == nullptr) {
    std::fill_n(to, K * V, 0.0f);
    from = to;
  }
  if (!chunks) {
    Scratch scratch;
    Token(scratch, K, V);
    scratch.allocate();
    Token token(scratch, K, V);
    for (int64_t t = 0; t < L; ++t) {
      step<Decay, kDelta>(args, b, h, t, o, token, from, V, to, V);
      from = to;
    }
    return;
  }
  Scratch scratch;
  const auto layout = [&] {
    const Block S = scratch.block(K, V);
    Token token(scratch, K, V);
    return std::make_tuple(S, token, Chunk(scratch, Decay::kDecay, kDelta, args.chunk, K, V));
  };
  layout();
  scratch.allocate();
  auto [S, token, chunk] = layout();
  for (int64_t r = 0; r < K; ++r) std::copy_n(from + r * V, V, S[r]);
  for (int64_t t = 0; t < L;) {
    const int64_t tokens = segment_tokens(args, t);
    if (tokens >= min_chunk_tokens) {
      forward_chunk<Decay, kDelta>(args, b, h, t, tokens, o, chunk, S);
    } else {
      for (int64_t i = t; i < t + tokens; ++i) step<Decay, kDelta>(args, b, h, i, o, token, S.data, S.ld, S.data, S.ld);
    }
    t += tokens;
  }
  for (int64_t r = 0; r < K; ++r) std::copy_n(S[r], V, to + r * V);
}

struct Forward {
  const RecurrenceArgs& args;
  const RecurrenceRows& o;
  float* final_state;
  int64_t min_chunk_tokens;

  template <class Decay, bool kDelta>
  void operator()() const {
    // A thread is worth waking for a quarter megabyte of state or as much work in a cache.
    const int64_t grain = (int64_t{1} << 16) / (args.K * args.V * std::max<int64_t>(args.L, 1)) + 1;
    parallel_for(args.B * args.H, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        forward_head<Decay, kDelta>(args, i / args.H, i % args.H, o, final_state, min_chunk_tokens);
      }
    });
  }
};

void forward(const RecurrenceArgs& args, const RecurrenceRows& o, float* final_state, int64_t min_chunk_tokens) {
  dispatch_kind(args.decay, args.beta.data != nullptr, Forward{args, o, final_state, min_chunk_tokens});
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace lt2
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lt2 {
HWY_EXPORT(forward);

void recurrence_forward(const RecurrenceArgs& args, const RecurrenceRows& o, float* final_state,
                        int64_t min_chunk_tokens) {
  HWY_DYNAMIC_DISPATCH(forward)(args, o, final_state, min_chunk_tokens);
}
}  // namespace lt2
#endif
