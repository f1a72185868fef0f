#pragma once
// States after token sequences that have already been read, kept for requests that begin with the same tokens.
#include <filesystem>
#include <list>
#include <vector>

#include "model/looped_transformer.h"

namespace lt2 {

/// The result of reading `tokens`.
struct Prefix {
  std::vector<int32_t> tokens;
  SequenceState state;   // of batch 1, after all of them
  torch::Tensor logits;  // [vocab] fp32, of the last one; undefined: they must be computed again
  int64_t exit = 0;      // the loop they come from
  int64_t bytes() const;
};

/// The most recently used prefixes within a budget.
class PrefixStore {
 public:
  /// Replaces an equal one. Prefixes used longest ago go first when there are more than `most` or the bytes of all
  /// exceed `budget`.
  void add(Prefix prefix, size_t most, int64_t budget);
  /// The longest prefix that `prompt` begins with, and that is usable: a prefix as long as the prompt needs its logits.
  /// Null: none. Counts as a use.
  const Prefix* longest(const std::vector<int32_t>& prompt);
  /// Forgets prefixes, those used longest ago first, until the rest weighs at most `budget`.
  void shrink(int64_t budget);
  int64_t bytes() const { return bytes_; }
  size_t size() const { return prefixes_.size(); }

 private:
  std::list<Prefix> prefixes_;  // the most recently used one first
  int64_t bytes_ = 0;
};

/// A prefix in one safetensors file: its state, its tokens, its last logits with the exit rule that gave them, and what
/// identifies the model. Replaces `path` only when complete.
void save_prefix(const std::filesystem::path& path, const Prefix& prefix, const LoopedTransformer& model,
                 const ExitRule& rule);
/// Changes no bit of what was saved, but leaves the logits out if the exit rule is another one now: the states are then
/// the same, the last token's logits are not. Throws lt2::Error if another model wrote the file, or one with another
/// number of loops.
Prefix load_prefix(const std::filesystem::path& path, const LoopedTransformer& model, const ExitRule& rule);

}  // namespace lt2
