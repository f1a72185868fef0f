#pragma once
#include <string>
#include <string_view>

namespace lt2 {

/// Replaces `bytes`. False for anything but whole padded groups of the standard alphabet.
bool decode_base64(std::string_view text, std::string& bytes);

}  // namespace lt2
