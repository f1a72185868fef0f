#pragma once
// Text to ids and back, whatever the vocabulary.
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lt2 {

/// One stream of ids being decoded, see StreamDecoder.
class DecodeStream {
 public:
  virtual ~DecodeStream() = default;
  virtual std::string push(int32_t id) = 0;
  virtual std::string finish() = 0;
};

/// Thread-safe. Text is read as ordinary text: strings that look like special tokens get no special meaning (but for
/// the added tokens of a tokenizer.json, which that format always recognises).
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// Ids of `text`, which may be broken UTF-8, with BOS before and EOS after it on request. Throws lt2::Error if one is
  /// asked for that the vocabulary does not have.
  virtual std::vector<int32_t> encode(std::string_view text, bool add_bos, bool add_eos) const = 0;
  /// The same, but the names of special tokens in the text become those tokens: for chat prompts, never for data.
  virtual std::vector<int32_t> encode_with_specials(std::string_view text, bool add_bos, bool add_eos) const {
    return encode(text, add_bos, add_eos);
  }
  /// The bytes an id stands for in the middle of a text; nothing for ids that are no text. Throws lt2::Error for an id
  /// that is negative or beyond the vocabulary's.
  virtual std::string token_bytes(int32_t id) const = 0;
  /// How bytes put together from tokens read as text. Broken UTF-8 becomes U+FFFD here.
  virtual std::string text_of_bytes(std::string_view bytes) const;
  /// All tokens' bytes, read as text once at the end, so that a character may be spread over tokens.
  virtual std::string decode(const std::vector<int32_t>& ids) const;
  /// A fresh stream; the tokenizer must outlive it.
  virtual std::unique_ptr<DecodeStream> decode_stream() const;

  virtual int32_t n_words() const = 0;  // the model's vocab_size must equal it
  virtual int32_t bos_id() const = 0;   // -1: there is none
  virtual int32_t eos_id() const = 0;   // -1: there is none
  virtual int32_t pad_id() const { return -1; }
  /// Whether `id` is a mark (BOS, roles of a chat) and not text.
  virtual bool is_special(int32_t id) const { return id >= 0 && (id == bos_id() || id == eos_id() || id == pad_id()); }
  virtual std::string name() const = 0;
  /// Whether encode() keeps bytes that are not UTF-8; otherwise it reads U+FFFD.
  virtual bool keeps_invalid_utf8() const { return false; }

 protected:
  /// The frame of encode(): `append` puts the ids of the text, made well-formed UTF-8, between BOS and EOS. Throws
  /// lt2::Error unless the vocabulary has the marks asked for. `where` names its file.
  std::vector<int32_t> encode_valid(std::string_view text, bool bos, bool eos, const std::string& where,
                                    const std::function<void(std::string_view, std::vector<int32_t>&)>& append) const;
};

/// Names that make_tokenizer knows.
std::vector<std::string> tokenizer_names();

/// `name` as in data.tokenizer.name, `path` the vocabulary file where one is needed, `specials` whose rules hold for a
/// tiktoken file (tokenizer/tiktoken.h). Throws lt2::Error for an unknown name, listing the known, and for a file that
/// cannot be read or is not what it should be.
std::unique_ptr<Tokenizer> make_tokenizer(const std::string& name, const std::optional<std::string>& path,
                                          const std::string& specials = "lingua");

/// Decodes ids as they come. What push() and finish() return adds up to decode() of all ids.
class StreamDecoder {
 public:
  /// The tokenizer must outlive the decoder.
  explicit StreamDecoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer), stream_(tokenizer.decode_stream()) {}
  /// The text that became certain with this id; a character cut off at the end waits for its other bytes.
  std::string push(int32_t id) { return stream_->push(id); }
  /// What still waits, as broken as it is. The decoder can then start anew.
  std::string finish();

 private:
  const Tokenizer& tokenizer_;
  std::unique_ptr<DecodeStream> stream_;
};

}  // namespace lt2
