#pragma once
// Many files that grow at their ends in turn, in bounded memory.
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace lt2 {

/// Keeps a buffer a file and no descriptor, so their number is not bounded by the system's limit on open files.
/// What has not been flushed is lost with the object.
class AppendFiles {
 public:
  /// Every path is created if missing and cut to its size: what an ended process wrote after that is gone. Throws
  /// lt2::Error if a file is shorter. The buffers share `memory` bytes.
  AppendFiles(std::vector<std::filesystem::path> paths, std::vector<uint64_t> sizes, uint64_t memory);
  /// Throws lt2::Error when the disk is full.
  void append(size_t file, std::string_view bytes);
  void flush();
  /// flush, and everything is on the disk.
  void sync();
  /// Bytes of every file, buffered ones included.
  const std::vector<uint64_t>& sizes() const { return sizes_; }

 private:
  void flush(size_t file);
  void write(size_t file, std::string_view bytes);

  std::vector<std::filesystem::path> paths_;
  std::vector<uint64_t> sizes_, written_, synced_;  // all bytes; those in the file; those safe on the disk
  std::vector<std::string> buffers_;
  size_t capacity_;
  bool names_synced_ = false;
};

}  // namespace lt2
