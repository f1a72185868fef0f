#include "tokenizer/unicode.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/tokenizer/support.h"

namespace lt2 {
namespace {

TEST(Unicode, NormalForms) {
  const std::string angstrom = "\xe2\x84\xab", ring = "\xc3\x85", decomposed = "A\xcc\x8a", ligature = "\xef\xac\x81";
  EXPECT_EQ(normalize(angstrom, NormalForm::kNfc), ring);
  EXPECT_EQ(normalize(decomposed, NormalForm::kNfc), ring);
  EXPECT_EQ(normalize(ring, NormalForm::kNfd), decomposed);
  EXPECT_EQ(normalize(ligature, NormalForm::kNfc), ligature);
  EXPECT_EQ(normalize(ligature, NormalForm::kNfkc), "fi");
  EXPECT_EQ(normalize("\xef\xb7\xba", NormalForm::kNfkd).size(), 33u);                 // one character becomes 18
  EXPECT_EQ(normalize("\xe1\x84\x80\xe1\x85\xa1", NormalForm::kNfc), "\xea\xb0\x80");  // Hangul
  EXPECT_EQ(normalize("\xea\xb0\x80", NormalForm::kNfd), "\xe1\x84\x80\xe1\x85\xa1");
  EXPECT_EQ(normalize("q\xcc\x87\xcc\xa3", NormalForm::kNfd), "q\xcc\xa3\xcc\x87");  // marks in canonical order
  EXPECT_EQ(normalize(std::string("a\0b", 3), NormalForm::kNfkc), std::string("a\0b", 3));
  EXPECT_EQ(normalize("", NormalForm::kNfd), "");
}

TEST(Unicode, NormalFormsAreStable) {
  std::mt19937 random(8);
  for (int trial = 0; trial < 500; ++trial) {
    const auto text = test::random_text(random, 30);
    for (const auto form : {NormalForm::kNfc, NormalForm::kNfd, NormalForm::kNfkc, NormalForm::kNfkd}) {
      const auto once = normalize(text, form);
      ASSERT_EQ(normalize(once, form), once);
      ASSERT_EQ(count_invalid_utf8(once), 0);
    }
    ASSERT_EQ(normalize(normalize(text, NormalForm::kNfd), NormalForm::kNfc), normalize(text, NormalForm::kNfc));
  }
}

TEST(Unicode, AMegabyteOfMarksIsNothingSpecial) {
  std::string marks;
  for (int i = 0; i < 1 << 18; ++i) marks += i % 2 ? "\xcc\xa3" : "\xcc\x81";  // each pair out of order
  const auto ordered = normalize(marks, NormalForm::kNfd);
  EXPECT_EQ(ordered.size(), marks.size());
  EXPECT_EQ(ordered.substr(0, 2), "\xcc\xa3");
  EXPECT_EQ(ordered.substr(ordered.size() - 2), "\xcc\x81");
}

TEST(Unicode, CaseAndAccents) {
  EXPECT_EQ(lowercase("A\xc3\x89\xc4\xb0\xce\xa3"), "a\xc3\xa9i\xcc\x87\xcf\x83");
  EXPECT_EQ(strip_accents("e\xcc\x81\xc3\xa9"), "e\xc3\xa9");
  // Mn, Mc and Me: a Devanagari vowel sign has width, a keycap encloses.
  EXPECT_EQ(strip_accents("\xe0\xa4\x95\xe0\xa4\xbe\xe0\xa5\x8d"
                          "1\xe2\x83\xa3"),
            "\xe0\xa4\x95"
            "1");
}

TEST(Unicode, ClassesOfOddCharacters) {
  const uint8_t* classes = char_classes();
  EXPECT_EQ(classes[0x2167] & (kNumber | kWord | kLetter), kNumber);  // a Roman numeral is a number and no digit
  EXPECT_EQ(classes[0x301], kWord | kMark);
  EXPECT_EQ(classes['_'], kWord | kPunctuation);
  EXPECT_EQ(classes['$'], kPunctuation);
  EXPECT_EQ(classes[0x20ac], 0);  // a currency sign outside ASCII is no punctuation
  EXPECT_EQ(classes['\n'], kSpace | kLineEnd);
  EXPECT_EQ(classes[0x85], kSpace);
  for (const uint32_t code : {0x180eu, 0x200bu, 0xfeffu, 0x1cu, 0x1fu}) EXPECT_EQ(classes[code] & kSpace, 0) << code;
}

}  // namespace
}  // namespace lt2
