#pragma once
// Files are written aside and renamed: a reader sees the old content or the new, never a part.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace lt2 {

/// Whole file as bytes. Throws lt2::Error naming the path and the reason.
std::string read_file(const std::filesystem::path& path);

/// Writes `content` to PATH.tmp in the same folder, fsyncs and renames it. On any failure (no space left, ...) removes
/// the temporary file, leaves the old file alone and throws lt2::Error with path and reason.
void write_file_atomically(const std::filesystem::path& path, const std::string& content);

/// A file being written aside: write() pieces, then commit() once. Destroying it uncommitted removes the temporary
/// file.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  /// Throws lt2::Error on a short write (disk full: says how many bytes were needed and are free).
  void write(const void* data, size_t bytes);
  void commit();

 private:
  std::filesystem::path path_, temporary_;
  int descriptor_ = -1;
};

/// What write_folder_atomically does with a folder of that name.
enum class IfThere { kRefuse, kReplace };

/// Fills a folder aside (`fill` gets its path) and renames it to `path`. A folder of that name is refused, or gives way
/// once the new one is complete: until then it stays, and a failure puts it back. The folder's parent is fsynced.
void write_folder_atomically(const std::filesystem::path& path,
                             const std::function<void(const std::filesystem::path&)>& fill,
                             IfThere if_there = IfThere::kRefuse);

/// Creates the folder and its parents. Throws lt2::Error that begins with `name`, the key or argument it came from.
void make_folders(const std::filesystem::path& path, const std::string& name);

/// Held by one process at a time; the system releases it when the process ends, however it ends.
class FileLock {
 public:
  /// Creates `path` if needed. Throws lt2::Error with `message` if another holder has it. Where the file system knows
  /// no locks, nothing is guarded.
  FileLock(const std::filesystem::path& path, const std::string& message);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int descriptor_ = -1;
};

/// A file mapped read-only for the object's life.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace lt2
