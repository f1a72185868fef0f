// LoopedTransformer::advance: several sequences in one pass, tokens that leave the loops at different depths.
#include <algorithm>

#include "base/error.h"
#include "model/looped_transformer.h"
#include "ops/linear/op.h"
#include "ops/pointer.h"

namespace lt2 {
namespace {

// Tokens that may wait for a loop: beyond this all of them run, so that memory stays bounded.
constexpr int64_t kMostWaiting = 256;

// A token on its way through the loops.
struct Walker {
  int64_t output = -1;  // row of its sequence's logits; -1: nobody asked
  bool exited = false;
  float survival = 1, cumulated = 0;  // of the exit distribution
};

// One sequence on its way: the tokens that stand before the current loop, in their order.
struct Walk {
  SequenceState* state;
  torch::Tensor rows;  // [1, walkers, D]
  std::vector<Walker> walkers;
  std::vector<torch::Tensor> out;  // [D] each, in the order of the logits
  std::vector<int64_t> exits;
  int64_t running = 0;  // of the walkers, those that run the current loop
};

torch::Tensor joined(const torch::Tensor& a, const torch::Tensor& b) {
  if (!a.defined() || a.size(1) == 0) return b;
  return b.defined() && b.size(1) > 0 ? torch::cat({a, b}, 1) : a;
}

// Who joins from those that waited for this loop, and how many then run it.
void gather(Walk& walk, size_t loop, bool waiting_wanted) {
  walk.running = 0;
  if (walk.walkers.empty() && !waiting_wanted) return;  // who waits goes on waiting
  auto& waited = walk.state->pending[loop];
  if (waited.defined() && waited.size(1) > 0) {
    std::vector<Walker> before(static_cast<size_t>(waited.size(1)));
    for (auto& walker : before) walker.exited = !waiting_wanted;
    walk.walkers.insert(walk.walkers.begin(), before.begin(), before.end());
    walk.rows = joined(waited, walk.rows);
    waited = torch::Tensor();
  }
  const auto last = std::find_if(walk.walkers.rbegin(), walk.walkers.rend(), [](const Walker& w) { return !w.exited; });
  walk.running = walk.walkers.rend() - last;
  if (static_cast<int64_t>(walk.walkers.size()) - walk.running > kMostWaiting)
    walk.running = static_cast<int64_t>(walk.walkers.size());
}

}  // namespace

std::vector<LoopedTransformer::Leaving> LoopedTransformer::advance_draw(const std::vector<Continuation>& sequences,
                                                                        const ExitRule& rule, size_t draw) {
  const auto T = static_cast<size_t>(config_.loop_count);
  std::vector<Walk> walks;
  for (const auto& sequence : sequences) {
    Walk walk{
        .state = sequence.state, .rows = embed(sequence.tokens.unsqueeze(0)), .walkers = {}, .out = {}, .exits = {}};
    const int64_t L = sequence.tokens.size(0);
    walk.walkers.resize(static_cast<size_t>(L));
    walk.state->pending.resize(T);
    int64_t outputs = 0;
    if (sequence.waiting) {
      for (const auto& rows : walk.state->pending) outputs += rows.defined() ? rows.size(1) : 0;
    }
    for (int64_t i = sequence.all_positions ? sequence.from : L - 1; i < L; ++i)
      walk.walkers[static_cast<size_t>(i)].output = outputs++;
    walk.out.resize(static_cast<size_t>(outputs));
    walk.exits.resize(static_cast<size_t>(outputs));
    walks.push_back(std::move(walk));
  }
  std::vector<LoopCarry> carries(config_.state_carry == "token" ? layers.size() : 0);
  const AttentionPlan& plan = sequences[0].state->draws[draw].plan;
  std::vector<torch::Tensor> weighted(walks.size());
  for (size_t t = 0; t < T; ++t) {
    std::vector<std::pair<SequenceState::Draw*, int64_t>> rows;
    std::vector<torch::Tensor> running;
    for (size_t s = 0; s < walks.size(); ++s) {
      auto& walk = walks[s];
      gather(walk, t, sequences[s].waiting);
      const auto all = static_cast<int64_t>(walk.walkers.size());
      if (!rule.defer) walk.running = all;
      if (walk.running < all) {
        walk.state->pending[t] = walk.rows.narrow(1, walk.running, all - walk.running).clone();
        walk.rows = walk.rows.narrow(1, 0, walk.running);
        walk.walkers.resize(static_cast<size_t>(walk.running));
      }
      if (walk.running == 0) continue;
      rows.emplace_back(&walk.state->draws[draw], walk.running);
      running.push_back(walk.rows);
    }
    if (rows.empty()) continue;
    const auto entering = running.size() == 1 ? running[0] : torch::cat(running, 1);
    const auto h = run_loop(entering, {static_cast<int64_t>(t), 0, static_cast<int64_t>(layers.size())},
                            {.plan = plan, .rows = &rows, .carries = carries.empty() ? nullptr : &carries});
    torch::Tensor gates;
    if (rule.threshold && !rule.step && t + 1 < T)
      gates = torch::sigmoid(early_exit_gate->forward(h).to(torch::kFloat32)).to(torch::kCPU).contiguous();
    const float* leaving = dense_data_or_null<float>(gates, entering.size(1), {"exit rule", "gates"});
    int64_t row = 0;
    for (size_t s = 0; s < walks.size(); ++s) {
      auto& walk = walks[s];
      if (walk.running == 0) continue;
      walk.rows = h.narrow(1, row, walk.running);
      if (iteration_weights.defined()) {
        const auto part = iteration_weights[static_cast<int64_t>(t)] * walk.rows;
        weighted[s] = weighted[s].defined() ? weighted[s] + part : part;
      }
      for (int64_t i = 0; i < walk.running; ++i) {
        auto& walker = walk.walkers[static_cast<size_t>(i)];
        if (walker.exited) continue;
        if (t + 1 == T) {
          walker.exited = true;
        } else if (rule.step) {
          walker.exited = *rule.step == static_cast<int64_t>(t);
        } else if (rule.threshold) {
          const float leaves = leaving[row + i];
          walker.cumulated += leaves * walker.survival;
          walker.survival *= 1 - leaves;
          walker.exited = walker.cumulated >= static_cast<float>(*rule.threshold);
        }
        // Tokens that waited get their rows in front, in their order: only the last loop asks for them.
        if (t + 1 == T && sequences[s].waiting && walker.output < 0)
          walker.output = static_cast<int64_t>(&walker - walk.walkers.data());
        if (!walker.exited || walker.output < 0) continue;
        walk.out[static_cast<size_t>(walker.output)] =
            (iteration_weights.defined() ? weighted[s] : walk.rows).select(0, 0).select(0, i);
        walk.exits[static_cast<size_t>(walker.output)] = static_cast<int64_t>(t);
      }
      row += walk.running;
    }
  }
  std::vector<Leaving> out;
  for (auto& walk : walks) out.push_back({.rows = std::move(walk.out), .exits = std::move(walk.exits)});
  return out;
}

std::vector<Continued> LoopedTransformer::advance(const std::vector<Continuation>& sequences, const ExitRule& rule) {
  torch::NoGradGuard no_grad;
  LT2_CHECK(!sequences.empty(), "advance: no sequence was given");
  LT2_CHECK(!rule.step || (*rule.step >= 0 && *rule.step < config_.loop_count),
            "early_exit_step must be a loop from 0 to {}; found {}", config_.loop_count - 1, rule.step.value_or(-1));
  LT2_CHECK(!rule.threshold || early_exit_gate,
            "early_exit_threshold needs a model with an exit gate (model_type ouro); this one is {}",
            config_.model_type);
  LT2_CHECK(!(rule.exits_early() || rule.defer) || !iteration_weights.defined(),
            "early exit needs every loop's own logits; models with legacy_iteration_weights mix all loops");
  const size_t draws = sequences[0].state->draws.size();
  LT2_CHECK(!rule.defer || (draws == 1 && config_.state_carry == "none"),
            "loops can wait only without a random attention pattern and without state_carry");
  for (const auto& sequence : sequences) {
    LT2_CHECK(!sequence.waiting || !rule.exits_early(),
              "tokens that wait can be asked for only where all loops run, without early exit");
    LT2_CHECK(
        sequence.from == 0 || (sequence.all_positions && sequence.from > 0 && sequence.from < sequence.tokens.size(0)),
        "advance: logits from token {} on of {} were asked for", sequence.from, sequence.tokens.size(0));
    LT2_CHECK(sequence.state->batch == 1 && sequence.tokens.dim() == 1 && sequence.tokens.size(0) >= 1 &&
                  sequence.state->draws.size() == draws,
              "advance: a sequence must have a state of batch 1 and tokens [L >= 1]; found batch {} and [{}]",
              sequence.state->batch, fmt::join(sequence.tokens.sizes(), ", "));
  }
  std::vector<std::vector<Leaving>> left;  // by draw
  for (size_t draw = 0; draw < draws; ++draw) left.push_back(advance_draw(sequences, rule, draw));
  // The mean over the draws of the rows that `rows_of` picks of each.
  const auto mean_logits = [&](const auto& rows_of) {
    torch::Tensor sum;
    for (const auto& draw : left) {
      const auto one = logits(torch::stack(rows_of(draw)).unsqueeze(0)).squeeze(0);
      sum = sum.defined() ? sum + one : one;
    }
    return draws > 1 ? sum / static_cast<double>(draws) : sum;
  };
  std::vector<Continued> out(sequences.size());
  // Those without a hook share one product.
  const auto shared = [&](const std::vector<Leaving>& draw) {
    std::vector<torch::Tensor> rows;
    for (size_t s = 0; s < sequences.size(); ++s) {
      if (!sequences[s].on_logits) rows.insert(rows.end(), draw[s].rows.begin(), draw[s].rows.end());
    }
    return rows;
  };
  const auto all = shared(left[0]).empty() ? torch::Tensor() : mean_logits(shared);
  int64_t row = 0;
  for (size_t s = 0; s < sequences.size(); ++s) {
    const auto count = static_cast<int64_t>(left[0][s].rows.size());
    out[s].exits = std::move(left[0][s].exits);
    sequences[s].state->position += sequences[s].tokens.size(0);
    if (!sequences[s].on_logits) {
      out[s].logits = all.narrow(0, row, count);
      row += count;
      continue;
    }
    for (int64_t first = 0; first < count; first += kLogitRows) {
      const auto end = std::min(first + kLogitRows, count);
      const auto chunk = mean_logits([&](const std::vector<Leaving>& draw) {
        const auto& rows = draw[s].rows;
        return std::vector<torch::Tensor>(rows.begin() + first, rows.begin() + end);
      });
      sequences[s].on_logits(chunk, {out[s].exits.begin() + first, out[s].exits.begin() + end});
      if (end == count) out[s].logits = chunk.narrow(0, chunk.size(0) - 1, 1).clone();
    }
  }
  return out;
}

}  // namespace lt2
