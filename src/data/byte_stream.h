#pragma once
// The unpacked bytes of a file, one block after the other.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>

namespace lt2 {

class ByteStream {
 public:
  virtual ~ByteStream() = default;
  /// Up to `bytes` bytes; 0 at the end only. Throws lt2::Error naming file and offset if the file cannot be read, is
  /// damaged or cut off.
  virtual size_t read(char* to, size_t bytes) = 0;
  /// How far in the file reading has come.
  virtual int64_t file_position() const = 0;
};

std::unique_ptr<ByteStream> open_plain(const std::filesystem::path& path);
/// One or more gzip members, possibly padded with zeros.
std::unique_ptr<ByteStream> open_gzip(const std::filesystem::path& path);
/// One or more zstd frames. `window` bounds the memory of the decompressor; a frame that needs more is an error.
std::unique_ptr<ByteStream> open_zstd(const std::filesystem::path& path, uint64_t window);
/// The rows of a parquet file as JSON lines with "text" (or "content") and "id", from a Node script in a process of its
/// own. Throws lt2::Error that says what to install where Node or the script's packages are missing.
std::unique_ptr<ByteStream> open_parquet(const std::filesystem::path& path);

}  // namespace lt2
