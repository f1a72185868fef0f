#include "train/replica.h"

#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/variable.h>

#include <cmath>
#include <map>

#include "base/error.h"

namespace lt2 {

using torch::Tensor;

Sharding parse_sharding(const std::string& text) {
  if (text == "no_shard") return Sharding::kNone;
  if (text == "zero1") return Sharding::kZero1;
  if (text == "zero2") return Sharding::kZero2;
  if (text == "full_shard") return Sharding::kFull;
  fail("distributed.fsdp_type must be no_shard, zero1, zero2 or full_shard; found \"{}\"", text);
}

struct Replica::Member {
  std::string name;
  Tensor parameter;
  std::vector<int64_t> shape;
  int64_t offset = 0, count = 0;      // in the flat buffer
  Tensor sum;                         // of the gradients of earlier micro-steps
  Tensor piece;                       // the part that this rank's optimizer steps: its share, or the whole parameter
  int64_t piece_begin = 0;            // its first element, counted in the parameter
  int64_t parts = 0, parts_left = 0;  // how often a backward pass adds to .grad, learned in the first exchange
  bool has_gradient = false;
  std::shared_ptr<torch::autograd::Node> accumulator;
  uintptr_t hook_key = 0;
};

struct Replica::Unit {
  std::string name;
  std::vector<Member> members;
  int64_t share = 0;  // elements of a rank's share
  Tensor flat;        // the parameters, [W share]; full_shard: only while gathered
  Tensor own;         // full_shard: this rank's share
  Tensor gradient;    // in the exchange, [W share]; afterwards the part that this rank steps
  std::vector<Group::Pending> pending;
  size_t not_final = 0;  // members whose gradient is still to come
  int64_t layer = -1;    // of layer units
};

// Runs each time a backward pass has added to a parameter's gradient.
class Replica::GradientHook : public torch::autograd::FunctionPostHook {
 public:
  GradientHook(Replica* replica, Unit* unit, size_t member) : replica_(replica), unit_(unit), member_(member) {}
  torch::autograd::variable_list operator()(const torch::autograd::variable_list& outputs,
                                            const torch::autograd::variable_list&) override {
    if (replica_->exchanging_) replica_->final_gradient(*unit_, unit_->members[member_]);
    return outputs;
  }

 private:
  Replica* replica_;
  Unit* unit_;
  size_t member_;
};

Replica::Replica(LoopedTransformer& model, const OptimConfig& optim, std::shared_ptr<Group> group, Sharding sharding,
                 std::shared_ptr<Objective> objective)
    : model_(model),
      group_(std::move(group)),
      sharding_(group_->world() > 1 ? sharding : Sharding::kNone),
      objective_(std::move(objective)),
      unit_of_layer_(model.layers.size()) {
  NamedTensors first, last;
  std::vector<NamedTensors> layers(model.layers.size());
  for (const auto& item : model.official_parameters()) {
    const bool trains = objective_->lr_scale(item.first) > 0;
    item.second.requires_grad_(trains);
    if (!trains) continue;
    if (item.first.starts_with("layers.")) {
      layers[static_cast<size_t>(std::stoul(item.first.substr(7)))].push_back(item);
    } else {
      (item.first == "norm.weight" || item.first == "output.weight" ? last : first).push_back(item);
    }
  }
  add_unit("output", last, -1);
  for (size_t i = layers.size(); i-- > 0;) add_unit(fmt::format("layers.{}", i), layers[i], static_cast<int64_t>(i));
  add_unit("embedding", first, -1);
  LT2_CHECK(!units_.empty(), "the objective trains no parameter of the model");

  NamedTensors pieces;
  for (const auto& unit : units_) {
    for (const auto& member : unit->members) {
      if (member.piece.defined()) pieces.emplace_back(member.name, member.piece);
    }
  }
  optimizer_ =
      std::make_unique<AdamW>(pieces, optim, [this](const std::string& name) { return objective_->lr_scale(name); });
  if (sharding_ == Sharding::kFull) {
    LT2_CHECK(model.recompute == Recompute::kLayer, "full_shard needs distributed.activation_checkpointing layer");
    model.watch = this;
    for (const auto& unit : units_) {
      if (unit->layer >= 0) release(*unit);
    }
  }
}

Replica::~Replica() {
  if (model_.watch == this) model_.watch = nullptr;
  for (const auto& unit : units_) {
    for (const auto& member : unit->members) {
      if (member.accumulator) member.accumulator->del_post_hook(member.hook_key);
    }
  }
}

void Replica::add_unit(const std::string& name, const NamedTensors& parameters, int64_t layer) {
  if (parameters.empty()) return;
  auto unit = std::make_unique<Unit>();
  unit->name = name;
  unit->layer = layer;
  int64_t size = 0;
  for (const auto& [parameter_name, parameter] : parameters) {
    Member member;
    member.name = parameter_name;
    member.parameter = parameter;
    member.shape = parameter.sizes().vec();
    member.offset = size;
    member.count = parameter.numel();
    size += member.count;
    unit->members.push_back(std::move(member));
  }
  const int64_t W = group_->world();
  unit->share = (size + W - 1) / W;
  units_.push_back(std::move(unit));
  Unit& added = *units_.back();
  if (layer >= 0) unit_of_layer_[static_cast<size_t>(layer)] = &added;
  if (sharding_ == Sharding::kNone) {
    for (auto& member : added.members) member.piece = member.parameter;
  } else {
    lay_flat(added);
  }
  if (W == 1) return;
  for (size_t i = 0; i < added.members.size(); ++i) {
    Member& member = added.members[i];
    member.accumulator = torch::autograd::impl::grad_accumulator(member.parameter);
    member.hook_key = member.accumulator->add_post_hook(std::make_unique<GradientHook>(this, &added, i));
  }
}

// Moves the parameters into the flat buffer; this rank's pieces are views of its share.
void Replica::lay_flat(Unit& unit) {
  torch::NoGradGuard no_grad;
  const int64_t begin = group_->rank() * unit.share, end = begin + unit.share;
  unit.flat = torch::zeros({group_->world() * unit.share}, unit.members[0].parameter.options().requires_grad(false));
  for (auto& member : unit.members) {
    const Tensor place = unit.flat.narrow(0, member.offset, member.count);
    place.copy_(member.parameter.detach().reshape({-1}));
    member.parameter.set_data(place.view(member.shape));
  }
  Tensor share = unit.flat.narrow(0, begin, unit.share);
  if (sharding_ == Sharding::kFull && unit.layer >= 0) share = unit.own = share.clone();
  for (auto& member : unit.members) {
    const int64_t from = std::max(begin, member.offset), to = std::min(end, member.offset + member.count);
    if (from >= to) continue;
    member.piece = share.narrow(0, from - begin, to - from);
    member.piece_begin = from - member.offset;
  }
}

// Puts the unit's weights together from the ranks' shares.
void Replica::gather(Unit& unit) {
  if (unit.flat.defined()) return;
  torch::NoGradGuard no_grad;
  announce({Exchange::kGather, &unit});
  unit.flat = torch::empty({group_->world() * unit.share}, unit.own.options());
  std::vector<Group::Pending> pending;
  for (int r = 0; r < group_->world(); ++r) {
    const Tensor share = unit.flat.narrow(0, r * unit.share, unit.share);
    if (r == group_->rank()) share.copy_(unit.own);
    pending.push_back(group_->broadcast(share, r));
  }
  for (auto& each : pending) each.wait();
  for (auto& member : unit.members)
    member.parameter.set_data(unit.flat.narrow(0, member.offset, member.count).view(member.shape));
}

void Replica::release(Unit& unit) {
  torch::NoGradGuard no_grad;
  unit.flat = Tensor();
  for (auto& member : unit.members) member.parameter.set_data(torch::empty({0}, unit.own.options()));
  // The packed copies are as large as the weights.
  for (const auto& module : model_.layers[static_cast<size_t>(unit.layer)]->modules()) {
    if (auto* linear = dynamic_cast<LinearImpl*>(module.get())) linear->drop_pack_cache();
  }
}

void Replica::enter(size_t layer) {
  if (Unit* unit = unit_of_layer_[layer]) gather(*unit);
}

void Replica::leave(size_t layer) {
  if (Unit* unit = unit_of_layer_[layer]) release(*unit);
}

void Replica::backward_done(size_t layer) {
  if (!unit_of_layer_[layer]) return;
  Unit& unit = *unit_of_layer_[layer];
  announce({Exchange::kReduce, &unit});
  const Tensor flat = flat_gradient(unit);
  std::vector<Group::Pending> pending;
  for (int r = 0; r < group_->world(); ++r)
    pending.push_back(group_->reduce(flat.narrow(0, r * unit.share, unit.share), r));
  for (auto& each : pending) each.wait();
  const Tensor own = flat.narrow(0, group_->rank() * unit.share, unit.share);
  if (unit.gradient.defined()) {
    unit.gradient.add_(own);
  } else {
    unit.gradient = own.clone();
  }
  release(unit);
}

void Replica::begin_step(int64_t micro_steps) {
  micro_steps_left_ = micro_steps;
  exchanged_ = 0;
  for (auto& order : orders_) order.recorded = order.known;
  if (forward_is_collective()) return;
  orders_[1].exchanges.clear();
  for (const auto& unit : units_) orders_[1].exchanges.push_back({Exchange::kLaunch, unit.get()});
  for (auto& order : orders_) order.known = true;
}

// Before each exchange of a step. Until all ranks know a micro-step's order, they announce each exchange to each other,
// so that a rank that has given up the step can follow (announced()).
void Replica::announce(Exchange exchange) {
  if (following_ || micro_steps_left_ == 0) return;
  Order& of = order();
  if (of.known) {
    ++exchanged_;
    return;
  }
  if (exchanged_ == 0) of.exchanges.clear();
  ++exchanged_;
  of.exchanges.push_back(exchange);
  double unit = 0;
  while (exchange.unit && units_[static_cast<size_t>(unit)].get() != exchange.unit) ++unit;
  group_->sum({1, static_cast<double>(exchange.kind), unit});
}

// The next exchange of the ranks that continue; kEnd if no rank does.
Replica::Exchange Replica::announced() {
  const auto sums = group_->sum({0, 0, 0});
  if (sums[0] == 0) return {Exchange::kEnd};
  return {static_cast<Exchange::Kind>(std::lround(sums[1] / sums[0])),
          units_[static_cast<size_t>(std::lround(sums[2] / sums[0]))].get()};
}

void Replica::take_part(const Exchange& exchange) {
  switch (exchange.kind) {
    case Exchange::kGather:
      gather(*exchange.unit);
      return release(*exchange.unit);
    case Exchange::kReduce:
      return backward_done(static_cast<size_t>(exchange.unit->layer));
    case Exchange::kLaunch:
      return launch(*exchange.unit);
    case Exchange::kEnd:
      return;
  }
}

void Replica::end_micro_step() {
  announce({Exchange::kEnd});
  order().recorded = true;
  exchanged_ = 0;
  --micro_steps_left_;
}

void Replica::give_up_step() {
  exchanging_ = false;
  if (group_->world() > 1) {
    following_ = true;
    for (const auto& unit : units_) {
      if (unit->own.defined()) release(*unit);
    }
    for (; micro_steps_left_ > 0; --micro_steps_left_) {
      if (order().known) {
        for (; exchanged_ < order().exchanges.size(); ++exchanged_) take_part(order().exchanges[exchanged_]);
      } else {
        for (auto next = announced(); next.kind != Exchange::kEnd; next = announced()) take_part(next);
      }
      exchanged_ = 0;
    }
    for (const auto& unit : units_) {
      for (auto& each : unit->pending) each.wait();
      unit->pending.clear();
    }
    following_ = false;
  }
  micro_steps_left_ = 0;
  drop_gradients();
}

void Replica::begin_backward(bool last) {
  exchanging_ = last && group_->world() > 1;
  launched_ = finished_ = 0;
  for (auto& unit : units_) {
    unit->not_final = unit->members.size();
    for (auto& member : unit->members) {
      if (!learned_) member.parts = 0;
      member.parts_left = member.parts;
    }
  }
}

void Replica::final_gradient(Unit& unit, Member& member) {
  if (forward_is_collective() && unit.layer >= 0) return;  // exchanged call by call
  if (!learned_) {
    ++member.parts;
    return;
  }
  LT2_CHECK(member.parts_left > 0, "the gradient of {} came after its exchange", member.name);
  if (--member.parts_left > 0) return;
  if (--unit.not_final == 0) launch_ready();
}

// In a fixed order, so that all ranks' exchanges meet.
void Replica::launch_ready() {
  while (launched_ < units_.size() && units_[launched_]->not_final == 0) {
    launch(*units_[launched_++]);
    // The unit before this one is still on its way; the earlier ones have arrived, and zero2 keeps only a share of
    // them.
    if (launched_ > 2) finish_until(launched_ - 2);
  }
}

// The unit's gradients, micro-steps summed, as this rank's part of the mean; takes them out of the parameters.
Tensor Replica::flat_gradient(Unit& unit) {
  torch::NoGradGuard no_grad;
  const Tensor flat =
      torch::zeros({group_->world() * unit.share}, unit.members[0].parameter.options().requires_grad(false));
  const double share = 1.0 / group_->world();
  for (auto& member : unit.members) {
    Tensor& gradient = member.parameter.mutable_grad();
    if (!gradient.defined() && !member.sum.defined()) continue;
    member.has_gradient = true;
    Tensor place = flat.narrow(0, member.offset, member.count);
    if (gradient.defined()) place.add_(gradient.reshape({-1}));
    if (member.sum.defined()) place.add_(member.sum.reshape({-1}));
    place.mul_(share);
    gradient = member.sum = Tensor();
  }
  return flat;
}

void Replica::launch(Unit& unit) {
  if (forward_is_collective() && unit.layer >= 0) return;
  announce({Exchange::kLaunch, &unit});
  unit.gradient = flat_gradient(unit);
  if (sharding_ == Sharding::kNone || sharding_ == Sharding::kZero1) {
    unit.pending.push_back(group_->all_reduce(unit.gradient));
    return;
  }
  for (int r = 0; r < group_->world(); ++r)
    unit.pending.push_back(group_->reduce(unit.gradient.narrow(0, r * unit.share, unit.share), r));
}

void Replica::finish_until(size_t count) {
  while (finished_ < count) finish(*units_[finished_++]);
}

// Hands the exchanged gradients to the optimizer's pieces.
void Replica::finish(Unit& unit) {
  for (auto& each : unit.pending) each.wait();
  unit.pending.clear();
  const int64_t begin = group_->rank() * unit.share;
  const bool own_only = sharding_ == Sharding::kZero2 || sharding_ == Sharding::kFull;
  const bool already = sharding_ == Sharding::kFull && unit.layer >= 0;
  if (own_only && !already) unit.gradient = unit.gradient.narrow(0, begin, unit.share).clone();
  for (auto& member : unit.members) {
    if (!member.has_gradient || !member.piece.defined()) continue;
    const int64_t at = member.offset + member.piece_begin - (own_only ? begin : 0);
    member.piece.mutable_grad() = unit.gradient.narrow(0, at, member.piece.numel()).view(member.piece.sizes());
  }
}

void Replica::end_backward(bool last) {
  torch::NoGradGuard no_grad;
  exchanging_ = false;
  if (last && group_->world() > 1) {
    for (; launched_ < units_.size(); ++launched_) {
      launch(*units_[launched_]);
      if (launched_ > 1) finish_until(launched_ - 1);
    }
    finish_until(units_.size());
    end_micro_step();
    return;
  }
  if (group_->world() > 1) end_micro_step();
  // Micro-steps are summed outside .grad: the result does not depend on how often a pass adds to .grad.
  for (auto& unit : units_) {
    for (auto& member : unit->members) {
      Tensor& gradient = member.parameter.mutable_grad();
      if (gradient.defined()) {
        if (member.sum.defined()) {
          member.sum.add_(gradient);
        } else {
          member.sum = gradient;
        }
      }
      gradient = last ? member.sum : Tensor();
      if (last) member.sum = Tensor();
    }
  }
}

std::vector<std::pair<std::string, double>> Replica::gradient_norms() {
  std::vector<double> squares;
  for (const auto& unit : units_) {
    std::vector<Tensor> gradients;
    for (const auto& member : unit->members) {
      if (member.piece.defined() && member.piece.grad().defined()) gradients.push_back(member.piece.grad());
    }
    squares.push_back(sum_of_squares(gradients));
  }
  if (sharding_ != Sharding::kNone) squares = group_->sum(squares);
  std::vector<std::pair<std::string, double>> out;
  for (size_t i = 0; i < units_.size(); ++i) out.emplace_back(units_[i]->name, std::sqrt(squares[i]));
  return out;
}

void Replica::step(double lr, double gradient_scale) {
  // Here, because in a step that one rank gives up only the others may have learned. The first step with `learned_` is
  // also the first whose last micro-step launches units at the same places as later ones.
  orders_[0].known = orders_[0].known || orders_[0].recorded;
  orders_[1].known = orders_[1].known || (learned_ && orders_[1].recorded);
  learned_ = true;
  optimizer_->step(lr, gradient_scale);
  if (sharding_ == Sharding::kNone) return;
  torch::NoGradGuard no_grad;
  std::vector<Group::Pending> pending;
  for (auto& unit : units_) {
    if (unit->own.defined()) continue;  // gathered when it is needed
    for (int r = 0; r < group_->world(); ++r)
      pending.push_back(group_->broadcast(unit->flat.narrow(0, r * unit->share, unit->share), r));
  }
  for (auto& each : pending) each.wait();
  // Torch does not see this write: packed copies of the weights look at the version.
  for (auto& unit : units_) {
    for (auto& member : unit->members) member.parameter.unsafeGetTensorImpl()->bump_version();
  }
}

void Replica::drop_gradients() {
  for (auto& unit : units_) {
    unit->gradient = Tensor();
    for (auto& member : unit->members) {
      member.has_gradient = false;
      member.sum = Tensor();
      member.parameter.mutable_grad() = Tensor();
      if (member.piece.defined()) member.piece.mutable_grad() = Tensor();
    }
  }
}

double Replica::parameter_norm() {
  std::vector<Tensor> pieces;
  for (const auto& unit : units_) {
    for (const auto& member : unit->members) {
      if (member.piece.defined()) pieces.push_back(member.piece.detach());
    }
  }
  double squares = sum_of_squares(pieces);
  if (sharding_ != Sharding::kNone) squares = group_->sum({squares})[0];
  return std::sqrt(squares);
}

NamedTensors Replica::parameters() {
  NamedTensors out = model_.official_parameters();
  if (sharding_ != Sharding::kFull) return out;
  torch::NoGradGuard no_grad;
  std::map<std::string, Tensor> copies;
  for (auto& unit : units_) {
    if (!unit->own.defined()) continue;
    gather(*unit);
    for (const auto& member : unit->members) {
      if (group_->rank() == 0) copies[member.name] = member.parameter.detach().clone();
    }
    release(*unit);
  }
  if (group_->rank() != 0) return {};
  for (auto& [name, tensor] : out) {
    if (const auto copy = copies.find(name); copy != copies.end()) tensor = copy->second;
  }
  return out;
}

NamedTensors Replica::optimizer_state() {
  const NamedTensors own = optimizer_->state();
  if (sharding_ == Sharding::kNone) return own;
  std::map<std::string, Tensor> mine(own.begin(), own.end());
  NamedTensors out;
  for (auto& unit : units_) {
    // The owner of a parameter's first element gives its step count.
    std::vector<double> steps;
    for (const auto& member : unit->members) {
      const auto found = mine.find(member.name + ".step");
      const bool tells = member.piece.defined() && member.piece_begin == 0 && found != mine.end();
      steps.push_back(tells ? static_cast<double>(found->second.item<int64_t>()) : 0);
    }
    steps = group_->sum(steps);
    for (const char* kind : {".exp_avg", ".exp_avg_sq"}) {
      const Tensor flat =
          torch::zeros({group_->world() * unit->share}, unit->members[0].parameter.options().requires_grad(false));
      for (const auto& member : unit->members) {
        const auto found = mine.find(member.name + kind);
        if (found == mine.end()) continue;
        flat.narrow(0, member.offset + member.piece_begin, member.piece.numel()).copy_(found->second);
      }
      for (int r = 0; r < group_->world(); ++r)
        group_->broadcast(flat.narrow(0, r * unit->share, unit->share), r).wait();
      if (group_->rank() != 0) continue;
      for (size_t i = 0; i < unit->members.size(); ++i) {
        const Member& member = unit->members[i];
        if (steps[i] > 0)
          out.emplace_back(member.name + kind, flat.narrow(0, member.offset, member.count).view(member.shape).clone());
      }
    }
    for (size_t i = 0; i < unit->members.size() && group_->rank() == 0; ++i) {
      if (steps[i] > 0)
        out.emplace_back(unit->members[i].name + ".step",
                         torch::tensor({static_cast<int64_t>(steps[i])}, torch::kInt64));
    }
  }
  return out;
}

void Replica::restore_optimizer(const NamedTensors& whole) {
  if (sharding_ == Sharding::kNone) return optimizer_->restore(whole);
  const std::map<std::string, Tensor> given(whole.begin(), whole.end());
  NamedTensors pieces;
  for (const auto& unit : units_) {
    for (const auto& member : unit->members) {
      const auto step = given.find(member.name + ".step");
      if (!member.piece.defined() || step == given.end()) continue;
      pieces.push_back(*step);
      for (const char* kind : {".exp_avg", ".exp_avg_sq"}) {
        const Tensor moment = take(whole, member.name + kind, member.shape);
        pieces.emplace_back(member.name + kind,
                            moment.reshape({-1}).narrow(0, member.piece_begin, member.piece.numel()));
      }
    }
  }
  optimizer_->restore(pieces);
}

}  // namespace lt2
