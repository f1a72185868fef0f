// Attention over block means: a tile of queries of one key head against all the blocks that they see.
//
// Scores are kept transposed, [blocks, rows], row g * n + p for head g and query p of the tile: means are read as they
// lie in memory, the softmax runs down the columns without horizontal sums, and the importance is a sum of vectors. A
// block that a row does not see has probability 0 and leaves the row's sums as they are, bit for bit.
#include "ops/simd/aligned_floats.h"
#include "ops/simd/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/block_selection/block_selection_kernel.cpp"
#include <hwy/foreach_target.h>

#include <hwy/aligned_allocator.h>

#include <algorithm>
#include <cfloat>
#include <cmath>

#include "base/threads.h"
#include "ops/block_selection/kernel.h"
#include "ops/index_topk/select_largest.h"
#include "ops/simd/gemm-inl.h"
#include "ops/simd/io-inl.h"
#include "ops/simd/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lt2 {
namespace HWY_NAMESPACE {
namespace {

// Gradients of the means are summed within this many parts of the queries, then over the parts: fixed, so that they do
// not depend on the number of threads.
constexpr int64_t kParts = 8;

float* thread_scratch(int64_t count) {
  thread_local hwy::AlignedFreeUniquePtr<float[]> memory;
  thread_local int64_t size = 0;
  if (size < count) {
    memory = aligned_floats(count);
    size = count;
  }
  return memory.get();
}

int64_t queries_per_tile(int64_t G) { return std::max<int64_t>(16, 64 / G); }

/// Queries [l0, l0 + n) of one key head.
struct Tile {
  int64_t b, hk, l0, n, G;
  int64_t rows;   // G n
  int64_t first;  // position of query l0
  int64_t seen;   // blocks that the last query sees

  Tile(const BlockSelectionShape& s, int64_t head, int64_t l, int64_t end)
      : b(head / s.Hk),
        hk(head % s.Hk),
        l0(l),
        n(std::min(queries_per_tile(s.H / s.Hk), end - l)),
        G(s.H / s.Hk),
        rows(G * n),
        first(s.first_position + l),
        seen((first + n) / s.block_size) {}

  template <typename T, typename Pointer>
  T* row(const BlockView<Pointer>& view, int64_t r) const {
    return static_cast<T*>(view.data) + b * view.batch + (l0 + r % n) * view.row + (hk * G + r / n) * view.head;
  }
  const float* means(const BlockView<const float*>& view) const { return view.data + b * view.batch + hk * view.head; }
  int64_t lse_index(const BlockSelectionShape& s, int64_t r) const {
    return (b * s.H + hk * G + r / n) * s.L + l0 + r % n;
  }
};

/// Rows of the tile as fp32 [rows, width], times scale.
template <typename T>
void pack(const Tile& tile, const BlockView<const void*>& view, int64_t width, float scale, float* to) {
  const VF factor = hn::Set(F(), scale);
  for (int64_t r = 0; r < tile.rows; ++r) {
    const T* from = tile.row<const T>(view, r);
    for_each_vector(width, [&](int64_t e, auto part)
                               HWY_ATTR { store(hn::Mul(load(from + e, part), factor), to + r * width + e, part); });
  }
}

template <typename T>
void unpack(const float* from, int64_t width, T* to) {
  for_each_vector(width, [&](int64_t e, auto part) HWY_ATTR { store(load(from + e, part), to + e, part); });
}

/// seen_by[r]: blocks that row r sees, exact in fp32 up to 2^24 blocks.
void fill_seen(const BlockSelectionShape& s, const Tile& tile, float* seen_by) {
  for (int64_t r = 0; r < tile.rows; ++r) seen_by[r] = static_cast<float>((tile.first + r % tile.n + 1) / s.block_size);
}

/// scores [seen, rows] -> probabilities; lse [rows].
void softmax_columns(const Tile& tile, const float* seen_by, float* scores, float* lse) {
  const F d;
  const VF lowest = hn::Set(d, -FLT_MAX);
  for_each_vector(tile.rows, [&](int64_t r, auto part) HWY_ATTR {
    const VF count = load(seen_by + r, part);
    VF max = lowest;
    for (int64_t j = 0; j < tile.seen; ++j) {
      const auto seen = hn::Lt(hn::Set(d, static_cast<float>(j)), count);
      max = hn::Max(max, hn::IfThenElse(seen, load(scores + j * tile.rows + r, part), lowest));
    }
    VF sum = hn::Zero(d);
    for (int64_t j = 0; j < tile.seen; ++j) {
      float* p = scores + j * tile.rows + r;
      const auto seen = hn::Lt(hn::Set(d, static_cast<float>(j)), count);
      const VF probability = hn::IfThenElseZero(seen, exp(hn::Sub(load(p, part), max)));
      store(probability, p, part);
      sum = hn::Add(sum, probability);
    }
    const VF inverse = hn::IfThenElseZero(hn::Ne(sum, hn::Zero(d)), hn::Div(hn::Set(d, 1.0f), sum));
    for (int64_t j = 0; j < tile.seen; ++j) {
      float* p = scores + j * tile.rows + r;
      store(hn::Mul(load(p, part), inverse), p, part);
    }
    store(hn::Add(max, log(sum)), lse + r, part);
  });
}

/// Blocks of the tile's queries; probabilities [seen, rows]; scratch: 2 seen n floats.
void choose(const BlockSelectionShape& s, const Tile& tile, const float* probabilities, float* scratch,
            int32_t* blocks) {
  float *importance = scratch, *by_query = scratch + tile.seen * tile.n;
  const bool ranked = (tile.first + tile.n - 1) / s.block_size + 1 > s.count;
  if (ranked) {
    for (int64_t j = 0; j < tile.seen; ++j) {
      const float* row = probabilities + j * tile.rows;
      for_each_vector(tile.n, [&](int64_t p, auto part) HWY_ATTR {
        VF sum = load(row + p, part);
        for (int64_t g = 1; g < tile.G; ++g) sum = hn::Add(sum, load(row + g * tile.n + p, part));
        store(sum, importance + j * tile.n + p, part);  // the sum over heads ranks as the mean does
      });
    }
    transpose(tile.seen, tile.n, importance, tile.n, by_query, tile.seen);
  }
  for (int64_t p = 0; p < tile.n; ++p) {
    int32_t* out = blocks + ((tile.b * s.L + tile.l0 + p) * s.Hk + tile.hk) * s.count;
    const int64_t own = (tile.first + p) / s.block_size;
    int64_t taken = 0;
    if (own < s.count) {
      for (; taken <= own; ++taken) out[taken] = static_cast<int32_t>(taken);
    } else if (s.count < 3) {  // the forced blocks among themselves
      const int64_t forced[3] = {0, std::max<int64_t>(own - 1, 1), own}, n = own == 1 ? 2 : 3;
      float ranks[3];
      for (int64_t i = 0; i < n; ++i) ranks[i] = forced[i] < tile.seen ? by_query[p * tile.seen + forced[i]] : 0.0f;
      taken = select_largest(ranks, n, s.count, out);
      for (int64_t i = 0; i < taken; ++i) out[i] = static_cast<int32_t>(forced[out[i]]);
    } else {
      out[taken++] = 0;
      // Block own - 1 and the ones before it are complete, so every block between is a candidate.
      const int64_t free = select_largest(by_query + p * tile.seen + 1, own - 2, s.count - 3, out + 1);
      for (; taken <= free; ++taken) ++out[taken];
      out[taken++] = static_cast<int32_t>(own - 1);
      out[taken++] = static_cast<int32_t>(own);
    }
    std::fill(out + taken, out + s.count, -1);
  }
}

template <typename T>
void forward_tile(const BlockSelectionShape& s, const Tile& tile, const BlockView<const void*>& q,
                  const BlockView<const float*>& k_mean, const BlockView<const float*>& v_mean,
                  const BlockView<void*>& o, int32_t* blocks, float* lse) {
  const int64_t rows = tile.rows, widest = std::max(s.E, s.Ev);
  float* rows_of = thread_scratch(rows * (widest + s.E + 2 + tile.seen) + 2 * tile.seen * tile.n);
  float* transposed = rows_of + rows * widest;
  float* seen_by = transposed + rows * s.E;
  float* row_lse = seen_by + rows;
  float* scores = row_lse + rows;
  float* ranks = scores + rows * tile.seen;
  pack<T>(tile, q, s.E, s.scale, rows_of);
  transpose(rows, s.E, rows_of, s.E, transposed, rows);
  fill_seen(s, tile, seen_by);
  gemm(tile.seen, rows, s.E, {tile.means(k_mean), k_mean.row, 1}, transposed, rows, scores, rows);
  softmax_columns(tile, seen_by, scores, row_lse);
  gemm(rows, s.Ev, tile.seen, {scores, 1, rows}, tile.means(v_mean), v_mean.row, rows_of, s.Ev);
  for (int64_t r = 0; r < rows; ++r) {
    unpack(rows_of + r * s.Ev, s.Ev, tile.row<T>(o, r));
    if (lse != nullptr) lse[tile.lse_index(s, r)] = row_lse[r];
  }
  choose(s, tile, scores, ranks, blocks);
}

template <typename T>
void forward_all(const BlockSelectionShape& s, const BlockView<const void*>& q, const BlockView<const float*>& k_mean,
                 const BlockView<const float*>& v_mean, const BlockView<void*>& o, int32_t* blocks, float* lse) {
  const int64_t n = queries_per_tile(s.H / s.Hk), tiles = (s.L + n - 1) / n, heads = s.B * s.Hk;
  parallel_for(tiles * heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t l0 = (tiles - 1 - item / heads) * n;  // the last queries see most blocks: longest work first
      forward_tile<T>(s, Tile(s, item % heads, l0, s.L), q, k_mean, v_mean, o, blocks, lse);
    }
  });
}

struct Gradients {
  BlockView<const void*> q;
  BlockView<const float*> k_mean, v_mean;
  BlockView<const void*> o;
  const float* lse;
  BlockView<const void*> grad_o;
  BlockView<void*> grad_q;
};

/// grad_k [N, E], grad_v [N, Ev]: sums of this part of the queries, added to.
template <typename T>
void backward_tile(const BlockSelectionShape& s, const Tile& tile, const Gradients& in, float* grad_k, float* grad_v) {
  const int64_t rows = tile.rows, widest = std::max(s.E, s.Ev);
  float* q = thread_scratch(rows * (2 * s.E + s.Ev + widest + 3 + 2 * tile.seen));
  float* grad_q = q + rows * s.E;
  float* grad_o = grad_q + rows * s.E;
  float* transposed = grad_o + rows * s.Ev;
  float* seen_by = transposed + rows * widest;
  float* lse = seen_by + rows;
  float* delta = lse + rows;
  float* p = delta + rows;           // [seen, rows]
  float* ds = p + tile.seen * rows;  // [seen, rows]
  pack<T>(tile, in.q, s.E, s.scale, q);
  pack<T>(tile, in.grad_o, s.Ev, 1.0f, grad_o);
  fill_seen(s, tile, seen_by);
  for (int64_t r = 0; r < rows; ++r) {
    const T* o = tile.row<const T>(in.o, r);
    lse[r] = in.lse[tile.lse_index(s, r)];
    delta[r] = sum_of_lanes(sum_over(s.Ev, [&](int64_t e, auto part) HWY_ATTR {
      return hn::Mul(load(o + e, part), load(grad_o + r * s.Ev + e, part));
    }));
  }
  transpose(rows, s.E, q, s.E, transposed, rows);
  gemm(tile.seen, rows, s.E, {tile.means(in.k_mean), in.k_mean.row, 1}, transposed, rows, p, rows);
  transpose(rows, s.Ev, grad_o, s.Ev, transposed, rows);
  gemm(tile.seen, rows, s.Ev, {tile.means(in.v_mean), in.v_mean.row, 1}, transposed, rows, ds, rows);
  const F d;
  for (int64_t j = 0; j < tile.seen; ++j) {
    const VF index = hn::Set(d, static_cast<float>(j));
    for_each_vector(rows, [&](int64_t r, auto part) HWY_ATTR {
      const int64_t at = j * rows + r;
      const auto seen = hn::Lt(index, load(seen_by + r, part));
      const VF probability = hn::IfThenElseZero(seen, exp(hn::Sub(load(p + at, part), load(lse + r, part))));
      store(probability, p + at, part);
      store(hn::Mul(probability, hn::Sub(load(ds + at, part), load(delta + r, part))), ds + at, part);
    });
  }
  // q carries the scale, so that only grad_q still lacks it.
  gemm<Store::kAdd>(tile.seen, s.E, rows, {ds, rows, 1}, q, s.E, grad_k, s.E);
  gemm<Store::kAdd>(tile.seen, s.Ev, rows, {p, rows, 1}, grad_o, s.Ev, grad_v, s.Ev);
  gemm(rows, s.E, tile.seen, {ds, 1, rows}, tile.means(in.k_mean), in.k_mean.row, grad_q, s.E);
  const VF scale = hn::Set(d, s.scale);
  for (int64_t r = 0; r < rows; ++r) {
    T* to = tile.row<T>(in.grad_q, r);
    for_each_vector(s.E, [&](int64_t e, auto part)
                             HWY_ATTR { store(hn::Mul(load(grad_q + r * s.E + e, part), scale), to + e, part); });
  }
}

/// to = sum of `count` rows of `width`, `step` apart.
void add_parts(const float* parts, int64_t count, int64_t step, int64_t width, float* to) {
  for_each_vector(width, [&](int64_t e, auto part) HWY_ATTR {
    VF sum = load(parts + e, part);
    for (int64_t i = 1; i < count; ++i) sum = hn::Add(sum, load(parts + i * step + e, part));
    store(sum, to + e, part);
  });
}

template <typename T>
void backward_all(const BlockSelectionShape& s, const Gradients& in, float* grad_k, float* grad_v) {
  const int64_t n = queries_per_tile(s.H / s.Hk), tiles = (s.L + n - 1) / n, heads = s.B * s.Hk;
  const int64_t per_part = (tiles + kParts - 1) / kParts * n, parts = (s.L + per_part - 1) / per_part;
  const int64_t size = s.N * (s.E + s.Ev);
  const auto sums = aligned_floats(std::max<int64_t>(1, heads * parts * size));
  parallel_for(heads * parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t head = item % heads, part = parts - 1 - item / heads;
      float* part_k = sums.get() + (head * parts + part) * size;
      std::fill_n(part_k, size, 0.0f);
      const int64_t last = std::min(s.L, (part + 1) * per_part);
      for (int64_t l = part * per_part; l < last; l += n)
        backward_tile<T>(s, Tile(s, head, l, last), in, part_k, part_k + s.N * s.E);
    }
  });
  parallel_for(heads * s.N, 16, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t head = item / s.N, j = item % s.N, row = (head / s.Hk * s.N + j) * s.Hk + head % s.Hk;
      const float* first = sums.get() + head * parts * size;
      add_parts(first + j * s.E, parts, size, s.E, grad_k + row * s.E);
      add_parts(first + s.N * s.E + j * s.Ev, parts, size, s.Ev, grad_v + row * s.Ev);
    }
  });
}

template <typename T>
void extend_all(const BlockMeansShape& s, const BlockView<const void*>& x, float* sums,
                const BlockView<float*>& means) {
  const VF count = hn::Set(F(), static_cast<float>(s.block_size));
  parallel_for(s.B * s.Hk, std::max<int64_t>(1, 16384 / (s.L * s.E)), [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t b = item / s.Hk, hk = item % s.Hk;
      const T* rows = static_cast<const T*>(x.data) + b * x.batch + hk * x.head;
      float* sum = sums + item * s.E;
      for (int64_t l = 0; l < s.L; ++l) {
        for_each_vector(s.E, [&](int64_t e, auto part) HWY_ATTR {
          store(hn::Add(load(sum + e, part), load(rows + l * x.row + e, part)), sum + e, part);
        });
        if ((s.position + l + 1) % s.block_size != 0) continue;
        float* mean = means.data + b * means.batch + (s.position + l) / s.block_size * means.row + hk * means.head;
        for_each_vector(
            s.E, [&](int64_t e, auto part) HWY_ATTR { store(hn::Div(load(sum + e, part), count), mean + e, part); });
        std::fill_n(sum, s.E, 0.0f);
      }
    }
  });
}

void extend(const BlockMeansShape& shape, BlockView<const void*> x, float* sum, BlockView<float*> means) {
  if (shape.element == Element::kBf16) {
    extend_all<uint16_t>(shape, x, sum, means);
  } else {
    extend_all<float>(shape, x, sum, means);
  }
}

void forward(const BlockSelectionShape& shape, BlockView<const void*> q, BlockView<const float*> k_mean,
             BlockView<const float*> v_mean, BlockView<void*> o, int32_t* blocks, float* lse) {
  if (shape.element == Element::kBf16) {
    forward_all<uint16_t>(shape, q, k_mean, v_mean, o, blocks, lse);
  } else {
    forward_all<float>(shape, q, k_mean, v_mean, o, blocks, lse);
  }
}

void backward(const BlockSelectionShape& shape, BlockView<const void*> q, BlockView<const float*> k_mean,
              BlockView<const float*> v_mean, BlockView<const void*> o, const float* lse, BlockView<const void*> grad_o,
              BlockView<void*> grad_q, float* grad_k, float* grad_v) {
  const Gradients in{q, k_mean, v_mean, o, lse, grad_o, grad_q};
  if (shape.element == Element::kBf16) {
    backward_all<uint16_t>(shape, in, grad_k, grad_v);
  } else {
    backward_all<float>(shape, in, grad_k, grad_v);
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace lt2
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lt2 {

HWY_EXPORT(extend);
HWY_EXPORT(forward);
HWY_EXPORT(backward);

void block_means_extend(const BlockMeansShape& shape, BlockView<const void*> x, float* sum, BlockView<float*> means) {
  HWY_DYNAMIC_DISPATCH(extend)(shape, x, sum, means);
}

void block_selection_forward(const BlockSelectionShape& shape, BlockView<const void*> q, BlockView<const float*> k_mean,
                             BlockView<const float*> v_mean, BlockView<void*> o, int32_t* blocks, float* lse) {
  HWY_DYNAMIC_DISPATCH(forward)(shape, q, k_mean, v_mean, o, blocks, lse);
}

void block_selection_backward(const BlockSelectionShape& shape, BlockView<const void*> q,
                              BlockView<const float*> k_mean, BlockView<const float*> v_mean, BlockView<const void*> o,
                              const float* lse, BlockView<const void*> grad_o, BlockView<void*> grad_q, float* grad_k,
                              float* grad_v) {
  HWY_DYNAMIC_DISPATCH(backward)(shape, q, k_mean, v_mean, o, lse, grad_o, grad_q, grad_k, grad_v);
}

}  // namespace lt2
#endif
