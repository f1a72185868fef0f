#include "train/trainer.h"

#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/output.h"
#include "base/progress.h"
#include "base/signals.h"
#include "base/units.h"
#include "checkpoint/checksums.h"
#include "data/sources.h"
#include "folders/model_folder.h"
#include "folders/run_folder.h"
#include "infer/generate.h"
#include "model/accounting.h"
#include "ops/dtype.h"
#include "train/plan.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

LoaderConfig loader_config(const TrainConfig& config) {
  const auto& data = config.data;
  return {.root_dir = data.root_dir,
          .sources = data.sources,
          .batch_size = data.batch_size,
          .seq_len = data.seq_len,
          .n_views = data.n_views,
          .seed = data.seed,
          .add_bos = data.add_bos,
          .add_eos = data.add_eos,
          .load_async = data.load_async,
          .prefetch_size = data.prefetch_size,
          .tokenizer_name = data.tokenizer.name,
          .tokenizer_path = data.tokenizer.path,
          .tokenizer_specials = data.tokenizer.specials,
          .allow_unread_chunks = data.allow_unread_chunks,
          .held_back = held_back(config)};
}

// A step that would outlast the time between a signal and the end is not finished: everything goes back to its start.
constexpr double kLongStep = 4;

// View `v` of a batch as int64 [rows, seq_len].
torch::Tensor view_of(const Batch& batch, int64_t v, torch::Device device) {
  const auto all = torch::from_blob(const_cast<int32_t*>(batch.tokens.data()),
                                    {batch.rows, batch.seq_len, batch.n_views}, torch::kInt32);
  return all.select(2, v).to(device, torch::kInt64);
}

// What of the step is not finite.
std::string not_finite(const StepResult& result) {
  if (!std::isfinite(result.loss)) return fmt::format("the loss is not finite ({})", result.loss);
  for (const auto& [name, value] : result.terms) {
    if (!std::isfinite(value)) return fmt::format("the {} loss is not finite ({}; loss {})", name, value, result.loss);
  }
  return fmt::format("the gradient norm is not finite ({}; loss {})", result.gradient_norm, result.loss);
}

}  // namespace

Trainer::Trainer(TrainConfig config, std::shared_ptr<Group> group, std::shared_ptr<Objective> objective)
    : config_(std::move(config)),
      dump_dir_(config_.dump_dir),
      checkpoints_(*config_.checkpoint.path),
      group_(std::move(group)),
      stop_wanted_([] { return stop_signal() != 0; }) {
  tokenizer_ =
      make_tokenizer(config_.data.tokenizer.name, config_.data.tokenizer.path, config_.data.tokenizer.specials);
  config_.model.vocab_size = vocabulary_size(config_, *tokenizer_);
  make_folders(dump_dir_, "dump_dir");
  make_folders(checkpoints_, "checkpoint.path");
  set_log_rank(group_->rank());
  if (writes()) {
    const auto purpose = fmt::format("a run with dump_dir {}", fs::absolute(dump_dir_).string());
    locks_.emplace_back(
        dump_dir_ / ".lock",
        fmt::format("{}: another process trains in it; wait for its end or set another dump_dir", dump_dir_.string()),
        purpose);
    if (!fs::equivalent(checkpoints_, dump_dir_)) {
      locks_.emplace_back(
          checkpoints_ / ".lock",
          fmt::format("{}: another run writes its checkpoints there; wait for its end or set another checkpoint.path",
                      checkpoints_.string()),
          purpose);
    }
    remove_leftovers(checkpoints_);
    set_log_file((dump_dir_ / "train.log").string());
  }
  loader_ = std::make_unique<Loader>(loader_config(config_), group_->rank(), group_->world());
  if (writes()) {
    for (const auto& line : source_lines(config_.data.root_dir, config_.data.sources)) log_info("{}", line);
  }
  try {
    if (config_.val.every > 0)
      validation_ = std::make_unique<ValidationSet>(loader_config(config_), config_.val.source, config_.val.steps);
  } catch (const StoppedBySignal&) {  // run() sees it too, and no rank leaves before all have seen it
  }
  torch::manual_seed(static_cast<uint64_t>(config_.seed));
  model_ = std::make_shared<LoopedTransformer>(config_.model);
  model_->compute_type = parse_dtype(config_.distributed.model_dtype, "distributed.model_dtype");
  model_->recompute =
      parse_recompute(config_.distributed.activation_checkpointing, "distributed.activation_checkpointing");
  flops_per_token_ = training_flops_per_token(*model_, config_.data.seq_len);
  parameters_ = parameter_count(*model_);
  const auto newest = newest_checkpoint();
  // A permission for this start, not a property of the run.
  const bool allow_model_change = std::exchange(config_.checkpoint.allow_model_change, false);
  std::optional<ModelFolder> from;
  if (newest) {
    from = open_model(*newest, {.training_state = true, .verify = false, .quiet = !writes()});
  } else if (config_.checkpoint.init_ckpt_path) {
    from = open_model(*config_.checkpoint.init_ckpt_path, {.quiet = !writes()});
  }
  // Weights first: the replica takes over where they lie.
  if (from) {
    take_parameters(*model_, *from);
    compare_model(*from, allow_model_change);
  } else {
    model_->initialise();
  }
  if (from && !newest) log_info("weights from {}", from->where.string());
  replica_ = std::make_unique<Replica>(*model_, config_.optim, group_, parse_sharding(config_.distributed.fsdp_type),
                                       std::move(objective));
  if (newest) {
    const auto state_file = (*newest / kTrainStateFile).string();
    for (const char* file : {kTrainStateFile, kOptimizerFile})
      LT2_CHECK(fs::exists(*newest / file),
                "{} does not exist; a run goes on from it. Start one from the weights with "
                "checkpoint.init_ckpt_path",
                (*newest / file).string());
    replica_->restore_optimizer(from->training.optimizer);
    state_ = parse_train_state(*from->training.loaders, state_file);
    LT2_CHECK(checkpoint_folder(checkpoints_, state_.step).filename() == newest->filename(),
              "{}: step: expected that of its folder, found {}. Restore the folder, or remove it to go on from the one "
              "before",
              state_file, state_.step);
    const auto ranks = static_cast<int64_t>(state_.loaders.size());
    if (ranks == group_->world()) {
      loader_->restore(state_.loaders[static_cast<size_t>(group_->rank())], state_.step,
                       state_file + ": data_loader_state");
    } else {
      loader_->restart(state_.step, fmt::format("it is of {} ranks, there are {} now", ranks, group_->world()));
    }
    saved_step_ = state_.step;
    log_info("resuming from {} (step {})", newest->string(), state_.step);
    tell_changes(*from);
  }
  if (config_.profiling.run) {
    tracer_ = StepTracer(dump_dir_ / config_.profiling.trace_folder, group_->rank(), config_.profiling.profile_warmup,
                         config_.profiling.profile_steps);
  }
  position_ = loader_->state();
  if (!writes()) return;
  companions_ = companions_of_run(config_.data.tokenizer);
  metrics_ = std::make_unique<MetricsLog>(dump_dir_ / "metrics.jsonl", state_.step);
  events_ = std::make_unique<EventFile>(dump_dir_ / "tensorboard", state_.step);
  drop_lines_after(dump_dir_ / "metrics.validation.jsonl", state_.step);
  if (newest && state_.step >= config_.steps) return;  // nothing will come of what this start asks for
  write_file_atomically(dump_dir_ / "config.yaml", to_yaml(config_));
}

std::optional<fs::path> Trainer::newest_checkpoint() const {
  auto folders = step_folders(checkpoints_);
  const bool any = !folders.empty();
  for (; !folders.empty(); folders.pop_back()) {
    try {
      verify_checksums(folders.back());
      return folders.back();
    } catch (const Error& error) {
      if (writes()) log_warning("{}; skipped", error.what());
    }
  }
  LT2_CHECK(
      !any,
      "{}: no usable checkpoint, see the warnings above. Restore one, set another dump_dir, or remove this folder "
      "to start over",
      checkpoints_.string());
  return std::nullopt;
}

void Trainer::compare_model(const ModelFolder& before, bool allow_change) const {
  const auto line = check_same_model(before, config_, allow_change);
  if (!line.empty() && writes()) log_warning("{}", line);
}

void Trainer::tell_changes(const ModelFolder& folder) const {
  if (!writes() || !folder.run) return;  // open_model said so
  const auto before = folder.run_config();
  if (const auto line = changes_line(before, config_, state_.step); !line.empty()) log_info("{}", line);
  if (const auto line = rate_change_line(before, config_, state_.step); !line.empty()) log_warning("{}", line);
}

int64_t Trainer::tokens_per_step() const {
  return config_.data.batch_size * config_.data.seq_len * config_.grad_acc_steps * group_->world();
}

MicroBatch Trainer::load_batch() {
  tracer_.phase("data");
  const auto begin = Clock::now();
  std::optional<Batch> batch;
  keep_failure([&] { batch = loader_->next(); });
  if (!batch) throw StepGivenUp();
  since_log_.data_seconds += seconds_since(begin);
  const auto device = model_->tok_embeddings.device();
  return {.inputs = view_of(*batch, 0, device), .targets = view_of(*batch, 1, device), .draw = state_.draws++};
}

void Trainer::diverged(const std::string& what) const {
  fail("step {}: {}. {}; lower optim.lr or look at the data", state_.step, what,
       saved_step_ >= 0
           ? fmt::format("The last good checkpoint is {}", checkpoint_folder(checkpoints_, saved_step_).string())
           : "No checkpoint was written yet");
}

// False: a signal to any rank ended the step early, and it counts on none.
bool Trainer::take_step() {
  const auto begin = Clock::now();
  group_->set_step(state_.step);
  tracer_.begin_step(state_.step);
  const int64_t draws = state_.draws;
  model_->at_each_layer = [this] {
    if (stop_wanted_() && (last_seconds_ == 0 || last_seconds_ > kLongStep)) throw StepGivenUp();
  };
  const auto result = train_step(
      *replica_, config_.optim, state_.step, config_.steps, config_.grad_acc_steps,
      [&](int64_t) { return load_batch(); }, [&](const char* phase) { tracer_.phase(phase); });
  model_->at_each_layer = {};
  if (result.given_up) {
    state_.draws = draws;
    log_info("step {} is given up half done; it will be taken again", state_.step + 1);
    return false;
  }
  last_ = result;
  ++state_.step;
  state_.tokens += tokens_per_step();
  position_ = loader_->state();
  if (last_.applied) {
    skips_in_a_row_ = 0;
  } else {
    const auto what = not_finite(last_);
    if (config_.optim.nan_policy != "skip") diverged(what + "; optim.nan_policy=skip leaves such steps out");
    ++state_.skipped_steps;
    if (++skips_in_a_row_ == kMostSkips) diverged(fmt::format("{}, as in the {} steps before", what, kMostSkips - 1));
    if (writes()) log_warning("step {}: {}; skipped, {} so far", state_.step, what, state_.skipped_steps);
  }
  last_seconds_ = seconds_since(begin);
  since_log_.tokens += tokens_per_step();
  since_log_.seconds += last_seconds_;
  if (writes() && (state_.step % config_.logging.freq == 0 || state_.step == config_.steps)) log_step();
  return true;
}

std::string Trainer::progress_text() const {
  std::string terms;
  for (const auto& [name, value] : last_.terms) {
    if (!std::isnan(value)) terms += fmt::format("  {} {:.4f}", name, value);
  }
  return fmt::format("loss {:.4f}{}{}  lr {:.2e}{}  {} tok/s", last_.loss, terms,
                     last_validation_ ? fmt::format("  val {:.4f}", *last_validation_) : "", last_.lr,
                     std::isfinite(last_.gradient_norm) ? fmt::format("  grad {:.3f}", last_.gradient_norm) : "",
                     human_count(static_cast<double>(tokens_per_step()) / last_seconds_));
}

void Trainer::log_step() {
  const double speed = static_cast<double>(since_log_.tokens) / since_log_.seconds;
  const StepMetrics metrics{.global_step = state_.step,
                            .total_tokens = state_.tokens,
                            .loops = config_.model.loop_count,
                            .tokens_per_s = speed,
                            .flops = speed * flops_per_token_,
                            .iteration_s = last_seconds_,
                            .data_s = since_log_.data_seconds,
                            .gradient_norm = last_.gradient_norm,
                            .lr = last_.lr,
                            .loss = last_.loss,
                            .mfu = peak_flops_ > 0 ? speed * flops_per_token_ / peak_flops_ : 0,
                            .terms = last_.terms,
                            .unit_norms = last_.unit_norms};
  keep_failure([&] {
    metrics_->write(metrics);
    events_->write(state_.step, scalars_of(metrics));
  });
  since_log_ = {};
}

// The key of a line in metrics.validation.jsonl: file or folder names, as the official files have them.
std::string Trainer::validation_name() const {
  const auto name_of = [](const std::string& source) {
    const fs::path path = fs::path(source).lexically_normal();
    return (path.has_filename() ? path.filename() : path.parent_path().filename()).string();
  };
  if (config_.val.source) return name_of(*config_.val.source);
  std::string names;
  for (const auto& [source, weight] : config_.data.sources) names += (names.empty() ? "" : "+") + name_of(source);
  return names;
}

void Trainer::validate() {
  torch::NoGradGuard no_grad;
  const auto device = model_->tok_embeddings.device();
  double loss_sum = 0, tokens = 0, bytes = 0;
  bool cut = false;  // half a measurement is none
  // The ranks share the batches out, unless each forward pass needs them all.
  const bool share = group_->world() > 1 && !replica_->forward_is_collective();
  // Random layouts: validation counts its own draws from 0, so that it does not disturb the run's.
  int64_t draw = 0;
  const auto& batches = validation_->batches();
  for (size_t b = 0; b < batches.size(); ++b) {
    if ((cut = cut || stopped(replica_->forward_is_collective()))) break;
    const int64_t this_draw = draw++;
    if (share && static_cast<int>(b % static_cast<size_t>(group_->world())) != group_->rank()) continue;
    const Batch& batch = batches[b];
    const auto targets = view_of(batch, 1, device);
    const double count = static_cast<double>(targets.numel());
    loss_sum += count * model_->loss(view_of(batch, 0, device), targets, this_draw).item<double>();
    tokens += count;
    for (size_t i = 1; i < batch.tokens.size(); i += 2)
      bytes += static_cast<double>(tokenizer_->token_bytes(batch.tokens[i]).size());
  }
  if (share) {
    const auto sums = group_->sum({loss_sum, tokens, bytes, cut ? 1.0 : 0.0});
    loss_sum = sums[0], tokens = sums[1], bytes = sums[2], cut = sums[3] > 0;
  }
  if (cut) return;
  last_validation_ = loss_sum / tokens;
  if (!std::isfinite(*last_validation_))
    diverged(fmt::format("the validation loss is not finite ({})", *last_validation_));
  if (!writes()) return;
  const double bits_per_byte = loss_sum / std::log(2.0) / std::max(bytes, 1.0);
  keep_failure([&] {
    append_validation(dump_dir_ / "metrics.validation.jsonl", state_.step, validation_name(), *last_validation_,
                      bits_per_byte);
    events_->write(state_.step,
                   {{"validation/loss_per_token", *last_validation_}, {"validation/bits_per_byte", bits_per_byte}});
  });
}

void Trainer::sample(const std::string& when) {
  if (!config_.val.prompt || (!writes() && !replica_->forward_is_collective())) return;
  GenerateRequest request{.prompt = tokenizer_->encode(*config_.val.prompt, config_.data.add_bos, false),
                          .max_gen_len = config_.val.sample_len,
                          .stop_tokens = {tokenizer_->eos_id()},
                          .sampling = {.temperature = 0.8, .top_p = {}, .top_k = 40},
                          .seed = static_cast<uint64_t>(config_.seed)};
  bool cut = stopped(replica_->forward_is_collective());  // half a text is no sample
  if (cut) return;
  request.on_token = [&](const GeneratedToken&) {
    cut = stopped(replica_->forward_is_collective());
    return !cut;
  };
  const auto result = generate(*model_, request);
  if (cut || !writes()) return;
  const auto text = tokenizer_->decode_after(request.prompt, result.ids());
  try {
    print_out("--- sample {} (step {}) ---\n{}{}\n---\n", when, state_.step, *config_.val.prompt, text);
    flush_out();
  } catch (const OutputClosed&) {
    // Nobody reads samples any more; the run is not theirs alone.
  } catch (const Error& error) {
    log_warning("{}; the sample is in samples.json", error.what());
  }
  const auto path = dump_dir_ / "samples.json";
  auto samples = nlohmann::ordered_json::array();
  if (is_there(path)) {
    const auto old = nlohmann::ordered_json::parse(read_file(path), nullptr, /*allow_exceptions=*/false);
    for (const auto& item : old) {
      if (!item.is_object()) continue;
      const auto at = item.find("step");
      if (at == item.end() || (at->is_number() && at->get<double>() < static_cast<double>(state_.step)))
        samples.push_back(item);
    }
  }
  samples.push_back({{"when", when}, {"step", state_.step}, {"prompt", *config_.val.prompt}, {"text", text}});
  // Half a character at the end of a byte sample must not stop the run.
  write_file_atomically(path, samples.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

void Trainer::save() {
  if (saved_step_ == state_.step) return;
  if (!std::isfinite(replica_->parameter_norm()))
    diverged(fmt::format("the weights are not finite after an update with learning rate {:.2e}", last_.lr));
  state_.loaders = group_->gather(position_);
  const auto parameters = replica_->parameters(), moments = replica_->optimizer_state();
  saved_step_ = state_.step;
  if (!writes()) return;
  save_checkpoint(checkpoint_folder(checkpoints_, state_.step), parameters, moments,
                  to_json(companions_.beside(config_)), state_, companions_);
  prune_checkpoints(checkpoints_, state_.step, config_.checkpoint);
}

// What goes wrong with a file is no reason to lose the steps since the last checkpoint: run() saves them.
void Trainer::keep_failure(const std::function<void()>& use_files) {
  try {
    use_files();
  } catch (const StoppedBySignal&) {  // nothing went wrong, and run() sees the signal too
  } catch (const Error&) {
    if (!failure_) failure_ = std::current_exception();
  }
}

// Whether a signal came or a file failed, here or, `together`, on any rank: an exchange that gives all the same answer.
bool Trainer::stopped(bool together) const {
  const bool here = failure_ || stop_wanted_();
  return together ? group_->sum({here ? 1.0 : 0.0})[0] > 0 : here;
}

Trainer::End Trainer::run() {
  catch_stop_signals();
  log_info("{}: {} parameters, {} loops x {} layers, {} tokens a step, {} steps, {}{}", config_.name,
           human_count(static_cast<double>(parameters_)), config_.model.loop_count, config_.model.n_layers,
           tokens_per_step(), config_.steps, config_.distributed.model_dtype,
           group_->world() == 1 ? "" : fmt::format(", {} ranks, {}", group_->world(), config_.distributed.fsdp_type));
  if (state_.step >= config_.steps) {
    log_info("nothing to do: step {} of {} is already reached; raise steps to go on", state_.step, config_.steps);
    return End::kFinished;
  }
  if (state_.step == 0) sample("before training");
  std::optional<ProgressBar> bar;
  if (writes()) bar.emplace(config_.name, config_.steps, config_.logging.freq, state_.step);
  const auto& c = config_.checkpoint;
  const int64_t first_step = state_.step;
  while (state_.step < config_.steps && !stopped(/*together=*/true) && state_.step - first_step != stop_after_) {
    if (!take_step()) break;
    if (validation_ && (state_.step % config_.val.every == 0 || state_.step == config_.steps)) {
      tracer_.phase("validation");
      validate();
    }
    if (bar) bar->update(state_.step, progress_text());
    if (state_.step % c.dump.every == 0 || state_.step % c.eval.every == 0) {
      tracer_.phase("save");
      save();
    }
    tracer_.phase("");
  }
  if (bar) bar->finish();
  save();
  tracer_.finish();
  if (state_.step < config_.steps) {
    log_info("stopped after step {}; saved {}. Run the same command again to go on", state_.step,
             checkpoint_folder(checkpoints_, state_.step).string());
  }
  if (failure_) std::rethrow_exception(failure_);
  if (state_.step < config_.steps) return End::kInterrupted;
  sample("after training");
  log_info("done: loss {:.4f}{} after {} steps; checkpoint {}", last_.loss,
           last_validation_ ? fmt::format(", validation {:.4f}", *last_validation_) : "", state_.step,
           checkpoint_folder(checkpoints_, state_.step).string());
  return End::kFinished;
}

}  // namespace lt2
