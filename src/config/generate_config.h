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
  bool chat = false, parse_special = false;
  double temperature = 0.0;
  std::optional<double> top_p, min_p;
  std::optional<int64_t> top_k;
  double repetition_penalty = 1.0, presence_penalty = 0.0;
  Weights logit_bias;
  int64_t n = 1;
  std::optional<int64_t> logprobs;
  std::optional<std::string> speculate, state;
  std::optional<int64_t> total_ut_steps, early_exit_step;
  std::optional<double> early_exit_threshold;
  std::string early_exit = "full", weights = "auto";
  int64_t max_gen_len = 512, max_tokens = 1024;
  std::optional<int64_t> max_prompt_len;
  std::vector<std::string> until;
  bool compile_prefilling = false, reduce_generation_overhead = false, show_progress = false;
  std::optional<std::string> dtype = "bf16";
  std::optional<std::string> device = "cpu";

  bool operator==(const GenerateConfig&) const = default;

  template <class Visit>
  void fields(Visit&& visit) {
    visit("ckpt", ckpt, verbatim_path(), "checkpoint folder");
    visit("prompt", prompt, verbatim_prose(), "text to continue; left out: read from prompt_file or standard input");
    visit("prompt_file", prompt_file, verbatim_path(), "file with the text to continue");
    visit("seed", seed, at_least(0), "seed of sampling");
    visit("parse_special", parse_special, any(), "names of special tokens in the prompt become those tokens");
    visit("chat", chat, any(), "a conversation in the terminal");
    visit("temperature", temperature, at_least(0), "0: always the likeliest token");
    visit("top_p", top_p, above_up_to(0, 1), "sample from the likeliest tokens of this mass; wins over top_k");
    visit("top_k", top_k, at_least(1), "sample from the k likeliest tokens");
    visit("min_p", min_p, within(0, 1), "only tokens at least min_p times as probable as the likeliest");
    visit("repetition_penalty", repetition_penalty, above(0), "divides the logits of tokens that occurred; 1: none");
    visit("presence_penalty", presence_penalty, any(), "taken from the logits of tokens that the new text holds");
    visit("logit_bias", logit_bias, any(), "added to the logits of tokens, by id: {50256: -100}");
    visit("n", n, within(1, 1024), "samples of the prompt; seeds seed, seed + 1, ...");
    visit("logprobs", logprobs, within(0, 100),
          "write JSON lines with each token's log probability and those of this many likeliest tokens");
    visit("speculate", speculate, verbatim(), "loops:1,k:4 drafts 4 tokens with the first loop, verifies with all");
    visit("state", state, verbatim_path(),
          "file that keeps the session: continued from if it exists, written at the end");
    visit("total_ut_steps", total_ut_steps, within(1, 1000), "loops to run; null: the model's");
    visit("early_exit_step", early_exit_step, at_least(0), "read the logits of this loop, from 0");
    visit("early_exit_threshold", early_exit_threshold, above_up_to(0, 1),
          "ouro: read the first loop by which this much exit probability has come together; null: the model's");
    visit("early_exit", early_exit, one_of({"full", "defer"}),
          "after an early exit the remaining loops run at once (full), or when a later token needs them (defer)");
    visit("weights", weights, one_of({"auto", "fp32", "bf16", "int8", "int4"}),
          "how weights are kept; auto: as the folder holds them, or in dtype");
    visit("max_gen_len", max_gen_len, at_least(1), "new tokens per prompt");
    visit("max_tokens", max_tokens, ignored(at_least(1), "one prompt at a time"), "tokens of a batch of prompts");
    visit("max_prompt_len", max_prompt_len, at_least(1), "longest prompt; null: no limit");
    visit("until", until, prose(), "texts that end a generation");
    visit("compile_prefilling", compile_prefilling, ignored(), "torch.compile");
    visit("reduce_generation_overhead", reduce_generation_overhead, ignored(), "CUDA graphs");
    visit("show_progress", show_progress, ignored("the text itself shows it"), "progress bar");
    visit("dtype", dtype, one_of({"fp32", "bf16"}), "type of products and cache");
    visit("device", device, one_of({"cpu", "cuda"}), "where to compute; cuda is refused, not in this version");
  }
};

}  // namespace lt2
