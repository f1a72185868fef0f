// lt2 generate chat=true: a conversation in the terminal whose state is kept, so that nothing is read twice.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iostream>

#include "base/error.h"
#include "base/log.h"
#include "base/signals.h"
#include "cli/inference.h"
#include "infer/text_stream.h"

namespace lt2 {
namespace {

// How turns are written for the model.
struct ChatForm {
  bool marked = false;  // the vocabulary has ChatML's marks
  std::string user, assistant, end;
  std::vector<std::string> stops;
};

ChatForm form_of(const Tokenizer& tokenizer) {
  const auto ids = tokenizer.encode_with_specials("<|im_end|>", false, false);
  if (ids.size() == 1) {
    return {.marked = true,
            .user = "<|im_start|>user\n",
            .assistant = "<|im_end|>\n<|im_start|>assistant\n",
            .end = "<|im_end|>\n",
            .stops = {"<|im_end|>"}};
  }
  return {.marked = false, .user = "User: ", .assistant = "\nAssistant:", .end = "\n", .stops = {"\nUser:"}};
}

}  // namespace

int chat(const GenerateConfig& config, const std::string& memory) {
  LT2_CHECK(!config.prompt && !config.prompt_file && config.n == 1 && !config.logprobs,
            "generate: chat reads what you type; leave out prompt, prompt_file, n and logprobs");
  auto inference = open_inference(config, memory, 1, 2);  // what was asked, and what was answered
  auto& [source, tokenizer, engine, stops] = inference;
  const auto form = form_of(*tokenizer);
  if (form.marked) stops.push_back(tokenizer->encode_with_specials("<|im_end|>", false, false)[0]);
  std::vector<int32_t> history;
  if (config.state && std::filesystem::exists(*config.state)) {
    history = engine->load(*config.state);
    log_info("{}: continues after {} tokens", *config.state, history.size());
  }
  log_info("{} form; an empty line or Ctrl-D ends the conversation", form.marked ? "ChatML" : "User/Assistant");
  catch_stop_signals();
  const bool terminal = isatty(STDIN_FILENO) != 0;
  for (std::string line;;) {
    if (terminal) fmt::print("> ");
    std::fflush(stdout);
    if (stop_signal() != 0 || !std::getline(std::cin, line) || line.empty()) break;
    const bool first = history.empty();
    const auto turn = (first ? "" : form.end) + form.user + line + form.assistant;
    const auto more = tokenizer->encode_with_specials(turn, first && source.config.data.add_bos, false);
    history.insert(history.end(), more.begin(), more.end());
    TextStream text(*tokenizer, [&] {
      auto all = config.until;
      all.insert(all.end(), form.stops.begin(), form.stops.end());
      return all;
    }());
    std::string answer;
    const auto show = [&](const std::string& piece) {
      answer += piece;
      fmt::print("{}", piece);
      std::fflush(stdout);
    };
    auto request = inference.request(config, history, 0);
    const auto is_stop = [&stops = stops](int32_t id) {
      return std::find(stops.begin(), stops.end(), id) != stops.end();
    };
    request.on_token = [&](const GeneratedToken& token) {
      if (!is_stop(token.id)) show(text.push(token.id));
      return !text.stopped() && stop_signal() == 0;
    };
    const auto id = engine->submit(std::move(request));
    engine->run();
    const auto result = engine->take(id);
    show(text.finish());
    fmt::print("\n");
    std::fflush(stdout);
    log_speed(*engine, result, history.size());
    if (text.stopped()) {
      // Tokens of a stop text are no part of the conversation: what was shown is read again after the question.
      const auto shown = tokenizer->encode(answer, false, false);
      history.insert(history.end(), shown.begin(), shown.end());
    } else {
      for (const auto& token : result.tokens) {
        if (!is_stop(token.id)) history.push_back(token.id);
      }
    }
  }
  if (config.state && !history.empty()) {
    const auto saved = engine->save(*config.state, history);
    log_info("{}: session of {} tokens saved", *config.state, saved);
  }
  return 0;
}

}  // namespace lt2
