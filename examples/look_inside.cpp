// What does each loop add? A looped model runs the same layers several times; after each loop this shows how far the
// loop moved the residual stream, how much of that its mixers wrote, and what the model would predict if it stopped
// there.
// Usage: look_inside MODEL [PROMPT]      MODEL: any folder that `lt2 generate` takes, for example runs/demo
#include <lt2/lt2.h>

#include <cstdio>

namespace {

struct Loop {
  double moved = 0;      // |h after - h before| / |h before|
  double mixers = 0;     // mean over the layers of |what the mixer adds| / |h before the loop|
  torch::Tensor logits;  // of the last token
};

double length(const torch::Tensor& x) { return x.to(torch::kFloat32).norm().item<double>(); }

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
  if (argc < 2 || argc > 3) throw lt2::Error("usage: look_inside MODEL [PROMPT]");
  lt2::init_runtime();
  const auto folder = lt2::open_model(argv[1]);
  const auto model = lt2::load_masters(folder);
  const auto tokenizer = lt2::open_tokenizer(folder);
  const auto ids = tokenizer->encode(argc == 3 ? argv[2] : "To be, or not to be", folder.add_bos, false);
  if (ids.empty()) throw lt2::Error("nothing to look at: the prompt has no tokens");
  const auto tokens = torch::tensor(std::vector<int64_t>(ids.begin(), ids.end())).unsqueeze(0);  // [1, L]

  // A pass calls the listener of every point that it passes; * stands for every loop, or every layer.
  std::vector<Loop> loops(static_cast<size_t>(model->config().loop_count));
  torch::Tensor before;  // the residual stream [1, L, D] where the loop begins
  lt2::Taps taps;
  taps.on("embedding", [&](const lt2::TapPoint&, const torch::Tensor& h) { before = h; });
  taps.on("loop.*.layer.*.mixer_out", [&](const lt2::TapPoint& at, const torch::Tensor& y) {
    loops.at(at.loop).mixers += length(y) / length(before) / static_cast<double>(model->config().n_layers);
  });
  taps.on("loop.*.out", [&](const lt2::TapPoint& at, const torch::Tensor& h) {
    loops.at(at.loop).moved = length(h - before) / length(before);
    before = h;
  });
  taps.on("logits.*", [&](const lt2::TapPoint& at, const torch::Tensor& logits) {
    loops.at(at.loop).logits = logits.select(1, -1).squeeze(0);  // [vocab]
  });
  {
    const torch::NoGradGuard no_gradients;
    const lt2::Listening listening(*model, taps);
    model->hidden(tokens);
  }

  std::printf("loop  moved  mixers  next token, and how sure\n");
  for (size_t t = 0; t < loops.size(); ++t) {
    const auto [chance, id] = loops[t].logits.softmax(0).max(0);
    const auto text = on_one_line(tokenizer->token_bytes(static_cast<int32_t>(id.item<int64_t>())));
    std::printf("%4zu  %5.2f  %6.2f  \"%s\" %.3f\n", t, loops[t].moved, loops[t].mixers, text.c_str(),
                chance.item<double>());
  }
} catch (const std::exception& error) {
  std::fprintf(stderr, "error: %s\n", error.what());
  return 1;
}
