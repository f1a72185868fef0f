// Forward pass: online softmax over key blocks, one tile of query rows in the caches (see tile-inl.h).
//
// What makes a row's result independent of everything but its own query and keys: every score and, in each segment,
// every output element is one chain of fused multiply-adds in ascending order (gemm), sums go block by block, key
// blocks and segments lie at absolute positions, and a block, a key or a segment that the row does not see leaves its
// maximum, sum and output as they are, bit for bit.
#include "ops/simd/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/causal_attention/forward_kernel.cpp"
#include <hwy/foreach_target.h>

#include "ops/simd/aligned_floats.h"

#include <cmath>
#include <type_traits>

#include "base/threads.h"
#include "ops/causal_attention/decode-inl.h"
#include "ops/causal_attention/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lt2 {
namespace HWY_NAMESPACE {
namespace {

// A row sums each segment of 2048 keys on its own and then adds up the segments, everywhere: so decoding may hand the
// segments of one long sequence to many threads.
constexpr int64_t kSegmentBlocks = 32;
// Tiles that share a packed key block.
constexpr int64_t kTiles = 2;

/// scores [keys, kRows] -> probabilities relative to the running maximum, which they update; shrink [kRows]: the factor
/// of what was summed before.
template <bool kMasked>
HWY_INLINE void softmax_block(const BlockSpan& block, const float* x, float* scores, const SoftmaxState& state,
                              float* shrink) {
  const F d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const VF hidden = hn::Set(d, -HUGE_VALF);
  for (int64_t r = block.row_begin; r < block.row_end; r += lanes) {
    const VF old_max = hn::LoadU(d, state.max + r);
    VF max = old_max;
    for (int64_t j = block.key_begin; j < block.key_end; ++j) {
      float* p = scores + j * kRows + r;
      VF score = hn::LoadU(d, p);
      if constexpr (kMasked) {
        score = hn::IfThenElse(visible(block, j, hn::LoadU(d, x + r)), score, hidden);
        hn::StoreU(score, d, p);
      }
      max = hn::Max(max, score);
    }
    VF sum = hn::Zero(d);
    for (int64_t j = block.key_begin; j < block.key_end; ++j) {
      float* p = scores + j * kRows + r;
      const VF probability = exp2_of_negative(hn::Sub(hn::LoadU(d, p), max));
      hn::StoreU(probability, d, p);
      sum = hn::Add(sum, probability);
    }
    const VF factor = exp2_of_negative(hn::Sub(old_max, max));
    hn::StoreU(max, d, state.max + r);
    hn::StoreU(hn::MulAdd(hn::LoadU(d, state.sum + r), factor, sum), d, state.sum + r);
    hn::StoreU(factor, d, shrink + r);
  }
}

// Never inlined: one compiled body for every caller, so the same bits.
HWY_NOINLINE void softmax_step(const TileSpan& tile, const BlockSpan& block, int64_t Ev, const float* x, float* scores,
                               const SoftmaxState& state, float* shrink) {
  if (block.masked) {
    softmax_block<true>(block, x, scores, state, shrink);
  } else {
    softmax_block<false>(block, x, scores, state, shrink);
  }
  for (int64_t r = block.row_begin; r < std::min(block.row_end, tile.count); ++r) {
    if (shrink[r] != 1.0f) scale_row(state.o + r * packed_length(Ev), Ev, shrink[r]);
  }
}

/// total += part, for rows that saw different keys.
HWY_NOINLINE void merge(const TileSpan& tile, int64_t Ev, const SoftmaxState& total, const SoftmaxState& part) {
  const F d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d)), ld = packed_length(Ev);
  HWY_ALIGN float of_total[kRows], of_part[kRows];
  for (int64_t r = 0; r < tile.padded; r += lanes) {
    const VF a = hn::LoadU(d, total.max + r), b = hn::LoadU(d, part.max + r), max = hn::Max(a, b);
    const VF fa = exp2_of_negative(hn::Sub(a, max)), fb = exp2_of_negative(hn::Sub(b, max));
    hn::StoreU(fa, d, of_total + r);
    hn::StoreU(fb, d, of_part + r);
    hn::StoreU(max, d, total.max + r);
    const VF sum = hn::Mul(hn::LoadU(d, total.sum + r), fa);
    hn::StoreU(hn::MulAdd(hn::LoadU(d, part.sum + r), fb, sum), d, total.sum + r);
  }
  for (int64_t r = 0; r < tile.count; ++r) {
    const VF fa = hn::Set(d, of_total[r]), fb = hn::Set(d, of_part[r]);
    float* to = total.o + r * ld;
    const float* from = part.o + r * ld;
    for_each_vector(Ev, [&](int64_t e, auto lane) HWY_ATTR {
      store(hn::MulAdd(load(from + e, lane), fb, hn::Mul(load(to + e, lane), fa)), to + e, lane);
    });
  }
}

template <typename T>
struct Problem {
  const AttentionShape& shape;
  AttentionInputView q, k, v;
  AttentionOutputView o;
  float* lse2;

  const T* key_row(const AttentionInputView& view, const Heads& heads, int64_t position) const {
    return static_cast<const T*>(view.data) + heads.b * view.batch + heads.hk * view.head +
           (position - shape.first_position) * view.position;
  }
};

/// Scratch of one thread, kept between calls: decoding allocates nothing.
float* thread_scratch(int64_t count) {
  thread_local hwy::AlignedFreeUniquePtr<float[]> memory;
  thread_local int64_t size = 0;
  if (size < count) {
    memory = aligned_floats(count);
    size = count;
  }
  return memory.get();
}

/// Scratch of a work item apart from the softmax states.
struct ForwardScratch {
  float *keys, *values;                // [kKeys, packed_length(E or Ev)]
  float* scores;                       // [kKeys, kRows]
  float* shrink;                       // [kRows]
  float *queries[kTiles], *x[kTiles];  // [E, kRows], [kRows]

  static int64_t size(int64_t E, int64_t Ev) {
    return Arena::size(kKeys * packed_length(E)) + Arena::size(kKeys * packed_length(Ev)) + kKeys * kRows + kRows +
           kTiles * (queries_size(E) + kRows);
  }
  static int64_t queries_size(int64_t E) { return std::max(E * kRows, kFewRows * packed_length(E)); }
  ForwardScratch(Arena& arena, int64_t E, int64_t Ev)
      : keys(arena.take(kKeys * packed_length(E))),
        values(arena.take(kKeys * packed_length(Ev))),
        scores(arena.take(kKeys * kRows)),
        shrink(arena.take(kRows)) {
    for (int64_t i = 0; i < kTiles; ++i) {
      queries[i] = arena.take(queries_size(E));
      x[i] = arena.take(kRows);
    }
  }
};

/// Rows [begin, end) of a key block as fp32: in place where they lie densely (or, as values, within such rows), else
/// packed.
template <typename T>
HWY_INLINE const float* block_rows(const T* row0, ptrdiff_t stride, int64_t begin, int64_t end, int64_t E,
                                   float* packed, ptrdiff_t* ld) {
  if constexpr (std::is_same_v<T, float>) {
    if (stride >= E && stride < 2 * E) {
      *ld = stride;
      return row0;
    }
  }
  *ld = packed_length(E);
  for (int64_t j = begin; j < end; ++j) widen_row(row0 + j * stride, E, 1.0f, packed + j * *ld);
  return packed;
}

/// A key block is packed once and serves all tiles.
template <typename T>
HWY_NOINLINE void attend_blocks(const Problem<T>& in, const Heads& heads, const TileSpan* tiles, int64_t count,
                                int64_t block_begin, int64_t block_end, const ForwardScratch& scratch,
                                const SoftmaxState* states) {
  const int64_t E = in.shape.E, Ev = in.shape.Ev, ld = packed_length(Ev);
  for (int64_t b = block_begin; b < block_end; ++b) {
    const int64_t begin = std::max<int64_t>(0, tiles[0].begin - b * kKeys);
    const int64_t end = std::min(kKeys, tiles[count - 1].end - b * kKeys);
    if (begin >= end) continue;
    ptrdiff_t ldk, ldv;
    // Row 0 of a block that begins before the first key is no address to read, only the origin of the rows that exist.
    const float* k = block_rows(in.key_row(in.k, heads, b * kKeys), in.k.position, begin, end, E, scratch.keys, &ldk);
    const float* v =
        block_rows(in.key_row(in.v, heads, b * kKeys), in.v.position, begin, end, Ev, scratch.values, &ldv);
    for (int64_t t = 0; t < count; ++t) {
      const TileSpan& tile = tiles[t];
      const BlockSpan block(tile, b);
      if (block.empty()) continue;
      const int64_t r0 = block.row_begin, j0 = block.key_begin, keys = block.key_end - j0;
      gemm(keys, block.row_end - r0, E, {k + j0 * ldk, ldk, 1}, scratch.queries[t] + r0, kRows,
           scratch.scores + j0 * kRows + r0, kRows);
      softmax_step(tile, block, Ev, scratch.x[t], scratch.scores, states[t], scratch.shrink);
      gemm<Store::kAdd>(std::min(block.row_end, tile.count) - r0, Ev, keys,
                        {scratch.scores + j0 * kRows + r0, 1, kRows}, v + j0 * ldv, ldv, states[t].o + r0 * ld, ld);
    }
  }
}

bool is_few(const Heads& heads) { return heads.rows <= kFewRows; }

/// Queries into scratch slot t: as rows if they are few, else transposed (`rows`: room for the rows meanwhile).
template <typename T>
void pack_queries(const Problem<T>& in, const Heads& heads, const TileSpan& tile, float* rows,
                  const ForwardScratch& scratch, int64_t t) {
  const float scale = in.shape.scale * kLog2e;
  if (is_few(heads)) return pack_rows<T>(heads, tile, in.q, in.shape.E, scale, scratch.queries[t]);
  pack_tile<T>(heads, tile, in.q, in.shape.E, scale, rows, scratch.queries[t]);
  fill_positions(tile, scratch.x[t]);
}

template <typename T>
void attend_segment(const Problem<T>& in, const Heads& heads, const TileSpan* tiles, int64_t count, int64_t segment,
                    const ForwardScratch& scratch, const SoftmaxState* states) {
  const int64_t begin = std::max(segment * kSegmentBlocks, tiles[0].begin / kKeys);
  const int64_t end = std::min((segment + 1) * kSegmentBlocks, (tiles[count - 1].end - 1) / kKeys + 1);
  for (int64_t t = 0; t < count; ++t) states[t].reset(tiles[t], in.shape.Ev);
  if (is_few(heads)) {
    const DecodeKeys<T> keys{in.key_row(in.k, heads, 0), in.key_row(in.v, heads, 0), in.k.position, in.v.position};
    decode_blocks(keys, tiles[0], begin, end, in.shape.E, in.shape.Ev, scratch.queries[0], scratch.scores, states[0]);
  } else {
    attend_blocks(in, heads, tiles, count, begin, end, scratch, states);
  }
}

template <typename T>
void write_rows(const Problem<T>& in, const Heads& heads, const TileSpan& tile, const SoftmaxState& state) {
  const AttentionShape& s = in.shape;
  for (int64_t r = 0; r < tile.count; ++r) {
    narrow_row(state.o + r * packed_length(s.Ev), s.Ev, 1.0f / state.sum[r], heads.row<T>(in.o, tile.row0 + r));
    if (in.lse2 != nullptr) {
      in.lse2[heads.lse_index(s, tile.row0 + r)] = state.max[r] + std::log2(state.sum[r]);
    }
  }
}

int64_t first_segment(const TileSpan& tile) { return tile.begin / kKeys / kSegmentBlocks; }
int64_t last_segment(const TileSpan& tile) { return (tile.end - 1) / kKeys / kSegmentBlocks; }

/// Rows [row0, row0 + kTiles kRows) of one key head, segment after segment.
template <typename T>
void attend_rows(const Problem<T>& in, const Heads& heads, int64_t row0) {
  const int64_t E = in.shape.E, Ev = in.shape.Ev;
  Arena arena(thread_scratch(ForwardScratch::size(E, Ev) + 2 * kTiles * SoftmaxState::size(kRows, std::max(E, Ev))));
  const ForwardScratch scratch(arena, E, Ev);
  const SoftmaxState totals[kTiles] = {{arena, kRows, Ev}, {arena, kRows, Ev}};
  // Their outputs first hold the packed queries, which may be wider.
  const SoftmaxState parts[kTiles] = {{arena, kRows, std::max(E, Ev)}, {arena, kRows, std::max(E, Ev)}};
  const TileSpan tiles[kTiles] = {{in.shape, heads, row0}, {in.shape, heads, std::min(row0 + kRows, heads.rows - 1)}};
  const int64_t count = row0 + kRows < heads.rows ? kTiles : 1;
  for (int64_t t = 0; t < count; ++t) {
    pack_queries(in, heads, tiles[t], parts[t].o, scratch, t);
  }
  const int64_t first = first_segment(tiles[0]), last = last_segment(tiles[count - 1]);
  attend_segment(in, heads, tiles, count, first, scratch, totals);
  for (int64_t segment = first + 1; segment <= last; ++segment) {
    attend_segment(in, heads, tiles, count, segment, scratch, parts);
    for (int64_t t = 0; t < count; ++t) merge(tiles[t], Ev, totals[t], parts[t]);
  }
  for (int64_t t = 0; t < count; ++t) write_rows(in, heads, tiles[t], totals[t]);
}

/// Decoding with fewer key heads than threads: the segments of a head run at the same time.
template <typename T>
void attend_split(const Problem<T>& in) {
  const AttentionShape& s = in.shape;
  const TileSpan tile(s, Heads(s, 0, 0), 0);  // the same for every head
  const int64_t first = first_segment(tile), segments = last_segment(tile) - first + 1;
  const int64_t width = std::max(s.E, s.Ev);  // outputs first hold the packed queries
  const int64_t state_size = SoftmaxState::size(tile.count, width);
  const auto memory = aligned_floats(s.B * s.Hk * segments * state_size);
  const auto state_of = [&](int64_t item) {
    Arena arena(memory.get() + item * state_size);
    return SoftmaxState(arena, tile.count, width);
  };
  parallel_for(s.B * s.Hk * segments, 1, [&](int64_t begin, int64_t end) {
    Arena arena(thread_scratch(ForwardScratch::size(s.E, s.Ev)));
    const ForwardScratch scratch(arena, s.E, s.Ev);
    for (int64_t item = begin; item < end; ++item) {
      const Heads heads(s, item / segments / s.Hk, item / segments % s.Hk);
      const SoftmaxState state = state_of(item);
      pack_queries(in, heads, tile, state.o, scratch, 0);
      attend_segment(in, heads, &tile, 1, first + item % segments, scratch, &state);
    }
  });
  for (int64_t head = 0; head < s.B * s.Hk; ++head) {
    const SoftmaxState total = state_of(head * segments);
    for (int64_t i = 1; i < segments; ++i) merge(tile, s.Ev, total, state_of(head * segments + i));
    write_rows(in, Heads(s, head / s.Hk, head % s.Hk), tile, total);
  }
}

template <typename T>
void forward_all(const Problem<T>& in) {
  const AttentionShape& s = in.shape;
  const int64_t rows = s.L * (s.H / s.Hk), heads = s.B * s.Hk;
  if (rows <= kRows && heads < 4 * num_threads() && s.S > kSegmentBlocks * kKeys) return attend_split(in);
  const int64_t items = (rows + kTiles * kRows - 1) / (kTiles * kRows);
  parallel_for(items * heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      // The last rows see most keys: longest work first.
      const int64_t head = item % heads, index = items - 1 - item / heads;
      attend_rows(in, Heads(s, head / s.Hk, head % s.Hk), index * kTiles * kRows);
    }
  });
}

void forward(const AttentionShape& shape, AttentionInputView q, AttentionInputView k, AttentionInputView v,
             AttentionOutputView o, float* lse2) {
  if (shape.element == Element::kF32) {
    forward_all(Problem<float>{shape, q, k, v, o, lse2});
  } else {
    forward_all(Problem<uint16_t>{shape, q, k, v, o, lse2});
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace lt2
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lt2 {

HWY_EXPORT(forward);

void causal_attention_forward(const AttentionShape& shape, AttentionInputView q, AttentionInputView k,
                              AttentionInputView v, AttentionOutputView o, float* lse2) {
  HWY_DYNAMIC_DISPATCH(forward)(shape, q, k, v, o, lse2);
}

}  // namespace lt2
#endif
