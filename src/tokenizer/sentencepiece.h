#pragma once
// SentencePiece models (tokenizer.model), BPE, unigram and character models.
//
// Written here because libsentencepiece cannot be linked together with torch: it carries a protobuf of its own whose
// symbols collide with libprotobuf's.
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/charsmap.h"
#include "tokenizer/literals.h"
#include "tokenizer/string_table.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/word_cache.h"

namespace lt2 {

/// Ids, BOS, EOS and padding are the model's. Control pieces are never produced from text.
class SentencePieceTokenizer : public Tokenizer {
 public:
  /// `content` is the file, `where` its name in errors. Throws lt2::Error if it is malformed, or asks for what is not
  /// supported: word models, white space as a suffix, rules applied after decoding.
  SentencePieceTokenizer(std::string_view content, const std::string& where);

  std::string token_bytes(int32_t id) const override;
  std::string first_bytes(int32_t id) const override;
  bool begins_text(int32_t id) const override;
  std::string text_of_bytes(std::string_view bytes) const override;
  std::string decode(const std::vector<int32_t>& ids) const override;
  std::unique_ptr<DecodeStream> decode_stream(bool continues) const override;
  int32_t n_words() const override { return static_cast<int32_t>(pieces_.size()); }
  int32_t bos_id() const override { return bos_; }
  int32_t eos_id() const override { return eos_; }
  int32_t pad_id() const override { return pad_; }
  int32_t unknown_id() const override { return unk_; }
  bool is_special(int32_t id) const override;
  /// Control pieces, and symbols of the user, which stand for themselves in any text.
  std::vector<std::pair<std::string, int32_t>> marks() const override;
  std::string name() const override { return "sp"; }

 protected:
  void append(std::string_view text, const TextReading& how, std::vector<int32_t>& ids) const override;

 private:
  friend class SentencePieceStream;
  enum class Model { kUnigram = 1, kBpe = 2, kWord = 3, kChar = 4 };
  enum class Type : uint64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };
  struct Piece {
    std::string text;
    float score = 0;
    Type type = Type::kNormal;
  };
  // What the file says besides the pieces; absent fields have these values.
  struct Settings {
    Model model = Model::kUnigram;
    bool byte_fallback = false, whitespace_as_suffix = false;
    bool add_dummy_prefix = true, remove_extra_whitespaces = true, escape_whitespaces = true;
    std::string unk_surface = " \xe2\x81\x87 ";
    std::string unk_piece = "<unk>", bos_piece = "<s>", eos_piece = "</s>", pad_piece = "<pad>";
    std::string_view charsmap;
  };

  void read(std::string_view content);
  void read_piece(std::string_view message);
  void read_trainer(std::string_view message);
  void read_normalizer(std::string_view message);
  void index_pieces();
  void prepare_bpe();
  void prepare_unigram();
  int32_t text_id(std::string_view piece) const;  // unknown if there is none
  int32_t control_id(std::string_view piece) const;
  Type type_of(int32_t id) const { return pieces_[static_cast<size_t>(id)].type; }
  void check_id(int32_t id) const;

  std::string normalize(std::string_view text, bool continues) const;
  void append_section(std::string_view text, bool continues, std::vector<int32_t>& ids) const;
  void encode_bpe(std::string_view text, std::vector<int32_t>& ids) const;
  void encode_bpe_stretch(std::string_view text, std::vector<int32_t>& ids) const;
  void encode_unigram(std::string_view text, std::vector<int32_t>& ids) const;
  void append_symbol(std::string_view symbol, int32_t id, std::vector<int32_t>& ids) const;

  std::vector<Piece> pieces_;
  Settings settings_;
  Charsmap charsmap_;
  LiteralFinder user_defined_, controls_;
  StringTable texts_;            // normal, user-defined and unused pieces: what text can become
  StringTable reserved_;         // the others
  std::vector<uint32_t> ranks_;  // bpe: by id, equal scores have equal ranks
  bool words_apart_ = false;     // bpe: no piece has a space after another character
  PairTable trie_;               // unigram: (node, byte) -> rank: the next node, id: the piece that ends there or -1
  float lowest_ = 0, highest_ = 0;
  std::vector<int32_t> byte_ids_;
  WordCache cache_;
  int32_t unk_ = -1, bos_ = -1, eos_ = -1, pad_ = -1;
};

}  // namespace lt2
