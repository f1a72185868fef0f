#pragma once
// The BPE model of tokenizer.json: characters or bytes, merged pair by pair.
#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json_field.h"
#include "tokenizer/merge.h"
#include "tokenizer/string_table.h"
#include "tokenizer/word_cache.h"

namespace lt2 {

class BpeModel {
 public:
  /// `byte_level`: pieces are bytes, each standing for the character that the vocabulary has for it. Throws lt2::Error
  /// for another model type, options that change results and are not supported, and merges of unknown tokens.
  BpeModel(const JsonField& field, bool byte_level);

  /// Says which tokens no piece becomes as a whole, by id; before the first encode().
  void take_whole_pieces(const std::vector<bool>& except);
  /// Appends the ids of one piece. `symbols` is working memory. Thread-safe.
  void encode(std::string_view piece, std::vector<int32_t>& ids, std::vector<Symbol>& symbols) const;

  /// Id of a token as the file writes it, or -1.
  int32_t id_of(std::string_view token) const { return vocabulary_.find(token); }
  int32_t unknown_id() const { return unknown_; }  // -1: there is none
  /// Tokens as the file writes them, by id; empty where an id is left out.
  const std::vector<std::string>& tokens() const { return tokens_; }

 private:
  void read_vocabulary(const JsonField& field);
  void read_merges(const JsonField& field);
  std::vector<int32_t> start_ids(std::string_view character) const;  // empty: unknown
  void start(std::string_view piece, std::vector<Symbol>& symbols) const;

  bool byte_level_, byte_fallback_ = false, fuse_unknown_ = false, ignore_merges_ = false;
  int32_t unknown_ = -1;
  std::vector<std::string> tokens_;
  StringTable vocabulary_;
  StringTable whole_;  // tokens as pieces, if those go before merges
  PairTable pairs_;
  std::array<std::vector<int32_t>, 256> byte_ids_;
  std::array<int32_t, 256> fallback_ids_{};  // of <0xNN>, -1: not there
  WordCache cache_;
};

/// Ids that a file of this many entries may use: gaps are possible, memory must stay in proportion.
inline int64_t highest_id(size_t entries) { return static_cast<int64_t>(entries) + (1 << 18); }

}  // namespace lt2
