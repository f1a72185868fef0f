// One chunk of the linear recurrence: what the forward and the backward kernel share.
//
// A chunk has C tokens, makes of the state S [K, V] before it the state S' after it, and has up to two readers of the
// memory: the scaled query (its reading is the output) and, with the delta write, the erase key beta k (its reading is
// subtracted from beta v). With
//     x_start_i   reader i, faded by all steps since the chunk's start
//     k_end_j     key j, faded by all steps from j to the chunk's end
//     w_ij        reader i times key j, faded by the steps between; j <= i for the query, j < i for the erase key
// everything else is free of decays:
//     (I + w_erase) U = beta V - erase_start S,   O = query_start S + w_query U,   S' = keep S + k_end^T U
// A decay policy computes these coefficients and takes their gradients back to q, k and g. Fading factors are products
// of the single steps exp(g) over exactly the range needed: nothing overflows, nothing cancels.
//
// Per-target header (no include guard of the usual kind): include inside foreach_target files only.
#if defined(LT2_OPS_LINEAR_RECURRENCE_CHUNK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LT2_OPS_LINEAR_RECURRENCE_CHUNK_INL_H_
#undef LT2_OPS_LINEAR_RECURRENCE_CHUNK_INL_H_
#else
#define LT2_OPS_LINEAR_RECURRENCE_CHUNK_INL_H_
#endif

#include "ops/simd/aligned_floats.h"

#include <algorithm>
#include <cstring>

#include "ops/linear_recurrence/kernel.h"
#include "ops/simd/gemm-inl.h"
#include "ops/simd/io-inl.h"
#include "ops/simd/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lt2 {
namespace HWY_NAMESPACE {

// Rows of a triangle taken at once: their columns up to the block's end are computed, those beyond the diagonal for
// nothing.
constexpr int64_t kTriangleRows = 16;

/// Row-major in scratch.
struct Block {
  float* data = nullptr;
  ptrdiff_t ld = 0;
  float* operator[](int64_t row) const { return data + row * ld; }
  Strided rows(int64_t from = 0) const { return {data + from * ld, ld, 1}; }
  Strided columns() const { return {data, 1, ld}; }
};

/// An odd number of cache lines: the rows of a narrow panel then spread over all sets of a cache.
inline ptrdiff_t padded(int64_t n) { return (((n + 15) / 16) | 1) * 16; }

/// Hands out pieces of one block per thread, which stays allocated for the next call. First pass (no block yet) counts.
class Scratch {
 public:
  Block block(int64_t rows, int64_t columns) {
    const Block taken{base_ == nullptr ? nullptr : base_ + used_, padded(columns)};
    used_ += rows * taken.ld;
    return taken;
  }
  void allocate() {
    thread_local hwy::AlignedFreeUniquePtr<float[]> memory;
    thread_local int64_t size = 0;
    if (size < used_) {
      memory.reset();  // before the new one exists: both together may not fit
      memory = aligned_floats(used_);
      size = used_;
    }
    base_ = memory.get();
    used_ = 0;
  }

 private:
  float* base_ = nullptr;
  int64_t used_ = 0;
};

enum Reader { kQuery, kErase };

/// The buffers of a chunk and its coefficients. Filled for `tokens` <= chunk tokens.
struct Chunk {
  int64_t tokens, K, V;
  Block k, k_t;            // [C, K], [K, C]
  Block x[2], x_start[2];  // [C, K] per reader
  Block w[2];              // [C, C] per reader, zero above the diagonal as far as the triangle's blocks reach
  Block k_end;             // [C, K]
  Block keep;              // [K], what stays of each row of S
  Block fade;              // scalar: [C, C], between two tokens; vector: [C, K], of each token
  Block fade_start;        // scalar: [C]; since the start of the chunk
  Block u, o;              // [C, V]
  Block beta;              // [C]
  // Vector decay only: of one triangle block of rows, then of the chunk. until: each token's fade up to the border
  // reached; key: the tokens' keys faded so; d_fade: the gradient of g.
  Block since, reader, d_reader, pairs;  // [kTriangleRows, K]
  Block until, key, d_key, d_fade;       // [C, K]

  Chunk(Scratch& scratch, RecurrenceDecay decay, bool delta, int64_t C, int64_t K_, int64_t V_)
      : tokens(0), K(K_), V(V_) {
    const bool fades = decay != RecurrenceDecay::kNone;
    k = scratch.block(C, K);
    k_t = scratch.block(K, C);
    for (int r = 0; r < (delta ? 2 : 1); ++r) {
      x[r] = scratch.block(C, K);
      x_start[r] = fades ? scratch.block(C, K) : x[r];
      w[r] = scratch.block(C, C);
    }
    k_end = fades ? scratch.block(C, K) : k;
    keep = scratch.block(1, K);
    fade = scratch.block(C, decay == RecurrenceDecay::kVector ? K : C);
    fade_start = scratch.block(1, C);
    u = scratch.block(C, V);
    o = scratch.block(C, V);
    beta = scratch.block(1, C);
    if (decay == RecurrenceDecay::kVector) {
      for (Block* block : {&since, &reader, &d_reader, &pairs}) *block = scratch.block(kTriangleRows, K);
      for (Block* block : {&until, &key, &d_key, &d_fade}) *block = scratch.block(C, K);
    }
  }
};

/// The rows of one head from token t on.
inline RecurrenceRows at(RecurrenceRows rows, Element element, int64_t b, int64_t t, int64_t h) {
  const ptrdiff_t offset = b * rows.batch + t * rows.token + h * rows.head;
  rows.data = static_cast<char*>(rows.data) +
              offset * static_cast<ptrdiff_t>(element == Element::kBf16 ? sizeof(uint16_t) : sizeof(float));
  return rows;
}
inline float* at(const RecurrenceRows& rows, int64_t b, int64_t t, int64_t h) {
  return static_cast<float*>(at(rows, Element::kF32, b, t, h).data);
}

template <class T, class Factor>
HWY_INLINE void load_rows(int64_t C, int64_t n, const T* from, ptrdiff_t ld, const Factor& factor, Block to) {
  for (int64_t i = 0; i < C; ++i) {
    const VF f = hn::Set(F(), factor(i));
    for_each_vector(n, [&](int64_t j, auto part)
                           HWY_ATTR { store(hn::Mul(f, load(from + i * ld + j, part)), to[i] + j, Whole()); });
  }
}

/// to_i = factor(i) from_i. Scratch rows are padded, so whole vectors are stored.
template <class Factor>
HWY_INLINE void load_rows(Element element, int64_t C, int64_t n, const RecurrenceRows& from, const Factor& factor,
                          Block to) {
  if (element == Element::kBf16) {
    load_rows(C, n, static_cast<const uint16_t*>(from.data), from.token, factor, to);
  } else {
    load_rows(C, n, static_cast<const float*>(from.data), from.token, factor, to);
  }
}

template <class T, class Factor>
HWY_INLINE void store_rows(int64_t C, int64_t n, Block from, const Factor& factor, T* to, ptrdiff_t ld) {
  for (int64_t i = 0; i < C; ++i) {
    const VF f = hn::Set(F(), factor(i));
    for_each_vector(
        n, [&](int64_t j, auto part) HWY_ATTR { store(hn::Mul(f, load(from[i] + j, part)), to + i * ld + j, part); });
  }
}

template <class Factor>
HWY_INLINE void store_rows(Element element, int64_t C, int64_t n, Block from, const Factor& factor,
                           const RecurrenceRows& to) {
  if (element == Element::kBf16) {
    store_rows(C, n, from, factor, static_cast<uint16_t*>(to.data), to.token);
  } else {
    store_rows(C, n, from, factor, static_cast<float*>(to.data), to.token);
  }
}

inline float one(int64_t) { return 1.0f; }

HWY_INLINE float dot(int64_t n, const float* a, const float* b) {
  VF sum = hn::Zero(F());
  for_each_vector(n,
                  [&](int64_t i, auto part) HWY_ATTR { sum = hn::MulAdd(load(a + i, part), load(b + i, part), sum); });
  return sum_of_lanes(sum);
}

HWY_INLINE void scale_row(int64_t n, float factor, const float* from, float* to) {
  const VF f = hn::Set(F(), factor);
  for_each_vector(n, [&](int64_t i, auto part) HWY_ATTR { store(hn::Mul(f, load(from + i, part)), to + i, part); });
}

// Brings the next chunk's rows into the second cache while this one computes: a head's rows lie a page or more apart,
// where the processor's own prefetching gives up. Every tick fetches the rows of a few tokens, so that the few lines a
// core can have under way are never all taken.
class Prefetch {
 public:
  Prefetch() = default;
  /// `tokens` rows of each part, spread over about `ticks` calls of tick().
  Prefetch(int64_t tokens, int64_t ticks) : tokens_(tokens), per_tick_((tokens + ticks - 1) / ticks) {}
  /// The n numbers a row of one head from token t on.
  void add(const RecurrenceRows& rows, int64_t n, Element element, int64_t b, int64_t t, int64_t h) {
    const ptrdiff_t size = element == Element::kBf16 ? sizeof(uint16_t) : sizeof(float);
    if (rows.data != nullptr && tokens_ > 0) {
      parts_[count_++] = {static_cast<const char*>(at(rows, element, b, t, h).data), rows.token * size, n * size};
    }
  }
  void tick() {
    for (const int64_t end = std::min(next_ + per_tick_, tokens_); next_ < end; ++next_) {
      for (int p = 0; p < count_; ++p) {
        const char* row = parts_[p].data + next_ * parts_[p].stride;
        for (ptrdiff_t byte = 0; byte < parts_[p].bytes; byte += 64) __builtin_prefetch(row + byte, 0, 2);
      }
    }
  }

 private:
  struct Part {
    const char* data;
    ptrdiff_t stride, bytes;
  };
  Part parts_[8];
  int count_ = 0;
  int64_t next_ = 0, tokens_ = 0, per_tick_ = 0;
};

/// Ticks of `count` products of the size K V C.
inline int64_t product_ticks(const RecurrenceArgs& args, int64_t count) {
  const int64_t panel = kTileVecs * static_cast<int64_t>(hn::Lanes(F()));
  return count * ((args.V + panel - 1) / panel) * ((args.chunk + 15) / 16);
}

/// gemm in pieces: the long side K so that a panel of B stays in the first cache, and rows so that prefetches spread.
template <Store kStore>
HWY_ATTR inline void product(int64_t M, int64_t N, int64_t K, Strided a, Block b, Block c, Prefetch& prefetch) {
  constexpr int64_t kPiece = 128, kRows = 16;
  constexpr Store kNext = kStore == Store::kSub ? Store::kSub : Store::kAdd;
  const int64_t panel = kTileVecs * static_cast<int64_t>(hn::Lanes(F()));
  for (int64_t n = 0; n < N; n += panel) {
    const int64_t columns = std::min(panel, N - n);
    for (int64_t k = 0; k < K; k += kPiece) {
      for (int64_t m = 0; m < M; m += kRows) {
        const int64_t rows = std::min(M - m, kRows), depth = std::min(K - k, kPiece);
        const Strided piece{a.data + m * a.row + k * a.col, a.row, a.col};
        if (k == 0) {
          gemm<kStore>(rows, columns, depth, piece, b[k] + n, b.ld, c[m] + n, c.ld);
        } else {
          gemm<kNext>(rows, columns, depth, piece, b[k] + n, b.ld, c[m] + n, c.ld);
        }
        prefetch.tick();
      }
    }
  }
}

/// w = x k_t on and below the diagonal; K numbers per row of x. Blocks on the diagonal come whole.
HWY_ATTR inline void lower_product(int64_t C, int64_t K, Block x, Block k_t, Block w) {
  Prefetch none;
  for (int64_t i = 0; i < C; i += kTriangleRows) {
    const int64_t end = std::min(C, i + kTriangleRows);
    product<Store::kSet>(end - i, end, K, x.rows(i), k_t, {w[i], w.ld}, none);
  }
}

/// c (=, +=, -=) w b with w lower triangular.
template <Store kStore>
HWY_ATTR inline void lower_times(int64_t C, int64_t N, Block w, Block b, Block c) {
  const int64_t panel = kTileVecs * static_cast<int64_t>(hn::Lanes(F()));
  for (int64_t n = 0; n < N; n += panel) {
    for (int64_t i = 0; i < C; i += kTriangleRows) {
      const int64_t end = std::min(C, i + kTriangleRows);
      gemm<kStore>(end - i, std::min(panel, N - n), end, w.rows(i), b.data + n, b.ld, c[i] + n, c.ld);
    }
  }
}

/// c (=, +=, -=) w^T b with w lower triangular.
template <Store kStore>
HWY_ATTR inline void lower_transposed_times(int64_t C, int64_t N, Block w, Block b, Block c) {
  const int64_t panel = kTileVecs * static_cast<int64_t>(hn::Lanes(F()));
  for (int64_t n = 0; n < N; n += panel) {
    for (int64_t i = 0; i < C; i += kTriangleRows) {
      const int64_t rows = std::min(C - i, kTriangleRows);
      gemm<kStore>(rows, std::min(panel, N - n), C - i, {w[i] + i, 1, w.ld}, b[i] + n, b.ld, c[i] + n, c.ld);
    }
  }
}

// Rows [done, done + MR) of (I + A) X = R, A strictly lower, X over R: the gemm tile, then the small triangle within
// it.
template <int MR, int NV, bool kMasked>
HWY_ATTR HWY_INLINE void solve_tile(int64_t done, Strided a, float* x, ptrdiff_t ldx, size_t last) {
  const F d;
  const ptrdiff_t lanes = static_cast<ptrdiff_t>(hn::Lanes(d));
  const auto mask = hn::FirstN(d, last);
  VF acc[MR][NV];
  float* rows = x + done * ldx;
#pragma GCC unroll 8
  for (int m = 0; m < MR; ++m) {
#pragma GCC unroll 3
    for (int n = 0; n < NV; ++n) {
      const float* p = rows + m * ldx + n * lanes;
      acc[m][n] = (kMasked && n == NV - 1) ? hn::MaskedLoad(mask, d, p) : hn::LoadU(d, p);
    }
  }
  const float* a_row[MR];
#pragma GCC unroll 8
  for (int m = 0; m < MR; ++m) a_row[m] = a.data + (done + m) * a.row;
  for (int64_t k = 0; k < done; ++k) {
    VF xv[NV];
#pragma GCC unroll 3
    for (int n = 0; n < NV; ++n) {
      const float* p = x + k * ldx + n * lanes;
      xv[n] = (kMasked && n == NV - 1) ? hn::MaskedLoad(mask, d, p) : hn::LoadU(d, p);
    }
#pragma GCC unroll 8
    for (int m = 0; m < MR; ++m) {
      const VF av = hn::Set(d, *a_row[m]);
      a_row[m] += a.col;
#pragma GCC unroll 3
      for (int n = 0; n < NV; ++n) acc[m][n] = hn::NegMulAdd(av, xv[n], acc[m][n]);
    }
  }
#pragma GCC unroll 8
  for (int j = 0; j + 1 < MR; ++j) {
#pragma GCC unroll 8
    for (int m = j + 1; m < MR; ++m) {
      const VF av = hn::Set(d, a_row[m][j * a.col]);
#pragma GCC unroll 3
      for (int n = 0; n < NV; ++n) acc[m][n] = hn::NegMulAdd(av, acc[j][n], acc[m][n]);
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < MR; ++m) {
#pragma GCC unroll 3
    for (int n = 0; n < NV; ++n) {
      float* p = rows + m * ldx + n * lanes;
      if (kMasked && n == NV - 1) {
        hn::BlendedStore(acc[m][n], mask, d, p);
      } else {
        hn::StoreU(acc[m][n], d, p);
      }
    }
  }
}

template <int NV, bool kMasked>
HWY_ATTR HWY_INLINE void solve_panel(int64_t C, Strided a, float* x, ptrdiff_t ldx, size_t last) {
  int64_t done = 0;
  for (; done + kTileRows <= C; done += kTileRows) solve_tile<kTileRows, NV, kMasked>(done, a, x, ldx, last);
  for (; done < C; ++done) solve_tile<1, NV, kMasked>(done, a, x, ldx, last);
}

/// Solves (I + A) X = R in place by forward substitution, A [C, C] strictly lower. With negative strides from the last
/// row on, the same code solves the transposed system (I + A)^T X = R.
HWY_ATTR inline void solve(int64_t C, int64_t N, Strided a, float* x, ptrdiff_t ldx) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(F()));
  int64_t n = 0;
  for (; n + kTileVecs * lanes <= N; n += kTileVecs * lanes) solve_panel<kTileVecs, false>(C, a, x + n, ldx, 0);
  for (; n + lanes <= N; n += lanes) solve_panel<1, false>(C, a, x + n, ldx, 0);
  if (n < N) solve_panel<1, true>(C, a, x + n, ldx, static_cast<size_t>(N - n));
}

// Everything above the diagonal (for the erase key the diagonal too) to zero, as far as the blocks reach.
inline void clear_above_diagonal(int64_t C, Reader reader, Block w) {
  for (int64_t i = 0; i < C; ++i) {
    const int64_t end = std::min(C, i / kTriangleRows * kTriangleRows + kTriangleRows);
    for (int64_t j = i + (reader == kQuery ? 1 : 0); j < end; ++j) w[i][j] = 0.0f;
  }
}

/// Gradients of a chunk's coefficients (in), then of what they were made of (out, in the same place).
struct ChunkGradients {
  Block w[2];   // in, destroyed
  Block x[2];   // in: of x_start; out: of x
  Block k;      // in: of k_end; out: of k
  Block keep;   // in: [K]
  Block pairs;  // [C] scratch
};

struct NoDecay {
  static constexpr RecurrenceDecay kDecay = RecurrenceDecay::kNone;

  static HWY_ATTR void step_fade(int64_t K, const float*, float* fade) { std::fill_n(fade, K, 1.0f); }

  static HWY_ATTR void coefficients(Chunk& c, const RecurrenceRows&, int first, int last) {
    for (int r = first; r <= last; ++r) {
      lower_product(c.tokens, c.K, c.x[r], c.k_t, c.w[r]);
      clear_above_diagonal(c.tokens, static_cast<Reader>(r), c.w[r]);
    }
  }

  static HWY_ATTR void pull_back(const Chunk& c, int last, const ChunkGradients& d, const RecurrenceRows&) {
    for (int r = 0; r <= last; ++r) {
      clear_above_diagonal(c.tokens, static_cast<Reader>(r), d.w[r]);
      lower_times<Store::kAdd>(c.tokens, c.K, d.w[r], c.k, d.x[r]);
      lower_transposed_times<Store::kAdd>(c.tokens, c.K, d.w[r], c.x[r], d.k);
    }
  }
};

struct ScalarDecay {
  static constexpr RecurrenceDecay kDecay = RecurrenceDecay::kScalar;

  static HWY_ATTR void step_fade(int64_t K, const float* g, float* fade) {
    const VF f = exp(hn::Set(F(), *g));
    for_each_vector(K, [&](int64_t i, auto) HWY_ATTR { store(f, fade + i, Whole()); });
  }

  static HWY_ATTR void fade_weights(const Chunk& c, Reader reader, Block w) {
    for (int64_t i = 0; i < c.tokens; ++i) {
      const int64_t end = std::min(c.tokens, i / kTriangleRows * kTriangleRows + kTriangleRows);
      for_each_vector(end, [&](int64_t j, auto part) HWY_ATTR {
        store(hn::Mul(load(w[i] + j, part), load(c.fade[i] + j, part)), w[i] + j, part);
      });
      if (reader == kErase) w[i][i] = 0.0f;
    }
  }

  static HWY_ATTR void coefficients(Chunk& c, const RecurrenceRows& g, int first, int last) {
    const int64_t C = c.tokens;
    float* const step = c.fade_start.data;
    for (int64_t i = 0; i < C; ++i) step[i] = static_cast<const float*>(g.data)[i * g.token];
    for_each_vector(C, [&](int64_t i, auto) HWY_ATTR { store(exp(load(step + i, Whole())), step + i, Whole()); });
    // fade_ij = step_{j+1} .. step_i, zero above the diagonal.
    for (int64_t i = 0; i < C; ++i) {
      if (i == 0) {
        std::fill_n(c.fade[0], C, 0.0f);
      } else {
        scale_row(C, step[i], c.fade[i - 1], c.fade[i]);
      }
      c.fade[i][i] = 1.0f;
    }
    for (int64_t i = 1; i < C; ++i) step[i] *= step[i - 1];
    for (int r = first; r <= last; ++r) {
      lower_product(C, c.K, c.x[r], c.k_t, c.w[r]);
      fade_weights(c, static_cast<Reader>(r), c.w[r]);
      for (int64_t i = 0; i < C; ++i) scale_row(c.K, c.fade_start.data[i], c.x[r][i], c.x_start[r][i]);
    }
    for (int64_t j = 0; j < C; ++j) scale_row(c.K, c.fade[C - 1][j], c.k[j], c.k_end[j]);
    std::fill_n(c.keep.data, c.K, c.fade_start.data[C - 1]);
  }

  // dg_m: everything that passes token m's fade, that is all pairs j < m <= i, readers of the old state from m on, keys
  // before m on their way to the end, the old state itself. Only sums: near g = -20 each term is tiny, and differences
  // of sums would leave noise.
  static HWY_ATTR void pull_back(const Chunk& c, int last, const ChunkGradients& d, const RecurrenceRows& dg) {
    const int64_t C = c.tokens;
    float* const to = static_cast<float*>(dg.data);
    float to_end = 0;
    for (int64_t r = 0; r < c.K; ++r) to_end += c.keep.data[r] * d.keep.data[r];
    for (int64_t j = 0; j < C; ++j) {
      to[j * dg.token] = to_end;
      to_end += dot(c.K, c.k_end[j], d.k[j]);
    }
    float from_start = 0;
    float* const pairs = d.pairs.data;  // over tokens j: sum over i >= m of dw_ij w_ij
    std::fill_n(pairs, C, 0.0f);
    for (int64_t i = C - 1; i >= 0; --i) {
      VF crossing = hn::Zero(F());
      for (int r = 0; r <= last; ++r) from_start += dot(c.K, c.x_start[r][i], d.x[r][i]);
      for_each_vector(i, [&](int64_t j, auto part) HWY_ATTR {
        VF sum = load(pairs + j, part);
        for (int r = 0; r <= last; ++r) sum = hn::MulAdd(load(d.w[r][i] + j, part), load(c.w[r][i] + j, part), sum);
        store(sum, pairs + j, part);
        crossing = hn::Add(crossing, sum);
      });
      to[i * dg.token] += from_start + sum_of_lanes(crossing);
    }
    for (int64_t j = 0; j < C; ++j) scale_row(c.K, c.fade[C - 1][j], d.k[j], d.k[j]);
    for (int r = 0; r <= last; ++r) {
      fade_weights(c, static_cast<Reader>(r), d.w[r]);
      for (int64_t i = 0; i < C; ++i) scale_row(c.K, c.fade_start.data[i], d.x[r][i], d.x[r][i]);
      lower_times<Store::kAdd>(C, c.K, d.w[r], c.k, d.x[r]);
      lower_transposed_times<Store::kAdd>(C, c.K, d.w[r], c.x[r], d.k);
    }
  }
};

// A vector decay sits inside the products of readers and keys. A triangle block of rows reads all earlier tokens
// through the border before it: readers fade since the border (`since`), keys until it (`until`), one matrix product.
// Within the block the pairs are taken one by one.
struct VectorDecay {
  static constexpr RecurrenceDecay kDecay = RecurrenceDecay::kVector;

  static HWY_ATTR void step_fade(int64_t K, const float* g, float* fade) {
    for_each_vector(K, [&](int64_t i, auto part) HWY_ATTR { store(exp(load(g + i, part)), fade + i, Whole()); });
  }

  // Row operations on [K] numbers: to = a b, to += a b.
  static HWY_ATTR HWY_INLINE void multiply(int64_t K, const float* a, const float* b, float* to) {
    for_each_vector(
        K, [&](int64_t i, auto part) HWY_ATTR { store(hn::Mul(load(a + i, part), load(b + i, part)), to + i, part); });
  }
  static HWY_ATTR HWY_INLINE void multiply_add(int64_t K, const float* a, const float* b, float* to) {
    for_each_vector(K, [&](int64_t i, auto part) HWY_ATTR {
      store(hn::MulAdd(load(a + i, part), load(b + i, part), load(to + i, part)), to + i, part);
    });
  }
  static HWY_ATTR HWY_INLINE void add(int64_t K, const float* a, float* to) {
    for_each_vector(
        K, [&](int64_t i, auto part) HWY_ATTR { store(hn::Add(load(a + i, part), load(to + i, part)), to + i, part); });
  }

  // since_i = fade_begin .. fade_i for the rows of a block.
  static HWY_ATTR void fade_since(const Chunk& c, int64_t begin, int64_t end) {
    std::copy_n(c.fade[begin], c.K, c.since[0]);
    for (int64_t i = begin + 1; i < end; ++i) multiply(c.K, c.since[i - 1 - begin], c.fade[i], c.since[i - begin]);
  }

  static HWY_ATTR void coefficients(Chunk& c, const RecurrenceRows& g, int first, int last) {
    const int64_t C = c.tokens, K = c.K;
    for (int64_t i = 0; i < C; ++i) step_fade(K, static_cast<const float*>(g.data) + i * g.token, c.fade[i]);
    std::fill_n(c.keep.data, K, 1.0f);
    // k_end_j fades along, from j to the token reached.
    for (int64_t begin = 0; begin < C; begin += kTriangleRows) {
      const int64_t end = std::min(C, begin + kTriangleRows);
      fade_since(c, begin, end);
      transpose(begin, K, c.k_end.data, c.k_end.ld, c.k_t.data, c.k_t.ld);
      for (int r = first; r <= last; ++r) {
        for (int64_t i = begin; i < end; ++i) {
          multiply(K, c.x[r][i], c.since[i - begin], c.reader[i - begin]);
          multiply(K, c.reader[i - begin], c.keep.data, c.x_start[r][i]);
        }
        if (begin > 0) gemm(end - begin, begin, K, c.reader.rows(), c.k_t.data, c.k_t.ld, c.w[r][begin], c.w[r].ld);
      }
      for (int64_t i = begin; i < end; ++i) {
        std::copy_n(c.k[i], K, c.k_end[i]);
        for (int64_t j = begin; j <= i; ++j) {
          if (j < i) multiply(K, c.k_end[j], c.fade[i], c.k_end[j]);
          for (int r = first; r <= last; ++r) c.w[r][i][j] = dot(K, c.x[r][i], c.k_end[j]);
        }
      }
      for (int64_t j = 0; j < begin; ++j) multiply(K, c.k_end[j], c.since[end - 1 - begin], c.k_end[j]);
      multiply(K, c.keep.data, c.since[end - 1 - begin], c.keep.data);
    }
    for (int r = first; r <= last; ++r) clear_above_diagonal(C, static_cast<Reader>(r), c.w[r]);
  }

  // As with the scalar decay dg_m is the sum of everything that passes token m's fade, here row by row of the state;
  // only sums.
  static HWY_ATTR void pull_back(const Chunk& c, int last, const ChunkGradients& d, const RecurrenceRows& dg) {
    const int64_t C = c.tokens, K = c.K;
    old_state_and_end(c, last, d);
    for (int r = 0; r <= last; ++r) clear_above_diagonal(C, static_cast<Reader>(r), d.w[r]);
    for (int64_t begin = 0; begin < C; begin += kTriangleRows) {
      const int64_t end = std::min(C, begin + kTriangleRows);
      fade_since(c, begin, end);
      if (begin > 0) earlier_tokens(c, last, d, begin, end);
      for (int64_t j = begin; j < end; ++j) pairs_within(c, last, d, j, end);
      for (int64_t j = 0; j < begin; ++j) multiply(K, c.until[j], c.since[end - 1 - begin], c.until[j]);
      // until_j of the block's own keys, from the last to the first.
      std::fill_n(c.until[end - 1], K, 1.0f);
      for (int64_t j = end - 2; j >= begin; --j) multiply(K, c.until[j + 1], c.fade[j + 1], c.until[j]);
    }
    store_rows(C, K, c.d_fade, one, static_cast<float*>(dg.data), dg.token);
  }

 private:
  // What passes token m on the way from the old state (readers i >= m), to the end (keys j < m), or from one to the
  // other.
  static HWY_ATTR void old_state_and_end(const Chunk& c, int last, const ChunkGradients& d) {
    const int64_t C = c.tokens, K = c.K;
    float* const sum = c.pairs[0];
    float* const fade = c.pairs[1];
    multiply(K, c.keep.data, d.keep.data, sum);
    for (int64_t j = 0; j < C; ++j) {
      std::copy_n(sum, K, c.d_fade[j]);
      multiply_add(K, c.k_end[j], d.k[j], sum);
    }
    std::fill_n(sum, K, 0.0f);
    std::fill_n(fade, K, 1.0f);
    for (int64_t i = C - 1; i >= 0; --i) {
      for (int r = 0; r <= last; ++r) multiply_add(K, c.x_start[r][i], d.x[r][i], sum);
      add(K, sum, c.d_fade[i]);
      multiply(K, d.k[i], fade, d.k[i]);
      multiply(K, fade, c.fade[i], fade);
    }
    std::fill_n(fade, K, 1.0f);
    for (int64_t i = 0; i < C; ++i) {
      multiply(K, fade, c.fade[i], fade);
      for (int r = 0; r <= last; ++r) multiply(K, d.x[r][i], fade, d.x[r][i]);
    }
  }

  // Rows [begin, end) against keys [0, begin), through the border between them.
  static HWY_ATTR void earlier_tokens(const Chunk& c, int last, const ChunkGradients& d, int64_t begin, int64_t end) {
    const int64_t K = c.K, rows = end - begin;
    for (int64_t j = 0; j < begin; ++j) multiply(K, c.k[j], c.until[j], c.key[j]);
    std::fill_n(c.d_key.data, begin * c.d_key.ld, 0.0f);
    std::fill_n(c.pairs.data, rows * c.pairs.ld, 0.0f);
    for (int r = 0; r <= last; ++r) {
      const Block dw{d.w[r][begin], d.w[r].ld};
      for (int64_t i = 0; i < rows; ++i) multiply(K, c.x[r][begin + i], c.since[i], c.reader[i]);
      gemm(rows, K, begin, dw.rows(), c.key.data, c.key.ld, c.d_reader.data, c.d_reader.ld);
      gemm<Store::kAdd>(begin, K, rows, dw.columns(), c.reader.data, c.reader.ld, c.d_key.data, c.d_key.ld);
      for (int64_t i = 0; i < rows; ++i) {
        multiply_add(K, c.d_reader[i], c.since[i], d.x[r][begin + i]);
        multiply_add(K, c.d_reader[i], c.reader[i], c.pairs[i]);
      }
    }
    for (int64_t i = rows - 1; i >= 0; --i) {
      if (i + 1 < rows) add(K, c.pairs[i + 1], c.pairs[i]);
      add(K, c.pairs[i], c.d_fade[begin + i]);
    }
    float* const sum = c.pairs[0];
    std::fill_n(sum, K, 0.0f);
    for (int64_t j = 0; j < begin; ++j) {
      add(K, sum, c.d_fade[j]);
      multiply_add(K, c.d_key[j], c.key[j], sum);
      multiply_add(K, c.d_key[j], c.until[j], d.k[j]);
    }
  }

  // Key j against rows [j, end) of its block.
  static HWY_ATTR void pairs_within(const Chunk& c, int last, const ChunkGradients& d, int64_t j, int64_t end) {
    const F tag;
    for_each_vector(c.K, [&](int64_t n, auto part) HWY_ATTR {
      const VF k = load(c.k[j] + n, part);
      VF fade = hn::Set(tag, 1.0f), dk = load(d.k[j] + n, part);
      VF crossing[kTriangleRows];
      for (int64_t i = j; i < end; ++i) {
        if (i > j) fade = hn::Mul(fade, load(c.fade[i] + n, part));
        const VF key = hn::Mul(k, fade);
        VF d_key = hn::Zero(tag);
        for (int r = 0; r <= last; ++r) {
          const VF dw = hn::Set(tag, d.w[r][i][j]);
          store(hn::MulAdd(dw, key, load(d.x[r][i] + n, part)), d.x[r][i] + n, part);
          d_key = hn::MulAdd(dw, load(c.x[r][i] + n, part), d_key);
        }
        dk = hn::MulAdd(d_key, fade, dk);
        crossing[i - j] = hn::Mul(d_key, key);
      }
      store(dk, d.k[j] + n, part);
      VF sum = hn::Zero(tag);
      for (int64_t i = end - 1; i > j; --i) {
        sum = hn::Add(sum, crossing[i - j]);
        store(hn::Add(sum, load(c.d_fade[i] + n, part)), c.d_fade[i] + n, part);
      }
    });
  }
};

/// Loads tokens [t, t + tokens) and computes the coefficients of the readers first..last.
template <class Decay, bool kDelta>
HWY_ATTR void load_chunk(const RecurrenceArgs& args, int64_t b, int64_t h, int64_t t, int64_t tokens, int first,
                         int last, Chunk& c) {
  c.tokens = tokens;
  const auto factor = [&](int64_t i) { return kDelta ? c.beta.data[i] : 1.0f; };
  load_rows(args.element, tokens, c.K, at(args.k, args.element, b, t, h), one, c.k);
  transpose(tokens, c.K, c.k.data, c.k.ld, c.k_t.data, c.k_t.ld);
  if constexpr (kDelta) {
    const float* beta = at(args.beta, b, t, h);
    for (int64_t i = 0; i < tokens; ++i) {
      c.beta.data[i] = beta[i * args.beta.token];
      scale_row(c.K, c.beta.data[i], c.k[i], c.x[kErase][i]);
    }
  }
  if (first == kQuery) {
    load_rows(
        args.element, tokens, c.K, at(args.q, args.element, b, t, h), [&](int64_t) { return args.scale; }, c.x[kQuery]);
  }
  load_rows(args.element, tokens, c.V, at(args.v, args.element, b, t, h), factor, c.u);
  Decay::coefficients(c, at(args.g, Element::kF32, b, t, h), first, last);
}

/// u: beta v (or v) -> what the chunk writes.
template <bool kDelta>
HWY_ATTR void chunk_writes(const Chunk& c, Block S, Prefetch& prefetch) {
  if constexpr (kDelta) {
    product<Store::kSub>(c.tokens, c.V, c.K, c.x_start[kErase].rows(), S, c.u, prefetch);
    solve(c.tokens, c.V, c.w[kErase].rows(), c.u.data, c.u.ld);
  }
}

template <class Decay>
HWY_ATTR void advance_state(const Chunk& c, Block S, Prefetch& prefetch) {
  if constexpr (Decay::kDecay != RecurrenceDecay::kNone) {
    for (int64_t r = 0; r < c.K; ++r) scale_row(c.V, c.keep.data[r], S[r], S[r]);
  }
  product<Store::kAdd>(c.K, c.V, c.tokens, c.k_end.columns(), c.u, S, prefetch);
}

/// fn.template operator()<Decay, kDelta>() for the kind of recurrence asked for.
template <class Fn>
HWY_INLINE void dispatch_kind(RecurrenceDecay decay, bool delta, Fn&& fn) {
  switch (decay) {
    case RecurrenceDecay::kNone:
      return delta ? fn.template operator()<NoDecay, true>() : fn.template operator()<NoDecay, false>();
    case RecurrenceDecay::kScalar:
      return delta ? fn.template operator()<ScalarDecay, true>() : fn.template operator()<ScalarDecay, false>();
    case RecurrenceDecay::kVector:
      return delta ? fn.template operator()<VectorDecay, true>() : fn.template operator()<VectorDecay, false>();
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace lt2
HWY_AFTER_NAMESPACE();
#endif
