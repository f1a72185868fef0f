#pragma once
// AdamW as the official runs use it: it decays everything except what `decay_exempt` names. On the CPU it is one pass
// over memory in one parallel region for all parameters.
//
//     p = p (1 - lr wd);  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
//     p = p - lr (m / (1 - b1^n)) / (sqrt(v) / sqrt(1 - b2^n) + eps)        n: this parameter's own step count
//
// lr is the step's learning rate times the parameter's own factor (LrScale). A parameter without a gradient is skipped:
// no decay, no moments, no count. Source: arXiv 1711.05101, in the order of torch.optim.AdamW.
#include <functional>
#include <string>
#include <vector>

#include "base/named_tensors.h"
#include "config/train_config.h"

namespace lt2 {

/// Sum of the squares of all elements, in fp64; the same for any number of threads.
double sum_of_squares(const std::vector<torch::Tensor>& tensors);

/// The factor on the learning rate for the parameter of this name.
using LrScale = std::function<double(const std::string& name)>;

class AdamW {
 public:
  /// `parameters`: fp32 with official names, whole or contiguous pieces of them; `config` gives betas, epsilon,
  /// weight_decay and the names exempt from decay. Without `lr_scale` all train at one rate.
  AdamW(NamedTensors parameters, const OptimConfig& config, const LrScale& lr_scale = {});

  /// One step with the gradients scaled by `gradient_scale` (clipping) and learning rate `lr` x lr_scale. Leaves the
  /// gradients as they are.
  void step(double lr, double gradient_scale);

  /// Moments and step counts of the parameters updated so far: "NAME.exp_avg", "NAME.exp_avg_sq" in fp32 and
  /// "NAME.step", int64 [1].
  NamedTensors state() const;
  void restore(const NamedTensors& state);

 private:
  struct Slot {
    std::string name;
    torch::Tensor parameter, exp_avg, exp_avg_sq;
    int64_t steps = 0;
    double lr_scale = 1;
    bool decayed = true;
  };
  std::vector<Slot> slots_;
  OptimConfig config_;
};

}  // namespace lt2
