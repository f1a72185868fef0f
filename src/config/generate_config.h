#pragma once
// Arguments of `generate`: the official generator group and our own keys.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/fields.h"

namespace lt2 {

struct GenerateConfig {
  std::string ckpt;
  std::optional<std::string> prompt, prompt_file;
  int64_t seed = 42;
  bool chat = false;
  double temperature = 0.0;
  std::optional<double> top_p;
  std::optional<int64_t> top_k;
  int64_t max_gen_len = 512, max_tokens = 1024;
  std::optional<int64_t> max_prompt_len;
  std::vector<std::string> until;
  bool compile_prefilling = false, reduce_generation_overhead = false, show_progress = false;
  std::optional<std::string> dtype = "bf16";
  std::optional<std::string> device = "cpu";

  bool operator==(const GenerateConfig&) const = default;

  template <class Visit>
  void fields(Visit&& visit) {
    visit("ckpt", ckpt, verbatim(), "checkpoint folder");
    visit("prompt", prompt, verbatim(), "text to continue; null: read from prompt_file or standard input");
    visit("prompt_file", prompt_file, verbatim(), "file with the text to continue");
    visit("seed", seed, at_least(0), "seed of sampling");
    visit("chat", chat, any(), "conversation; refused, not in this version");
    visit("temperature", temperature, at_least(0), "0: always the likeliest token");
    visit("top_p", top_p, above_up_to(0, 1), "sample from the likeliest tokens of this mass; wins over top_k");
    visit("top_k", top_k, at_least(1), "sample from the k likeliest tokens");
    visit("max_gen_len", max_gen_len, at_least(1), "new tokens per prompt");
    visit("max_tokens", max_tokens, ignored(at_least(1), "one prompt at a time"), "tokens of a batch of prompts");
    visit("max_prompt_len", max_prompt_len, at_least(1), "longest prompt; null: no limit");
    visit("until", until, any(), "texts that end a generation");
    visit("compile_prefilling", compile_prefilling, ignored(), "torch.compile");
    visit("reduce_generation_overhead", reduce_generation_overhead, ignored(), "CUDA graphs");
    visit("show_progress", show_progress, ignored("the text itself shows it"), "progress bar");
    visit("dtype", dtype, one_of({"fp32", "bf16"}), "type of products and cache");
    visit("device", device, one_of({"cpu", "cuda"}), "where to compute; cuda is refused, not in this version");
  }
};

}  // namespace lt2
