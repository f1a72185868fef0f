#include "base/regex/onig.h"

#include <oniguruma.h>

#include <mutex>

#include "base/error.h"
#include "base/utf8.h"

namespace lt2 {
namespace {

constexpr size_t kLongestPattern = 10'000;
// Per search. A choice takes some 40 bytes.
constexpr unsigned long kRetries = 1'000'000;
constexpr unsigned int kChoices = 1'000'000;

const OnigUChar* bytes_of(std::string_view text) { return reinterpret_cast<const OnigUChar*>(text.data()); }

std::string message_of(int code, OnigErrorInfo* info = nullptr) {
  OnigUChar text[ONIG_MAX_ERROR_MESSAGE_LEN];
  const int bytes = info ? onig_error_code_to_str(text, code, info) : onig_error_code_to_str(text, code);
  return {reinterpret_cast<const char*>(text), static_cast<size_t>(bytes)};
}

}  // namespace

OnigPattern compile_onig(const std::string& pattern, const std::string& where) {
  static std::mutex compiling;  // Oniguruma sets up its tables at first use
  const std::lock_guard lock(compiling);
  LT2_CHECK(pattern.size() <= kLongestPattern, "{}: a pattern of {} bytes; {} are possible", where, pattern.size(),
            kLongestPattern);
  static const bool ready = [] {
    OnigEncoding encodings[] = {ONIG_ENCODING_UTF8};
    return onig_initialize(encodings, 1) == ONIG_NORMAL;
  }();
  LT2_CHECK(ready, "{}: Oniguruma does not start", where);
  LT2_CHECK(count_invalid_utf8(pattern) == 0, "{}: no regular expression: not UTF-8", where);
  OnigErrorInfo info{};
  regex_t* compiled = nullptr;
  const int code = onig_new(&compiled, bytes_of(pattern), bytes_of(pattern) + pattern.size(), ONIG_OPTION_NONE,
                            ONIG_ENCODING_UTF8, ONIG_SYNTAX_RUBY, &info);
  LT2_CHECK(code == ONIG_NORMAL, "{}: no regular expression: {}", where, message_of(code, &info));
  return {compiled, onig_free};
}

struct OnigSearch::Memory {
  Memory() : region(onig_region_new()), limits(onig_new_match_param()) {}
  ~Memory() {
    if (region) onig_region_free(region, 1);
    if (limits) onig_free_match_param(limits);
  }
  OnigRegion* region;
  OnigMatchParam* limits;
};

OnigSearch::OnigSearch(OnigPattern pattern, std::string_view text, const std::string& where)
    : pattern_(std::move(pattern)), text_(text), where_(where), memory_(std::make_unique<Memory>()) {
  LT2_CHECK(memory_->region && memory_->limits, "{}: no memory for a search", where);
  onig_initialize_match_param(memory_->limits);
  onig_set_match_stack_limit_size_of_match_param(memory_->limits, kChoices);
  onig_set_retry_limit_in_match_of_match_param(memory_->limits, kRetries);
  onig_set_retry_limit_in_search_of_match_param(memory_->limits, kRetries + text.size());
}

OnigSearch::~OnigSearch() = default;

bool OnigSearch::search(size_t from, size_t& begin, size_t& end) {
  // Inside a character nothing begins.
  while (from < text_.size() && (static_cast<unsigned char>(text_[from]) & 0xc0) == 0x80) ++from;
  const auto *start = bytes_of(text_), *stop = start + text_.size();
  const int code = onig_search_with_param(pattern_.get(), start, stop, start + from, stop, memory_->region,
                                          ONIG_OPTION_NONE, memory_->limits);
  if (code == ONIG_MISMATCH) return false;
  LT2_CHECK(code >= 0, "{}: searching a text of {} bytes: {}. Simplify the pattern", where_, text_.size(),
            message_of(code));
  begin = static_cast<size_t>(memory_->region->beg[0]);
  end = static_cast<size_t>(memory_->region->end[0]);
  return true;
}

}  // namespace lt2
