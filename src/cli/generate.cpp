// lt2 generate ckpt=DIR prompt=...: streams text.
#include "infer/generate.h"

#include <fmt/format.h>
#include <unistd.h>

#include <iostream>
#include <iterator>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/units.h"
#include "cli/command.h"
#include "cli/source.h"
#include "config/generate_config.h"
#include "config/overrides.h"
#include "tokenizer/tokenizer.h"

namespace lt2 {
namespace {

std::string help() {
  return "usage: lt2 generate ckpt=DIR prompt=TEXT [key=value ...]\n\n"
         "Continues a prompt: prefill, then token by token with the mixers' states. Text goes to standard output, "
         "speed and state size to standard\n"
         "error. Without prompt= and prompt_file= the prompt is read from standard input. ckpt= is a checkpoint or a "
         "run's dump directory (its newest).\n\n"
         "example: lt2 generate ckpt=runs/demo prompt='ROMEO:' max_gen_len=200 temperature=0.8 top_k=40 seed=1\n\n" +
         describe_fields<GenerateConfig>();
}

std::string read_prompt(const GenerateConfig& config) {
  LT2_CHECK(!(config.prompt && config.prompt_file), "generate: give prompt or prompt_file, not both");
  if (config.prompt) return *config.prompt;
  if (config.prompt_file) return read_file(*config.prompt_file);
  if (isatty(STDIN_FILENO)) log_info("reading the prompt from standard input; end it with Ctrl-D");
  return {std::istreambuf_iterator<char>(std::cin), {}};
}

int run(const Arguments& arguments) {
  GenerateConfig config, defaults;
  apply_overrides(config, arguments.words, "lt2 generate");
  for (const auto& line : ignored_fields(collect_fields(config), collect_fields(defaults))) log_info("{}", line);
  LT2_CHECK(!config.ckpt.empty(), "generate: ckpt=DIR is required: a checkpoint folder or a run's dump directory");
  LT2_CHECK(!config.chat, "generate: chat=true is not in this version");
  LT2_CHECK(config.device != "cuda", "generate: device=cuda is not in this version; leave device out for the CPU");
  const auto source = open_model(config.ckpt, "", {}, config.dtype);
  const auto& tokenizer_config = source.config.data.tokenizer;
  const auto tokenizer = make_tokenizer(tokenizer_config.name, tokenizer_config.path, tokenizer_config.specials);

  GenerateRequest request;
  request.prompt = tokenizer->encode(read_prompt(config), source.config.data.add_bos, /*add_eos=*/false);
  LT2_CHECK(!config.max_prompt_len || static_cast<int64_t>(request.prompt.size()) <= *config.max_prompt_len,
            "generate: the prompt has {} tokens, max_prompt_len allows {}; no prompt is cut silently",
            request.prompt.size(), *config.max_prompt_len);
  request.max_gen_len = config.max_gen_len;
  request.stop_tokens = {tokenizer->eos_id()};
  request.sampling = {.temperature = config.temperature, .top_p = config.top_p, .top_k = config.top_k};
  request.seed = static_cast<uint64_t>(config.seed);

  catch_stop_signals();
  StreamDecoder decoder(*tokenizer);
  std::string text;
  const auto result = generate(*source.model, request, [&](int32_t token) {
    const auto piece = decoder.push(token);
    text += piece;
    fmt::print("{}", piece);
    std::fflush(stdout);
    for (const auto& stop : config.until) {
      if (!stop.empty() && text.size() >= stop.size() &&
          text.find(stop, text.size() - std::min(text.size(), stop.size() + piece.size())) != std::string::npos)
        return false;
    }
    return stop_signal() == 0;
  });
  fmt::print("{}\n", decoder.finish());
  std::fflush(stdout);  // the text before the speed, also where both go into one pipe
  const auto prompt = static_cast<double>(request.prompt.size()),
             decoded = static_cast<double>(result.tokens.size()) - 1;
  log_info("prefill {} tokens, {:.1f} tokens/s; decode {} tokens, {:.1f} tokens/s; state {}", request.prompt.size(),
           prompt / result.prefill_s, result.tokens.size(), decoded > 0 ? decoded / result.decode_s : 0.0,
           human_bytes(static_cast<double>(result.state_bytes)));
  return 0;
}

}  // namespace

Command generate_command() { return {"generate", "continue a prompt with a trained model", help, run, {}}; }

}  // namespace lt2
