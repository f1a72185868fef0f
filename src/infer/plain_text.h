#pragma once
// Encodes text that stays text, also where it spells a mark.
#include <functional>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace lt2 {

/// Appends the ids of `text`, none of which is a mark. Some vocabularies find marks in any text: such text is split in
/// two until they find none. Throws lt2::Error if a single character is a mark.
void append_plain_text(const Tokenizer& tokenizer, std::string_view text, bool continues,
                       const std::function<bool(int32_t)>& is_mark, std::vector<int32_t>& ids);

}  // namespace lt2
