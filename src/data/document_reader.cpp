#include "data/document_reader.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/utf8.h"
#include "data/json_line.h"

namespace lt2 {
namespace {

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t\r\n") == std::string_view::npos; }

class JsonLines : public DocumentReader {
 public:
  JsonLines(const FilePart& part, const Encoding& encoding) : DocumentReader(part, encoding) {}

  std::string refusal(const State& state) const override {
    const int64_t at = state.position;
    if (at > file_.size()) return fmt::format("byte {} is past the end of {}", at, part_.path);
    const bool border = at == 0 || at == file_.size() || file_.byte(at - 1) == '\n' || file_.byte(at - 1) == '\r';
    return border ? "" : fmt::format("no line of {} begins at byte {}", part_.path, at);
  }

 protected:
  Tokens read() override {
    // From the start the first line used is number `offset`; from a line used, the block_size-th after it.
    int64_t skip = state_.position == 0 ? part_.offset : part_.block_size - 1;
    int64_t at = std::max(state_.position, part_.begin);
    while (at < part_.end) {
      const int64_t begin = at;
      std::string_view line = file_.line(at, part_.end);
      at += static_cast<int64_t>(line.size());
      if (skip-- > 0) continue;
      skip = part_.block_size - 1;
      if (begin == 0) line = without_byte_order_mark(line);
      if (is_blank(line)) continue;
      state_.position = at;
      return parse(line, begin);
    }
    return nullptr;
  }

 private:
  Tokens parse(std::string_view line, int64_t begin) {
    try {
      const LineText text = text_of_json_line(line);
      return encode(text.text, text.lone_surrogates);
    } catch (const StoppedBySignal&) {
      throw;
    } catch (const Error& error) {
      int64_t number = 1;
      for (int64_t at = 0; at < begin; at += static_cast<int64_t>(file_.line(at, begin).size())) ++number;
      fail("{}:{}: {}", part_.path, number, error.what());
    }
  }
};

class WholeText : public DocumentReader {
 public:
  WholeText(const FilePart& part, const Encoding& encoding) : DocumentReader(part, encoding) {}

  std::string refusal(const State& state) const override {
    if (state.position == 0 || state.position == part_.end) return "";
    return fmt::format("byte {} is not the end of the document, {}, in {}", state.position, part_.end, part_.path);
  }

 protected:
  Tokens read() override {
    if (state_.position >= part_.end || part_.begin == part_.end) return nullptr;
    // Every pass reads the same document: tokenize it once.
    if (!tokens_) {
      const std::string copy = file_.copy(part_.begin, part_.end);
      const auto text = part_.begin == 0 ? without_byte_order_mark(copy) : std::string_view(copy);
      if (text.empty()) return nullptr;
      try {
        tokens_ = encode(text, 0);
      } catch (const StoppedBySignal&) {
        throw;
      } catch (const Error& error) {
        fail("{}: {}", part_.path, error.what());
      }
    }
    state_.position = part_.end;
    return tokens_;
  }

 private:
  Tokens tokens_;
};

}  // namespace

std::unique_ptr<DocumentReader> DocumentReader::open(const FilePart& part, const Encoding& encoding) {
  if (part.path.ends_with(".txt")) return std::make_unique<WholeText>(part, encoding);
  return std::make_unique<JsonLines>(part, encoding);
}

DocumentReader::DocumentReader(const FilePart& part, const Encoding& encoding)
    : part_(part), file_(part.path), encoding_(encoding) {
  LT2_CHECK(part.end <= file_.size(), "{}: {} bytes, expected {}: the file is being changed", part.path, file_.size(),
            part.end);
}

DocumentReader::~DocumentReader() { report_invalid(); }

Tokens DocumentReader::next() {
  for (int wraps = 0; wraps < 2; ++wraps) {
    if (Tokens tokens = read()) return tokens;
    report_invalid();
    state_ = {0, state_.current_iter + 1};
  }
  if (part_.block_size == 1) fail("{}: no document in it", part_.path);
  fail(
      "{}: no document for this process: of every {} lines it reads number {}, and the file has fewer. Use fewer "
      "processes or a "
      "longer file.",
      part_.path, part_.block_size, part_.offset + 1);
}

Tokens DocumentReader::encode(std::string_view text, int64_t lone_surrogates) {
  invalid_ += lone_surrogates + count_invalid_utf8(text);
  return std::make_shared<const std::vector<int32_t>>(
      encoding_.tokenizer->encode(text, encoding_.add_bos, encoding_.add_eos));
}

// Once, when the count is complete: after the first pass, or when reading ends before.
void DocumentReader::report_invalid() noexcept {
  if (invalid_ == 0 || std::exchange(reported_, true)) return;
  try {
    log_warning("{}: {} byte sequences or escapes are not valid UTF-8; {}", part_.path, invalid_,
                encoding_.tokenizer->keeps_invalid_utf8() ? "the bytes are kept, lone surrogate escapes read as U+FFFD"
                                                          : "each is read as U+FFFD");
  } catch (...) {  // a lost message must not end a destructor
  }
}

}  // namespace lt2
