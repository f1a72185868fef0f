#include "tokenizer/tokenizer.h"

#include <fmt/ranges.h>

#include <utility>

#include "base/error.h"
#include "tokenizer/bytes.h"
#include "tokenizer/utf8.h"

namespace lt2 {
namespace {

struct Kind {
  const char* name;
  std::unique_ptr<Tokenizer> (*make)(const std::optional<std::string>& path);
};

// A new tokenizer is a line here. Lingua ignores a path given for bytes, and so does this.
constexpr Kind kKinds[] = {
    {"bytes",
     [](const std::optional<std::string>&) -> std::unique_ptr<Tokenizer> {
       return std::make_unique<BytesTokenizer>();
     }},
};

}  // namespace

std::string Tokenizer::text_of_bytes(std::string_view bytes) const { return replace_invalid_utf8(bytes); }

std::string Tokenizer::decode(const std::vector<int32_t>& ids) const {
  std::string bytes;
  for (const int32_t id : ids) bytes += token_bytes(id);
  return text_of_bytes(bytes);
}

std::vector<std::string> tokenizer_names() {
  std::vector<std::string> names;
  for (const Kind& kind : kKinds) names.emplace_back(kind.name);
  return names;
}

std::unique_ptr<Tokenizer> make_tokenizer(const std::string& name, const std::optional<std::string>& path) {
  for (const Kind& kind : kKinds)
    if (kind.name == name) return kind.make(path);
  fail("data.tokenizer.name: no tokenizer \"{}\". Those that exist: {}.", name, fmt::join(tokenizer_names(), ", "));
}

std::string StreamDecoder::push(int32_t id) {
  waiting_ += tokenizer_.token_bytes(id);
  const size_t complete = complete_utf8_prefix(waiting_);
  std::string text = tokenizer_.text_of_bytes(std::string_view(waiting_).substr(0, complete));
  waiting_.erase(0, complete);
  return text;
}

std::string StreamDecoder::finish() { return tokenizer_.text_of_bytes(std::exchange(waiting_, {})); }

}  // namespace lt2
