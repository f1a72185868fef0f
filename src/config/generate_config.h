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
  std::optional<int64_t> memory;

  bool operator==(const GenerateConfig&) const = default;

  template <class Visit>
  void fields(Visit&& visit) {
    visit("model", kHeading, any(), "");
    visit("ckpt", ckpt, verbatim_path(), "checkpoint, run's folder or model folder; required");
    visit("weights", weights, one_of({"auto", "fp32", "bf16", "int8", "int4"}),
          "ours: how weights are kept; auto: as the folder holds them, or in dtype");
    visit("dtype", dtype, one_of({"fp32", "bf16"}), "type of products and cache");
    visit("device", device, one_of({"cpu", "cuda"}), "where to compute; cuda is refused, not in this version");
    visit("memory", memory, amount(at_least(1)), "ours: bytes that may be used; null: what is free");
    visit("text", kHeading, any(), "");
    visit("prompt", prompt, verbatim_prose(),
          "ours: text to continue; left out: read from prompt_file or standard input");
    visit("prompt_file", prompt_file, verbatim_path(), "ours: file with the text to continue");
    visit("parse_special", parse_special, any(), "ours: names of special tokens in the prompt become those tokens");
    visit("chat", chat, any(), "ours: a conversation in the terminal");
    visit("state", state, verbatim_path(),
          "ours: file that keeps the session: continued from if it exists, written at the end");
    visit("n", n, within(1, 1024), "ours: samples of the prompt; seeds seed, seed + 1, ...");
    visit("max_gen_len", max_gen_len, at_least(1), "new tokens per prompt");
    visit("max_prompt_len", max_prompt_len, at_least(1), "longest prompt; null: no limit");
    visit("until", until, prose(), "texts that end a generation: until=[END, 'a: b']");
    visit("logprobs", logprobs, within(0, 100),
          "ours: write JSON lines with each token's log probability and those of this many likeliest tokens");
    visit("sampling", kHeading, any(), "");
    visit("seed", seed, at_least(0), "ours: seed of sampling");
    visit("temperature", temperature, at_least(0), "0: always the likeliest token");
    visit("top_p", top_p, above_up_to(0, 1), "sample from the likeliest tokens of this mass; wins over top_k");
    visit("top_k", top_k, at_least(1), "sample from the k likeliest tokens");
    visit("min_p", min_p, within(0, 1), "ours: only tokens at least min_p times as probable as the likeliest");
    visit("repetition_penalty", repetition_penalty, above(0),
          "ours: divides the logits of tokens that occurred; 1: none");
    visit("presence_penalty", presence_penalty, any(), "ours: taken from the logits of tokens that the new text holds");
    visit("logit_bias", logit_bias, any(), "ours: added to the logits of tokens, by id: {50256: -100}");
    visit("loops", kHeading, any(), "");
    visit("total_ut_steps", total_ut_steps, within(1, 1000), "ours: loops to run; null: the model's");
    visit("early_exit_step", early_exit_step, at_least(0), "ours: read the logits of this loop, from 0");
    visit("early_exit_threshold", early_exit_threshold, above_up_to(0, 1),
          "ours: read the first loop at which the exit probabilities add up to this; null: the model's");
    visit("early_exit", early_exit, one_of({"full", "defer"}),
          "ours: after an early exit the remaining loops run at once (full), or when a later token needs them (defer)");
    visit("speculate", speculate, verbatim(),
          "ours: loops:1,k:4 drafts 4 tokens with the first loop, verifies with all");
    visit("max_tokens", max_tokens, ignored(at_least(1), "one prompt at a time"), "tokens of a batch of prompts");
    visit("compile_prefilling", compile_prefilling, ignored(), "torch.compile");
    visit("reduce_generation_overhead", reduce_generation_overhead, ignored(), "CUDA graphs");
    visit("show_progress", show_progress, ignored("the text itself shows it"), "progress bar");
  }
};

}  // namespace lt2
