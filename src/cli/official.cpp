#include "cli/official.h"

#include <algorithm>

#include "base/error.h"

namespace lt2 {
namespace {

using Words = std::vector<std::string>;

/// `-m a.b.NAME` at `at` becomes NAME.
void take_module(Words& words, size_t at) {
  LT2_CHECK(at + 1 < words.size(), "lt2: -m needs a program, for example -m apps.LT2.train");
  words.erase(words.begin() + static_cast<ptrdiff_t>(at));
  words[at] = words[at].substr(words[at].rfind('.') + 1);
}

/// torchrun's options to those of launch, up to the program's name.
void take_torchrun(Words& words) {
  for (size_t i = 1; i < words.size() && words[i] != "--"; ++i) {
    if (words[i] == "-m") {
      take_module(words, i);
      words.insert(words.begin() + static_cast<ptrdiff_t>(i), "--");
      return;
    }
    for (const std::string name : {"--nproc-per-node", "--nproc_per_node"}) {
      if (words[i] == name || words[i].starts_with(name + "=")) words[i].replace(0, name.size(), "--nproc");
    }
  }
}

}  // namespace

std::vector<std::string> from_official(std::vector<std::string> words) {
  if (words.empty()) return words;
  if (words[0] == "-m") take_module(words, 0);
  if (words[0] == "torchrun") words[0] = "launch";
  if (words[0] == "launch") take_torchrun(words);
  if (words[0] == "stool") {
    words[0] = "launch";
    words.insert(words.begin() + 1, "--slurm");
  }
  if (words[0] == "benchmark_prefill") {
    words[0] = "bench";
    const bool mode = std::any_of(words.begin(), words.end(), [](const std::string& word) {
      return word.starts_with("mode=") || word == "--mode" || word.starts_with("--mode=");
    });
    if (!mode) words.insert(words.begin() + 1, "mode=prefill,decode");
  }
  // The program to run: this one, or that of each rank.
  const auto dashes = std::find(words.begin(), words.end(), "--");
  const bool ranks = words[0] == "launch" && words.end() - dashes > 1;
  LT2_CHECK((ranks ? dashes[1] : words[0]) != "eval",
            "lt2: there is no eval in this version; val.every=N measures the loss on held-back data while training");
  return words;
}

}  // namespace lt2
