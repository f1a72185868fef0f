#pragma once
// The documents of an input of `lt2 data prepare`, each as one line of JSON.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/byte_stream.h"

namespace lt2 {

/// The name ends in .txt, .jsonl, .jsonl.gz, .jsonl.zst or .parquet.
bool is_document_file(const std::filesystem::path& path);

/// Bytes of text that a file of this size is likely to hold, by the ending of its name.
uint64_t expected_text_bytes(const std::filesystem::path& path, uint64_t file_bytes);

/// {"text": "..."} of a document, with its bytes as they are where JSON allows it.
std::string json_line_of(std::string_view text);

/// Cuts bytes into lines, which end at \n, \r\n or a lone \r. A byte order mark in front is left out.
class LineReader {
 public:
  /// `block`: how much is read at a time; `name` stands in errors.
  LineReader(std::unique_ptr<ByteStream> bytes, std::string name, uint64_t longest, uint64_t block);
  /// The next line without its end, valid until the next call; false at the end. Throws lt2::Error for a line longer
  /// than `longest`.
  bool next(std::string_view& line);
  int64_t file_position() const { return bytes_->file_position(); }

 private:
  // Where the first `byte` from begin_ on is; bytes before `at` are known to be none.
  struct Finder {
    char byte;
    size_t at = 0;
    bool found = false;
  };
  void find(Finder& finder);
  bool refill();
  std::string_view take(size_t end, size_t behind);

  std::unique_ptr<ByteStream> bytes_;
  std::string name_;
  uint64_t longest_;
  std::vector<char> buffer_;
  size_t begin_ = 0, end_ = 0;
  Finder line_feed_{'\n'}, carriage_return_{'\r'};
  bool ended_ = false, started_ = false, behind_return_ = false;
  uint64_t lines_ = 0;
};

/// The documents of one file. A .txt file is one document; of the others every line or row is one.
class LineSource {
 public:
  virtual ~LineSource() = default;
  /// The next line or row, not checked; false at the end. Blank ones are counted and handed out too.
  virtual bool next(std::string_view& line) = 0;
  virtual int64_t file_position() const = 0;
  /// Whether the lines are JSON made here, which needs no check.
  virtual bool is_checked() const { return false; }

  static std::unique_ptr<LineSource> open(const std::filesystem::path& path, uint64_t memory);
};

}  // namespace lt2
