#pragma once
// Weight initialisation: distributions of the official code, drawn by inverse CDF from one seeded generator.
#include <cstdint>

#include "base/torch.h"

namespace lt2 {

class Initialiser {
 public:
  /// `base_std` is s of the description: init_base_std or dim^-1/2. Set `depth_factor` per layer.
  Initialiser(uint64_t seed, double base_std);

  /// Normal with the given std, truncated to +-limit.
  void truncated_normal(const torch::Tensor& t, double std, double limit);
  /// tn(s, 3s): every projection but the output ones of `full` and of the feed-forward.
  void projection(const torch::Tensor& t) { truncated_normal(t, base_std, 3 * base_std); }
  void uniform(const torch::Tensor& t, double low, double high);
  static void constant(const torch::Tensor& t, double value);

  double base_std;
  double depth_factor = 1.0;  // F of layer i, see init_std_factor

 private:
  torch::Generator generator_;
};

}  // namespace lt2
