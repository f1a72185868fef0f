#include "cli/inference.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <limits>

#include "base/error.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/units.h"
#include "data/prepare.h"
#include "ops/dtype.h"

namespace lt2 {
namespace {

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

}  // namespace

GenerateRequest Inference::request(const GenerateConfig& config, std::vector<int32_t> prompt, int64_t index) const {
  LT2_CHECK(!config.max_prompt_len || static_cast<int64_t>(prompt.size()) <= *config.max_prompt_len,
            "generate: the prompt has {} tokens, max_prompt_len allows {}; no prompt is cut silently", prompt.size(),
            *config.max_prompt_len);
  auto bias = biases(config.logit_bias);
  // Ids that the tokenizer has no word for are never drawn.
  for (int64_t id = tokenizer->n_words(); id < source.model->config().vocab_size; ++id)
    bias.emplace_back(static_cast<int32_t>(id), -std::numeric_limits<double>::infinity());
  return {.prompt = std::move(prompt),
          .max_gen_len = config.max_gen_len,
          .stop_tokens = stop_tokens,
          .sampling = {.temperature = config.temperature,
                       .top_p = config.top_p,
                       .top_k = config.top_k,
                       .min_p = config.min_p,
                       .repetition_penalty = config.repetition_penalty,
                       .presence_penalty = config.presence_penalty,
                       .logit_bias = std::move(bias)},
          .seed = static_cast<uint64_t>(config.seed) + static_cast<uint64_t>(index),
          .logprobs = config.logprobs};
}

bool Inference::is_stop(int32_t token) const {
  return std::find(stop_tokens.begin(), stop_tokens.end(), token) != stop_tokens.end();
}

std::vector<int32_t> Inference::resume(const GenerateConfig& config) const {
  if (!config.state || !std::filesystem::exists(*config.state)) return {};
  auto tokens = engine->load(*config.state);
  log_info("{}: continues after {} tokens", *config.state, tokens.size());
  return tokens;
}

void Inference::keep(const GenerateConfig& config, const std::vector<int32_t>& tokens) const {
  if (!config.state || tokens.empty()) return;
  const auto saved = engine->save(*config.state, tokens);
  log_info("{}: session of {} tokens saved", *config.state, saved);
}

void Inference::run(const std::vector<Engine::Id>& requests) const {
  while (engine->step()) {
    if (stop_signal() == 0) continue;
    for (const auto id : requests) engine->cancel(id);
  }
}

std::unique_ptr<FileLock> claim_session(const GenerateConfig& config) {
  if (!config.state) return nullptr;
  const auto path = std::filesystem::absolute(*config.state);
  LT2_CHECK(!config.state->empty() && !std::filesystem::is_directory(path) &&
                std::filesystem::is_directory(path.parent_path()),
            "generate: state=\"{}\" must name a file in a folder that exists", *config.state);
  return std::make_unique<FileLock>(
      path.parent_path() / fmt::format(".{}.lock", path.filename().string()),
      fmt::format("{}: another process goes on with this session; wait for its end or give it a copy", *config.state));
}

Inference open_inference(const GenerateConfig& config, const std::string& memory, int64_t slots, int64_t prefixes) {
  LT2_CHECK(!config.ckpt.empty(),
            "generate: ckpt=DIR is required: a checkpoint folder, a run's dump directory, or a "
            "model folder with config.json");
  LT2_CHECK(config.device != "cuda", "generate: device=cuda is not in this version; leave device out for the CPU");
  // All that can be wrong before anything large is loaded; the weights come out of this memory, too.
  EngineOptions options{
      .slots = slots,
      .memory = memory.empty() ? available_memory() : static_cast<int64_t>(memory_from_text(memory, "--memory")),
      .prefixes = prefixes};
  if (config.speculate) options.speculate = parse_speculation(*config.speculate, "speculate");
  const auto weights =
      config.weights == "auto" ? std::nullopt : std::optional(parse_weight_format(config.weights, "weights"));
  Inference out;
  out.source = packed_source(config.ckpt, parse_dtype(config.dtype.value_or("bf16"), "dtype"), weights,
                             {.total_ut_steps = config.total_ut_steps});
  auto& model = *out.source.model;
  const auto& tokenizer = out.source.config.data.tokenizer;
  out.tokenizer = make_tokenizer(tokenizer.name, tokenizer.path, tokenizer.specials);
  LT2_CHECK(out.tokenizer->n_words() <= model.config().vocab_size,
            "{}: the tokenizer has {} words, the model's vocabulary only {}", out.source.where,
            out.tokenizer->n_words(), model.config().vocab_size);
  out.stop_tokens = out.source.stop_ids;
  if (out.stop_tokens.empty()) out.stop_tokens = {out.tokenizer->eos_id()};
  options.exit = model.exit_rule();
  // A folder's threshold of 1 says that all loops run, but for saturated gates; drafts are verified by all loops.
  if (config.speculate && options.exit.threshold.value_or(0) >= 1) options.exit.threshold.reset();
  if (config.early_exit_step) options.exit.step = config.early_exit_step;
  if (config.early_exit_threshold) options.exit.threshold = config.early_exit_threshold;
  options.exit.defer = config.early_exit == "defer";
  out.engine = std::make_unique<Engine>(model, options);
  const auto& advice = out.source.generation;
  if (advice.temperature && config.temperature == 0 && advice.do_sample.value_or(true))
    log_info("generation_config.json recommends temperature={}{}", *advice.temperature,
             advice.top_p ? fmt::format(" top_p={}", *advice.top_p) : "");
  return out;
}

void log_speed(const Engine& engine, const GenerateResult& result, size_t prompt_tokens) {
  const auto read = static_cast<double>(static_cast<int64_t>(prompt_tokens) - result.reused_tokens),
             decoded = static_cast<double>(result.tokens.size()) - 1;
  log_info("prefill {} tokens{}, {:.1f} tokens/s; decode {} tokens, {:.1f} tokens/s; state {}", read,
           result.reused_tokens > 0 ? fmt::format(" ({} known)", result.reused_tokens) : "",
           result.prefill_s > 0 ? read / result.prefill_s : 0.0, result.tokens.size(),
           decoded > 0 ? decoded / result.decode_s : 0.0, human_bytes(static_cast<double>(result.state_bytes)));
  const auto& counts = engine.counts();
  if (counts.drafted > 0) {
    log_info("drafts: {} of {} accepted ({:.0f}%), {:.2f} tokens a pass{}", counts.accepted, counts.drafted,
             100.0 * static_cast<double>(counts.accepted) / static_cast<double>(counts.drafted),
             static_cast<double>(result.tokens.size()) / static_cast<double>(std::max<int64_t>(counts.passes, 1)),
             counts.gave_up_drafting > 0 ? "; switched off, it did not pay" : "");
  }
  if (!engine.exit_rule().exits_early()) return;
  std::string exits;
  for (size_t t = 0; t < counts.exits.size(); ++t)
    exits += fmt::format("{}loop {}: {}", t ? ", " : "", t, counts.exits[t]);
  log_info("tokens by the loop they left after: {}", exits);
}

}  // namespace lt2
