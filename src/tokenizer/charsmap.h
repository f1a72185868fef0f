#pragma once
// SentencePiece's precompiled normalisation rules, as tokenizer.json carries them (type Precompiled).
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lt2 {

class Charsmap {
 public:
  /// `blob` as in the model: size of the trie, trie, replacements. Throws lt2::Error naming `where` if it is too short.
  Charsmap(std::string_view blob, const std::string& where);
  /// No rules.
  Charsmap() = default;
  /// What stands at `at`: the longest key of the rules and what replaces it, or one character and itself.
  struct Match {
    size_t bytes;
    std::string_view text;
  };
  Match match(std::string_view text, size_t at) const;
  /// The whole text, place by place.
  std::string apply(std::string_view text) const;

 private:
  uint32_t unit(size_t index) const { return index < trie_.size() ? trie_[index] : 0; }
  std::vector<uint32_t> trie_;
  std::string replacements_;
};

}  // namespace lt2
