#pragma once
// States behind token sequences that have been read already, kept for requests that begin with the same tokens.
#include <filesystem>
#include <list>
#include <vector>

#include "model/looped_transformer.h"

namespace lt2 {

/// What reading `tokens` left behind.
struct Prefix {
  std::vector<int32_t> tokens;
  SequenceState state;   // of batch 1, after all of them
  torch::Tensor logits;  // [vocab] fp32, of the last one
  int64_t exit = 0;      // the loop they come from
  int64_t bytes() const;
};

/// The most recently used prefixes within a budget.
class PrefixStore {
 public:
  /// Replaces an equal one. Prefixes used longest ago go first when there are more than `most` or the bytes of all
  /// exceed `budget`.
  void add(Prefix prefix, size_t most, int64_t budget);
  /// The longest prefix that `prompt` begins with; null: none. Counts as a use.
  const Prefix* longest(const std::vector<int32_t>& prompt);
  /// Forgets prefixes, those used longest ago first, until the rest weighs at most `budget`.
  void shrink(int64_t budget);
  int64_t bytes() const { return bytes_; }
  size_t size() const { return prefixes_.size(); }

 private:
  std::list<Prefix> prefixes_;  // the last used one in front
  int64_t bytes_ = 0;
};

/// A prefix in one safetensors file: its state, its tokens, its last logits, and what tells the model. Replaces `path`
/// only when complete.
void save_prefix(const std::filesystem::path& path, const Prefix& prefix, const LoopedTransformer& model);
/// Changes no bit of what was saved. Throws lt2::Error if another model wrote it.
Prefix load_prefix(const std::filesystem::path& path, const LoopedTransformer& model);

}  // namespace lt2
