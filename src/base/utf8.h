#pragma once
// Bytes that claim to be UTF-8. Broken text is cut the way the Unicode standard recommends and Python and browsers do:
// each maximal subpart of an ill-formed sequence is one unit, so it becomes one U+FFFD.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace lt2 {

/// What stands at one place of a text: a whole character, or a maximal subpart of a broken one.
struct Utf8Unit {
  size_t bytes = 0;
  bool valid = false;
  bool cut_off = false;  // not valid, but the text ends here and further bytes could complete it
};

/// The unit at text[at], at < text.size().
Utf8Unit utf8_unit(std::string_view text, size_t at);

/// Number of invalid units; 0 means the text is well-formed.
int64_t count_invalid_utf8(std::string_view text);

/// Every invalid unit becomes U+FFFD.
std::string replace_invalid_utf8(std::string_view text);

/// A text as well-formed UTF-8: itself, or a copy with U+FFFD where it is broken. The text must outlive it.
class ValidUtf8 {
 public:
  explicit ValidUtf8(std::string_view text) : text_(text) {
    if (count_invalid_utf8(text) == 0) return;
    copy_ = replace_invalid_utf8(text);
    text_ = copy_;
  }
  ValidUtf8(const ValidUtf8&) = delete;
  ValidUtf8& operator=(const ValidUtf8&) = delete;
  std::string_view text() const { return text_; }

 private:
  std::string copy_;
  std::string_view text_;
};

/// Every byte of an invalid unit becomes the four characters \xNN, lower-case hex.
std::string escape_invalid_utf8(std::string_view text);

/// Length of the longest prefix that no further byte can change the reading of: the text without a cut-off character at
/// its end.
size_t complete_utf8_prefix(std::string_view text);

/// The first place >= `at` that does not lie inside a character (bytes 80..BF are inside one).
size_t utf8_border_from(std::string_view text, size_t at);

/// The text after a byte-order mark, which some programs put in front of a file's text and which is no part of it.
inline std::string_view without_byte_order_mark(std::string_view file) {
  constexpr std::string_view kMark = "\xef\xbb\xbf";
  return file.starts_with(kMark) ? file.substr(kMark.size()) : file;
}

/// Appends a Unicode scalar value (not a surrogate).
void append_utf8(std::string& text, uint32_t code_point);

}  // namespace lt2
