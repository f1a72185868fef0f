#pragma once
#include "base/json_field.h"
#include "tokenizer/unicode.h"

namespace lt2 {

/// The character that is the whole text of a JSON field. Throws lt2::Error.
inline uint32_t character_of(const JsonField& field) {
  const std::string& all = field.text();
  if (all.empty() || character_at(all, 0).bytes != all.size()) field.refuse("expected one character");
  return character_at(all, 0).code;
}

}  // namespace lt2
