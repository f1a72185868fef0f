#include "base/regex/character_class.h"

#include <oniguruma.h>

namespace lt2 {

CharacterClass::CharacterClass(const std::string& atom)
    : atom_(compile_onig(atom, atom)), pages_(std::make_unique<std::atomic<const Page*>[]>(kPages)) {
  for (uint32_t code = 0; code < kPageSize; ++code) latin_[code] = matches(code);
}

CharacterClass::~CharacterClass() {
  for (uint32_t i = 0; i < kPages; ++i) delete pages_[i].load();
}

bool CharacterClass::matches(uint32_t code) const {
  if (code >= 0xd800 && code < 0xe000) return false;
  OnigUChar text[ONIGENC_CODE_TO_MBC_MAXLEN];
  const int bytes = ONIGENC_CODE_TO_MBC(ONIG_ENCODING_UTF8, code, text);
  return onig_match(atom_.get(), text, text + bytes, text, nullptr, ONIG_OPTION_NONE) == bytes;
}

const CharacterClass::Page* CharacterClass::make_page(uint32_t number) const {
  auto page = std::make_unique<Page>();
  for (uint32_t i = 0; i < kPageSize; ++i) (*page)[i] = matches(number * kPageSize + i);
  const Page* none = nullptr;
  // Another thread may have been quicker; what it found is the same.
  if (pages_[number].compare_exchange_strong(none, page.get(), std::memory_order_acq_rel)) return page.release();
  return none;
}

}  // namespace lt2
