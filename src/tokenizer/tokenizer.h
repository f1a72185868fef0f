#pragma once
// Text to ids and back, whatever the vocabulary.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lt2 {

/// Thread-safe. Text is read as ordinary text: strings that look like special tokens get no special meaning.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// Ids of `text`, which may be broken UTF-8, with BOS before and EOS after it on request.
  virtual std::vector<int32_t> encode(std::string_view text, bool add_bos, bool add_eos) const = 0;
  /// The bytes an id stands for; nothing for ids that are no text. Throws lt2::Error for a negative id.
  virtual std::string token_bytes(int32_t id) const = 0;
  /// How bytes put together from tokens read as text. Broken UTF-8 becomes U+FFFD here.
  virtual std::string text_of_bytes(std::string_view bytes) const;
  /// All tokens' bytes, read as text once at the end, so that a character may be spread over tokens.
  virtual std::string decode(const std::vector<int32_t>& ids) const;

  virtual int32_t n_words() const = 0;  // the model's vocab_size must equal it
  virtual int32_t bos_id() const = 0;
  virtual int32_t eos_id() const = 0;
  virtual std::string name() const = 0;
  /// Whether encode() keeps bytes that are not UTF-8; otherwise it reads U+FFFD.
  virtual bool keeps_invalid_utf8() const { return false; }
};

/// Names that make_tokenizer knows.
std::vector<std::string> tokenizer_names();

/// `name` as in data.tokenizer.name, `path` the vocabulary file where one is needed. Throws lt2::Error for an unknown
/// name, listing the known.
std::unique_ptr<Tokenizer> make_tokenizer(const std::string& name, const std::optional<std::string>& path);

/// Decodes ids as they come. What push() and finish() return adds up to decode() of all ids.
class StreamDecoder {
 public:
  /// The tokenizer must outlive the decoder.
  explicit StreamDecoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  /// The text that became certain with this id; a character cut off at the end waits for its other bytes.
  std::string push(int32_t id);
  /// What still waits, as broken as it is. The decoder can then start anew.
  std::string finish();

 private:
  const Tokenizer& tokenizer_;
  std::string waiting_;
};

}  // namespace lt2
