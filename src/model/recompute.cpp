#include "model/recompute.h"

#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

#include "base/error.h"

namespace lt2 {
namespace {

// The part as a node of the backward graph. A torch::autograd::Function does not follow lists of tensors.
class RecomputeNode : public torch::autograd::Node {
 public:
  RecomputeNode(Part part, const Tensors& inputs, std::function<void()> after_backward)
      : Node(torch::autograd::collect_next_edges(inputs)),
        part_(std::move(part)),
        after_backward_(std::move(after_backward)) {
    for (const auto& input : inputs) {
      inputs_.emplace_back(input, /*is_output=*/false);
      wanted_.push_back(input.requires_grad());
    }
  }

  std::string name() const override { return "Recompute"; }

  torch::autograd::variable_list apply(torch::autograd::variable_list&& grads) override {
    LT2_CHECK(!inputs_.empty(), "the backward pass of a recomputed part can run only once");
    Tensors leaves;
    for (size_t i = 0; i < inputs_.size(); ++i)
      leaves.push_back(inputs_[i].unpack().detach().requires_grad_(wanted_[i]));
    Tensors outputs, gradients;
    {
      const torch::AutoGradMode with_gradients(true);
      const Tensors all = part_(leaves);
      for (size_t i = 0; i < all.size(); ++i) {
        if (!grads[i].defined() || !all[i].requires_grad()) continue;
        outputs.push_back(all[i]);
        gradients.push_back(grads[i]);
      }
    }
    torch::autograd::backward(outputs, gradients);
    if (after_backward_) after_backward_();
    torch::autograd::variable_list out;
    for (const auto& leaf : leaves) out.push_back(leaf.grad());
    return out;
  }

  void release_variables() override {
    inputs_.clear();
    part_ = {};
  }

 private:
  Part part_;
  std::function<void()> after_backward_;
  std::vector<torch::autograd::SavedVariable> inputs_;
  std::vector<bool> wanted_;
};

}  // namespace

Recompute parse_recompute(const std::string& text, const std::string& key) {
  if (text == "none") return Recompute::kNone;
  if (text == "loop") return Recompute::kLoop;
  if (text == "block") return Recompute::kBlock;
  if (text == "layer") return Recompute::kLayer;
  fail("{} must be none, loop, block or layer; found \"{}\"", key, text);
}

Tensors recomputed(const Part& part, const Tensors& inputs, const std::function<void()>& after_backward) {
  Tensors outputs;
  {
    torch::NoGradGuard no_grad;
    for (const auto& output : part(inputs)) outputs.push_back(output.detach());
  }
  const std::shared_ptr<RecomputeNode> node(new RecomputeNode(part, inputs, after_backward),
                                            torch::autograd::deleteNode);
  torch::autograd::set_history(outputs, node);
  return outputs;
}

}  // namespace lt2
