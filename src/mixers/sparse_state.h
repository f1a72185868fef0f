#pragma once
// The states of the sparse mixers.
#include "mixers/kv_state.h"
#include "mixers/mixer.h"

namespace lt2 {

/// Rows [B, rows, width] that only grow, in a buffer that doubles.
class RowCache {
 public:
  RowCache(int64_t batch, int64_t width, torch::TensorOptions options, int64_t reserve_rows);
  /// Adds `count` rows with arbitrary contents and returns all rows, [B, rows, width].
  torch::Tensor grow(int64_t count);
  /// Adds rows [B, L, width] and returns all.
  torch::Tensor append(const torch::Tensor& rows);
  /// All rows, a view.
  torch::Tensor rows() const { return data_.narrow(1, 0, count_); }
  int64_t count() const { return count_; }
  /// Replaces the contents with `name` of `tensors`, which must have `count` rows.
  void restore(const NamedTensors& tensors, const std::string& name, int64_t count);
  /// Keeps only the oldest `count` rows.
  void shorten(int64_t count) { count_ = count; }
  /// A copy with room for `reserve_rows`.
  RowCache clone(int64_t reserve_rows) const;

 private:
  torch::Tensor data_;  // [B, capacity, width]
  int64_t count_ = 0;
};

/// NSA: rotated keys and values of every token, their means over every complete block, and the sums of the incomplete
/// block, so that a decoding step reads the means and the chosen blocks only.
class NsaState : public MixerState {
 public:
  NsaState(const StateOptions& options, int64_t kv_heads, int64_t head_dim, int64_t block_size);

  struct Seen {
    torch::Tensor k, v;            // [B, S, Hk, E]
    torch::Tensor k_mean, v_mean;  // [B, S / block_size, Hk, E] fp32
  };
  /// Appends the rotated keys and the values of the next tokens, [B, L, Hk, E], and returns everything seen, as views.
  Seen append(const torch::Tensor& k, const torch::Tensor& v);

  NamedTensors tensors() const override;
  void restore(const NamedTensors& tensors, int64_t position) override;
  void fill_synthetic(int64_t tokens) override;
  std::unique_ptr<MixerState> clone(int64_t reserve_tokens) const override;
  void mark() override;
  void rewind(int64_t keep) override;

 private:
  StateOptions options_;
  int64_t kv_heads_, head_dim_, block_size_;
  int64_t marked_ = 0;  // position
  KvState kv_;
  RowCache k_means_, v_means_;   // [B, blocks, Hk E] fp32
  torch::Tensor k_sum_, v_sum_;  // [B, Hk, E] fp32
};

/// DSA: the key-value row and the index key of every token.
class DsaState : public MixerState {
 public:
  DsaState(const StateOptions& options, int64_t kv_width, int64_t index_width);

  NamedTensors tensors() const override;
  void restore(const NamedTensors& tensors, int64_t position) override;
  void fill_synthetic(int64_t tokens) override;
  std::unique_ptr<MixerState> clone(int64_t reserve_tokens) const override;
  void mark() override;
  void rewind(int64_t keep) override;

  RowCache kv;     // [B, S, kv_width]
  RowCache index;  // [B, S, index_width]

 private:
  StateOptions options_;
  int64_t kv_width_, index_width_;
  int64_t marked_ = 0;  // position
};

}  // namespace lt2
