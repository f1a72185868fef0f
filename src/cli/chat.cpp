// lt2 generate chat=true: a conversation in the terminal whose state is kept, so that nothing is read twice.
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
#include "infer/chat_form.h"
#include "infer/text_stream.h"

namespace lt2 {
namespace {

// Until there is something to read. False: a signal came first.
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
  const ChatForm form(session.tokenizer());
  session.stop_at(form.stop_tokens());
  auto stop_texts = form.stop_texts();
  stop_texts.insert(stop_texts.end(), config.until.begin(), config.until.end());
  auto history = session.resume();
  log_info("{} form; an empty line or Ctrl-D ends the conversation", form.name());
  catch_stop_signals();
  const bool terminal = isatty(STDIN_FILENO) != 0;
  bool first = true;
  for (std::string line;;) {
    if (terminal) print_out("> ");
    flush_out();
    if (!wait_for_line(input) || !input.line(line)) break;
    if (std::exchange(first, false)) line = std::string(without_byte_order_mark(line));
    if (line.empty()) break;
    const size_t before = history.size();
    try {
      const auto turn = form.turn(line, history, session.add_bos());
      history.insert(history.end(), turn.begin(), turn.end());
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
      history.insert(history.end(), text.kept().begin(), text.kept().end());
    } catch (const Error& error) {  // the conversation so far is not lost
      if (dynamic_cast<const OutputClosed*>(&error) == nullptr) log_warning("{}", error.what());
      history.resize(before);
      break;
    }
  }
  session.keep(history);
  return 0;
}

}  // namespace lt2
