// How well does a model predict a text? One line for each token: its log-probability given all tokens before it, a star
// where it was the model's first choice, and its text. Then what a token and a byte cost.
// Usage: score_text MODEL < TEXT      MODEL: any folder that `lt2 generate` takes, for example runs/demo
#include <lt2/lt2.h>

#include <cmath>
#include <cstdio>
#include <iostream>
#include <iterator>

namespace {

// A token's bytes on one line: a line break would tear the table apart, and half a character is not text.
std::string on_one_line(const std::string& bytes) {
  std::string line;
  for (const unsigned char byte : bytes) {
    char code[8];
    std::snprintf(code, sizeof code, byte >= ' ' && byte < 127 && byte != '\\' ? "%c" : "\\x%02X", byte);
    line += code;
  }
  return line;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2) throw lt2::Error("usage: score_text MODEL < TEXT");
  lt2::init_runtime();
  const auto folder = lt2::open_model(argv[1]);  // what the folder says; weights are mapped, not read
  const auto model = lt2::load_masters(folder);
  const auto tokenizer = lt2::open_tokenizer(folder);

  const std::string text(std::istreambuf_iterator<char>(std::cin), {});
  lt2::GenerateRequest request;
  request.prompt = tokenizer->encode(text, folder.add_bos, false);
  if (request.prompt.size() < 2) throw lt2::Error("nothing to score: the text needs at least two tokens");
  request.score_from = 1;   // no token precedes the first one, so it has no score
  request.max_gen_len = 0;  // only score; with more, the model continues the text

  // The engine serves many requests in one pass over the weights; here it has one. `scores` makes room for them.
  lt2::Engine engine(*model, {.exit = model->exit_rule(), .scores = true});
  const auto id = engine.submit(std::move(request));
  engine.run();
  const auto result = engine.take(id);

  double nats = 0;
  size_t bytes = 0;
  for (const lt2::ScoredToken& token : result.scored) {
    const auto of_token = tokenizer->token_bytes(token.id);
    std::printf("%9.4f %c %s\n", token.log_probability, token.greedy ? '*' : ' ', on_one_line(of_token).c_str());
    nats -= token.log_probability;
    bytes += of_token.size();
  }
  std::printf("%zu tokens scored: %.4f nats a token, %.4f bits a byte\n", result.scored.size(),
              nats / static_cast<double>(result.scored.size()), nats / std::log(2) / static_cast<double>(bytes));
} catch (const std::exception& error) {
  std::fprintf(stderr, "error: %s\n", error.what());
  return 1;
}
