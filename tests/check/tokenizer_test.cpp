#include "check/tokenizer.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/files.h"
#include "tests/support/temp_folder.h"
#include "tests/tokenizer/support.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

TEST(TokenizerVectors, AllVocabulariesAreExact) {
  int64_t compared = 0;
  std::string vocabularies;
  for (const auto& check : check_tokenizer_vectors(test::vocabulary(""))) {
    EXPECT_EQ(check.wrong, 0) << check.vocabulary << ", " << check.what << ": " << check.first;
    EXPECT_GT(check.compared, 0);
    compared += check.compared;
    if (vocabularies.find(check.vocabulary) == std::string::npos) vocabularies += check.vocabulary + " ";
  }
  EXPECT_GT(compared, 5000);
  EXPECT_EQ(vocabularies, "cl100k_base gpt2 llama3_style neox20b smollm2_style sp_bpe sp_unigram ");
}

TEST(TokenizerVectors, OneWrongIdIsFound) {
  const test::TempFolder temporary;
  const fs::path folder = temporary.path() / "vectors";
  fs::copy(test::vocabulary("sp_bpe"), folder);
  std::ofstream(folder / "cases.jsonl", std::ios::app)
      << R"({"id": "x1", "cat": "", "text": "a", "ids": [261, 5], "decoded": "a"})" << '\n';
  int64_t wrong = 0;
  for (const auto& check : check_tokenizer_vectors(folder)) {
    wrong += check.wrong;
    if (check.what == "encode") {
      EXPECT_EQ(check.first, "case x1: 2 ids expected, 1 found; from id 1 on: expected 5; found ");
    }
  }
  EXPECT_EQ(wrong, 3);  // encode, decode, stream
  std::ofstream(folder / "decode.jsonl") << "{\"ids\": 3}\n";
  EXPECT_THROW(check_tokenizer_vectors(folder), Error);
}

TEST(TokenizerVectors, FoldersWithoutAreRefused) {
  EXPECT_TRUE(has_tokenizer_vectors(test::vocabulary("")));
  EXPECT_TRUE(has_tokenizer_vectors(test::vocabulary("gpt2/")));
  EXPECT_FALSE(has_tokenizer_vectors(LT2_TEST_DATA "/nowhere"));
  EXPECT_THROW(check_tokenizer_vectors(LT2_TEST_DATA "/nowhere"), Error);
}

}  // namespace
}  // namespace lt2
