// A looped hybrid in fifty lines: build it, give it a prompt, and let it continue the prompt.
// Usage: generate_text [MODEL]      any folder that `lt2 generate` takes; without one the weights are random, and so is
// the text
#include <lt2/lt2.h>

#include <cstdio>

int main(int argc, char** argv) try {
  lt2::init_runtime();
  std::shared_ptr<lt2::LoopedTransformer> model;
  std::unique_ptr<lt2::Tokenizer> tokenizer;
  bool add_bos = true;
  if (argc > 1) {
    const auto folder = lt2::open_model(argv[1]);
    model = lt2::load_masters(folder);
    tokenizer = lt2::open_tokenizer(folder);
    add_bos = folder.add_bos;
  } else {
    lt2::ModelConfig config;
    config.dim = 64;
    config.n_layers = 5;
    config.n_heads = 4;
    config.loop_count = 4;                              // five layers, run four times
    config.layer_pattern = "interleaved:4:1:gdn:full";  // four linear layers, then one of full attention
    config.attention_pattern = "4:1";
    config.vocab_size = 258;
    lt2::validate_model(config);
    model = std::make_shared<lt2::LoopedTransformer>(config);
    model->initialise();
    tokenizer = lt2::make_tokenizer("bytes", std::nullopt);
  }
  lt2::GenerateRequest request;
  request.prompt = tokenizer->encode("ROMEO:", add_bos, false);
  request.max_gen_len = 80;
  if (tokenizer->eos_id() >= 0) request.stop_tokens = {tokenizer->eos_id()};
  request.sampling.temperature = 0.8;
  request.sampling.top_k = 40;
  lt2::StreamDecoder decoder(*tokenizer);  // a character may be spread over several tokens
  request.on_token = [&](const lt2::GeneratedToken& token) {
    return std::fputs(decoder.push(token.id).c_str(), stdout) >= 0;
  };
  const auto result = lt2::generate(*model, std::move(request));
  std::printf("%s\n%zu tokens, %lld bytes of state\n", decoder.finish().c_str(), result.tokens.size(),
              static_cast<long long>(result.state_bytes));
} catch (const std::exception& error) {
  std::fprintf(stderr, "error: %s\n", error.what());
  return 1;
}
