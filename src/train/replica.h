#pragma once
// This rank's copy, or share, of a model in training for an objective: it brings the ranks' gradients together and
// steps the weights. Parameters that the objective does not train stay whole on every rank and out of all that follows.
//
//   no_shard    every rank has weights, gradients and moments; gradients are summed over the ranks (DDP)
//   zero1       moments are shared out: each rank steps 1/W of every unit, then all take its weights
//   zero2       gradients too: each rank receives the sum of its own share only
//   full_shard  weights too: each call of a layer, in every loop, gathers its weights and frees them again. Keeping
//               them for all T loops would cost as much as the unsharded model, so a layer is gathered T times.
//               Layers are recomputed in the backward pass.
//
// A unit is a layer, the output with its norm, or the embedding with the residual weights: its parameters are
// contiguous in one flat buffer of W equal shares and are exchanged together. Without recomputation a layer's gradients
// are final during the backward pass of loop 0, and a unit's exchange overlaps the backward pass of the units before
// it. Source: arXiv 1910.02054 (ZeRO), 2006.15704 (overlap).
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "distributed/group.h"
#include "model/looped_transformer.h"
#include "train/adamw.h"
#include "train/objective.h"

namespace lt2 {

enum class Sharding { kNone, kZero1, kZero2, kFull };

/// "no_shard", "zero1", "zero2", "full_shard".
Sharding parse_sharding(const std::string& text);

class Replica : private LayerWatch {
 public:
  /// `model` holds the same weights on every rank and must outlive the replica, which takes over their memory. With one
  /// rank nothing is shared out, whatever `sharding` says. Sets requires_grad of every parameter to whether the
  /// objective trains it. Throws lt2::Error if it trains none, and for full_shard without recomputed layers.
  Replica(LoopedTransformer& model, const OptimConfig& optim, std::shared_ptr<Group> group = std::make_shared<Group>(),
          Sharding sharding = Sharding::kNone,
          std::shared_ptr<Objective> objective = std::make_shared<LanguageModelLoss>());
  ~Replica() override;
  Replica(const Replica&) = delete;
  Replica& operator=(const Replica&) = delete;

  LoopedTransformer& model() { return model_; }
  Objective& objective() { return *objective_; }
  Group& group() { return *group_; }
  /// Whether a forward pass is an exchange, so that all ranks must run the same ones.
  bool forward_is_collective() const { return sharding_ == Sharding::kFull; }

  /// Before the first micro-step of a step.
  void begin_step(int64_t micro_steps);
  /// Called before and after the backward pass of a micro-step; the `last` one exchanges the gradients. Afterwards the
  /// parameters' .grad are empty. The end of the last one leaves the mean over the ranks of the sums over the
  /// micro-steps.
  void begin_backward(bool last);
  void end_backward(bool last);
  /// After an exception in a forward or backward pass of this rank: takes part in the remaining exchanges of the step,
  /// so that no other rank waits in vain, and drops the gradients. All ranks must then skip the step.
  void give_up_step();
  /// (unit, L2 norm of its gradient), the same on every rank.
  std::vector<std::pair<std::string, double>> gradient_norms();
  /// AdamW with the gradients scaled; afterwards every rank has the new weights that it needs.
  void step(double lr, double gradient_scale);
  void drop_gradients();
  /// L2 norm of the weights that train.
  double parameter_norm();

  /// Whole tensors under official names, on rank 0 (elsewhere possibly empty). All ranks must call.
  NamedTensors parameters();
  /// As AdamW::state() of an unsharded run, on rank 0. All ranks must call.
  NamedTensors optimizer_state();
  /// Restores what optimizer_state() gave, whatever the number of ranks was then.
  void restore_optimizer(const NamedTensors& whole);

 private:
  struct Member;
  struct Unit;
  class GradientHook;
  struct Exchange {
    enum Kind { kEnd, kGather, kReduce, kLaunch } kind;  // kEnd: the micro-step has no more exchanges
    Unit* unit = nullptr;
  };
  // The exchanges of a micro-step, the same on every rank. Without full_shard they are the units' launches in the last
  // micro-step. With it the objective decides which layers run when, and all steps run them in the same order.
  struct Order {
    std::vector<Exchange> exchanges;
    bool recorded = false;  // here
    bool known = false;     // on every rank: no announcements are needed any more
  };

  void add_unit(const std::string& name, const NamedTensors& parameters, int64_t layer);
  void lay_flat(Unit& unit);
  void gather(Unit& unit);
  void release(Unit& unit);
  void final_gradient(Unit& unit, Member& member);
  void launch_ready();
  void launch(Unit& unit);
  void finish_until(size_t count);
  void finish(Unit& unit);
  Order& order() { return orders_[micro_steps_left_ == 1 ? 1 : 0]; }
  void announce(Exchange exchange);
  Exchange announced();
  void take_part(const Exchange& exchange);
  void end_micro_step();
  torch::Tensor flat_gradient(Unit& unit);
  void enter(size_t layer) override;
  void leave(size_t layer) override;
  void backward_done(size_t layer) override;

  LoopedTransformer& model_;
  std::shared_ptr<Group> group_;
  Sharding sharding_;
  std::shared_ptr<Objective> objective_;
  std::vector<std::unique_ptr<Unit>> units_;  // in the order in which gradients become final; none is empty
  std::vector<Unit*> unit_of_layer_;          // null: nothing in the layer trains
  std::unique_ptr<AdamW> optimizer_;
  bool exchanging_ = false, learned_ = false;
  size_t launched_ = 0, finished_ = 0;  // units, in their order
  int64_t micro_steps_left_ = 0;
  size_t exchanged_ = 0;    // of this micro-step
  Order orders_[2];         // of a micro-step before the last one, of the last one
  bool following_ = false;  // takes part in the exchanges of a step that this rank has given up
};

}  // namespace lt2
