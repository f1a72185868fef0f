// lt2 generate chat=true: a conversation in the terminal whose state is kept, so that nothing is read twice.
#include <fmt/format.h>
#include <unistd.h>

#include "base/error.h"
#include "base/input_stream.h"
#include "base/log.h"
#include "base/output.h"
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

// Until there is something to read. False: a signal came first.
bool wait_for_line(const InputStream& input) {
  while (stop_signal() == 0) {
    if (input.ready(200)) return true;
  }
  return false;
}

}  // namespace

int chat(const GenerateConfig& config, const std::string& memory) {
  LT2_CHECK(!config.prompt && !config.prompt_file && config.n == 1 && !config.logprobs,
            "generate: chat reads what you type; leave out prompt, prompt_file, n and logprobs");
  const auto session = claim_session(config);
  InputStream input("-");
  auto inference = open_inference(config, memory, 1, 2);  // what was asked, and what was answered
  auto& [source, tokenizer, engine, stops] = inference;
  const auto form = form_of(*tokenizer);
  if (form.marked) stops.push_back(tokenizer->encode_with_specials("<|im_end|>", false, false)[0]);
  auto history = inference.resume(config);
  log_info("{} form; an empty line or Ctrl-D ends the conversation", form.marked ? "ChatML" : "User/Assistant");
  catch_stop_signals();
  const bool terminal = isatty(STDIN_FILENO) != 0;
  for (std::string line;;) {
    if (terminal) print_out("> ");
    flush_out();
    if (!wait_for_line(input) || !input.line(line) || line.empty()) break;
    const bool first = history.empty();
    const size_t before = history.size();
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
      print_out("{}", piece);
      flush_out();
    };
    try {
      auto request = inference.request(config, history, 0);
      request.on_token = [&](const GeneratedToken& token) {
        if (!inference.is_stop(token.id)) show(text.push(token.id));
        return !text.stopped();
      };
      const auto id = engine->submit(std::move(request));
      inference.run({id});
      const auto result = engine->take(id);
      show(text.finish());
      print_out("\n");
      flush_out();
      log_speed(*engine, result, history.size());
      const auto said = inference.spoken(result, answer, text.stopped());
      history.insert(history.end(), said.begin(), said.end());
    } catch (const Error& error) {  // the conversation so far is not lost
      if (dynamic_cast<const OutputClosed*>(&error) == nullptr) log_warning("{}", error.what());
      history.resize(before);
      break;
    }
  }
  inference.keep(config, history);
  return 0;
}

}  // namespace lt2
