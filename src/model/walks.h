#pragma once
// Which tokens run which loop in a pass over several sequences: tokens may leave the loops early, wait for a loop, and
// come back when a later token needs it (ExitRule). Internal to the model.
#include <vector>

#include "model/looped_transformer.h"

namespace lt2 {

class Walks {
 public:
  /// `embed` gives the rows [1, L, D] of a sequence's tokens. Takes the waiting rows from the states and leaves there
  /// the rows that wait afterwards.
  Walks(const std::vector<Continuation>& sequences, const ExitRule& rule, int64_t loops, size_t draw,
        const std::function<torch::Tensor(const torch::Tensor& tokens)>& embed);

  /// The rows [1, R, D] that run loop t, one sequence after the other; undefined if there are none.
  torch::Tensor enter(int64_t t);
  /// The sequences that these rows belong to.
  struct Running {
    size_t sequence;
    int64_t count;
  };
  const std::vector<Running>& running() const { return running_; }
  SequenceState::Draw& draw_of(size_t sequence) const { return walks_[sequence].state->draws[draw_]; }
  /// Whether the rule needs the exit gate of loop t.
  bool asks_gates(int64_t t) const { return rule_.threshold && !rule_.step && t + 1 < loops_; }
  /// Takes the output `h` of loop t for these rows. `read`: the rows from which the logits of tokens that leave here
  /// are computed, [1, R, D] like `h`. `gates`: the probability of leaving [R] fp32 on the CPU, undefined where no rule
  /// asks.
  void leave(int64_t t, const torch::Tensor& h, const torch::Tensor& read, const torch::Tensor& gates);

  struct Left {  // of one sequence: for each row of its logits, [D] where its token left the loops, and the loop
    std::vector<torch::Tensor> rows;
    std::vector<int64_t> exits;
  };
  /// What left, for each sequence. Call it after the last loop.
  std::vector<Left> take();

 private:
  // A token during the pass through the loops.
  struct Walker {
    int64_t output = -1;  // row of its sequence's logits; -1: not wanted
    bool exited = false;
    float survival = 1, cumulated = 0;  // of the exit distribution
  };
  // One sequence during the pass: the tokens that have reached the current loop, in their order.
  struct Walk {
    SequenceState* state;
    bool waiting_wanted;
    torch::Tensor rows;  // [1, walkers, D]
    std::vector<Walker> walkers;
    Left left;
    int64_t running = 0;  // of the walkers, those that run the current loop
  };
  static void gather(Walk& walk, size_t loop);
  bool exits(Walker& walker, int64_t t, const float* gate) const;

  ExitRule rule_;
  int64_t loops_;
  size_t draw_;
  std::vector<Walk> walks_;
  std::vector<Running> running_;
};

}  // namespace lt2
