#pragma once
// Text for a web page: nothing from a file reaches the page unescaped, no number without a readable form.
#include <string>
#include <string_view>

namespace lt2 {

/// `text` as HTML character data, safe between tags and inside quoted attributes. Bytes that are no UTF-8 become
/// U+FFFD, control characters (other than newline and tab) their visible pictures, CR LF becomes LF.
std::string escape_html(std::string_view text);

/// `text` with every byte that does not belong to a well-formed UTF-8 sequence replaced by U+FFFD.
std::string valid_utf8(std::string_view text);

/// Three significant digits for people: 0.0421, 1.83, 97.2, 12,345, 1.20e+20; "–" for NaN and infinity.
std::string format_number(double value);

/// The shortest exact-looking form for an axis: 0.25, 300, 20,000, 1e+16; "–" for NaN and infinity.
std::string format_tick(double value);

/// 32768 -> "32k", 1000 -> "1,000": lengths are powers of two, and k is 1,024 here.
std::string format_context(double tokens);

/// 0.432 -> "43 %".
std::string format_share(double share);

}  // namespace lt2
