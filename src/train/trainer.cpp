#include "train/trainer.h"

#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/signals.h"
#include "base/units.h"
#include "checkpoint/checksums.h"
#include "infer/generate.h"
#include "model/accounting.h"
#include "model/model_io.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

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
          .held_back = config.val.every > 0 && !config.val.source ? config.val.fraction : 0};
}

// View `v` of a batch as int64 [rows, seq_len].
torch::Tensor view_of(const Batch& batch, int64_t v, torch::Device device) {
  const auto all = torch::from_blob(const_cast<int32_t*>(batch.tokens.data()),
                                    {batch.rows, batch.seq_len, batch.n_views}, torch::kInt32);
  return all.select(2, v).to(device, torch::kInt64);
}

}  // namespace

Trainer::Trainer(TrainConfig config)
    : config_(std::move(config)), dump_dir_(config_.dump_dir), checkpoints_(*config_.checkpoint.path) {
  tokenizer_ = make_tokenizer(config_.data.tokenizer.name, config_.data.tokenizer.path);
  if (config_.model.vocab_size < 0) config_.model.vocab_size = tokenizer_->n_words();
  LT2_CHECK(config_.model.vocab_size == tokenizer_->n_words(),
            "model.vocab_size is {}, the tokenizer {} has {} words; leave vocab_size out or set {}",
            config_.model.vocab_size, config_.data.tokenizer.name, tokenizer_->n_words(), tokenizer_->n_words());
  fs::create_directories(dump_dir_);
  set_log_file((dump_dir_ / "train.log").string());
  loader_ = std::make_unique<Loader>(loader_config(config_), /*rank=*/0, /*world=*/1);
  if (config_.val.every > 0)
    validation_ = std::make_unique<ValidationSet>(loader_config(config_), config_.val.source, config_.val.steps);
  torch::manual_seed(static_cast<uint64_t>(config_.seed));
  model_ = std::make_shared<LoopedTransformer>(config_.model);
  model_->initialise();
  model_->compute_type = parse_dtype(config_.distributed.model_dtype, "distributed.model_dtype");
  optimizer_ = std::make_unique<AdamW>(model_->official_parameters(), config_.optim);
  resume();
  metrics_ = std::make_unique<MetricsLog>(dump_dir_ / "metrics.jsonl", state_.step);
  drop_lines_after(dump_dir_ / "metrics.validation.jsonl", state_.step);
  write_file_atomically(dump_dir_ / "config.yaml", to_yaml(config_));
}

void Trainer::resume() {
  auto folders = complete_checkpoints(checkpoints_);
  for (; !folders.empty(); folders.pop_back()) {
    try {
      verify_checksums(folders.back());
    } catch (const Error& error) {
      log_warning("{}; trying the checkpoint before it", error.what());
      continue;
    }
    state_ = load_checkpoint(folders.back(), *model_, *optimizer_);
    loader_->restore(state_.loader, state_.step);
    saved_step_ = state_.step;
    log_info("resuming from {} (step {})", folders.back().string(), state_.step);
    return;
  }
  if (config_.checkpoint.init_ckpt_path) {
    const auto folder = resolve_checkpoint(*config_.checkpoint.init_ckpt_path);
    load_parameters(*model_, SafetensorsFile(folder / "model.safetensors"));
    log_info("weights from {}", folder.string());
  }
}

MicroBatch Trainer::load_batch() {
  const auto begin = Clock::now();
  const auto batch = loader_->next();
  data_seconds_ += seconds_since(begin);
  const auto device = model_->tok_embeddings.device();
  return {.inputs = view_of(batch, 0, device), .targets = view_of(batch, 1, device), .draw = state_.draws++};
}

void Trainer::take_step() {
  const auto begin = Clock::now();
  const auto result = train_step(*model_, *optimizer_, config_.optim, state_.step, config_.steps,
                                 config_.grad_acc_steps, [&](int64_t) { return load_batch(); });
  if (!result.applied) {
    const auto what =
        fmt::format("step {}: the {} is not finite (loss {}, gradient norm {})", state_.step + 1,
                    std::isfinite(result.loss) ? "gradient norm" : "loss", result.loss, result.gradient_norm);
    LT2_CHECK(config_.optim.nan_policy == "skip",
              "{}. {}; lower optim.lr, or set optim.nan_policy=skip to leave such steps out", what,
              saved_step_ >= 0
                  ? fmt::format("The last good checkpoint is {}", checkpoint_folder(checkpoints_, saved_step_).string())
                  : "No checkpoint was written yet");
    ++state_.skipped_steps;
    log_warning("{}; skipped, {} so far", what, state_.skipped_steps);
  }
  ++state_.step;
  last_loss_ = result.loss;
  log_step(result, seconds_since(begin));
}

void Trainer::log_step(const StepResult& result, double seconds) {
  const double tokens = static_cast<double>(config_.data.batch_size * config_.data.seq_len * config_.grad_acc_steps);
  progress_text_ =
      fmt::format("step {}/{}  loss {:.4f}{}  lr {:.2e}  grad {:.3f}  {} tok/s", state_.step, config_.steps,
                  result.loss, last_validation_ > 0 ? fmt::format("  val {:.4f}", last_validation_) : "", result.lr,
                  result.gradient_norm, human_count(tokens / seconds));
  if (state_.step % config_.logging.freq != 0 && state_.step != config_.steps) return;
  metrics_->write({.global_step = state_.step,
                   .total_tokens = static_cast<int64_t>(tokens) * state_.step,
                   .loops = config_.model.loop_count,
                   .tokens_per_s = tokens / seconds,
                   .flops = tokens / seconds * training_flops_per_token(*model_, config_.data.seq_len),
                   .iteration_s = seconds,
                   .data_s = data_seconds_,
                   .gradient_norm = result.gradient_norm,
                   .lr = result.lr,
                   .loss = result.loss});
  data_seconds_ = 0;
}

void Trainer::validate() {
  torch::NoGradGuard no_grad;
  const auto device = model_->tok_embeddings.device();
  double loss_sum = 0, tokens = 0, bytes = 0;
  // Random layouts: validation counts its own draws from 0, so that it does not disturb the run's.
  int64_t draw = 0;
  for (const auto& batch : validation_->batches()) {
    const auto targets = view_of(batch, 1, device);
    const double count = static_cast<double>(targets.numel());
    loss_sum += count * model_->loss(view_of(batch, 0, device), targets, draw++).item<double>();
    tokens += count;
    for (size_t i = 1; i < batch.tokens.size(); i += 2)
      bytes += static_cast<double>(tokenizer_->token_bytes(batch.tokens[i]).size());
  }
  last_validation_ = loss_sum / tokens;
  append_validation(dump_dir_ / "metrics.validation.jsonl", state_.step, config_.val.source.value_or("held_back"),
                    last_validation_, loss_sum / std::log(2.0) / std::max(bytes, 1.0));
}

void Trainer::sample(const std::string& when) {
  if (!config_.val.prompt) return;
  GenerateRequest request{.prompt = tokenizer_->encode(*config_.val.prompt, config_.data.add_bos, false),
                          .max_gen_len = config_.val.sample_len,
                          .stop_tokens = {tokenizer_->eos_id()},
                          .sampling = {.temperature = 0.8, .top_p = {}, .top_k = 40},
                          .seed = static_cast<uint64_t>(config_.seed)};
  const auto text = tokenizer_->decode(generate(*model_, request).tokens);
  fmt::print("--- sample {} (step {}) ---\n{}{}\n---\n", when, state_.step, *config_.val.prompt, text);
  std::fflush(stdout);
  const auto path = dump_dir_ / "samples.json";
  auto samples = nlohmann::ordered_json::array();
  if (fs::exists(path)) {
    const auto old = nlohmann::ordered_json::parse(read_file(path), nullptr, /*allow_exceptions=*/false);
    for (const auto& item : old) {
      if (item.is_object() && item.value("step", int64_t{0}) < state_.step) samples.push_back(item);
    }
  }
  samples.push_back({{"when", when}, {"step", state_.step}, {"prompt", *config_.val.prompt}, {"text", text}});
  // Half a character at the end of a byte sample must not stop the run.
  write_file_atomically(path, samples.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

void Trainer::save() {
  if (saved_step_ == state_.step) return;
  state_.loader = loader_->state();
  save_checkpoint(checkpoint_folder(checkpoints_, state_.step), *model_, *optimizer_, to_json(config_), state_);
  saved_step_ = state_.step;
  const auto& c = config_.checkpoint;
  prune_checkpoints(checkpoints_, c.dump.every, c.dump.keep, c.eval.every, c.eval.keep);
}

Trainer::End Trainer::run() {
  catch_stop_signals();
  log_info("{}: {} parameters, {} loops x {} layers, {} tokens a step, {} steps, {}", config_.name,
           human_count(static_cast<double>(parameter_count(*model_))), config_.model.loop_count, config_.model.n_layers,
           config_.data.batch_size * config_.data.seq_len * config_.grad_acc_steps, config_.steps,
           config_.distributed.model_dtype);
  if (state_.step >= config_.steps) {
    log_info("nothing to do: step {} of {} is already reached; raise steps to go on", state_.step, config_.steps);
    return End::kFinished;
  }
  if (state_.step == 0) sample("before training");
  ProgressBar bar(config_.name, config_.steps, config_.logging.freq, state_.step);
  const auto& c = config_.checkpoint;
  const int64_t first_step = state_.step;
  while (state_.step < config_.steps && stop_signal() == 0 && state_.step - first_step != stop_after_) {
    take_step();
    if (validation_ && (state_.step % config_.val.every == 0 || state_.step == config_.steps)) validate();
    bar.update(state_.step, progress_text_);
    if (state_.step % c.dump.every == 0 || state_.step % c.eval.every == 0) save();
  }
  bar.finish();
  save();
  if (state_.step < config_.steps) {
    log_info("stopped after step {}; saved {}. Run the same command again to go on", state_.step,
             checkpoint_folder(checkpoints_, state_.step).string());
    return End::kInterrupted;
  }
  sample("after training");
  log_info("done: loss {:.4f}{} after {} steps; checkpoint {}", last_loss_,
           last_validation_ > 0 ? fmt::format(", validation {:.4f}", last_validation_) : "", state_.step,
           checkpoint_folder(checkpoints_, state_.step).string());
  return End::kFinished;
}

std::string Trainer::plan(const TrainConfig& original) {
  auto config = original;
  const auto tokenizer = make_tokenizer(config.data.tokenizer.name, config.data.tokenizer.path);
  if (config.model.vocab_size < 0) config.model.vocab_size = tokenizer->n_words();
  LoopedTransformer model(config.model);
  const auto type = parse_dtype(config.distributed.model_dtype, "distributed.model_dtype");
  const auto memory = training_memory(model, config.data.batch_size, config.data.seq_len, type);
  const int64_t tokens = config.data.batch_size * config.data.seq_len * config.grad_acc_steps;
  const auto bytes = [](int64_t b) { return human_bytes(static_cast<double>(b)); };
  std::string text = fmt::format("parameters       {}\n", parameter_count(model));
  for (const auto& [name, count] : parameters_by_part(model)) text += fmt::format("  {:<24} {}\n", name, count);
  text += fmt::format("depth            {} loops x {} layers\n", config.model.loop_count, config.model.n_layers);
  text += fmt::format("FLOPs per token  {} (forward and backward)\n",
                      human_count(training_flops_per_token(model, config.data.seq_len)));
  text += fmt::format("tokens per step  {}\n", tokens);
  text += fmt::format("total tokens     {}\n", human_count(static_cast<double>(tokens * config.steps)));
  text += fmt::format("memory           {}: weights {}, packed {}, gradients {}, moments {}, activations {}\n",
                      bytes(memory.total()), bytes(memory.weights), bytes(memory.packed), bytes(memory.gradients),
                      bytes(memory.moments), bytes(memory.activations));
  return text;
}

}  // namespace lt2
