#pragma once
// The state of a linear mixer: its matrices and the last inputs of its convolutions, of the same size at every context
// length.
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

  /// Advances past the tokens of `in`, which gave the matrices `after`.
  void advance(const LinearRecurrenceInput& in, const torch::Tensor& after);
  /// Advances convolution i past its inputs x, which gave `tail`.
  void advance_tail(size_t i, const torch::Tensor& x, const torch::Tensor& tail);

  /// Copies S into a separate buffer, for a reader that needs it after S has changed. The buffer is made at the first
  /// call and kept; it is not part of tensors().
  torch::Tensor set_aside();

  torch::Tensor S;                   // [B, H, K, V] fp32
  std::vector<torch::Tensor> tails;  // [B, tail_rows, channels] each, oldest first

 private:
  std::vector<std::pair<std::string, int64_t>> convolutions_;
  torch::Tensor aside_;  // as S; undefined before the first set_aside()

  // The inputs since mark(). They are few, so rewind() runs their recurrence again instead of keeping every state.
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
