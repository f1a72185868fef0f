#pragma once
// Text as a person may see it.
#include <string>

namespace lt2 {

/// The text with its control characters (U+0000 to U+001F, U+007F to U+009F) as \n, \t, \r or \x1b. Equal to `text` if
/// it has none: that is the test for a name that may go into a line of a file or a message.
std::string printable(const std::string& text);

}  // namespace lt2
