#pragma once
// Log-softmax, loss and its gradient on a block of logits.
#include <cstdint>

namespace lt2 {

struct CrossEntropyBlock {
  int64_t rows, V;
  float* logits;           // [rows, V]; replaced by gradient_scale * (softmax - onehot) when gradients are wanted
  const int64_t* targets;  // [rows], each in [0, V)
  double* losses;          // [rows], receives -log softmax(logits)[target]
  bool gradient;
  float gradient_scale;
};

void cross_entropy_block(const CrossEntropyBlock& block);

}  // namespace lt2
