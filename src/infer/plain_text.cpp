#include "infer/plain_text.h"

#include <algorithm>

#include "base/error.h"
#include "base/utf8.h"

namespace lt2 {

void append_plain_text(const Tokenizer& tokenizer, std::string_view text, bool continues,
                       const std::function<bool(int32_t)>& is_mark, std::vector<int32_t>& ids) {
  const auto more = tokenizer.encode(text, false, false, {.continues = continues});
  if (std::none_of(more.begin(), more.end(), is_mark)) {
    ids.insert(ids.end(), more.begin(), more.end());
    return;
  }
  size_t middle = utf8_border_from(text, text.size() / 2);
  if (middle == text.size()) middle = utf8_border_from(text, 1);
  LT2_CHECK(middle < text.size(), "chat: this vocabulary reads \"{}\" as a mark of the template", text);
  append_plain_text(tokenizer, text.substr(0, middle), continues, is_mark, ids);
  append_plain_text(tokenizer, text.substr(middle), true, is_mark, ids);
}

}  // namespace lt2
