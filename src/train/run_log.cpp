#include "train/run_log.h"

#include <cmath>

#include "base/log.h"
#include "base/units.h"
#include "model/accounting.h"

namespace lt2 {
namespace {

constexpr const char* kValidationFile = "metrics.validation.jsonl";

}  // namespace

RunLog::RunLog(const TrainConfig& config, const LoopedTransformer& model, const RunFiles& files, StopWatch& stop)
    : config_(config),
      files_(files),
      stop_(stop),
      flops_per_token_(training_flops_per_token(model, config.data.seq_len)),
      parameters_(parameter_count(model)) {}

void RunLog::open(int64_t step) {
  if (!files_.writes()) return;
  metrics_ = std::make_unique<MetricsLog>(files_.dump_dir() / "metrics.jsonl", step);
  events_ = std::make_unique<EventFile>(files_.dump_dir() / "tensorboard", step);
  drop_lines_after(files_.dump_dir() / kValidationFile, step);
}

void RunLog::introduce(int64_t tokens_per_step, int world) const {
  log_info("{}: {} parameters, {} loops x {} layers, {} tokens a step, {} steps, {}{}", config_.name,
           human_count(static_cast<double>(parameters_)), config_.model.loop_count, config_.model.n_layers,
           tokens_per_step, config_.steps, config_.distributed.model_dtype,
           world == 1 ? "" : fmt::format(", {} ranks, {}", world, config_.distributed.fsdp_type));
}

void RunLog::begin(int64_t step) {
  if (files_.writes()) bar_.emplace(config_.name, config_.steps, config_.logging.freq, step);
}

void RunLog::add_step(const StepLoop& loop) {
  since_line_.tokens += loop.tokens_per_step();
  since_line_.seconds += loop.last().seconds;
  since_line_.data_seconds += loop.last().data_seconds;
  if (files_.writes() && (loop.step() % config_.logging.freq == 0 || loop.finished())) write_step(loop);
}

void RunLog::write_step(const StepLoop& loop) {
  const auto& result = loop.last().result;
  const double speed = static_cast<double>(since_line_.tokens) / since_line_.seconds;
  const StepMetrics metrics{.global_step = loop.step(),
                            .total_tokens = loop.state().tokens,
                            .loops = config_.model.loop_count,
                            .tokens_per_s = speed,
                            .flops = speed * flops_per_token_,
                            .iteration_s = loop.last().seconds,
                            .data_s = since_line_.data_seconds,
                            .gradient_norm = result.gradient_norm,
                            .lr = result.lr,
                            .loss = result.loss,
                            .mfu = peak_flops_ > 0 ? speed * flops_per_token_ / peak_flops_ : 0,
                            .terms = result.terms,
                            .unit_norms = result.unit_norms};
  stop_.guard([&] {
    metrics_->write(metrics);
    events_->write(loop.step(), scalars_of(metrics));
  });
  since_line_ = {};
}

void RunLog::add_validation(int64_t step, const std::string& source, const Validation& validation) {
  last_validation_ = validation.loss_per_token;
  if (!files_.writes()) return;
  stop_.guard([&] {
    append_validation(files_.dump_dir() / kValidationFile, step, source, validation.loss_per_token,
                      validation.bits_per_byte);
    events_->write(step, {{"validation/loss_per_token", validation.loss_per_token},
                          {"validation/bits_per_byte", validation.bits_per_byte}});
  });
}

void RunLog::show_progress(const StepLoop& loop) {
  if (!bar_) return;
  const auto& result = loop.last().result;
  std::string terms;
  for (const auto& [name, value] : result.terms) {
    if (!std::isnan(value)) terms += fmt::format("  {} {:.4f}", name, value);
  }
  bar_->update(
      loop.step(),
      fmt::format("loss {:.4f}{}{}  lr {:.2e}{}  {} tok/s", result.loss, terms,
                  last_validation_ ? fmt::format("  val {:.4f}", *last_validation_) : "", result.lr,
                  std::isfinite(result.gradient_norm) ? fmt::format("  grad {:.3f}", result.gradient_norm) : "",
                  human_count(static_cast<double>(loop.tokens_per_step()) / loop.last().seconds)));
}

void RunLog::end() {
  if (bar_) bar_->finish();
}

void RunLog::conclude(const StepLoop& loop, const std::string& checkpoint) const {
  log_info("done: loss {:.4f}{} after {} steps; checkpoint {}", loop.last().result.loss,
           last_validation_ ? fmt::format(", validation {:.4f}", *last_validation_) : "", loop.step(), checkpoint);
}

}  // namespace lt2
