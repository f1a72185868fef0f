#pragma once
// Shared by the tests of tokenizers.
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/utf8.h"
#include "tests/support/error_of.h"
#include "tokenizer/tokenizer.h"

namespace lt2::test {

inline std::string vocabulary(const std::string& file) { return std::string(LT2_TEST_DATA) + "/tokenizer/" + file; }

inline std::string streamed(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  StreamDecoder decoder(tokenizer);
  std::string text;
  for (const int32_t id : ids) text += decoder.push(id);
  return text + decoder.finish();
}

/// Characters that splits and normal forms treat differently, in random order; unassigned ones and marks among them.
inline std::string random_text(std::mt19937& random, size_t characters) {
  static const std::vector<uint32_t> likely = {' ',    ' ',    '\n',   '\r',   '\t',   '\'',   's',    't',     'l',
                                               'L',    'v',    'e',    'R',    'a',    '1',    '2',    '.',     '-',
                                               '_',    0xa0,   0x85,   0xe9,   0x17f,  0x301,  0x323,  0x2028,  0x3000,
                                               0x2167, 0xbd,   0x4e2d, 0x3042, 0xac00, 0x1100, 0x1161, 0x1f600, 0x200d,
                                               0xfe0f, 0x2581, 0x130,  0xfb01, 0x0,    0x200b, 0x180e, 0x1c};
  std::string text;
  for (size_t i = 0; i < characters; ++i) {
    uint32_t code = likely[random() % likely.size()];
    if (random() % 16 == 0) code = random() % 0x110000;
    append_utf8(text, code >= 0xd800 && code < 0xe000 ? 0xfffd : code);
  }
  return text;
}

}  // namespace lt2::test
