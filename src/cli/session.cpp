#include "cli/session.h"

#include <algorithm>

#include "base/log.h"
#include "base/units.h"

namespace lt2 {

TextSession open_session(const GenerateConfig& config, int64_t slots, int64_t prefixes) {
  TextSession session(config, {.memory = config.memory, .slots = slots, .prefixes = prefixes});
  const auto& advice = session.generation();
  if (advice.temperature && config.temperature == 0 && advice.do_sample.value_or(true))
    log_info("generation_config.json recommends temperature={}{}", *advice.temperature,
             advice.top_p ? fmt::format(" top_p={}", *advice.top_p) : "");
  return session;
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
