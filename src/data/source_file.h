#pragma once
// A source file read piece by piece. It may change under a run of weeks: what was cut short is an lt2::Error, where a
// mapped file would end the process (SIGBUS).
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/descriptor.h"

namespace lt2 {

class SourceFile {
 public:
  /// Throws lt2::Error unless `path` is a regular file that can be opened.
  explicit SourceFile(const std::filesystem::path& path);

  /// In bytes, when it was opened.
  int64_t size() const { return size_; }

  // All throw lt2::Error, naming the file, if it has become shorter than what they read.

  /// Bytes [begin, end), valid until the next call. Pieces that follow each other cost one read a block.
  std::string_view bytes(int64_t begin, int64_t end) const;
  std::string copy(int64_t begin, int64_t end) const;
  char byte(int64_t at) const { return bytes(at, at + 1)[0]; }
  /// The line at `at` < `end` in Python's text mode: up to and with \n, \r\n or a lone \r, or up to `end`. Valid until
  /// the next call.
  std::string_view line(int64_t at, int64_t end) const;

 private:
  void read(int64_t begin, int64_t end, std::string& to) const;

  std::string path_;
  Descriptor file_;
  int64_t size_ = 0;
  mutable std::string block_;  // bytes from block_begin_ on
  mutable int64_t block_begin_ = 0;
};

}  // namespace lt2
