// LoopedTransformer::step and advance: passes that continue states.
#include "base/error.h"
#include "model/looped_transformer.h"
#include "model/walks.h"

namespace lt2 {

torch::Tensor LoopedTransformer::step(const torch::Tensor& tokens, SequenceState& state, bool all_positions) {
  LT2_CHECK(tokens.dim() == 2 && tokens.size(0) == state.batch && tokens.size(1) >= 1,
            "step: tokens must be [{}, L >= 1], found [{}]", state.batch, fmt::join(tokens.sizes(), ", "));
  torch::NoGradGuard no_grad;
  torch::Tensor sum;
  int64_t index = 0;
  for (auto& draw : state.draws) {
    auto h = run(embed(tokens), {.plan = draw.plan, .draw = index++, .sequences = {{&draw, tokens.size(1)}}});
    if (!all_positions) h = h.narrow(1, h.size(1) - 1, 1);
    const auto out = logits(h);
    sum = sum.defined() ? sum + out : out;
  }
  state.position += tokens.size(1);
  return state.draws.size() > 1 ? sum / static_cast<double>(state.draws.size()) : sum;
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
            "loops can wait only in models without a random attention pattern and without state_carry");
  for (const auto& sequence : sequences) {
    LT2_CHECK(!sequence.waiting || !rule.exits_early(),
              "logits of waiting tokens can be requested only if all loops run, without early exit");
    LT2_CHECK(
        sequence.from == 0 || (sequence.all_positions && sequence.from > 0 && sequence.from < sequence.tokens.size(0)),
        "advance: the first requested logits are those of token {} of {}", sequence.from, sequence.tokens.size(0));
    LT2_CHECK(sequence.state->batch == 1 && sequence.tokens.dim() == 1 && sequence.tokens.size(0) >= 1 &&
                  sequence.state->draws.size() == draws,
              "advance: a sequence must have a state of batch 1 and tokens [L >= 1]; found batch {} and [{}]",
              sequence.state->batch, fmt::join(sequence.tokens.sizes(), ", "));
  }
  std::vector<std::vector<Walks::Left>> left;  // by draw
  for (size_t draw = 0; draw < draws; ++draw) {
    Walks walks(sequences, rule, config_.loop_count, draw,
                [this](const torch::Tensor& tokens) { return embed(tokens); });
    run({}, {.plan = sequences[0].state->draws[draw].plan, .draw = static_cast<int64_t>(draw), .walks = &walks});
    left.push_back(walks.take());
  }
  // The mean over the draws of the rows that `rows_of` picks of each.
  const auto mean_logits = [&](const auto& rows_of) {
    torch::Tensor sum;
    for (const auto& draw : left) {
      const auto one = logits(torch::stack(rows_of(draw)).unsqueeze(0)).squeeze(0);
      sum = sum.defined() ? sum + one : one;
    }
    return draws > 1 ? sum / static_cast<double>(draws) : sum;
  };
  // Before any hook: what one throws leaves all states whole.
  for (const auto& sequence : sequences) sequence.state->position += sequence.tokens.size(0);
  std::vector<Continued> out(sequences.size());
  // Sequences without a hook share one product.
  const auto shared = [&](const std::vector<Walks::Left>& draw) {
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
    if (!sequences[s].on_logits) {
      out[s].logits = all.narrow(0, row, count);
      row += count;
      continue;
    }
    for (int64_t first = 0; first < count; first += kLogitRows) {
      const auto end = std::min(first + kLogitRows, count);
      const auto chunk = mean_logits([&](const std::vector<Walks::Left>& draw) {
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
