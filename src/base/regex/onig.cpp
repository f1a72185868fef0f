#include "base/regex/onig.h"

#include <oniguruma.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "base/error.h"
#include "base/utf8.h"

namespace lt2 {
namespace {

constexpr size_t kLongestPattern = 10'000;
// Steps back and choices of one start; a choice takes some 40 bytes.
constexpr uint64_t kMostSteps = 1'000'000;
// A call that takes more steps is made again with this many times as many.
constexpr uint64_t kFirstSteps = 64, kMoreSteps = 4;
// Of one call from start to start, and how many starts are tried on their own where that is too few: each of them may
// scan all of the text, and Oniguruma cannot be stopped meanwhile.
constexpr uint64_t kStepsTogether = 1024;
constexpr int kStartsAlone = 1024;

// Of all searches of a text: some hundred times what published patterns take.
uint64_t most_steps(size_t bytes) { return (bytes + 4096) * 1024; }
int64_t most_nanoseconds(size_t bytes) { return (static_cast<int64_t>(bytes) + 50'000) * 20'000; }
constexpr uint64_t kCallsBetweenLooks = 64;

bool has_too_few(int code) {
  return code == ONIGERR_RETRY_LIMIT_IN_MATCH_OVER || code == ONIGERR_RETRY_LIMIT_IN_SEARCH_OVER ||
         code == ONIGERR_MATCH_STACK_LIMIT_OVER;
}

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

bool matches_several(const std::string& atom) {
  struct Judge {
    OnigPattern whole;
    bool several = false;
  } judge{compile_onig("(?:" + atom + ")\\z", atom)};
  const auto try_fold = [](OnigCodePoint, OnigCodePoint* codes, int count, void* data) {
    OnigUChar text[3 * ONIGENC_CODE_TO_MBC_MAXLEN], *end = text;
    for (int i = 0; i < std::min(count, 3); ++i) end += ONIGENC_CODE_TO_MBC(ONIG_ENCODING_UTF8, codes[i], end);
    auto& [whole, several] = *static_cast<Judge*>(data);
    several = several || (count > 1 && onig_match(whole.get(), text, end, text, nullptr, ONIG_OPTION_NONE) >= 0);
    return 0;
  };
  ONIGENC_APPLY_ALL_CASE_FOLD(ONIG_ENCODING_UTF8, ONIGENC_CASE_FOLD_MIN, try_fold, &judge);
  return judge.several;
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

OnigSearch::OnigSearch(OnigPattern pattern, bool begins_anywhere, std::string_view text, const std::string& where)
    : pattern_(std::move(pattern)),
      text_(text),
      begins_anywhere_(begins_anywhere),
      memory_(std::make_unique<Memory>()),
      work_(where, text.size(), most_steps, most_nanoseconds) {
  LT2_CHECK(memory_->region && memory_->limits, "{}: no memory for a search", where);
  onig_initialize_match_param(memory_->limits);
}

OnigSearch::~OnigSearch() = default;

bool OnigSearch::search(size_t from, size_t& begin, size_t& end) {
  int code = ONIG_MISMATCH;
  const auto next_start = [&] {
    while (from < text_.size() && (static_cast<unsigned char>(text_[from]) & 0xc0) == 0x80) ++from;
  };
  for (bool found = false; !found;) {
    next_start();  // inside a character nothing begins
    code = try_from(from, begins_anywhere_ ? kStepsTogether : kMostSteps + text_.size());
    if (!has_too_few(code)) break;
    if (!begins_anywhere_) work_.give_up(message_of(code));
    for (int i = 0; i < kStartsAlone && !found; ++i) {
      work_.look();
      code = try_at(from);
      found = code != ONIG_MISMATCH;
      if (found) break;
      if (from >= text_.size()) return false;
      ++from;
      next_start();
    }
  }
  if (code == ONIG_MISMATCH) return false;
  if (code < 0) work_.give_up(message_of(code));
  begin = static_cast<size_t>(memory_->region->beg[0]);
  end = static_cast<size_t>(memory_->region->end[0]);
  return true;
}

// The code of a search from there on.
int OnigSearch::try_from(size_t from, uint64_t most_steps) {
  const auto *start = bytes_of(text_), *stop = start + text_.size();
  for (uint64_t steps = kFirstSteps;; steps = std::min(steps * kMoreSteps, most_steps)) {
    allow(steps);
    const int code = onig_search_with_param(pattern_.get(), start, stop, start + from, stop, memory_->region,
                                            ONIG_OPTION_NONE, memory_->limits);
    if (!has_too_few(code) || steps == most_steps) return code;
  }
}

// The code of a match right there.
int OnigSearch::try_at(size_t at) {
  const auto *start = bytes_of(text_), *stop = start + text_.size();
  for (uint64_t steps = kFirstSteps;; steps = std::min(steps * kMoreSteps, kMostSteps)) {
    allow(steps);
    const int code = onig_match_with_param(pattern_.get(), start, stop, start + at, memory_->region, ONIG_OPTION_NONE,
                                           memory_->limits);
    if (!has_too_few(code) || steps == kMostSteps) return code;
  }
}

// For the next call.
void OnigSearch::allow(uint64_t steps) {
  work_.add(steps);
  if (++calls_ % kCallsBetweenLooks == 0) work_.look();
  if (std::exchange(allowed_, steps) == steps) return;
  const uint64_t at_one_start = std::min(steps, kMostSteps);
  onig_set_match_stack_limit_size_of_match_param(memory_->limits, static_cast<unsigned int>(at_one_start));
  onig_set_retry_limit_in_match_of_match_param(memory_->limits, at_one_start);
  onig_set_retry_limit_in_search_of_match_param(memory_->limits, steps);
}

}  // namespace lt2
