// Attention over gathered keys. One query and one key head at a time: its G query heads share the gathered rows.
//
// Scores are kept transposed, [keys, heads], as in causal_attention (tile-inl.h). Every score is one chain over the
// channels, every output element one over the listed keys (shrunk where the maximum grows), in ascending order; a sum
// is one chain in each tile of 64 listed keys, joined to those before by one multiply-add. So nothing depends on how
// queries or heads are dealt out.
//
// Backward pass, for a run of queries that fills a fixed scratch:
//   (1) per query: p and ds from lse2, kept; dq[t] = sum_s ds[t, s] k[s] scale
//   (2) per range of keys: dk[s] += ds[t, s] q[t] scale, dv[s] += p[t, s] do[t], queries in ascending order
// A key belongs to one range, hence to one thread: its gradient is one chain over the queries.
#include "ops/simd/aligned_floats.h"
#include "ops/simd/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/selected_attention/selected_attention_kernel.cpp"
#include <hwy/foreach_target.h>

#include <hwy/aligned_allocator.h>

#include <cmath>
#include <type_traits>
#include <vector>

#include "base/threads.h"
#include "ops/causal_attention/tile-inl.h"
#include "ops/linear/buffer.h"
#include "ops/selected_attention/kernel.h"

HWY_BEFORE_NAMESPACE();
namespace lt2 {
namespace HWY_NAMESPACE {
namespace {

/// Scratch of one thread, kept between calls: decoding allocates nothing.
float* thread_scratch(int64_t count) {
  thread_local Scratch scratch;
  return scratch.floats(static_cast<size_t>(count));
}

int64_t whole_vectors(int64_t count) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(F()));
  return (count + lanes - 1) / lanes * lanes;
}

/// Keys that a query can see at most.
int64_t most_keys(const SelectedShape& s) { return std::min(s.N * s.block_size, s.S); }

/// The keys that a query sees, ascending; returns how many.
int64_t visible_keys(const SelectedShape& s, int64_t b, int64_t l, int64_t hk, int32_t* keys) {
  const int32_t* list = s.blocks + ((b * s.L + l) * s.Hk + hk) * s.N;
  const int64_t past_last = s.first_query + l + 1;
  int64_t count = 0;
  for (int64_t n = 0; n < s.N && list[n] >= 0; ++n) {
    const int64_t begin = list[n] * s.block_size, end = begin + std::min(s.block_size, past_last - begin);
    for (int64_t key = begin; key < end; ++key) keys[count++] = static_cast<int32_t>(key);
  }
  return count;
}

template <typename T, typename Pointer>
T* row_of(const AttentionView<Pointer>& view, int64_t b, int64_t position, int64_t head) {
  return static_cast<T*>(view.data) + b * view.batch + position * view.position + head * view.head;
}

/// fp32 rows in memory or in a packed copy.
struct Rows {
  const float* data;
  ptrdiff_t ld;
};

/// Rows keys[0 .. count) as fp32: in place where they lie side by side, else packed. `known`: how many of `keys` are
/// known; rows are fetched ahead of their use, since keys chosen one by one lie anywhere in memory.
template <typename T>
Rows gather(const AttentionInputView& view, int64_t b, int64_t hk, const int32_t* keys, int64_t count, int64_t known,
            int64_t width, float* packed) {
  if constexpr (std::is_same_v<T, float>) {
    if (keys[count - 1] - keys[0] == count - 1 && view.position < 2 * width) {
      return {row_of<const T>(view, b, keys[0], hk), static_cast<ptrdiff_t>(view.position)};
    }
  }
  const int64_t ld = packed_length(width);
  constexpr int64_t kAhead = 6, kLine = 64 / sizeof(T);
  for (int64_t j = 0; j < count; ++j) {
    if (j + kAhead < known) {
      const T* next = row_of<const T>(view, b, keys[j + kAhead], hk);
      for (int64_t e = 0; e < width; e += kLine) __builtin_prefetch(next + e);
    }
    widen_row(row_of<const T>(view, b, keys[j], hk), width, 1.0f, packed + j * ld);
  }
  return {packed, static_cast<ptrdiff_t>(ld)};
}

/// Where values are channels of the key rows, one copy serves both.
bool values_in_keys(const SelectedShape& s, const AttentionInputView& k, const AttentionInputView& v) {
  return k.data == v.data && k.batch == v.batch && k.position == v.position && k.head == v.head && s.Ev <= s.E;
}

/// Up to kKeys keys and values of a query.
struct KeyTile {
  Rows k, v;

  static int64_t size(const SelectedShape& s) {
    return Arena::size(kKeys * packed_length(s.E)) + Arena::size(kKeys * packed_length(s.Ev));
  }
};
template <typename T>
KeyTile gather_tile(const SelectedShape& s, const AttentionInputView& k, const AttentionInputView& v, int64_t b,
                    int64_t hk, const int32_t* keys, int64_t count, int64_t known, float* packed) {
  const Rows key_rows = gather<T>(k, b, hk, keys, count, known, s.E, packed);
  if (values_in_keys(s, k, v)) return {key_rows, key_rows};
  return {key_rows, gather<T>(v, b, hk, keys, count, known, s.Ev, packed + Arena::size(kKeys * packed_length(s.E)))};
}

/// Heads [head, head + count) of one position as fp32 rows [count, packed_length(width)] and transposed [width, padded]
/// with zeros in the padding.
template <typename T>
void pack_heads(const AttentionInputView& view, int64_t b, int64_t position, int64_t head, int64_t count, int64_t width,
                float scale, float* rows, float* transposed) {
  const int64_t ld = packed_length(width), padded = whole_vectors(count);
  for (int64_t r = 0; r < count; ++r) {
    widen_row(row_of<const T>(view, b, position, head + r), width, scale, rows + r * ld);
  }
  transpose(count, width, rows, ld, transposed, padded);
  for (int64_t e = 0; e < width; ++e) std::fill(transposed + e * padded + count, transposed + (e + 1) * padded, 0.0f);
}

/// scores [keys, padded] -> probabilities relative to the running maximum, which they update with the sum; shrink
/// [padded]: the factor of what was summed before.
HWY_NOINLINE void softmax_tile(int64_t keys, int64_t padded, float* scores, float* max, float* sum, float* shrink) {
  const F d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t r = 0; r < padded; r += lanes) {
    const VF old_max = hn::LoadU(d, max + r);
    VF new_max = old_max;
    for (int64_t j = 0; j < keys; ++j) new_max = hn::Max(new_max, hn::LoadU(d, scores + j * padded + r));
    VF total = hn::Zero(d);
    for (int64_t j = 0; j < keys; ++j) {
      float* p = scores + j * padded + r;
      const VF probability = exp2_of_negative(hn::Sub(hn::LoadU(d, p), new_max));
      hn::StoreU(probability, d, p);
      total = hn::Add(total, probability);
    }
    const VF factor = exp2_of_negative(hn::Sub(old_max, new_max));
    hn::StoreU(new_max, d, max + r);
    hn::StoreU(hn::MulAdd(hn::LoadU(d, sum + r), factor, total), d, sum + r);
    hn::StoreU(factor, d, shrink + r);
  }
}

struct ForwardProblem {
  const SelectedShape& shape;
  AttentionInputView q, k, v;
  AttentionOutputView o;
  float* lse2;
};

/// Heads [first, first + count) of one key head at one position.
template <typename T>
void attend(const ForwardProblem& in, int64_t b, int64_t l, int64_t hk, int64_t first, int64_t count) {
  const SelectedShape& s = in.shape;
  const int64_t E = s.E, Ev = s.Ev, ldo = packed_length(Ev), padded = whole_vectors(count);
  const int64_t head = hk * (s.H / s.Hk) + first;
  Arena arena(thread_scratch(KeyTile::size(s) + Arena::size(most_keys(s)) + Arena::size(E * padded) +
                             Arena::size(count * packed_length(std::max(E, Ev))) + Arena::size(kKeys * padded) +
                             3 * Arena::size(padded)));
  float* packed = arena.take(KeyTile::size(s));
  int32_t* keys = reinterpret_cast<int32_t*>(arena.take(most_keys(s)));
  float *q = arena.take(E * padded), *scores = arena.take(kKeys * padded);
  float *max = arena.take(padded), *sum = arena.take(padded), *shrink = arena.take(padded);
  float* o = arena.take(count * packed_length(std::max(E, Ev)));  // first holds the rows of q

  pack_heads<T>(in.q, b, l, head, count, E, s.scale * kLog2e, o, q);
  std::fill_n(max, padded, -FLT_MAX);
  std::fill_n(sum, padded, 0.0f);
  std::fill_n(o, count * ldo, 0.0f);
  const int64_t visible = visible_keys(s, b, l, hk, keys);
  for (int64_t begin = 0; begin < visible; begin += kKeys) {
    const int64_t n = std::min(kKeys, visible - begin);
    const KeyTile tile = gather_tile<T>(s, in.k, in.v, b, hk, keys + begin, n, visible - begin, packed);
    gemm(n, padded, E, {tile.k.data, tile.k.ld, 1}, q, padded, scores, padded);
    softmax_tile(n, padded, scores, max, sum, shrink);
    for (int64_t r = 0; r < count; ++r) {
      if (shrink[r] != 1.0f) scale_row(o + r * ldo, Ev, shrink[r]);
    }
    gemm<Store::kAdd>(count, Ev, n, {scores, 1, padded}, tile.v.data, tile.v.ld, o, ldo);
  }
  for (int64_t r = 0; r < count; ++r) {
    narrow_row(o + r * ldo, Ev, visible > 0 ? 1.0f / sum[r] : 0.0f, row_of<T>(in.o, b, l, head + r));
    if (in.lse2 != nullptr) in.lse2[(b * s.H + head + r) * s.L + l] = max[r] + std::log2(sum[r]);
  }
}

template <typename T>
void forward_all(const ForwardProblem& in) {
  const SelectedShape& s = in.shape;
  const int64_t G = s.H / s.Hk, queries = s.B * s.L * s.Hk;
  // Few queries, as in decoding, are shared out by heads, whole tiles of the product.
  const int64_t wanted = (2 * num_threads() + queries - 1) / queries;
  const int64_t heads = std::min(G, ((G + wanted - 1) / wanted + kTileRows - 1) / kTileRows * kTileRows);
  const int64_t parts = (G + heads - 1) / heads;
  parallel_for(queries * parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t query = item / parts, first = item % parts * heads;
      attend<T>(in, query / s.Hk / s.L, query / s.Hk % s.L, query % s.Hk, first, std::min(heads, G - first));
    }
  });
}

struct BackwardProblem {
  const SelectedShape& shape;
  AttentionInputView q, k, v, o;
  const float* lse2;
  AttentionInputView grad_o;
  const AttentionGradients& grad;
};

/// What step (2) needs of one query and key head.
struct QueryRecord {
  int32_t* keys;      // the visible ones
  float *p, *ds;      // [visible, padded]
  float *q, *grad_o;  // [G, packed_length(E)], [G, packed_length(Ev)]

  static int64_t size(const SelectedShape& s) {
    const int64_t keys = most_keys(s), G = s.H / s.Hk;
    return Arena::size(keys) + 2 * Arena::size(keys * whole_vectors(G)) + Arena::size(G * packed_length(s.E)) +
           Arena::size(G * packed_length(s.Ev));
  }
  QueryRecord(const SelectedShape& s, float* memory) {
    const int64_t max_keys = most_keys(s), G = s.H / s.Hk;
    Arena arena(memory);
    keys = reinterpret_cast<int32_t*>(arena.take(max_keys));
    p = arena.take(max_keys * whole_vectors(G));
    ds = arena.take(max_keys * whole_vectors(G));
    q = arena.take(G * packed_length(s.E));
    grad_o = arena.take(G * packed_length(s.Ev));
  }
};

/// p: scores -> probabilities; ds: products of output gradient and value -> gradients of the scores.
HWY_NOINLINE void softmax_gradient(int64_t keys, int64_t padded, const float* lse2, const float* o_grad_o, float* p,
                                   float* ds) {
  const F d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t r = 0; r < padded; r += lanes) {
    const VF log_sum = hn::LoadU(d, lse2 + r), mean = hn::LoadU(d, o_grad_o + r);
    for (int64_t at = r; at < keys * padded; at += padded) {
      const VF probability = exp2_of_negative(hn::Sub(hn::LoadU(d, p + at), log_sum));
      hn::StoreU(probability, d, p + at);
      hn::StoreU(hn::Mul(probability, hn::Sub(hn::LoadU(d, ds + at), mean)), d, ds + at);
    }
  }
}

template <typename T>
float dot(const T* a, const T* b, int64_t n) {
  return sum_of_lanes(
      sum_over(n, [&](int64_t i, auto part) HWY_ATTR { return hn::Mul(load(a + i, part), load(b + i, part)); }));
}

/// Step (1). Returns the number of visible keys.
template <typename T>
int64_t query_gradient(const BackwardProblem& in, int64_t b, int64_t l, int64_t hk, const QueryRecord& record) {
  const SelectedShape& s = in.shape;
  const int64_t E = s.E, Ev = s.Ev, ld = packed_length(E), G = s.H / s.Hk, padded = whole_vectors(G);
  Arena arena(thread_scratch(KeyTile::size(s) + Arena::size(E * padded) + Arena::size(Ev * padded) +
                             Arena::size(G * ld) + 2 * Arena::size(padded)));
  float* packed = arena.take(KeyTile::size(s));
  float *q = arena.take(E * padded), *grad_o = arena.take(Ev * padded), *grad_q = arena.take(G * ld);
  float *lse2 = arena.take(padded), *o_grad_o = arena.take(padded);

  pack_heads<T>(in.q, b, l, hk * G, G, E, s.scale * kLog2e, record.q, q);
  pack_heads<T>(in.grad_o, b, l, hk * G, G, Ev, 1.0f, record.grad_o, grad_o);
  for (int64_t r = 0; r < padded; ++r) {
    const int64_t head = hk * G + std::min(r, G - 1);
    lse2[r] = in.lse2[(b * s.H + head) * s.L + l];
    o_grad_o[r] = dot(row_of<const T>(in.o, b, l, head), row_of<const T>(in.grad_o, b, l, head), Ev);
  }
  std::fill_n(grad_q, G * ld, 0.0f);
  const int64_t visible = visible_keys(s, b, l, hk, record.keys);
  for (int64_t begin = 0; begin < visible; begin += kKeys) {
    const int64_t n = std::min(kKeys, visible - begin);
    const KeyTile tile = gather_tile<T>(s, in.k, in.v, b, hk, record.keys + begin, n, visible - begin, packed);
    float *p = record.p + begin * padded, *ds = record.ds + begin * padded;
    gemm(n, padded, E, {tile.k.data, tile.k.ld, 1}, q, padded, p, padded);
    gemm(n, padded, Ev, {tile.v.data, tile.v.ld, 1}, grad_o, padded, ds, padded);
    softmax_gradient(n, padded, lse2, o_grad_o, p, ds);
    gemm<Store::kAdd>(G, E, n, {ds, 1, padded}, tile.k.data, tile.k.ld, grad_q, ld);
  }
  for (int64_t r = 0; r < G; ++r) narrow_row(grad_q + r * ld, E, s.scale, row_of<T>(in.grad.q, b, l, hk * G + r));
  return visible;
}

/// Step (2) for one query: keys [begin, end) of its `visible` ones; runs of neighbours in one product.
void add_key_gradients(const SelectedShape& s, const QueryRecord& record, int64_t visible, int64_t begin, int64_t end,
                       float* grad_k, float* grad_v) {
  const int64_t G = s.H / s.Hk, padded = whole_vectors(G);
  const int32_t *keys = record.keys, *last = keys + visible;
  for (const int32_t* key = std::lower_bound(keys, last, begin); key < last && *key < end;) {
    const int64_t at = (key - keys) * padded, first = *key;
    int64_t run = 1;
    while (key + run < last && key[run] == first + run && first + run < end) ++run;
    gemm<Store::kAdd>(run, s.E, G, {record.ds + at, padded, 1}, record.q, packed_length(s.E), grad_k + first * s.E,
                      s.E);
    gemm<Store::kAdd>(run, s.Ev, G, {record.p + at, padded, 1}, record.grad_o, packed_length(s.Ev),
                      grad_v + first * s.Ev, s.Ev);
    key += run;
  }
}

template <typename T>
void backward_sequence(const BackwardProblem& in, int64_t b, float* records, int64_t run, float* grad_k,
                       float* grad_v) {
  const SelectedShape& s = in.shape;
  const int64_t size = QueryRecord::size(s);
  // Ranges narrow enough to share out, wide enough that finding one's part of a list is cheap.
  const int64_t range = std::max<int64_t>(64, (s.S + 63) / 64), ranges = (s.S + range - 1) / range;
  std::fill_n(grad_k, s.Hk * s.S * s.E, 0.0f);
  std::fill_n(grad_v, s.Hk * s.S * s.Ev, 0.0f);
  std::vector<int64_t> visible(static_cast<size_t>(run * s.Hk));
  for (int64_t l0 = 0; l0 < s.L; l0 += run) {
    const int64_t queries = std::min(run, s.L - l0);
    parallel_for(queries * s.Hk, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        visible[static_cast<size_t>(i)] =
            query_gradient<T>(in, b, l0 + i / s.Hk, i % s.Hk, QueryRecord(s, records + i * size));
      }
    });
    parallel_for(ranges * s.Hk, 1, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        const int64_t hk = item % s.Hk, first = item / s.Hk * range;
        for (int64_t i = hk; i < queries * s.Hk; i += s.Hk) {
          add_key_gradients(s, QueryRecord(s, records + i * size), visible[static_cast<size_t>(i)], first,
                            std::min(first + range, s.S), grad_k + hk * s.S * s.E, grad_v + hk * s.S * s.Ev);
        }
      }
    });
  }
  parallel_for(s.S * s.Hk, 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      // q was packed with scale log2(e).
      narrow_row(grad_k + i * s.E, s.E, kLn2, row_of<T>(in.grad.k, b, i % s.S, i / s.S));
      narrow_row(grad_v + i * s.Ev, s.Ev, 1.0f, row_of<T>(in.grad.v, b, i % s.S, i / s.S));
    }
  });
}

template <typename T>
void backward_all(const BackwardProblem& in) {
  const SelectedShape& s = in.shape;
  constexpr int64_t kRecordFloats = int64_t{1} << 23;
  const int64_t size = QueryRecord::size(s);
  const int64_t run = std::clamp<int64_t>(kRecordFloats / (size * s.Hk), std::min<int64_t>(16, s.L), s.L);
  const auto memory = aligned_floats(run * s.Hk * size + s.Hk * s.S * (s.E + s.Ev));
  float* grad_k = memory.get() + run * s.Hk * size;
  for (int64_t b = 0; b < s.B; ++b) {
    backward_sequence<T>(in, b, memory.get(), run, grad_k, grad_k + s.Hk * s.S * s.E);
  }
}

void forward(const SelectedShape& shape, AttentionInputView q, AttentionInputView k, AttentionInputView v,
             AttentionOutputView o, float* lse2) {
  const ForwardProblem in{shape, q, k, v, o, lse2};
  if (shape.element == Element::kF32) {
    forward_all<float>(in);
  } else {
    forward_all<uint16_t>(in);
  }
}

void backward(const SelectedShape& shape, AttentionInputView q, AttentionInputView k, AttentionInputView v,
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

HWY_EXPORT(forward);
HWY_EXPORT(backward);

void selected_attention_forward(const SelectedShape& shape, AttentionInputView q, AttentionInputView k,
                                AttentionInputView v, AttentionOutputView o, float* lse2) {
  HWY_DYNAMIC_DISPATCH(forward)(shape, q, k, v, o, lse2);
}

void selected_attention_backward(const SelectedShape& shape, AttentionInputView q, AttentionInputView k,
                                 AttentionInputView v, AttentionInputView o, const float* lse2,
                                 AttentionInputView grad_o, const AttentionGradients& grad) {
  HWY_DYNAMIC_DISPATCH(backward)(shape, q, k, v, o, lse2, grad_o, grad);
}

}  // namespace lt2
#endif
