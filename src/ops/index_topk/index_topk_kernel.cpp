// Scores of a few queries against all their keys, then an exact selection per query.
//
// Scores come out transposed, [keys, columns] with column j * queries + p: keys are read as they lie in memory and the
// sum over heads runs along vectors of queries.
#include "ops/simd/aligned_floats.h"
#include "ops/simd/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/index_topk/index_topk_kernel.cpp"
#include <hwy/foreach_target.h>

#include <hwy/aligned_allocator.h>

#include <algorithm>
#include <type_traits>

#include "base/threads.h"
#include "ops/index_topk/kernel.h"
#include "ops/index_topk/select_largest.h"
#include "ops/simd/gemm-inl.h"
#include "ops/simd/io-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lt2 {
namespace HWY_NAMESPACE {
namespace {

constexpr int64_t kKeyTile = 128;
constexpr int64_t kQueries = 32;
constexpr int64_t kScoreBudget = 1 << 18;  // floats of one thread's score rows

struct Scratch {
  float* at(int64_t count) {
    if (size < count) {
      memory = aligned_floats(count);
      size = count;
    }
    return memory.get();
  }
  hwy::AlignedFreeUniquePtr<float[]> memory;
  int64_t size = 0;
};

/// Queries [l0, l0 + n) of sequence b.
struct Tile {
  int64_t b, l0, n;
};

template <typename T>
class Scorer {
 public:
  Scorer(const IndexTopkShape& shape, const IndexTopkData& data)
      : s_(shape), d_(data), heads_(data.weights != nullptr ? shape.J : 1) {}

  int64_t query_size(int64_t n) const { return s_.F * heads_ * n + heads_ * n; }

  /// Transposed queries [F, heads n], then weights [heads, n].
  void pack(const Tile& tile, float* packed) const {
    const int64_t columns = heads_ * tile.n;
    float* weights = packed + s_.F * columns;
    thread_local Scratch scratch;
    float* sum = scratch.at(s_.F);
    for (int64_t p = 0; p < tile.n; ++p) {
      const T* q = static_cast<const T*>(d_.q) + tile.b * d_.q_batch + (tile.l0 + p) * d_.q_position;
      for (int64_t j = 0; j < s_.J; ++j) {
        const bool first = d_.weights != nullptr || j == 0, last = d_.weights != nullptr || j == s_.J - 1;
        const VF factor = hn::Set(F(), d_.weights != nullptr ? 1.0f : 1.0f / static_cast<float>(s_.J));
        for_each_vector(s_.F, [&](int64_t f, auto part) HWY_ATTR {
          VF x = load(q + j * s_.F + f, part);
          if (!first) x = hn::Add(load(sum + f, part), x);
          store(last ? hn::Mul(x, factor) : x, sum + f, part);
        });
        if (!last) continue;
        const int64_t column = (d_.weights != nullptr ? j : 0) * tile.n + p;
        for (int64_t f = 0; f < s_.F; ++f) packed[f * columns + column] = sum[f];
        if (d_.weights != nullptr) weights[column] = d_.weights[(tile.b * s_.L + tile.l0 + p) * s_.J + j];
      }
    }
  }

  /// scores[p * ld + s] for keys s in [begin, end), at most kKeyTile of them.
  void score(const Tile& tile, const float* packed, int64_t begin, int64_t end, float* scores, int64_t ld) const {
    const int64_t columns = heads_ * tile.n, keys = end - begin;
    const float* weights = packed + s_.F * columns;
    thread_local Scratch scratch;
    float* dots = scratch.at(kKeyTile * (columns + s_.F));
    const T* k = static_cast<const T*>(d_.k) + tile.b * d_.k_batch + begin * d_.k_position;
    if constexpr (std::is_same_v<T, float>) {
      gemm(keys, columns, s_.F, {k, d_.k_position, 1}, packed, columns, dots, columns);
    } else {
      float* wide = dots + kKeyTile * columns;
      for (int64_t i = 0; i < keys; ++i) {
        for_each_vector(s_.F, [&](int64_t f, auto part) HWY_ATTR {
          store(load(k + i * d_.k_position + f, part), wide + i * s_.F + f, part);
        });
      }
      gemm(keys, columns, s_.F, {wide, s_.F, 1}, packed, columns, dots, columns);
    }
    if (d_.weights != nullptr) {
      const VF zero = hn::Zero(F());
      for (int64_t i = 0; i < keys; ++i) {
        float* row = dots + i * columns;
        for_each_vector(tile.n, [&](int64_t p, auto part) HWY_ATTR {
          VF sum = zero;
          for (int64_t j = 0; j < heads_; ++j) {
            const VF dot = hn::Max(load(row + j * tile.n + p, part), zero);
            sum = hn::MulAdd(load(weights + j * tile.n + p, part), dot, sum);
          }
          store(sum, row + p, part);
        });
      }
    }
    transpose(keys, tile.n, dots, columns, scores + begin, ld);
  }

  /// Chooses for query p of the tile; scores: its row.
  void select(const Tile& tile, int64_t p, const float* scores) const {
    const int64_t visible = s_.S - s_.L + tile.l0 + p + 1;
    int32_t* out = d_.indices + (tile.b * s_.L + tile.l0 + p) * s_.count;
    const int64_t taken = select_largest(scores, visible, s_.count, out);
    std::fill(out + taken, out + s_.count, -1);
  }

  int64_t keys_of(const Tile& tile) const { return s_.S - s_.L + tile.l0 + tile.n; }
  /// Every query of the tile takes all its keys: no scores needed.
  bool takes_all(const Tile& tile) const { return keys_of(tile) <= s_.count; }

 private:
  const IndexTopkShape& s_;
  const IndexTopkData& d_;
  int64_t heads_;
};

template <typename T>
void select_all(const IndexTopkShape& s, const IndexTopkData& data) {
  const Scorer<T> scorer(s, data);
  const int64_t n = std::min(s.L, std::clamp<int64_t>(kScoreBudget / s.S, 1, kQueries));
  const int64_t tiles = (s.L + n - 1) / n;
  const auto tile_of = [&](int64_t item) {
    const int64_t l0 = (tiles - 1 - item / s.B) * n;  // the last queries see most keys: longest work first
    return Tile{item % s.B, l0, std::min(n, s.L - l0)};
  };
  if (tiles * s.B >= num_threads()) {
    parallel_for(tiles * s.B, 1, [&](int64_t begin, int64_t end) {
      thread_local Scratch query_scratch, score_scratch;
      for (int64_t item = begin; item < end; ++item) {
        const Tile tile = tile_of(item);
        const int64_t keys = scorer.keys_of(tile);
        float* scores = nullptr;
        if (!scorer.takes_all(tile)) {
          float* packed = query_scratch.at(scorer.query_size(tile.n));
          scores = score_scratch.at(tile.n * keys);
          scorer.pack(tile, packed);
          for (int64_t s0 = 0; s0 < keys; s0 += kKeyTile)
            scorer.score(tile, packed, s0, std::min(keys, s0 + kKeyTile), scores, keys);
        }
        for (int64_t p = 0; p < tile.n; ++p) scorer.select(tile, p, scores == nullptr ? nullptr : scores + p * keys);
      }
    });
    return;
  }
  // Decoding few sequences: the threads share each query's keys.
  thread_local Scratch query_scratch, score_scratch;
  for (int64_t item = 0; item < tiles * s.B; ++item) {
    const Tile tile = tile_of(item);
    const int64_t keys = scorer.keys_of(tile);
    float* scores = nullptr;
    if (!scorer.takes_all(tile)) {
      float* packed = query_scratch.at(scorer.query_size(tile.n));
      scores = score_scratch.at(tile.n * keys);
      scorer.pack(tile, packed);
      parallel_for((keys + kKeyTile - 1) / kKeyTile, 4, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i)
          scorer.score(tile, packed, i * kKeyTile, std::min(keys, (i + 1) * kKeyTile), scores, keys);
      });
    }
    parallel_for(tile.n, 1, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) scorer.select(tile, p, scores == nullptr ? nullptr : scores + p * keys);
    });
  }
}

void select(const IndexTopkShape& shape, const IndexTopkData& data) {
  if (shape.element == Element::kBf16) {
    select_all<uint16_t>(shape, data);
  } else {
    select_all<float>(shape, data);
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace lt2
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lt2 {

HWY_EXPORT(select);

void index_topk_select(const IndexTopkShape& shape, const IndexTopkData& data) {
  HWY_DYNAMIC_DISPATCH(select)(shape, data);
}

}  // namespace lt2
#endif
