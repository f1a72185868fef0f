#pragma once
// tokenizer.json files of Hugging Face: SmolLM2 and Ouro, GPT-2, GPT-NeoX, Llama-3 conversions.
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/bpe_model.h"
#include "tokenizer/hf_decoder.h"
#include "tokenizer/hf_normalizer.h"
#include "tokenizer/hf_pretokenizer.h"
#include "tokenizer/literals.h"
#include "tokenizer/tokenizer.h"

namespace lt2 {

/// Added tokens, normalizer, pre-tokenizer, BPE model; a decoder back. Added tokens are recognised in every text, but
/// for those that are marks ("special", or named as BOS, EOS or padding): these only with TextReading::specials, where
/// Hugging Face's library always reads them. `truncation` and `padding` are ignored.
class HfTokenizer : public Tokenizer {
 public:
  /// Contents of tokenizer_config.json and special_tokens_map.json, empty if there are none. They name BOS, EOS and
  /// padding; what they leave open is taken from the template of the post-processor.
  struct Companions {
    std::string config, special_tokens;
  };
  /// `where` names the file in errors. Throws lt2::Error naming file and field for what is malformed or not supported.
  HfTokenizer(std::string_view content, const std::string& where, const Companions& companions);
  /// The file, or a folder with tokenizer.json, with the companions next to it.
  static std::unique_ptr<HfTokenizer> open(const std::filesystem::path& path);

  std::string token_bytes(int32_t id) const override;
  std::string first_bytes(int32_t id) const override;
  std::string decode(const std::vector<int32_t>& ids) const override;
  std::unique_ptr<DecodeStream> decode_stream(bool continues) const override;
  int32_t n_words() const override { return static_cast<int32_t>(tokens_.size()); }
  int32_t bos_id() const override { return bos_; }
  int32_t eos_id() const override { return eos_; }
  int32_t pad_id() const override { return pad_; }
  int32_t unknown_id() const override { return model_->unknown_id(); }
  bool is_special(int32_t id) const override;
  /// The added tokens, special or not.
  std::vector<std::pair<std::string, int32_t>> marks() const override;
  std::string name() const override { return "hf"; }

  /// The ids with the post-processor's tokens around them, which encode() never adds.
  std::vector<int32_t> with_template(const std::vector<int32_t>& ids) const;
  /// Id of a token by its text as the file has it, or -1.
  int32_t id_of(std::string_view token) const;

 protected:
  void append(std::string_view text, const TextReading& how, std::vector<int32_t>& ids) const override;

 private:
  class Encoder;
  friend class HfStream;
  struct AddedToken {
    int32_t id = -1;
    std::string content;
    bool special = false, normalized = false, single_word = false, lstrip = false, rstrip = false;
  };
  // Added tokens to look for; numbers are indices into added_.
  struct AddedFinder {
    LiteralFinder raw, normalized;
  };
  void read_added(const JsonField& root);
  void index_added();
  void read_template(const JsonField& field, int depth);
  void read_companion(const std::string& content, const std::string& where);
  void check_id(int32_t id) const;
  std::string bytes_at(int32_t id, bool middle) const;

  std::unique_ptr<Normalizer> normalizer_, continuing_;  // the second for text that continues earlier text
  PreTokenizers pre_tokenizers_;
  std::unique_ptr<BpeModel> model_;
  std::unique_ptr<HfDecoder> decoder_;
  std::vector<AddedToken> added_;
  AddedFinder every_, ordinary_;     // with the marks, and without
  std::vector<std::string> tokens_;  // as the file writes them, by id; empty where an id is left out
  std::vector<std::string> bytes_;   // of byte-level decoders
  std::vector<bool> special_;
  std::vector<int32_t> before_, after_;  // the post-processor's tokens
  int32_t bos_ = -1, eos_ = -1, pad_ = -1;
};

}  // namespace lt2
