#pragma once
// Pre-tokenizers of tokenizer.json: cutting a text into pieces that are merged each by itself.
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json_field.h"

namespace lt2 {

/// A text and the pieces it is cut into. Stages cut further, and some write the text anew.
struct Pieces {
  struct Range {
    size_t begin, end;
  };
  std::string_view text;  // well-formed UTF-8: the caller's, or `own`
  std::string own;
  std::vector<Range> ranges;  // ascending; what lies between them is dropped
  bool begins_input = true;   // the first piece stands at the very start of the input
  bool continues = false;     // it continues text before the input: nothing is put in front of it

  std::string_view operator[](size_t i) const { return text.substr(ranges[i].begin, ranges[i].end - ranges[i].begin); }
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void apply(Pieces& pieces) const = 0;
};

/// The stages in order. ByteLevel as the last stage leaves the bytes as they are: the model then works on bytes instead
/// of the characters that stand for them.
struct PreTokenizers {
  std::vector<std::unique_ptr<PreTokenizer>> stages;
  bool byte_level = false;
};

/// ByteLevel, Digits, Split, Whitespace, WhitespaceSplit, Punctuation, Metaspace and Sequence. Throws lt2::Error for
/// other types and for fields of the wrong kind.
PreTokenizers make_pre_tokenizers(const JsonField& field);

/// The character that stands for a byte in a byte-level vocabulary, as UTF-8.
const std::string& byte_level_character(uint8_t byte);
/// The bytes that the characters of a token stand for; false if one of them stands for none.
bool bytes_of_byte_level(std::string_view token, std::string& bytes);

/// "add_prefix_space": true and "prepend_scheme": "always" are the old and the new way to say the same.
enum class PrependScheme { kAlways, kFirst, kNever };
PrependScheme prepend_scheme_of(const JsonField& metaspace);

}  // namespace lt2
