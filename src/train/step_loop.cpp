#include "train/step_loop.h"

#include <chrono>
#include <cmath>
#include <optional>

#include "base/log.h"
#include "base/units.h"
#include "train/diverged.h"

namespace lt2 {
namespace {

using Clock = std::chrono::steady_clock;

// A signal can leave too little time to finish a step: the step is then given up, and everything returns to its start.
constexpr double kLongStep = 4;

// The value of the step that is not finite.
std::string not_finite(const StepResult& result) {
  if (!std::isfinite(result.loss)) return fmt::format("the loss is not finite ({})", result.loss);
  for (const auto& [name, value] : result.terms) {
    if (!std::isfinite(value)) return fmt::format("the {} loss is not finite ({}; loss {})", name, value, result.loss);
  }
  return fmt::format("the gradient norm is not finite ({}; loss {})", result.gradient_norm, result.loss);
}

}  // namespace

torch::Tensor view_of(const Batch& batch, int64_t v, torch::Device device) {
  const auto all = torch::from_blob(const_cast<int32_t*>(batch.tokens.data()),
                                    {batch.rows, batch.seq_len, batch.n_views}, torch::kInt32);
  return all.select(2, v).to(device, torch::kInt64);
}

StepLoop::StepLoop(const TrainConfig& config, TrainState state, Replica& replica, Loader& loader, StopWatch& stop,
                   StepTracer& tracer)
    : config_(config),
      replica_(replica),
      loader_(loader),
      stop_(stop),
      tracer_(tracer),
      state_(std::move(state)),
      position_(loader.state()) {}

int64_t StepLoop::tokens_per_step() const {
  return config_.data.batch_size * config_.data.seq_len * config_.grad_acc_steps * replica_.group().world();
}

MicroBatch StepLoop::load_batch() {
  tracer_.phase("data");
  const auto begin = Clock::now();
  std::optional<Batch> batch;
  stop_.guard([&] { batch = loader_.next(); });
  if (!batch) throw StepGivenUp();
  data_seconds_ += seconds_since(begin);
  const auto device = replica_.model().tok_embeddings.device();
  return {.inputs = view_of(*batch, 0, device), .targets = view_of(*batch, 1, device), .draw = state_.draws++};
}

bool StepLoop::take() {
  const auto begin = Clock::now();
  replica_.group().set_step(state_.step);
  tracer_.begin_step(state_.step);
  const int64_t draws = state_.draws;
  data_seconds_ = 0;
  replica_.model().at_each_layer = [this] {
    if (stop_.wanted() && (last_.seconds == 0 || last_.seconds > kLongStep)) throw StepGivenUp();
  };
  const auto result = train_step(
      replica_, config_.optim, state_.step, config_.steps, config_.grad_acc_steps,
      [&](int64_t) { return load_batch(); }, [&](const char* phase) { tracer_.phase(phase); });
  replica_.model().at_each_layer = {};
  if (result.given_up) {
    state_.draws = draws;
    log_info("step {} is given up half done; it will be taken again", state_.step + 1);
    return false;
  }
  last_.result = result;
  ++state_.step;
  state_.tokens += tokens_per_step();
  position_ = loader_.state();
  look_for_divergence();
  last_.seconds = seconds_since(begin);
  last_.data_seconds = data_seconds_;
  return true;
}

void StepLoop::look_for_divergence() {
  if (last_.result.applied) {
    skips_in_a_row_ = 0;
    return;
  }
  const auto what = not_finite(last_.result);
  if (config_.optim.nan_policy != "skip") throw Diverged{what + "; optim.nan_policy=skip leaves such steps out"};
  ++state_.skipped_steps;
  if (++skips_in_a_row_ == kMostSkips)
    throw Diverged{fmt::format("{}, as in the {} steps before", what, kMostSkips - 1)};
  if (replica_.group().rank() == 0)
    log_warning("step {}: {}; skipped, {} so far", state_.step, what, state_.skipped_steps);
}

}  // namespace lt2
