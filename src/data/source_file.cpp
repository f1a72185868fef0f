#include "data/source_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "base/error.h"
#include "base/files.h"

namespace lt2 {
namespace {

// Large enough that a read costs little compared with the copy, small enough for a thousand sources.
constexpr int64_t kBlock = 128 << 10;

// Length of the first line of `text`, 0 if it may continue after `text`.
size_t line_length(std::string_view text) {
  // The first \n or \r: a search for each, the second no further than the first.
  const char* begin = text.data();
  const auto* feed = static_cast<const char*>(std::memchr(begin, '\n', text.size()));
  const size_t before = feed ? static_cast<size_t>(feed - begin) : text.size();
  const auto* back = static_cast<const char*>(std::memchr(begin, '\r', before));
  if (!back) return feed ? before + 1 : 0;
  const auto at = static_cast<size_t>(back - begin);
  if (at + 1 == text.size()) return 0;
  return text[at + 1] == '\n' ? at + 2 : at + 1;
}

}  // namespace

SourceFile::SourceFile(const std::filesystem::path& path) : path_(path.string()), file_(open_regular(path)) {
  struct stat info {};
  LT2_CHECK(::fstat(file_, &info) == 0, "{}: cannot read: {}", path_, std::system_category().message(errno));
  size_ = info.st_size;
}

std::string_view SourceFile::bytes(int64_t begin, int64_t end) const {
  const auto held = [&] { return begin >= block_begin_ && end <= block_begin_ + static_cast<int64_t>(block_.size()); };
  if (!held()) {
    // Whole blocks, so that going back over a file costs no more reads than going on.
    LT2_CHECK(end <= size_, "{}: {} bytes, expected {} at least", path_, size_, end);
    const int64_t first = begin / kBlock * kBlock, last = std::min(size_, (end + kBlock - 1) / kBlock * kBlock);
    block_begin_ = first;
    if (static_cast<int64_t>(block_.capacity()) > 4 * (last - first + kBlock))
      std::string().swap(block_);  // a long line
    read(first, last, block_);
  }
  return std::string_view(block_).substr(static_cast<size_t>(begin - block_begin_), static_cast<size_t>(end - begin));
}

std::string SourceFile::copy(int64_t begin, int64_t end) const {
  std::string out;
  read(begin, end, out);
  return out;
}

std::string_view SourceFile::line(int64_t at, int64_t end) const {
  for (int64_t wanted = kBlock / 16;; wanted *= 2) {
    const int64_t here = std::min(end, at + wanted);
    const auto piece = bytes(at, here);
    if (const size_t length = line_length(piece); length > 0) return piece.substr(0, length);
    if (here == end) return piece;
  }
}

void SourceFile::read(int64_t begin, int64_t end, std::string& to) const {
  to.resize(static_cast<size_t>(end - begin));
  for (size_t got = 0; got < to.size();) {
    const ssize_t more = ::pread(file_, to.data() + got, to.size() - got, begin + static_cast<int64_t>(got));
    if (more < 0 && errno == EINTR) continue;
    const int error = errno;
    if (more > 0) {
      got += static_cast<size_t>(more);
      continue;
    }
    to.clear();  // holds nothing, not half of it
    LT2_CHECK(more == 0, "{}: cannot read: {}", path_, std::system_category().message(error));
    struct stat info {};
    ::fstat(file_, &info);
    fail("{}: it had {} bytes when it was opened, now it has {}: cut short while it was being read. Restore it", path_,
         size_, info.st_size);
  }
}

}  // namespace lt2
