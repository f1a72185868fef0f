#include "tokenizer/regex.h"

#include <oniguruma.h>

#include <mutex>

#include "base/error.h"
#include "tokenizer/unicode.h"

namespace lt2 {
namespace {

const OnigUChar* bytes_of(std::string_view text) { return reinterpret_cast<const OnigUChar*>(text.data()); }

std::string message_of(int code, OnigErrorInfo* info) {
  OnigUChar text[ONIG_MAX_ERROR_MESSAGE_LEN];
  const int bytes = info ? onig_error_code_to_str(text, code, info) : onig_error_code_to_str(text, code);
  return {reinterpret_cast<const char*>(text), static_cast<size_t>(bytes)};
}

// Per search; published patterns stay below a hundred.
constexpr unsigned long kRetries = 1'000'000;
constexpr unsigned int kStack = 1'000'000;
constexpr size_t kLongestPattern = 10'000;

}  // namespace

Regex::Regex(const std::string& pattern, std::string where) : where_(std::move(where)) {
  static std::mutex compiling;  // Oniguruma sets up its tables at first use
  const std::lock_guard lock(compiling);
  LT2_CHECK(pattern.size() <= kLongestPattern, "{}: a pattern of {} bytes; {} are possible", where_, pattern.size(),
            kLongestPattern);
  static const bool ready = [] {
    OnigEncoding encodings[] = {ONIG_ENCODING_UTF8};
    return onig_initialize(encodings, 1) == ONIG_NORMAL;
  }();
  LT2_CHECK(ready, "{}: Oniguruma does not start", where_);
  OnigErrorInfo info{};
  regex_t* compiled = nullptr;
  const int code = onig_new(&compiled, bytes_of(pattern), bytes_of(pattern) + pattern.size(), ONIG_OPTION_NONE,
                            ONIG_ENCODING_UTF8, ONIG_SYNTAX_RUBY, &info);
  LT2_CHECK(code == ONIG_NORMAL, "{}: no regular expression: {}", where_, message_of(code, &info));
  regex_.reset(compiled, onig_free);
}

bool Regex::search(std::string_view text, size_t from, size_t& begin, size_t& end) const {
  const std::unique_ptr<OnigRegion, void (*)(OnigRegion*)> region(onig_region_new(),
                                                                  [](OnigRegion* r) { onig_region_free(r, 1); });
  const std::unique_ptr<OnigMatchParam, void (*)(OnigMatchParam*)> limits(onig_new_match_param(),
                                                                          onig_free_match_param);
  onig_initialize_match_param(limits.get());
  onig_set_match_stack_limit_size_of_match_param(limits.get(), kStack);
  onig_set_retry_limit_in_match_of_match_param(limits.get(), kRetries);
  onig_set_retry_limit_in_search_of_match_param(limits.get(), kRetries + text.size());
  const auto *start = bytes_of(text), *stop = start + text.size();
  const int code = onig_search_with_param(regex_.get(), start, stop, start + from, stop, region.get(), ONIG_OPTION_NONE,
                                          limits.get());
  if (code == ONIG_MISMATCH) return false;
  LT2_CHECK(code >= 0, "{}: searching a text of {} bytes: {}", where_, text.size(), message_of(code, nullptr));
  begin = static_cast<size_t>(region->beg[0]);
  end = static_cast<size_t>(region->end[0]);
  return true;
}

size_t Regex::next_character(std::string_view text, size_t at) {
  return at < text.size() ? at + character_at(text, at).bytes : at + 1;
}

}  // namespace lt2
