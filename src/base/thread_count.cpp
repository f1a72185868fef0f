#include "base/thread_count.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/threads.h"

namespace lt2 {
namespace {

// A whole number of at least 1, however long; what does not fit is the largest int. 0: none of that.
int positive_number(const std::string& text) {
  const auto first = text.find_first_not_of(" \t");
  const auto digits = first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(" \t") - first + 1);
  if (digits.empty() || digits.find_first_not_of("0123456789") != std::string::npos) return 0;
  int number = 0;
  const auto error = std::from_chars(digits.data(), digits.data() + digits.size(), number).ec;
  return error == std::errc::result_out_of_range ? std::numeric_limits<int>::max() : number;
}

}  // namespace

int thread_count_from_text(const std::string& text, const std::string& name) {
  std::vector<int> levels;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    levels.push_back(positive_number(text.substr(begin, end - begin)));
    begin = end + 1;
  }
  LT2_CHECK(std::find(levels.begin(), levels.end(), 0) == levels.end(),
            "{} must be a whole number >= 1, or such numbers with commas between them; found \"{}\"", name, text);
  const int asked = levels[0], allowed = allowed_cores();
  if (asked <= allowed) return asked;
  log_warning("{}: {} threads asked for, {} {} allowed here; {} used", name, text, allowed,
              allowed == 1 ? "core is" : "cores are", allowed);
  return allowed;
}

}  // namespace lt2
