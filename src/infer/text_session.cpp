#include "infer/text_session.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <limits>

#include "base/error.h"
#include "base/log.h"
#include "base/signals.h"
#include "folders/companions.h"
#include "folders/packed_folder.h"
#include "ops/dtype.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

std::unique_ptr<FileLock> claim(const std::optional<std::string>& state) {
  if (!state) return nullptr;
  const auto path = fs::absolute(*state);
  LT2_CHECK(!state->empty() && !fs::is_directory(path) && fs::is_directory(path.parent_path()),
            "generate: state=\"{}\" must name a file in a folder that exists", *state);
  return std::make_unique<FileLock>(
      path.parent_path() / fmt::format(".{}.lock", path.filename().string()),
      fmt::format("{}: another process uses this session; wait for it to end, or use a copy of the file", *state));
}

std::vector<std::pair<int32_t, double>> biases(const Weights& by_id) {
  std::vector<std::pair<int32_t, double>> out;
  for (const auto& [id, bias] : by_id) {
    int32_t token = 0;
    const auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), token);
    LT2_CHECK(error == std::errc() && end == id.data() + id.size(),
              "logit_bias must name tokens by their ids, as in logit_bias={{50256: -100}}; found \"{}\"", id);
    out.emplace_back(token, bias);
  }
  return out;
}

ExitRule exit_rule(const GenerateConfig& config, const LoopedTransformer& model) {
  ExitRule exit = model.exit_rule();
  // A folder's threshold of 1 means that all loops run, except at saturated gates; all loops verify drafts.
  if (config.speculate && exit.threshold.value_or(0) >= 1) exit.threshold.reset();
  if (config.early_exit_step) exit.step = config.early_exit_step;
  if (config.early_exit_threshold) exit.threshold = config.early_exit_threshold;
  exit.defer = config.early_exit == "defer";
  return exit;
}

}  // namespace

TextSession::TextSession(GenerateConfig config, const SessionOptions& options) : config_(std::move(config)) {
  LT2_CHECK(!config_.ckpt.empty(),
            "generate: ckpt=DIR is required: a checkpoint folder, a run's dump directory, or a "
            "model folder with config.json");
  LT2_CHECK(config_.device != "cuda", "generate: device=cuda is not in this version; leave device out for the CPU");
  lock_ = claim(config_.state);
  // The weights use this memory too.
  EngineOptions engine{.slots = options.slots,
                       .memory = options.memory ? *options.memory : available_memory(),
                       .prefixes = options.prefixes};
  if (config_.speculate) engine.speculate = parse_speculation(*config_.speculate, "speculate");
  const auto type = parse_dtype(config_.dtype.value_or("bf16"), "dtype");
  const auto weights =
      config_.weights == "auto" ? std::nullopt : std::optional(parse_weight_format(config_.weights, "weights"));
  const auto folder = open_model(config_.ckpt, {.total_ut_steps = config_.total_ut_steps});
  where_ = folder.where.string();
  generation_ = folder.generation;
  if (config_.chat) chat_ = read_chat_source(folder.where);
  add_bos_ = folder.add_bos;
  tokenizer_ = open_tokenizer(folder);
  LT2_CHECK(tokenizer_->n_words() <= folder.config.vocab_size,
            "{}: the tokenizer has {} words, the model's vocabulary only {}", where_, tokenizer_->n_words(),
            folder.config.vocab_size);
  stop_tokens_ = folder.stop_ids;
  if (stop_tokens_.empty()) stop_tokens_ = {tokenizer_->eos_id()};
  model_ = load_packed(folder, weights, type);
  engine.exit = exit_rule(config_, *model_);
  LT2_CHECK(!engine.exit.defer || engine.exit.exits_early(),
            "generate: early_exit=defer has no effect: {} has no rule for early exit; give early_exit_step "
            "or early_exit_threshold with it, or leave it out",
            where_);
  engine_ = std::make_unique<Engine>(*model_, engine);
}

std::vector<int32_t> TextSession::tokens_after(const std::vector<int32_t>& before, const std::string& text) const {
  return tokenizer_->encode(text, add_bos_ && before.empty(), /*add_eos=*/false,
                            {.continues = tokenizer_->holds_text(before), .specials = config_.parse_special});
}

GenerateRequest TextSession::request(std::vector<int32_t> prompt, int64_t index) const {
  LT2_CHECK(!config_.max_prompt_len || static_cast<int64_t>(prompt.size()) <= *config_.max_prompt_len,
            "generate: the prompt has {} tokens, max_prompt_len allows {}; no prompt is cut silently", prompt.size(),
            *config_.max_prompt_len);
  auto bias = biases(config_.logit_bias);
  // Ids without a word in the tokenizer are never drawn.
  for (int64_t id = tokenizer_->n_words(); id < model_->config().vocab_size; ++id)
    bias.emplace_back(static_cast<int32_t>(id), -std::numeric_limits<double>::infinity());
  return {.prompt = std::move(prompt),
          .max_gen_len = config_.max_gen_len,
          .stop_tokens = stop_tokens_,
          .sampling = {.temperature = config_.temperature,
                       .top_p = config_.top_p,
                       .top_k = config_.top_k,
                       .min_p = config_.min_p,
                       .repetition_penalty = config_.repetition_penalty,
                       .presence_penalty = config_.presence_penalty,
                       .logit_bias = std::move(bias)},
          .seed = static_cast<uint64_t>(config_.seed) + static_cast<uint64_t>(index),
          .logprobs = config_.logprobs};
}

bool TextSession::is_stop(int32_t token) const {
  return std::find(stop_tokens_.begin(), stop_tokens_.end(), token) != stop_tokens_.end();
}

void TextSession::stop_at(const std::vector<int32_t>& tokens) {
  stop_tokens_.insert(stop_tokens_.end(), tokens.begin(), tokens.end());
}

void TextSession::run(const std::vector<Engine::Id>& requests) const {
  while (engine_->step()) {
    if (stop_signal() == 0) continue;
    for (const auto id : requests) engine_->cancel(id);
  }
}

std::vector<int32_t> TextSession::resume() const {
  if (!config_.state || !fs::exists(*config_.state)) return {};
  auto tokens = engine_->load(*config_.state);
  log_info("{}: continues after {} tokens", *config_.state, tokens.size());
  return tokens;
}

void TextSession::keep(const std::vector<int32_t>& tokens) const {
  if (!config_.state || tokens.empty()) return;
  const auto saved = engine_->save(*config_.state, tokens);
  log_info("{}: session of {} tokens saved", *config_.state, saved);
}

}  // namespace lt2
