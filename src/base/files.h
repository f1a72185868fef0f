#pragma once
// Files are written aside and renamed: a reader sees the old content or the new, never a part.
#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "base/descriptor.h"
#include "base/mapping_guard.h"

namespace lt2 {

/// "a folder", "a pipe", ...: what a message says was found.
std::string kind_of_file(mode_t mode);

/// Whether there is something under that name, links followed. Throws lt2::Error where that cannot be known (links in a
/// circle, no right to look).
bool is_there(const std::filesystem::path& path);

/// Opens a regular file to read; every reader does it here. Throws lt2::Error naming the path and what is there
/// instead (a folder, pipe, socket, device, nothing, links in a circle), without waiting for anybody.
Descriptor open_regular(const std::filesystem::path& path);
/// For what is read once, from its beginning: also /dev/null and what is open already, by its name: /dev/stdin and
/// /dev/fd/N, which is what the shell's <(command) is. Not a pipe in the file system: whether somebody writes into it
/// cannot be known.
Descriptor open_stream(const std::filesystem::path& path);

/// Whole file as bytes, of open_regular or open_stream. Throws lt2::Error naming the path and the reason.
std::string read_file(const std::filesystem::path& path);
std::string read_stream(const std::filesystem::path& path);

/// Writes `content` aside (AtomicFile). Throws lt2::Error with path and reason.
void write_file_atomically(const std::filesystem::path& path, const std::string& content);

/// A file or folder being written: under a new name next to its goal, ".NAME.tmp-" and 16 hexadecimal digits,
/// made where nothing is (no link is followed) and locked until it is renamed or removed. Writers of one name therefore
/// never meet, the last to be renamed stays, and what a killed writer left is known by its free lock.
class Aside {
 public:
  enum class Kind { kFile, kFolder };
  /// Removes what killed writers of `goal` left, then makes an empty file or folder. Throws lt2::Error.
  Aside(std::filesystem::path goal, Kind kind);
  /// What was not renamed is removed.
  ~Aside();
  Aside(const Aside&) = delete;
  Aside& operator=(const Aside&) = delete;
  const std::filesystem::path& path() const { return path_; }
  int descriptor() const { return descriptor_; }
  /// Takes the goal's name. Throws std::filesystem::filesystem_error.
  void rename();

 private:
  std::filesystem::path goal_, path_;
  Descriptor descriptor_;
  bool renamed_ = false;
};

/// Renames the file or folder at `path` aside, so that it is gone at once, and removes it there: a process killed
/// meanwhile leaves nothing under the name. Throws lt2::Error.
void remove_atomically(const std::filesystem::path& path);

/// Removes what killed writers left in `folder`, whatever their final name. Where the file system knows no locks,
/// nothing is removed.
void remove_leftovers(const std::filesystem::path& folder);

/// Whether `name` is one that Aside gives.
bool is_aside(const std::filesystem::path& name);

/// A file being written aside: write() pieces, then commit() once, which syncs it and renames it. On any failure, and
/// when destroyed uncommitted, what was written is removed and the old file left alone. A link at `path` is replaced,
/// not followed. Throws lt2::Error if something else than a file is there: a device or pipe must not give way to one.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  /// Throws lt2::Error on a short write (disk full: says how many bytes were needed and are free).
  void write(const void* data, size_t bytes);
  void commit();

 private:
  std::filesystem::path path_;
  Aside aside_;
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
  /// Creates `path` if needed and writes its holder into it: this process, and `purpose`. Throws lt2::Error if
  /// another process holds it: `message` and the holder. Where the file system knows no locks, nothing is guarded.
  FileLock(const std::filesystem::path& path, const std::string& message, const std::string& purpose = "");
  /// Removes the file.
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  std::filesystem::path path_;
  Descriptor descriptor_;
};

/// A regular file mapped read-only for the object's life. If it is cut short meanwhile, the process ends where that is
/// read, with one line that names it (mapping_guard.h): right for weights, which nothing else can replace. Sources are
/// read in pieces instead (data/source_file.h).
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
  std::unique_ptr<MappingGuard> guard_;
};

}  // namespace lt2
