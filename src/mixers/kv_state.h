#pragma once
// Keys and values of the tokens seen: all of them, or the last `window` ones.
#include "mixers/mixer.h"

namespace lt2 {

class KvState : public MixerState {
 public:
  KvState(const StateOptions& options, int64_t kv_heads, int64_t head_dim);

  struct Keys {
    torch::Tensor k, v;      // [B, S, Hk, E] views of the cache, the new tokens last
    int64_t first_position;  // of row 0
  };
  /// Appends the rotated keys and the values of the next tokens, k, v [B, L, Hk, E], and returns every row that one of
  /// them may see.
  Keys append(const torch::Tensor& k, const torch::Tensor& v);

  NamedTensors tensors() const override;
  void restore(const NamedTensors& tensors, int64_t position) override;
  void fill_synthetic(int64_t tokens) override;
  static int64_t bytes_after(int64_t tokens, std::optional<int64_t> window, int64_t width, torch::ScalarType dtype);

 private:
  void make_room(int64_t tokens);
  /// Rows that the next token may still see: all, or the last window - 1.
  int64_t kept_rows() const;

  StateOptions options_;
  int64_t kv_heads_, head_dim_;
  torch::Tensor k_, v_;  // [B, Hk, capacity, E]
  int64_t rows_ = 0;     // in use; the last one is the newest token
};

}  // namespace lt2
