#include "data/line_source.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/units.h"
#include "base/utf8.h"
#include "data/external_shuffle.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

enum class Format { kText, kLines, kGzip, kZstd, kParquet, kOther };

Format format_of(const fs::path& path) {
  const std::string name = path.filename().string();
  if (name.ends_with(".txt")) return Format::kText;
  if (name.ends_with(".jsonl")) return Format::kLines;
  if (name.ends_with(".jsonl.gz")) return Format::kGzip;
  if (name.ends_with(".jsonl.zst")) return Format::kZstd;
  return name.ends_with(".parquet") ? Format::kParquet : Format::kOther;
}

// Everything that JSON wants escaped: quotes, backslashes, control characters.
std::array<uint8_t, 256> escaped_lengths() {
  std::array<uint8_t, 256> lengths;
  lengths.fill(1);
  std::fill(lengths.begin(), lengths.begin() + 0x20, uint8_t{6});
  for (const char c : {'"', '\\', '\b', '\f', '\n', '\r', '\t'}) lengths[static_cast<uint8_t>(c)] = 2;
  return lengths;
}
const std::array<uint8_t, 256> kEscapedLengths = escaped_lengths();

constexpr std::string_view kFront = "{\"text\": \"", kBack = "\"}";

uint64_t json_line_length(std::string_view text) {
  uint64_t length = kFront.size() + kBack.size();
  for (const char c : text) length += kEscapedLengths[static_cast<uint8_t>(c)];
  return length;
}

void append_escape(std::string& out, char c) {
  constexpr std::string_view kValues = "\"\\\b\f\n\r\t", kNames = "\"\\bfnrt";
  const size_t index = kValues.find(c);
  if (index != std::string_view::npos) {
    out += '\\';
    out += kNames[index];
  } else {
    out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
  }
}

[[noreturn]] void fail_too_long(const std::string& where, uint64_t longest) {
  fail(
      "{}: longer than {}, an eighth of the memory limit; a document must fit several times. Raise --memory, or cut "
      "the document",
      where, human_bytes(static_cast<double>(longest)));
}

// Unpacking a frame may take a quarter of the limit, and always what the usual levels of zstd need.
std::unique_ptr<ByteStream> open_bytes(const fs::path& path, uint64_t memory) {
  switch (format_of(path)) {
    case Format::kGzip:
      return open_gzip(path);
    case Format::kZstd:
      return open_zstd(path, std::max<uint64_t>(memory / 4, 8 << 20));
    case Format::kParquet:
      return open_parquet(path);
    default:
      return open_plain(path);
  }
}

class Lines : public LineSource {
 public:
  Lines(const fs::path& path, uint64_t memory)
      : reader_(open_bytes(path, memory), path.string(), longest_line(memory),
                std::min<uint64_t>(memory / 32, 1 << 20)) {}
  bool next(std::string_view& line) override { return reader_.next(line); }
  int64_t file_position() const override { return reader_.file_position(); }

 private:
  LineReader reader_;
};

class WholeText : public LineSource {
 public:
  WholeText(const fs::path& path, uint64_t memory) : path_(path), longest_(longest_line(memory)) {}

  bool next(std::string_view& line) override {
    if (std::exchange(done_, true)) return false;
    const std::string text = content();
    const std::string_view body = without_byte_order_mark(text);
    // Only space is no document: an empty line, as in the other formats.
    if (body.find_first_not_of(" \t\r\n") == std::string_view::npos) {
      line_.clear();
    } else {
      if (json_line_length(body) > longest_) fail_too_long(path_.string(), longest_);
      line_ = json_line_of(body);
    }
    line = line_;
    return true;
  }
  int64_t file_position() const override { return position_; }
  bool is_checked() const override { return true; }

 private:
  std::string content() {
    const auto file = open_plain(path_);
    std::error_code code;
    const auto bytes = fs::file_size(path_, code);
    LT2_CHECK(!code, "{}: {}", path_.string(), code.message());
    if (bytes > longest_) fail_too_long(path_.string(), longest_);
    std::string text(bytes, '\0');
    size_t size = 0;
    while (size < text.size()) {
      const size_t got = file->read(text.data() + size, text.size() - size);
      if (got == 0) break;
      size += got;
    }
    text.resize(size);
    position_ = file->file_position();
    return text;
  }

  fs::path path_;
  uint64_t longest_;
  std::string line_;
  int64_t position_ = 0;
  bool done_ = false;
};

}  // namespace

bool is_document_file(const fs::path& path) { return format_of(path) != Format::kOther; }

uint64_t expected_text_bytes(const fs::path& path, uint64_t file_bytes) {
  switch (format_of(path)) {
    case Format::kGzip:
    case Format::kZstd:
      return 4 * file_bytes;
    case Format::kParquet:
      return 2 * file_bytes;
    default:
      return file_bytes;
  }
}

std::string json_line_of(std::string_view text) {
  std::string out;
  out.reserve(json_line_length(text));
  out += kFront;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = begin;
    while (end < text.size() && kEscapedLengths[static_cast<uint8_t>(text[end])] == 1) ++end;
    out += text.substr(begin, end - begin);
    if (end < text.size()) append_escape(out, text[end++]);
    begin = end;
  }
  out += kBack;
  return out;
}

LineReader::LineReader(std::unique_ptr<ByteStream> bytes, std::string name, uint64_t longest, uint64_t block)
    : bytes_(std::move(bytes)), name_(std::move(name)), longest_(longest), buffer_(std::max<uint64_t>(block, 16)) {}

void LineReader::find(Finder& finder) {
  if (finder.at < begin_) finder = {finder.byte, begin_};
  if (finder.found || finder.at == end_) return;
  const void* hit = std::memchr(buffer_.data() + finder.at, finder.byte, end_ - finder.at);
  finder.found = hit != nullptr;
  finder.at = hit ? static_cast<size_t>(static_cast<const char*>(hit) - buffer_.data()) : end_;
}

bool LineReader::refill() {
  if (ended_) return false;
  if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    for (Finder* finder : {&line_feed_, &carriage_return_}) {
      finder->found = finder->found && finder->at >= begin_;
      finder->at = std::max(finder->at, begin_) - begin_;
    }
    end_ -= begin_;
    begin_ = 0;
  }
  if (end_ == buffer_.size()) {
    if (end_ > longest_) fail_too_long(fmt::format("{}:{}", name_, lines_ + 1), longest_);
    // By a quarter: growth keeps both buffers for a moment.
    std::vector<char> larger(buffer_.size() + std::max<size_t>(buffer_.size() / 4, 64));
    std::memcpy(larger.data(), buffer_.data(), end_);
    buffer_ = std::move(larger);
  }
  const size_t got = bytes_->read(buffer_.data() + end_, buffer_.size() - end_);
  end_ += got;
  ended_ = got == 0;
  return !ended_;
}

std::string_view LineReader::take(size_t end, size_t behind) {
  std::string_view line(buffer_.data() + begin_, end - begin_);
  begin_ = behind;
  ++lines_;
  if (line.size() > longest_) fail_too_long(fmt::format("{}:{}", name_, lines_), longest_);
  return std::exchange(started_, true) ? line : without_byte_order_mark(line);
}

bool LineReader::next(std::string_view& line) {
  for (;;) {
    if (behind_return_ && begin_ < end_) {
      behind_return_ = false;
      if (buffer_[begin_] == '\n') ++begin_;
    }
    find(line_feed_);
    find(carriage_return_);
    const size_t end = std::min(line_feed_.at, carriage_return_.at);
    if (end < end_) {
      behind_return_ = buffer_[end] == '\r';
      line = take(end, end + 1);
      return true;
    }
    if (refill()) continue;
    if (begin_ == end_) return false;
    line = take(end_, end_);
    return true;
  }
}

std::unique_ptr<LineSource> LineSource::open(const fs::path& path, uint64_t memory) {
  if (format_of(path) == Format::kText) return std::make_unique<WholeText>(path, memory);
  return std::make_unique<Lines>(path, memory);
}

}  // namespace lt2
