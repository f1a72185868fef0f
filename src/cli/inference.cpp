#include "cli/inference.h"

#include <charconv>

#include "base/error.h"
#include "base/log.h"
#include "base/units.h"
#include "data/prepare.h"
#include "model/model_io.h"

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
  return {.prompt = std::move(prompt),
          .max_gen_len = config.max_gen_len,
          .stop_tokens = stop_tokens,
          .sampling = {.temperature = config.temperature,
                       .top_p = config.top_p,
                       .top_k = config.top_k,
                       .min_p = config.min_p,
                       .repetition_penalty = config.repetition_penalty,
                       .presence_penalty = config.presence_penalty,
                       .logit_bias = biases(config.logit_bias)},
          .seed = static_cast<uint64_t>(config.seed + index),
          .logprobs = config.logprobs};
}

Inference open_inference(const GenerateConfig& config, const std::string& memory, int64_t slots, int64_t prefixes) {
  LT2_CHECK(!config.ckpt.empty(),
            "generate: ckpt=DIR is required: a checkpoint folder, a run's dump directory, or a "
            "model folder with config.json");
  LT2_CHECK(config.device != "cuda", "generate: device=cuda is not in this version; leave device out for the CPU");
  Inference out;
  const auto weights =
      config.weights == "auto" ? std::nullopt : std::optional(parse_weight_format(config.weights, "weights"));
  out.source = open_frozen_model(config.ckpt, parse_dtype(config.dtype.value_or("bf16"), "dtype"), weights,
                                 {.total_ut_steps = config.total_ut_steps});
  const auto& tokenizer = out.source.config.data.tokenizer;
  out.tokenizer = make_tokenizer(tokenizer.name, tokenizer.path, tokenizer.specials);
  out.stop_tokens = out.source.stop_ids;
  if (out.stop_tokens.empty()) out.stop_tokens = {out.tokenizer->eos_id()};
  EngineOptions options{
      .slots = slots,
      .memory = memory.empty() ? available_memory() : static_cast<int64_t>(memory_from_text(memory, "--memory")),
      .prefixes = prefixes,
      .exit = out.source.model->exit_rule()};
  if (config.early_exit_step) options.exit.step = config.early_exit_step;
  if (config.early_exit_threshold) options.exit.threshold = config.early_exit_threshold;
  options.exit.defer = config.early_exit == "defer";
  if (config.speculate) options.speculate = parse_speculation(*config.speculate, "speculate");
  out.engine = std::make_unique<Engine>(*out.source.model, options);
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
