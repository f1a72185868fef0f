#include "tokenizer/tokenizer.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/files.h"
#include "base/regex/work.h"
#include "base/utf8.h"
#include "tokenizer/bytes.h"
#include "tokenizer/hf.h"
#include "tokenizer/sentencepiece.h"
#include "tokenizer/tiktoken.h"

namespace lt2 {
namespace {

using Path = std::optional<std::string>;

struct Kind {
  const char* name;
  std::unique_ptr<Tokenizer> (*make)(const Path& path, const std::string& specials);
};

const std::string& required(const Path& path, const char* name, const char* what) {
  LT2_CHECK(path && !path->empty(), "data.tokenizer.path must name the {} of tokenizer {}; found null", what, name);
  return *path;
}

// A new tokenizer is a line here. Lingua ignores a path given for bytes, and so does this.
constexpr Kind kKinds[] = {
    {"bytes",
     [](const Path&, const std::string&) -> std::unique_ptr<Tokenizer> { return std::make_unique<BytesTokenizer>(); }},
    {"tiktoken",
     [](const Path& path, const std::string& specials) -> std::unique_ptr<Tokenizer> {
       const auto& file = required(path, "tiktoken", "rank file");
       return std::make_unique<TiktokenTokenizer>(read_file(file), file, specials);
     }},
    {"sp",
     [](const Path& path, const std::string&) -> std::unique_ptr<Tokenizer> {
       const auto& file = required(path, "sp", "tokenizer.model");
       return std::make_unique<SentencePieceTokenizer>(read_file(file), file);
     }},
    {"hf",
     [](const Path& path, const std::string&) -> std::unique_ptr<Tokenizer> {
       return HfTokenizer::open(required(path, "hf", "tokenizer.json"));
     }},
};

class BytesStream : public DecodeStream {
 public:
  explicit BytesStream(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  std::string push(int32_t id) override {
    waiting_ += tokenizer_.token_bytes(id);
    const size_t complete = complete_utf8_prefix(waiting_);
    std::string text = tokenizer_.text_of_bytes(std::string_view(waiting_).substr(0, complete));
    waiting_.erase(0, complete);
    return text;
  }
  std::string finish() override { return tokenizer_.text_of_bytes(std::exchange(waiting_, {})); }

 private:
  const Tokenizer& tokenizer_;
  std::string waiting_;
};

}  // namespace

std::string Tokenizer::text_of_bytes(std::string_view bytes) const { return replace_invalid_utf8(bytes); }

int32_t Tokenizer::mark_id(std::string_view name) const {
  for (const auto& [mark, id] : marks())
    if (mark == name) return id;
  return -1;
}

std::string Tokenizer::decode(const std::vector<int32_t>& ids) const {
  std::string bytes;
  for (const int32_t id : ids) bytes += token_bytes(id);
  return text_of_bytes(bytes);
}

std::unique_ptr<DecodeStream> Tokenizer::decode_stream(bool) const { return std::make_unique<BytesStream>(*this); }

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool add_bos, bool add_eos,
                                       const TextReading& how) const {
  LT2_CHECK(!add_bos || bos_id() >= 0, "{}: this vocabulary names no BOS token; leave BOS out (data.add_bos=false)",
            where_);
  LT2_CHECK(!add_eos || eos_id() >= 0, "{}: this vocabulary names no EOS token; leave EOS out (data.add_eos=false)",
            where_);
  const TextWork work(where_, text.size());
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 3 + 2);
  if (add_bos) ids.push_back(bos_id());
  if (keeps_invalid_utf8()) {
    append(text, how, ids);
  } else {
    append(ValidUtf8(text).text(), how, ids);
  }
  if (add_eos) ids.push_back(eos_id());
  return ids;
}

std::string Tokenizer::decode_after(const std::vector<int32_t>& before, const std::vector<int32_t>& ids) const {
  StreamDecoder stream(*this, before);
  std::string text;
  for (const int32_t id : ids) text += stream.push(id);
  return text + stream.finish();
}

bool Tokenizer::holds_text(const std::vector<int32_t>& ids) const {
  const auto is_text = [&](int32_t id) { return id == unknown_id() || !is_special(id); };
  return std::any_of(ids.begin(), ids.end(), [&](int32_t id) { return is_text(id) && begins_text(id); });
}

std::string Tokenizer::next_bytes(int32_t id, bool& begun) const {
  if (begun) return token_bytes(id);
  begun = begins_text(id);
  return first_bytes(id);
}

std::vector<std::string> tokenizer_names() {
  std::vector<std::string> names;
  for (const Kind& kind : kKinds) names.emplace_back(kind.name);
  return names;
}

std::unique_ptr<Tokenizer> make_tokenizer(const std::string& name, const Path& path, const std::string& specials) {
  for (const Kind& kind : kKinds)
    if (kind.name == name) return kind.make(path, specials);
  fail("data.tokenizer.name: no tokenizer \"{}\". Those that exist: {}.", name, fmt::join(tokenizer_names(), ", "));
}

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, const std::vector<int32_t>& before)
    : tokenizer_(tokenizer), stream_(tokenizer.decode_stream(tokenizer.holds_text(before))) {}

std::string StreamDecoder::finish() {
  std::string text = stream_->finish();
  stream_ = tokenizer_.decode_stream(/*continues=*/false);
  return text;
}

}  // namespace lt2
