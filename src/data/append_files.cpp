#include "data/append_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <system_error>
#include <utility>

#include "base/descriptor.h"
#include "base/error.h"
#include "base/units.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

Descriptor open_own(const fs::path& path, int flags) {
  Descriptor file(::open(path.c_str(), flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666));
  LT2_CHECK(file >= 0, "{}: cannot open: {}", path.string(), std::system_category().message(errno));
  return file;
}

[[noreturn]] void fail_to_write(const fs::path& path, int error) {
  const std::string reason = std::system_category().message(error);
  if (error == ENOSPC || error == EDQUOT) {
    std::error_code ignored;
    const auto space = fs::space(path.parent_path(), ignored);
    fail("{}: cannot write: {} ({} free). Free some space and repeat the command: it continues where it stopped",
         path.string(), reason, ignored ? "an unknown amount" : human_bytes(static_cast<double>(space.available)));
  }
  fail("{}: cannot write: {}{}", path.string(), reason, error == EFBIG ? " (the shell's limit: ulimit -f)" : "");
}

}  // namespace

AppendFiles::AppendFiles(std::vector<fs::path> paths, std::vector<uint64_t> sizes, uint64_t memory)
    : paths_(std::move(paths)), sizes_(std::move(sizes)), written_(sizes_), synced_(sizes_), buffers_(paths_.size()) {
  constexpr uint64_t kLeast = 1 << 10, kMost = 1 << 20;  // a larger write is no faster
  capacity_ = static_cast<size_t>(std::clamp(memory / std::max<uint64_t>(1, paths_.size()), kLeast, kMost));
  for (size_t i = 0; i < paths_.size(); ++i) {
    const Descriptor file = open_own(paths_[i], O_WRONLY | O_CREAT);
    struct stat info {};
    if (::fstat(file, &info) != 0) fail_to_write(paths_[i], errno);
    LT2_CHECK(static_cast<uint64_t>(info.st_size) >= sizes_[i],
              "{}: {} bytes, {} were written: the file has been changed since. Remove {} and start again",
              paths_[i].string(), info.st_size, sizes_[i], paths_[i].parent_path().parent_path().string());
    if (::ftruncate(file, static_cast<off_t>(sizes_[i])) != 0) fail_to_write(paths_[i], errno);
  }
}

void AppendFiles::append(size_t file, std::string_view bytes) {
  std::string& buffer = buffers_[file];
  if (buffer.size() + bytes.size() > capacity_) flush(file);
  sizes_[file] += bytes.size();
  if (bytes.size() >= capacity_) return write(file, bytes);
  if (buffer.capacity() < capacity_) buffer.reserve(capacity_);
  buffer += bytes;
}

void AppendFiles::flush(size_t file) {
  write(file, buffers_[file]);
  buffers_[file].clear();
}

void AppendFiles::flush() {
  for (size_t i = 0; i < paths_.size(); ++i) flush(i);
}

void AppendFiles::sync() {
  flush();
  for (size_t i = 0; i < paths_.size(); ++i) {
    if (synced_[i] == sizes_[i]) continue;
    const Descriptor file = open_own(paths_[i], O_WRONLY);
    if (::fsync(file) != 0) fail_to_write(paths_[i], errno);
    synced_[i] = sizes_[i];
  }
  if (std::exchange(names_synced_, true)) return;
  std::set<fs::path> folders;
  for (const fs::path& path : paths_) folders.insert(path.parent_path());
  for (const fs::path& folder : folders) {
    const Descriptor names = open_own(folder, O_RDONLY | O_DIRECTORY);
    // Some file systems cannot sync a folder.
    if (::fsync(names) != 0 && errno != EINVAL) fail_to_write(folder, errno);
  }
}

void AppendFiles::write(size_t file, std::string_view bytes) {
  if (bytes.empty()) return;
  const Descriptor descriptor = open_own(paths_[file], O_WRONLY);
  while (!bytes.empty()) {
    const ssize_t done = ::pwrite(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(written_[file]));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail_to_write(paths_[file], errno);
    written_[file] += static_cast<uint64_t>(done);
    bytes.remove_prefix(static_cast<size_t>(done));
  }
}

}  // namespace lt2
