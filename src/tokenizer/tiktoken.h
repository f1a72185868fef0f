#pragma once
// tiktoken rank files: the vocabularies of Llama-3 and LT2, cl100k and GPT-2.
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/literals.h"
#include "tokenizer/merge.h"
#include "tokenizer/string_table.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/word_cache.h"
#include "tokenizer/words.h"

namespace lt2 {

/// Byte-pair merging over words: of all adjacent pairs the one whose bytes together are the token of lowest rank is
/// merged first. Text is encoded in pieces of 400,000 code points, as Lingua does, and words end at their borders.
///
/// A rank file holds ranks alone. Its publisher (`specials`) decides the ids after the ranks and the split:
///
///   lingua   256 names, BOS and EOS the first two; Llama-3's split (Meta Lingua does this with any file)
///   llama3   the same ids under the names of Llama-3.1
///   cl100k   OpenAI's five, <|endoftext|> is BOS and EOS; Llama-3's split
///   gpt2     <|endoftext|> alone; GPT-2's split
class TiktokenTokenizer : public Tokenizer {
 public:
  /// `content` is the file, `where` its name in errors. Throws lt2::Error with the line if it is malformed: ranks must
  /// be 0..N-1, each once, and all single bytes must be there.
  TiktokenTokenizer(std::string_view content, const std::string& where, const std::string& specials);

  /// Special ids give their names; ids that the publisher left unused give nothing.
  std::string token_bytes(int32_t id) const override;
  int32_t n_words() const override { return n_words_; }
  int32_t bos_id() const override { return bos_; }
  int32_t eos_id() const override { return eos_; }
  bool is_special(int32_t id) const override { return id >= n_ranks(); }
  std::vector<std::pair<std::string, int32_t>> marks() const override { return specials_; }
  std::string name() const override { return "tiktoken"; }

  int32_t n_ranks() const { return static_cast<int32_t>(tokens_.size()); }
  /// Names and ids after the ranks.
  const std::vector<std::pair<std::string, int32_t>>& specials() const { return specials_; }

 protected:
  void append(std::string_view text, const TextReading& how, std::vector<int32_t>& ids) const override;

 private:
  class Encoder;

  std::vector<std::string> tokens_;
  std::vector<std::pair<std::string, int32_t>> specials_;
  std::vector<int32_t> special_at_;  // index into specials_ of id n_ranks() + i, -1: unused
  StringTable ranks_;
  LiteralFinder special_names_;
  WordCache cache_;
  WordEnd word_end_ = nullptr;
  int32_t bos_ = -1, eos_ = -1, n_words_ = 0;
};

}  // namespace lt2
