// lt2 generate chat=true: a conversation in the terminal. It keeps its state, so no token is read twice.
#include <fmt/format.h>
#include <unistd.h>

#include <utility>

#include "base/error.h"
#include "base/input_stream.h"
#include "base/log.h"
#include "base/output.h"
#include "base/signals.h"
#include "base/utf8.h"
#include "cli/session.h"
#include "infer/conversation.h"
#include "infer/text_stream.h"

namespace lt2 {
namespace {

// Waits for input. False: a signal came first.
bool wait_for_line(const InputStream& input) {
  while (stop_signal() == 0) {
    if (input.ready(200)) return true;
  }
  return false;
}

}  // namespace

int chat(const GenerateConfig& config) {
  LT2_CHECK(
      !config.prompt && !config.prompt_file && config.n == 1 && !config.logprobs && !config.parse_special,
      "generate: chat reads what you type, as text; leave out prompt, prompt_file, n, logprobs and parse_special");
  InputStream input("-");
  auto session = open_session(config, 1, 2);  // what was asked, and what was answered
  auto& engine = session.engine();
  Conversation talk(session.tokenizer(), session.chat(), session.add_bos(), session.resume());
  session.stop_at(talk.stop_tokens());
  auto stop_texts = talk.stop_texts();
  stop_texts.insert(stop_texts.end(), config.until.begin(), config.until.end());
  log_info("{}; an empty line or Ctrl-D ends the conversation", talk.form());
  catch_stop_signals();
  const bool terminal = isatty(STDIN_FILENO) != 0;
  bool first = true;
  for (std::string line;;) {
    if (terminal) print_out("> ");
    flush_out();
    if (!wait_for_line(input) || !input.line(line)) break;
    if (std::exchange(first, false)) line = std::string(without_byte_order_mark(line));
    if (line.empty()) break;
    bool asked = false;
    try {
      const auto& history = talk.ask(line);
      asked = true;
      TextStream text(session.tokenizer(), stop_texts, history);
      const auto show = [&](const std::string& piece) {
        print_out("{}", piece);
        flush_out();
      };
      auto request = session.request(history);
      request.on_token = [&](const GeneratedToken& token) {
        if (!session.is_stop(token.id)) show(text.push(token.id));
        return !text.stopped();
      };
      const auto id = engine.submit(std::move(request));
      session.run({id});
      const auto result = engine.take(id);
      show(text.finish());
      print_out("\n");
      flush_out();
      log_speed(engine, result, history.size());
      talk.answer(text.kept());
    } catch (const Error& error) {  // the conversation so far is not lost
      if (dynamic_cast<const OutputClosed*>(&error) == nullptr) log_warning("{}", error.what());
      if (asked) talk.take_back();
      break;
    }
  }
  session.keep(talk.tokens());
  return 0;
}

}  // namespace lt2
