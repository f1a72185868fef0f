#pragma once
// What a linear mixer remembers: its matrices and the last inputs of its convolutions, whatever the context's length.
#include "mixers/mixer.h"
#include "ops/linear_recurrence/op.h"

namespace lt2 {

class LinearState : public MixerState {
 public:
  /// `convolutions`: name and channels of each; the tails hold the last `tail_rows` inputs.
  LinearState(const StateOptions& options, int64_t heads, int64_t key_dim, int64_t value_dim,
              std::vector<std::pair<std::string, int64_t>> convolutions, int64_t tail_rows);

  NamedTensors tensors() const override;
  void restore(const NamedTensors& tensors, int64_t position) override;
  void fill_synthetic(int64_t tokens) override;
  std::unique_ptr<MixerState> clone(int64_t reserve_tokens) const override;
  void mark() override;
  void rewind(int64_t keep) override;

  /// Moves past the tokens of `in`, which led to the matrices `after`.
  void advance(const LinearRecurrenceInput& in, const torch::Tensor& after);
  /// Moves convolution i past its inputs x, which led to `tail`.
  void advance_tail(size_t i, const torch::Tensor& x, const torch::Tensor& tail);

  /// Copies S aside, for a reader after S has moved on: into a buffer made at the first call and kept. No part of
  /// tensors().
  torch::Tensor set_aside();

  torch::Tensor S;                   // [B, H, K, V] fp32
  std::vector<torch::Tensor> tails;  // [B, tail_rows, channels] each, oldest first

 private:
  std::vector<std::pair<std::string, int64_t>> convolutions_;
  torch::Tensor aside_;  // as S; undefined before the first set_aside()

  // What has happened since mark(): few tokens, so their recurrence is run again rather than every state kept.
  struct Mark {
    torch::Tensor S;
    std::vector<torch::Tensor> tails;
    int64_t position;
    std::vector<LinearRecurrenceInput> inputs;
    std::vector<std::vector<torch::Tensor>> convolved;
  };
  std::optional<Mark> mark_;
};

}  // namespace lt2
