// LoopedTransformer::run, the one pass: T loops over the rows of a batch or of several sequences, with or without
// states, gradients, recomputation and listeners.
#include "base/error.h"
#include "model/looped_transformer.h"
#include "model/walks.h"
#include "ops/per_channel/op.h"
#include "ops/pointer.h"
#include "ops/rms_norm/op.h"

namespace lt2 {

// Calls the listeners at `at`; `make` runs only if there are any.
template <class Make>
void LoopedTransformer::tap(const Pass& pass, TapPoint at, Make make) const {
  if (!pass.taps || !pass.taps->wants(at)) return;
  at.draw = pass.draw;
  if (pass.walks) {
    for (const auto& [sequence, count] : pass.walks->running()) at.rows.emplace_back(sequence, count);
  }
  const torch::Tensor tensor = make();
  if (!pass.tapped) return pass.taps->give(at, tensor);
  pass.tapped->points.push_back(std::move(at));
  pass.tapped->tensors.push_back(tensor);
}

void LoopedTransformer::tap_states(const Pass& pass, const Place& place,
                                   std::span<const SequenceRows> sequences) const {
  TapPoint at{.kind = TapKind::kState, .loop = place.t, .layer = place.first};
  if (!pass.taps || !pass.taps->wants(at)) return;
  for (size_t s = 0; s < sequences.size(); ++s) {
    at.sequence = pass.walks ? static_cast<int64_t>(pass.walks->running()[s].sequence) : 0;
    for (const auto& [name, tensor] : sequences[s].state->tensors()) {
      at.tensor = name;
      tap(pass, at, [&tensor = tensor] { return tensor; });
    }
  }
}

torch::Tensor LoopedTransformer::run_layer(const torch::Tensor& h, const Place& place, const Pass& pass) {
  const auto i = static_cast<size_t>(place.first), t = static_cast<size_t>(place.t);
  std::vector<SequenceRows> sequences;
  for (const auto& [draw, count] : pass.sequences)
    sequences.push_back({draw->slots[t * layers.size() + i].get(), count});
  const MixerCall call{.window = layers[i]->window(pass.plan.windows[t][i]),
                       .sequences = std::span<const SequenceRows>(sequences),
                       .carry = pass.carries ? &(*pass.carries)[i] : nullptr,
                       .losses = pass.mixer_losses};
  LayerImpl::Listeners listeners;
  const auto listen = [&](TapKind kind, auto& listener) {
    const TapPoint at{.kind = kind, .loop = place.t, .layer = place.first};
    if (!pass.taps || !pass.taps->wants(at)) return;
    listener = [this, &pass, at](const torch::Tensor& x) { tap(pass, at, [&] { return x; }); };
  };
  listen(TapKind::kMixerIn, listeners.mixer_in);
  listen(TapKind::kMixerOut, listeners.mixer_out);
  if (at_each_layer) at_each_layer();
  if (watch) watch->enter(i);
  const auto out = layers[i]->forward(h, call, compute_type, listeners);
  if (watch && !torch::GradMode::is_enabled()) watch->leave(i);
  tap(pass, {.kind = TapKind::kLayerOut, .loop = place.t, .layer = place.first}, [&] { return out; });
  tap_states(pass, place, sequences);
  return out;
}

torch::Tensor LoopedTransformer::run_block(const torch::Tensor& h_block, const Place& place, const Pass& pass) {
  auto h = h_block;
  for (int64_t i = place.first; i < place.last; ++i)
    h = run_part(Recompute::kLayer, &LoopedTransformer::run_layer, h, {place.t, i, i + 1}, pass);
  if (!block_residual_weight.defined()) return h;
  const auto weight = block_residual_weight[place.first / pass.plan.block_size];
  return per_channel({.x = h_block, .weight = weight, .base = h}, h.scalar_type());
}

torch::Tensor LoopedTransformer::run_loop(const torch::Tensor& h_loop, const Place& place, const Pass& pass) {
  auto h = h_loop;
  for (int64_t first = 0; first < place.last; first += pass.plan.block_size) {
    const Place block{place.t, first, std::min(first + pass.plan.block_size, place.last)};
    h = run_part(Recompute::kBlock, &LoopedTransformer::run_block, h, block, pass);
  }
  if (early_exit_gate) return rms_norm(h, norm->weight, config_.norm_eps, h.scalar_type());
  if (!residual_weight.defined()) return h;
  return per_channel({.x = h_loop, .weight = residual_weight[place.t], .base = h}, h.scalar_type());
}

// Runs `part`, and recomputes it in the backward pass if `level` is the level of recomputation.
torch::Tensor LoopedTransformer::run_part(Recompute level, Run part, const torch::Tensor& h, const Place& place,
                                          const Pass& pass) {
  if (!torch::GradMode::is_enabled() || !h.requires_grad()) return (this->*part)(h, place, pass);
  if (level == recompute) return recompute_part(part, h, place, pass);
  // A separate node for the part's input: its gradients are summed inside the part first, recomputed or not.
  const auto input = h.view_as(h);
  if (at_each_layer && level == Recompute::kLayer)
    input.register_hook([this](const torch::Tensor&) { at_each_layer(); });
  return (this->*part)(input, place, pass);
}

// Besides h, the carries of the part's layers, the losses of its mixers and the tapped tensors go in or out.
torch::Tensor LoopedTransformer::recompute_part(Run part, const torch::Tensor& h, const Place& place,
                                                const Pass& pass) {
  const auto each_carried = [place](std::vector<LoopCarry>& carries, const auto& visit) {
    for (int64_t i = place.first; i < place.last; ++i) {
      LoopCarry& carry = carries[static_cast<size_t>(i)];
      for (auto* tensor : {&carry.k, &carry.v, &carry.g, &carry.beta}) visit(*tensor);
    }
  };
  Tensors inputs{h};
  std::vector<bool> given;
  if (pass.carries) {
    each_carried(*pass.carries, [&](const torch::Tensor& tensor) {
      given.push_back(tensor.defined());
      if (tensor.defined()) inputs.push_back(tensor);
    });
  }
  // Which carried tensors come back, in their order, whether a loss comes back, and the tapped points; the second run
  // gives the same.
  auto returned = std::make_shared<std::vector<bool>>();
  auto has_loss = std::make_shared<bool>(false);
  auto points = std::make_shared<std::vector<TapPoint>>();
  const AttentionPlan plan = pass.plan;
  const bool with_carries = pass.carries != nullptr, with_losses = pass.mixer_losses != nullptr;
  const int64_t draw = pass.draw;
  // The listeners decide which tensors go out. The second run needs this too, when the taps may be gone: so it has a
  // copy, and calls no listener.
  const auto listeners = pass.taps ? std::make_shared<const Taps>(*pass.taps) : nullptr;
  const auto again = [=, this](const Tensors& in) {
    std::vector<LoopCarry> carries(with_carries ? layers.size() : 0);
    size_t next = 1, at = 0;
    if (with_carries)
      each_carried(carries, [&](torch::Tensor& tensor) {
        if (given[at++]) tensor = in[next++];
      });
    Tensors losses;
    Tapped tapped;
    Tensors out{(this->*part)(in[0], place,
                              {.plan = plan,
                               .draw = draw,
                               .mixer_losses = with_losses ? &losses : nullptr,
                               .carries = with_carries ? &carries : nullptr,
                               .taps = listeners.get(),
                               .tapped = &tapped})};
    returned->clear();
    if (with_carries) {
      each_carried(carries, [&](const torch::Tensor& tensor) {
        returned->push_back(tensor.defined());
        if (tensor.defined()) out.push_back(tensor);
      });
    }
    *has_loss = !losses.empty();
    if (*has_loss) out.push_back(losses.size() == 1 ? losses[0] : torch::stack(losses).sum());
    *points = std::move(tapped.points);
    out.insert(out.end(), tapped.tensors.begin(), tapped.tensors.end());
    return out;
  };
  std::function<void()> after;
  if (watch) after = [this, layer = static_cast<size_t>(place.first)] { watch->backward_done(layer); };
  const Tensors out = recomputed(again, inputs, after);
  size_t next = 1, at = 0;
  if (with_carries) {
    each_carried(*pass.carries,
                 [&](torch::Tensor& tensor) { tensor = (*returned)[at++] ? out[next++] : torch::Tensor(); });
  }
  if (*has_loss) pass.mixer_losses->push_back(out[next++]);
  for (const auto& point : *points) pass.taps->give(point, out[next++]);
  return out[0];
}

torch::Tensor LoopedTransformer::run(torch::Tensor h, Pass pass) {
  LT2_CHECK(!watch || !torch::GradMode::is_enabled() || recompute == Recompute::kLayer,
            "training with sharded layers must recompute them: distributed.activation_checkpointing layer");
  const auto N = static_cast<int64_t>(layers.size());
  std::vector<LoopCarry> carries(config_.state_carry == "token" ? layers.size() : 0);
  if (!carries.empty()) pass.carries = &carries;
  pass.taps = taps;
  auto* walks = pass.walks;
  // Nodes on the residual stream recompute the parts: it needs a gradient even if the embedding is not trained.
  if (torch::GradMode::is_enabled() && recompute != Recompute::kNone && !h.requires_grad()) h.requires_grad_();
  if (!walks) tap(pass, {.kind = TapKind::kEmbedding}, [&] { return h; });
  torch::Tensor weighted;
  for (int64_t t = 0; t < config_.loop_count; ++t) {
    if (walks) {
      h = walks->enter(t);
      if (!h.defined()) continue;
      pass.sequences.clear();
      for (const auto& [sequence, count] : walks->running())
        pass.sequences.push_back({&walks->draw_of(sequence), count});
      if (t == 0) tap(pass, {.kind = TapKind::kEmbedding}, [&] { return h; });
    }
    h = run_part(Recompute::kLoop, &LoopedTransformer::run_loop, h, {t, 0, N}, pass);
    tap(pass, {.kind = TapKind::kLoopOut, .loop = t}, [&] { return h; });
    tap(pass, {.kind = TapKind::kLogits, .loop = t}, [&] { return logits(h); });
    if (iteration_weights.defined()) {
      weighted = per_channel({.x = h, .weight = iteration_weights[t], .base = weighted}, h.scalar_type());
    }
    if (!walks) continue;
    torch::Tensor gates;
    if (walks->asks_gates(t))
      gates = torch::sigmoid(early_exit_gate->forward(h).to(torch::kFloat32)).to(torch::kCPU).contiguous();
    walks->leave(t, h, weighted.defined() ? weighted : h, gates);
  }
  return weighted.defined() ? weighted : h;
}

}  // namespace lt2
