#include "base/regex/regex.h"

namespace lt2 {

Regex::Regex(const std::string& pattern, std::string where)
    : where_(std::move(where)),
      begins_anywhere_(pattern.find("\\G") == std::string::npos),
      onig_(compile_onig(pattern, where_)),
      program_(RegexProgram::compile(pattern)) {}

Regex Regex::by_oniguruma(const std::string& pattern, std::string where) {
  Regex regex(pattern, std::move(where));
  regex.program_ = nullptr;
  return regex;
}

Regex::Search::Search(const Regex& regex, std::string_view text) {
  if (regex.program_)
    linear_.emplace(*regex.program_, text, regex.where_);
  else
    onig_.emplace(regex.onig_, regex.begins_anywhere_, text, regex.where_);
}

bool Regex::Search::search(size_t from, size_t& begin, size_t& end) {
  return linear_ ? linear_->search(from, begin, end) : onig_->search(from, begin, end);
}

}  // namespace lt2
