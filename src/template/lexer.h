#pragma once
// A template's source as tokens. Whitespace control (-, +, trim_blocks, lstrip_blocks), comments and raw blocks end
// here.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "template/template.h"

namespace lt2::jinja {

enum class TokenKind {
  kData,
  kPrintBegin,
  kPrintEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kText,
  kInteger,
  kReal,
  kSign,
  kEnd
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string text;  // of data and texts what they mean, of names and signs how they are written
  int line = 1;
  int64_t integer = 0;
  double real = 0;

  bool is_sign(std::string_view sign) const { return kind == TokenKind::kSign && text == sign; }
  bool is_name(std::string_view name) const { return kind == TokenKind::kName && text == name; }
  /// As errors name it.
  std::string description() const;
};

/// Ends with a token kEnd. `name` stands in errors.
std::vector<Token> tokens_of(std::string_view source, const std::string& name, const TemplateOptions& options);

}  // namespace lt2::jinja
