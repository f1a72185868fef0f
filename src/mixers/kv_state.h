#pragma once
// Keys and values of the tokens seen: all of them, or the last `window` ones.
#include "mixers/mixer.h"

namespace lt2 {

/// Rows of the tokens seen, per head: all of them, or the newest ones that a window's next token may see. With a window
/// the memory is bounded by window - 1 rows and some slack, however many tokens one call appends.
class TokenRows {
 public:
  TokenRows(const StateOptions& options, int64_t heads, int64_t width);

  /// Rows that the next token may still see: all, or the last window - 1.
  int64_t kept() const;
  /// Appends rows [B, L, heads, width] and returns every row that one of their tokens may see, [B, S, heads, width],
  /// the new ones last. Valid until the next call.
  torch::Tensor append(const torch::Tensor& rows);
  /// The kept rows [B, heads, kept, width], a view; undefined before the first append.
  torch::Tensor view() const;
  /// Replaces everything with `name` of `tensors`: what view() gave after `position` tokens.
  void restore(const NamedTensors& tensors, const std::string& name, int64_t position);
  /// As restore, with 0.01 everywhere.
  void fill_synthetic(int64_t position);
  static int64_t kept_after(int64_t tokens, std::optional<int64_t> window);
  /// Rows that are allocated then, at least.
  static int64_t allocated_after(int64_t tokens, std::optional<int64_t> window);
  /// A copy of the kept rows with room for `reserve_tokens`.
  TokenRows clone(int64_t reserve_tokens) const;
  /// See MixerState::mark: from here on no row is dropped that rewind() would need.
  void mark() { since_mark_ = 0; }
  void rewind(int64_t keep);

 private:
  void make_room(int64_t tokens);
  /// A buffer of at least `rows` rows with the newest `kept` ones at its front.
  void move_to(int64_t capacity, int64_t kept);
  torch::Tensor newest(int64_t count) const { return data_.narrow(2, rows_ - count, count); }

  StateOptions options_;
  int64_t heads_, width_;
  int64_t limit_;                      // of the capacity
  torch::Tensor data_;                 // [B, heads, capacity, width]
  int64_t rows_ = 0;                   // in use; the last one is the newest token
  std::optional<int64_t> since_mark_;  // rows appended
};

class KvState : public MixerState {
 public:
  KvState(const StateOptions& options, int64_t kv_heads, int64_t head_dim);

  struct Keys {
    torch::Tensor k, v;      // [B, S, Hk, E] the new tokens last; valid until the next append
    int64_t first_position;  // of row 0
  };
  /// Appends the rotated keys and the values of the next tokens, k, v [B, L, Hk, E], and returns every row that one of
  /// them may see.
  Keys append(const torch::Tensor& k, const torch::Tensor& v);

  NamedTensors tensors() const override;
  void restore(const NamedTensors& tensors, int64_t position) override;
  void fill_synthetic(int64_t tokens) override;
  std::unique_ptr<MixerState> clone(int64_t reserve_tokens) const override;
  KvState copy(int64_t reserve_tokens) const;
  void mark() override;
  void rewind(int64_t keep) override;
  static int64_t bytes_after(int64_t tokens, std::optional<int64_t> window, int64_t width, torch::ScalarType dtype);

 private:
  TokenRows k_, v_;
  int64_t marked_ = 0;  // position
};

}  // namespace lt2
