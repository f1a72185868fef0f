#pragma once
// Arguments of `bench`.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/fields.h"

namespace lt2 {

struct BenchConfig {
  std::vector<std::string> ckpt, config, label, shapes, layouts;
  std::string grid;
  std::vector<int64_t> frontier;
  std::vector<std::string> mode;
  std::vector<int64_t> contexts, prompts, batch;
  std::optional<int64_t> seq_len;
  std::vector<std::string> recompute;
  std::optional<std::string> dtype, weights;
  std::optional<double> seconds;
  double minutes = 10;
  std::optional<int64_t> memory;
  std::string output, figure;

  bool operator==(const BenchConfig&) const = default;

  bool own_model() const { return !ckpt.empty() || !config.empty(); }

  template <class Visit>
  void fields(Visit&& visit) {
    visit("which models", kHeading, any(), "");
    visit("ckpt", ckpt, commas(verbatim_path()), "checkpoints or model folders");
    visit("config", config, commas(verbatim_path()), "training configurations; initial weights, key.sub=value changes");
    visit("label", label, commas(verbatim()), "a name for each of your models; none: names of the files or folders");
    visit("shapes", shapes, commas(one_of({"0.6B", "1.3B", "plain"})), "without a model: these shapes; none: all");
    visit("layouts", layouts, commas(one_of({"full", "full+gdn", "gdn", "window", "full+kda", "dsa+gdn", "once"})),
          "without a model: these layouts; none: all");
    visit("dtype", dtype, one_of({"fp32", "bf16"}), "type of products and caches; null: the model's, bf16 in the grid");
    visit("weights", weights, one_of({"fp32", "bf16", "int8", "int4"}), "pack the weights; null: as dtype");
    visit("what is timed", kHeading, any(), "");
    visit("mode", mode, commas(one_of({"train", "prefill", "decode"})), "none: all of them, in the grid not train");
    visit("contexts", contexts, at_least(1), "tokens before the one decoded; with a model also lengths of prompts");
    visit("seq_len", seq_len, amount(at_least(1)), "one length for contexts and prompts (official: --seq-len)");
    visit("prompts", prompts, at_least(1), "the grid's lengths of prompts");
    visit("batch", batch, at_least(1), "sequences at a time; one number but in the grid and for frontier");
    visit("recompute", recompute, commas(one_of({"none", "loop", "block", "layer"})),
          "what training recomputes; none given: as configured");
    visit("seconds", seconds, above(0), "seconds that a row takes at most; null: 2, in the grid 1");
    visit("grid and memory frontier", kHeading, any(), "");
    visit("grid", grid, one_of({"default"}), "default: the grid's contexts and batches, also for your models");
    visit("minutes", minutes, above(0), "minutes for the whole grid");
    visit("frontier", frontier, at_least(1), "memories, such as 24G,80G, whose largest context is computed and tried");
    visit("memory", memory, amount(at_least(1)), "bytes that may be used here; null: what is free");
    visit("results", kHeading, any(), "");
    visit("output", output, verbatim_path(), "append a JSON line a row to this file");
    visit("figure", figure, verbatim_path(), "draw the rows into this HTML file");
  }
};

}  // namespace lt2
