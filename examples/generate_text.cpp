// A looped hybrid in forty lines: build it, feed it a prompt, let it go on, keep its state in a file.
// Usage: generate_text [CHECKPOINT_DIR]      without one the weights are fresh and the text is noise
#include <cstdio>

#include "folders/model_folder.h"
#include "infer/generate.h"
#include "ops/runtime.h"
#include "tokenizer/tokenizer.h"

int main(int argc, char** argv) try {
  lt2::init_runtime();
  std::shared_ptr<lt2::LoopedTransformer> model;
  if (argc > 1) {
    model = lt2::load_masters(lt2::open_model(argv[1]));
  } else {
    lt2::ModelConfig config;
    config.dim = 64;
    config.n_layers = 5;
    config.n_heads = 4;
    config.loop_count = 4;  // five layers, passed four times
    config.layer_pattern = "interleaved:4:1:gdn:full";
    config.attention_pattern = "4:1";
    config.vocab_size = 258;
    lt2::validate_model(config);
    model = std::make_shared<lt2::LoopedTransformer>(config);
    model->initialise();
  }
  const auto tokenizer = lt2::make_tokenizer("bytes", std::nullopt);
  lt2::StreamDecoder decoder(*tokenizer);
  const auto result = lt2::generate(*model, {.prompt = tokenizer->encode("ROMEO:", true, false),
                                             .max_gen_len = 80,
                                             .stop_tokens = {tokenizer->eos_id()},
                                             .sampling = {.temperature = 0.8, .top_p = {}, .top_k = 40},
                                             .seed = 1,
                                             .on_token = [&](const lt2::GeneratedToken& token) {
                                               return std::fputs(decoder.push(token.id).c_str(), stdout) >= 0;
                                             }});
  std::printf("%s\n%zu tokens, %lld bytes of state\n", decoder.finish().c_str(), result.tokens.size(),
              static_cast<long long>(result.state_bytes));
} catch (const std::exception& error) {
  std::fprintf(stderr, "error: %s\n", error.what());
  return 1;
}
