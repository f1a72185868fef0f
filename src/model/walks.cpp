#include "model/walks.h"

#include <algorithm>

#include "ops/pointer.h"

namespace lt2 {
namespace {

// Tokens that may wait for a loop: if more wait, all of them run, so that memory stays bounded.
constexpr int64_t kMostWaiting = 256;

torch::Tensor joined(const torch::Tensor& a, const torch::Tensor& b) {
  if (!a.defined() || a.size(1) == 0) return b;
  return b.defined() && b.size(1) > 0 ? torch::cat({a, b}, 1) : a;
}

}  // namespace

Walks::Walks(const std::vector<Continuation>& sequences, const ExitRule& rule, int64_t loops, size_t draw,
             const std::function<torch::Tensor(const torch::Tensor& tokens)>& embed)
    : rule_(rule), loops_(loops), draw_(draw) {
  for (const auto& sequence : sequences) {
    Walk walk{.state = sequence.state,
              .waiting_wanted = sequence.waiting,
              .rows = embed(sequence.tokens.unsqueeze(0)),
              .walkers = {},
              .left = {}};
    const int64_t L = sequence.tokens.size(0);
    walk.walkers.resize(static_cast<size_t>(L));
    walk.state->pending.resize(static_cast<size_t>(loops));
    int64_t outputs = 0;
    if (sequence.waiting) {
      for (const auto& rows : walk.state->pending) outputs += rows.defined() ? rows.size(1) : 0;
    }
    for (int64_t i = sequence.all_positions ? sequence.from : L - 1; i < L; ++i)
      walk.walkers[static_cast<size_t>(i)].output = outputs++;
    walk.left.rows.resize(static_cast<size_t>(outputs));
    walk.left.exits.resize(static_cast<size_t>(outputs));
    walks_.push_back(std::move(walk));
  }
}

// Adds the tokens that waited for this loop, and counts those that run it.
void Walks::gather(Walk& walk, size_t loop) {
  walk.running = 0;
  if (walk.walkers.empty() && !walk.waiting_wanted) return;  // waiting tokens still wait
  auto& waited = walk.state->pending[loop];
  if (waited.defined() && waited.size(1) > 0) {
    std::vector<Walker> before(static_cast<size_t>(waited.size(1)));
    for (auto& walker : before) walker.exited = !walk.waiting_wanted;
    walk.walkers.insert(walk.walkers.begin(), before.begin(), before.end());
    walk.rows = joined(waited, walk.rows);
    waited = torch::Tensor();
  }
  const auto last = std::find_if(walk.walkers.rbegin(), walk.walkers.rend(), [](const Walker& w) { return !w.exited; });
  walk.running = walk.walkers.rend() - last;
  if (static_cast<int64_t>(walk.walkers.size()) - walk.running > kMostWaiting)
    walk.running = static_cast<int64_t>(walk.walkers.size());
}

torch::Tensor Walks::enter(int64_t t) {
  const auto loop = static_cast<size_t>(t);
  running_.clear();
  std::vector<torch::Tensor> rows;
  for (size_t s = 0; s < walks_.size(); ++s) {
    auto& walk = walks_[s];
    gather(walk, loop);
    const auto all = static_cast<int64_t>(walk.walkers.size());
    if (!rule_.defer) walk.running = all;
    if (walk.running < all) {
      walk.state->pending[loop] = walk.rows.narrow(1, walk.running, all - walk.running).clone();
      walk.rows = walk.rows.narrow(1, 0, walk.running);
      walk.walkers.resize(static_cast<size_t>(walk.running));
    }
    if (walk.running == 0) continue;
    running_.push_back({s, walk.running});
    rows.push_back(walk.rows);
  }
  if (rows.empty()) return {};
  return rows.size() == 1 ? rows[0] : torch::cat(rows, 1);
}

// Whether a token that has not left yet leaves after loop t.
bool Walks::exits(Walker& walker, int64_t t, const float* gate) const {
  if (t + 1 == loops_) return true;
  if (rule_.step) return *rule_.step == t;
  if (!rule_.threshold) return false;
  walker.cumulated += *gate * walker.survival;
  walker.survival *= 1 - *gate;
  return walker.cumulated >= static_cast<float>(*rule_.threshold);
}

void Walks::leave(int64_t t, const torch::Tensor& h, const torch::Tensor& read, const torch::Tensor& gates) {
  const float* gate = dense_data_or_null<float>(gates, h.size(1), {"exit rule", "gates"});
  int64_t row = 0;
  for (const auto& [s, count] : running_) {
    auto& walk = walks_[s];
    walk.rows = h.narrow(1, row, count);
    for (int64_t i = 0; i < count; ++i) {
      auto& walker = walk.walkers[static_cast<size_t>(i)];
      if (walker.exited) continue;
      walker.exited = exits(walker, t, gate ? gate + row + i : nullptr);
      // Rows of tokens that waited come first, in their order: only the last loop gives logits for them.
      if (t + 1 == loops_ && walk.waiting_wanted && walker.output < 0) walker.output = i;
      if (!walker.exited || walker.output < 0) continue;
      walk.left.rows[static_cast<size_t>(walker.output)] = read.select(0, 0).select(0, row + i);
      walk.left.exits[static_cast<size_t>(walker.output)] = t;
    }
    row += count;
  }
}

std::vector<Walks::Left> Walks::take() {
  std::vector<Left> out;
  for (auto& walk : walks_) out.push_back(std::move(walk.left));
  return out;
}

}  // namespace lt2
