#pragma once
// Normalizers of tokenizer.json: what happens to a text before it is split.
#include <memory>
#include <string>
#include <vector>

#include "base/json_field.h"
#include "base/regex/regex.h"

namespace lt2 {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  /// `text` is well-formed UTF-8 and stays so.
  virtual std::string apply(std::string text) const = 0;
};

/// NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, Replace, Prepend, Precompiled and Sequence. Throws lt2::Error
/// for other types and for fields of the wrong kind. `continues`: the one for text that continues earlier text,
/// where nothing is put in front and the first spaces stay.
std::unique_ptr<Normalizer> make_normalizer(const JsonField& field, bool continues = false);

/// "pattern": {"String": ...} or {"Regex": ...}.
class TextPattern {
 public:
  explicit TextPattern(const JsonField& field);
  const std::string& source() const { return source_; }
  bool is_regex() const { return regex_ != nullptr; }
  /// Calls found(begin, end) for each match, left to right.
  template <class Found>
  void each_match(std::string_view text, Found&& found) const {
    if (regex_) return regex_->each_match(text, found);
    if (source_.empty()) return;
    for (size_t at = text.find(source_); at != std::string_view::npos; at = text.find(source_, at + source_.size()))
      found(at, at + source_.size());
  }
  std::string replace(std::string_view text, const std::string& with) const;

 private:
  std::string source_;
  std::shared_ptr<const Regex> regex_;
};

/// Components may hold each other; this deep and no deeper.
inline constexpr int kDeepestComponent = 16;

/// A text must not grow beyond this: a few rules that replace a character by many grow it without bound.
inline constexpr size_t most_normalized_bytes(size_t bytes) { return 64 * bytes + (1 << 20); }

}  // namespace lt2
