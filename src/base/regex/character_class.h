#pragma once
// What one character of a pattern matches: a literal, an escape, a property or a set in brackets. Oniguruma says which
// characters these are, each page of 256 when a text first needs it.
#include <array>
#include <atomic>
#include <bitset>
#include <memory>
#include <string>

#include "base/regex/onig.h"

namespace lt2 {

class CharacterClass {
 public:
  /// `atom` is the pattern of one character, well-formed.
  explicit CharacterClass(const std::string& atom);
  ~CharacterClass();
  CharacterClass(const CharacterClass&) = delete;
  CharacterClass& operator=(const CharacterClass&) = delete;

  /// Safe to call from several threads. Surrogates are in no class.
  bool has(uint32_t code) const {
    if (code < kPageSize) return latin_[code];
    const Page* page = pages_[code / kPageSize].load(std::memory_order_acquire);
    return (*(page ? page : make_page(code / kPageSize)))[code % kPageSize];
  }

 private:
  static constexpr uint32_t kPageSize = 256, kPages = 0x110000 / kPageSize;
  using Page = std::bitset<kPageSize>;

  bool matches(uint32_t code) const;
  const Page* make_page(uint32_t number) const;

  OnigPattern atom_;
  std::array<bool, kPageSize> latin_{};  // the first page, quicker to look up
  std::unique_ptr<std::atomic<const Page*>[]> pages_;
};

}  // namespace lt2
