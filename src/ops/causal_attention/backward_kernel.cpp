// Backward pass: probabilities recomputed tile by tile from lse2 (see tile-inl.h; arXiv 2307.08691).
//
// With D[t] = do[t] . o[t], per row t and visible key s:
//   p[t, s]  = 2^(q'[t] . k[s] - lse2[t])          q' = q scale log2(e)
//   dv[s]   += p[t, s] do[t]
//   ds[t, s] = p[t, s] (do[t] . v[s] - D[t])
//   dk[s]   += ds[t, s] q[t] scale                 dq[t] += ds[t, s] k[s] scale
//
// Query tiles outside, key blocks inside: dq is finished tile by tile, dk and dv of one key head stay in a cache as
// fp32. Key heads too few to occupy a machine are cut into shares of their query tiles, whose dk and dv are added up in
// order; the number of shares follows from the shape alone, so gradients do not depend on the threads.
#include "ops/simd/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/causal_attention/backward_kernel.cpp"
#include <hwy/foreach_target.h>

#include "ops/simd/aligned_floats.h"

#include "base/threads.h"
#include "ops/causal_attention/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lt2 {
namespace HWY_NAMESPACE {
namespace {

struct BackwardProblem {
  const AttentionShape& shape;
  AttentionInputView q, k, v, o;
  const float* lse2;
  AttentionInputView grad_o;
  const AttentionGradients& grad;
};

/// a . b as fp32.
template <typename T>
HWY_INLINE float dot(const T* a, const T* b, int64_t E) {
  return sum_of_lanes(
      sum_over(E, [&](int64_t e, auto part) HWY_ATTR { return hn::Mul(load(a + e, part), load(b + e, part)); }));
}

/// scores -> p, grad_p -> ds, both [keys, kRows].
template <bool kMasked>
HWY_INLINE void softmax_gradient(const BlockSpan& block, const float* x, const float* lse2, const float* o_grad_o,
                                 float* scores, float* grad_p) {
  const F d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t r = block.row_begin; r < block.row_end; r += lanes) {
    const VF log_sum = hn::LoadU(d, lse2 + r), mean = hn::LoadU(d, o_grad_o + r);
    for (int64_t j = block.key_begin; j < block.key_end; ++j) {
      float* p = scores + j * kRows + r;
      float* g = grad_p + j * kRows + r;
      VF probability = exp2_of_negative(hn::Sub(hn::LoadU(d, p), log_sum));
      if constexpr (kMasked) {
        probability = hn::IfThenElseZero(visible(block, j, hn::LoadU(d, x + r)), probability);
      }
      hn::StoreU(probability, d, p);
      hn::StoreU(hn::Mul(probability, hn::Sub(hn::LoadU(d, g), mean)), d, g);
    }
  }
}

/// Accumulators and packed copies of one key head, [S, packed_length(E)] and for values [S, packed_length(Ev)].
struct KeySide {
  float *k, *v, *grad_k, *grad_v;
};

/// One key head's query tiles share, share + shares, ..: dq written, dk and dv added up in `keys`.
template <typename T>
void backward_share(const BackwardProblem& in, const Heads& heads, int64_t share, int64_t shares, const KeySide& keys) {
  const AttentionShape& s = in.shape;
  const int64_t E = s.E, Ev = s.Ev, ld = packed_length(E), ldv = packed_length(Ev);
  const auto memory = aligned_floats(kRows * (E + Ev) + kRows * (2 * ld + ldv) + 2 * kKeys * kRows + 3 * kRows);
  Arena arena(memory.get());
  float *q_t = arena.take(E * kRows), *grad_o_t = arena.take(Ev * kRows);
  float *q = arena.take(kRows * ld), *grad_o = arena.take(kRows * ldv), *grad_q = arena.take(kRows * ld);
  float *scores = arena.take(kKeys * kRows), *grad_p = arena.take(kKeys * kRows);
  float *x = arena.take(kRows), *lse2 = arena.take(kRows), *o_grad_o = arena.take(kRows);

  for (int64_t row0 = share * kRows; row0 < heads.rows; row0 += shares * kRows) {
    const TileSpan tile(s, heads, row0);
    pack_tile<T>(heads, tile, in.q, E, s.scale * kLog2e, q, q_t);
    pack_tile<T>(heads, tile, in.grad_o, Ev, 1.0f, grad_o, grad_o_t);
    fill_positions(tile, x);
    for (int64_t r = 0; r < tile.padded; ++r) {
      const int64_t row = row0 + std::min(r, tile.count - 1);
      lse2[r] = in.lse2[heads.lse_index(s, row)];
      o_grad_o[r] = dot(heads.row<const T>(in.o, row), heads.row<const T>(in.grad_o, row), Ev);
    }
    std::fill_n(grad_q, tile.count * ld, 0.0f);
    for (int64_t b = tile.begin / kKeys; b * kKeys < tile.end; ++b) {
      const BlockSpan block(tile, b);
      if (block.empty()) continue;
      const int64_t r0 = block.row_begin, j0 = block.key_begin, n = block.key_end - j0;
      const int64_t rows = std::min(block.row_end, tile.count) - r0, columns = block.row_end - r0;
      const int64_t key = b * kKeys + j0 - s.first_position, at = key * ld, at_v = key * ldv;
      float* p0 = scores + j0 * kRows + r0;
      float* ds0 = grad_p + j0 * kRows + r0;
      gemm(n, columns, E, {keys.k + at, ld, 1}, q_t + r0, kRows, p0, kRows);
      gemm(n, columns, Ev, {keys.v + at_v, ldv, 1}, grad_o_t + r0, kRows, ds0, kRows);
      if (block.masked) {
        softmax_gradient<true>(block, x, lse2, o_grad_o, scores, grad_p);
      } else {
        softmax_gradient<false>(block, x, lse2, o_grad_o, scores, grad_p);
      }
      gemm<Store::kAdd>(n, Ev, rows, {p0, kRows, 1}, grad_o + r0 * ldv, ldv, keys.grad_v + at_v, ldv);
      gemm<Store::kAdd>(n, E, rows, {ds0, kRows, 1}, q + r0 * ld, ld, keys.grad_k + at, ld);
      gemm<Store::kAdd>(rows, E, n, {ds0, 1, kRows}, keys.k + at, ld, grad_q + r0 * ld, ld);
    }
    for (int64_t r = 0; r < tile.count; ++r) {
      narrow_row(grad_q + r * ld, E, s.scale, heads.row<T>(in.grad.q, row0 + r));
    }
  }
}

template <typename T>
const T* key_row(const AttentionInputView& view, const Heads& heads, int64_t s) {
  return static_cast<const T*>(view.data) + heads.b * view.batch + heads.hk * view.head + s * view.position;
}
template <typename T>
T* key_row(const AttentionOutputView& view, const Heads& heads, int64_t s) {
  return static_cast<T*>(view.data) + heads.b * view.batch + heads.hk * view.head + s * view.position;
}

/// dk and dv of keys [begin, end) from the sums of all shares, which lie `stride` floats apart.
template <typename T>
void write_key_gradients(const BackwardProblem& in, const Heads& heads, const KeySide& keys, int64_t shares,
                         int64_t stride) {
  const int64_t E = in.shape.E, Ev = in.shape.Ev, ld = packed_length(E), ldv = packed_length(Ev);
  const auto add = [&](float* sum, int64_t width, int64_t share) {
    const float* from = sum + share * stride;
    for_each_vector(width, [&](int64_t e, auto part)
                               HWY_ATTR { store(hn::Add(load(sum + e, part), load(from + e, part)), sum + e, part); });
  };
  for (int64_t s = 0; s < in.shape.S; ++s) {
    for (int64_t i = 1; i < shares; ++i) {
      add(keys.grad_k + s * ld, E, i);
      add(keys.grad_v + s * ldv, Ev, i);
    }
    // q was packed with scale log2(e).
    narrow_row(keys.grad_k + s * ld, E, kLn2, key_row<T>(in.grad.k, heads, s));
    narrow_row(keys.grad_v + s * ldv, Ev, 1.0f, key_row<T>(in.grad.v, heads, s));
  }
}

template <typename T>
void pack_keys(const BackwardProblem& in, const Heads& heads, const KeySide& keys) {
  const int64_t E = in.shape.E, Ev = in.shape.Ev;
  for (int64_t s = 0; s < in.shape.S; ++s) {
    widen_row(key_row<T>(in.k, heads, s), E, 1.0f, keys.k + s * packed_length(E));
    widen_row(key_row<T>(in.v, heads, s), Ev, 1.0f, keys.v + s * packed_length(Ev));
  }
}

template <typename T>
void backward_all(const BackwardProblem& in) {
  const AttentionShape& s = in.shape;
  const int64_t heads = s.B * s.Hk, tiles = (s.L * (s.H / s.Hk) + kRows - 1) / kRows;
  // 8 / Hk rounded down: at most 8 pieces of work per sequence, unless there are more key heads.
  const int64_t shares = std::max<int64_t>(1, std::min(8 / s.Hk, tiles));
  const int64_t of_keys = s.S * packed_length(s.E), size = of_keys + s.S * packed_length(s.Ev);
  const auto take = [&](float* packed, float* sums) { return KeySide{packed, packed + of_keys, sums, sums + of_keys}; };
  if (shares == 1) {
    return parallel_for(heads, 1, [&](int64_t begin, int64_t end) {
      const auto memory = aligned_floats(2 * size);
      const KeySide keys = take(memory.get(), memory.get() + size);
      for (int64_t i = begin; i < end; ++i) {
        const Heads head(s, i / s.Hk, i % s.Hk);
        pack_keys<T>(in, head, keys);
        std::fill_n(keys.grad_k, size, 0.0f);
        backward_share<T>(in, head, 0, 1, keys);
        write_key_gradients<T>(in, head, keys, 1, 0);
      }
    });
  }
  // Per key head: packed keys and values, then dk and dv of each share.
  const int64_t head_size = (1 + shares) * size;
  const auto memory = aligned_floats(heads * head_size);
  const auto head_of = [&](int64_t i) { return Heads(s, i / s.Hk, i % s.Hk); };
  const auto keys_of = [&](int64_t i, int64_t share) {
    float* packed = memory.get() + i * head_size;
    return take(packed, packed + (1 + share) * size);
  };
  parallel_for(heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) pack_keys<T>(in, head_of(i), keys_of(i, 0));
  });
  parallel_for(heads * shares, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t i = item / shares, share = item % shares;
      const KeySide keys = keys_of(i, share);
      std::fill_n(keys.grad_k, size, 0.0f);
      backward_share<T>(in, head_of(i), share, shares, keys);
    }
  });
  parallel_for(heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) write_key_gradients<T>(in, head_of(i), keys_of(i, 0), shares, size);
  });
}

void backward(const AttentionShape& shape, AttentionInputView q, AttentionInputView k, AttentionInputView v,
              AttentionInputView o, const float* lse2, AttentionInputView grad_o, const AttentionGradients& grad) {
  const BackwardProblem in{shape, q, k, v, o, lse2, grad_o, grad};
  if (shape.element == Element::kF32) {
    backward_all<float>(in);
  } else {
    backward_all<uint16_t>(in);
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace lt2
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lt2 {

HWY_EXPORT(backward);

void causal_attention_backward(const AttentionShape& shape, AttentionInputView q, AttentionInputView k,
                               AttentionInputView v, AttentionInputView o, const float* lse2, AttentionInputView grad_o,
                               const AttentionGradients& grad) {
  HWY_DYNAMIC_DISPATCH(backward)(shape, q, k, v, o, lse2, grad_o, grad);
}

}  // namespace lt2
#endif
