#pragma once
// Text to ids and back, whatever the vocabulary.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lt2 {

/// One stream of ids being decoded, see StreamDecoder.
class DecodeStream {
 public:
  virtual ~DecodeStream() = default;
  virtual std::string push(int32_t id) = 0;
  /// The bytes that still wait, even if they are no whole character. The stream continues after them.
  virtual std::string finish() = 0;
};

/// How encode() reads a text.
struct TextReading {
  /// The text continues earlier text, so its first space stays as it is. Vocabularies that put one in front of a
  /// text (SentencePiece, Metaspace, a normalizer that prepends) do so where a text begins and nowhere else.
  bool continues = false;
  /// Names of special tokens become those tokens. On request alone: what a person or a document says is text.
  bool specials = false;
};

/// Thread-safe.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// Ids of `text`, which may be broken UTF-8, with BOS before and EOS after it on request. Throws lt2::Error if one is
  /// asked for that the vocabulary does not have.
  std::vector<int32_t> encode(std::string_view text, bool add_bos, bool add_eos, const TextReading& how = {}) const;
  /// The bytes an id stands for in the middle of a text; nothing for ids that are no text. Throws lt2::Error for an id
  /// that is negative or beyond the vocabulary's.
  virtual std::string token_bytes(int32_t id) const = 0;
  /// The same where a text begins: without the space that encode() puts there.
  virtual std::string first_bytes(int32_t id) const { return token_bytes(id); }
  /// Whether a text has begun after this token, which stands where one begins: it gave bytes, or the space in front of
  /// it, of which there is one. This is the only place that decides whether a text has begun.
  virtual bool begins_text(int32_t id) const { return !token_bytes(id).empty(); }
  /// The bytes of the next token of a text, of which `begun` says whether it has begun, before the token and then
  /// behind it.
  std::string next_bytes(int32_t id, bool& begun) const;
  /// How bytes put together from tokens read as text. Broken UTF-8 becomes U+FFFD here.
  virtual std::string text_of_bytes(std::string_view bytes) const;
  /// All tokens' bytes, read as text once at the end, so that a character may be spread over tokens.
  virtual std::string decode(const std::vector<int32_t>& ids) const;
  /// What `ids` add to the text of `before`.
  std::string decode_after(const std::vector<int32_t>& before, const std::vector<int32_t>& ids) const;
  /// Whether a text begins within `ids`, so that what follows them goes on from it. Unknown characters are text; marks
  /// are none, though some vocabularies show their names.
  bool holds_text(const std::vector<int32_t>& ids) const;
  /// A fresh stream, of a text that begins or of one that continues earlier text; the tokenizer must outlive it.
  virtual std::unique_ptr<DecodeStream> decode_stream(bool continues) const;

  virtual int32_t n_words() const = 0;  // the model's vocab_size must equal it
  virtual int32_t bos_id() const = 0;   // -1: there is none
  virtual int32_t eos_id() const = 0;   // -1: there is none
  virtual int32_t pad_id() const { return -1; }
  virtual int32_t unknown_id() const { return -1; }  // stands for unknown characters; -1: every character is known
  /// Whether `id` is a mark (BOS, roles of a chat) and not text: encode() gives none unless asked for, but for the one
  /// that stands for unknown characters.
  virtual bool is_special(int32_t id) const { return id >= 0 && (id == bos_id() || id == eos_id() || id == pad_id()); }
  /// The token that a chat template means by a name like "<|im_end|>": a special one, or one that the vocabulary added
  /// to its text; -1: there is none.
  int32_t mark_id(std::string_view name) const;
  /// All names that mark_id() knows, and the tokens that they mean.
  virtual std::vector<std::pair<std::string, int32_t>> marks() const { return {}; }
  virtual std::string name() const = 0;
  /// Whether encode() keeps bytes that are not UTF-8; otherwise it reads U+FFFD.
  virtual bool keeps_invalid_utf8() const { return false; }

 protected:
  explicit Tokenizer(std::string where) : where_(std::move(where)) {}
  /// Appends the ids of a text, which is well-formed UTF-8 unless keeps_invalid_utf8().
  virtual void append(std::string_view text, const TextReading& how, std::vector<int32_t>& ids) const = 0;

  std::string where_;  // the vocabulary's file, for errors
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
  /// The tokenizer must outlive the decoder. With ids `before`, the text continues theirs, which is not given out.
  explicit StreamDecoder(const Tokenizer& tokenizer, const std::vector<int32_t>& before = {});
  /// The text that became certain with this id; a character cut off at the end waits for its other bytes.
  std::string push(int32_t id) { return stream_->push(id); }
  /// What still waits, as broken as it is. The decoder then starts anew, at the beginning of a text.
  std::string finish();

 private:
  const Tokenizer& tokenizer_;
  std::unique_ptr<DecodeStream> stream_;
};

}  // namespace lt2
