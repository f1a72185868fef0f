// lt2 generate ckpt=DIR prompt=...: streams text.
#include <fmt/format.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/files.h"
#include "base/input_stream.h"
#include "base/log.h"
#include "base/output.h"
#include "base/signals.h"
#include "base/utf8.h"
#include "cli/options.h"
#include "cli/session.h"
#include "infer/text_stream.h"

namespace lt2 {
namespace {

std::string read_prompt(const GenerateConfig& config) {
  LT2_CHECK(!(config.prompt && config.prompt_file), "generate: give prompt or prompt_file, not both");
  if (config.prompt) return *config.prompt;
  if (config.prompt_file) return std::string(without_byte_order_mark(read_stream(*config.prompt_file)));
  if (isatty(STDIN_FILENO)) log_info("reading the prompt from standard input; end it with Ctrl-D");
  return std::string(without_byte_order_mark(InputStream("-").rest()));
}

const char* name_of(Finish finish) {
  switch (finish) {
    case Finish::kStop:
      return "stop";
    case Finish::kLength:
      return "length";
    case Finish::kHook:
      return "stop";
    case Finish::kCancelled:
      return "cancelled";
  }
  return "";
}

// `begun`: the tokens continue a text before them.
std::string json_line(const Tokenizer& tokenizer, const GenerateResult& result, const std::string& text,
                      const std::string& prompt, int64_t sample, bool begun, bool cut) {
  auto tokens = nlohmann::ordered_json::array();
  const auto text_of = [&](int32_t id, bool& after_text) {
    return tokenizer.text_of_bytes(tokenizer.next_bytes(id, after_text));
  };
  for (const auto& token : result.tokens) {
    auto likeliest = nlohmann::ordered_json::array();
    for (const auto& [id, value] : token.likeliest) {
      bool instead = begun;
      likeliest.push_back({{"id", id}, {"text", text_of(id, instead)}, {"logprob", value}});
    }
    tokens.push_back({{"id", token.id},
                      {"text", text_of(token.id, begun)},
                      {"logprob", token.log_probability},
                      {"exit_loop", token.exit},
                      {"likeliest", likeliest}});
  }
  const nlohmann::ordered_json line{{"sample", sample},
                                    {"prompt", prompt},
                                    {"text", text},
                                    {"finish", cut ? "stop" : name_of(result.finish)},
                                    {"tokens", tokens}};
  return line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void report_sampling_without_effect(const GenerateConfig& config, const Options& options) {
  if (config.temperature == 0) {
    for (const char* key : {"top_p", "top_k", "min_p", "seed"}) {
      if (options.given.contains(key)) log_info("ignored: {} (temperature=0 always takes the likeliest token)", key);
    }
  } else if (config.top_p && config.top_k) {
    log_info("ignored: top_k={} (top_p wins over it)", *config.top_k);
  }
}

int run(const Arguments& arguments) {
  GenerateConfig config;
  const auto options = read_options(arguments.words, "generate", Others::kRefused, config);
  report_sampling_without_effect(config, options);
  if (config.chat) return chat(config);
  LT2_CHECK(!config.state || config.n == 1, "generate: state keeps one session; it cannot be combined with n={}",
            config.n);
  const auto session = open_session(config, std::min<int64_t>(config.n, 32),
                                    config.n > 1   ? std::min<int64_t>(config.n, 32) + 1
                                    : config.state ? 2
                                                   : 0);
  const auto& tokenizer = session.tokenizer();
  auto& engine = session.engine();
  const auto prompt = read_prompt(config);
  auto ids = session.resume();
  const auto more = session.tokens_after(ids, prompt);
  ids.insert(ids.end(), more.begin(), more.end());
  const bool begun = tokenizer.holds_text(ids);

  catch_stop_signals();
  const bool lines = config.logprobs.has_value(), live = config.n == 1 && !lines;
  std::vector<TextStream> streams;
  std::vector<std::string> texts(static_cast<size_t>(config.n));
  std::vector<Engine::Id> requests;
  for (int64_t i = 0; i < config.n; ++i) streams.emplace_back(tokenizer, config.until, ids);
  const auto show = [&](size_t i, const std::string& piece) {
    texts[i] += piece;
    if (!live || piece.empty()) return;
    print_out("{}", piece);
    flush_out();
  };
  for (int64_t i = 0; i < config.n; ++i) {
    auto request = session.request(ids, i);
    request.on_token = [&, at = static_cast<size_t>(i)](const GeneratedToken& token) {
      if (!session.is_stop(token.id)) show(at, streams[at].push(token.id));
      return !streams[at].stopped() && stop_signal() == 0;
    };
    requests.push_back(engine.submit(std::move(request)));
  }
  session.run(requests);
  for (size_t i = 0; i < requests.size(); ++i) {
    const auto result = engine.take(requests[i]);
    show(i, streams[i].finish());
    if (lines) {
      print_out("{}\n",
                json_line(tokenizer, result, texts[i], prompt, static_cast<int64_t>(i), begun, streams[i].stopped()));
    } else if (live) {
      print_out("\n");
    } else {
      print_out("--- sample {} ---\n{}\n", i, texts[i]);
    }
    flush_out();  // the text before the speed, also where both go into one pipe
    log_speed(engine, result, ids.size());
    if (!config.state) continue;
    ids.insert(ids.end(), streams[i].kept().begin(), streams[i].kept().end());
    session.keep(ids);
  }
  return 0;
}

}  // namespace

Command generate_command() {
  return {.name = "generate",
          .summary = "continue a prompt with a trained model, or talk with it",
          .about =
              "Continues a prompt: prefill, then token by token with the mixers' states; chat=true is a conversation. "
              "Text goes to standard output, speed and state size to standard error. The model is a checkpoint, a "
              "run's folder (its newest checkpoint) or a model folder with config.json (Ouro). What does not fit "
              "the memory is refused before it runs.",
          .usage = {"generate ckpt=DIR prompt=TEXT [key=value ...] [--memory 8G]",
                    "generate ckpt=DIR chat=true [key=value ...]"},
          .examples = {"generate ckpt=runs/demo prompt='ROMEO:' max_gen_len=200 temperature=0.8 top_k=40 seed=1",
                       "generate ckpt=Ouro-1.4B chat=true weights=int8 state=talk.safetensors"},
          .keys = {keys_with<GenerateConfig>("keys")},
          .run = run};
}

}  // namespace lt2
