#include "base/files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <exception>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/units.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

std::string reason(int error) { return std::system_category().message(error); }

class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  operator int() const { return value_; }

 private:
  int value_;
};

int open_to_read(const fs::path& path, struct stat& info) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  LT2_CHECK(file >= 0, "{}: cannot open: {}", path.string(), reason(errno));
  if (::fstat(file, &info) == 0 && S_ISDIR(info.st_mode)) {
    ::close(file);
    fail("{}: expected a file, found a folder", path.string());
  }
  return file;
}

[[noreturn]] void fail_to_write(const fs::path& path, int error, size_t bytes_missing) {
  std::string advice;
  if (error == ENOSPC || error == EDQUOT) {
    std::error_code ignored;
    const auto space = fs::space(path.parent_path().empty() ? fs::path(".") : path.parent_path(), ignored);
    const std::string free = ignored ? "an unknown amount" : human_bytes(static_cast<double>(space.available));
    const std::string needed = bytes_missing ? human_bytes(static_cast<double>(bytes_missing)) + " more needed, " : "";
    advice = fmt::format(" ({}{} free). Free some space or write to another disk", needed, free);
  } else if (error == EFBIG) {
    advice = " (the shell's limit: ulimit -f)";
  }
  fail("{}: cannot write: {}{}; what was there before is unchanged", path.string(), reason(error), advice);
}

// A rename is on the disk once the folder that holds the name is.
void sync_path(const fs::path& path) {
  const Descriptor file(::open(path.empty() ? "." : path.c_str(), O_RDONLY | O_CLOEXEC));
  // Some file systems cannot sync a folder (EINVAL): there is nothing better to do then.
  if (file < 0 || (::fsync(file) != 0 && errno != EINVAL)) fail_to_write(path, errno, 0);
}

fs::path with_suffix(fs::path path, const char* suffix) {
  if (!path.has_filename()) path = path.parent_path();  // "folder/"
  return path += suffix;
}

}  // namespace

std::string read_file(const fs::path& path) {
  struct stat info {};
  const Descriptor file(open_to_read(path, info));
  // Pipes and /proc report no size, so the end is where read() says it is.
  std::string content(static_cast<size_t>(info.st_size) + 1, '\0');
  size_t size = 0;
  for (;;) {
    if (size == content.size()) content.resize(2 * content.size());
    const ssize_t got = ::read(file, content.data() + size, content.size() - size);
    if (got < 0 && errno == EINTR) continue;
    LT2_CHECK(got >= 0, "{}: cannot read: {}", path.string(), reason(errno));
    if (got == 0) break;
    size += static_cast<size_t>(got);
  }
  content.resize(size);
  return content;
}

void write_file_atomically(const fs::path& path, const std::string& content) {
  AtomicFile file(path);
  file.write(content.data(), content.size());
  file.commit();
}

AtomicFile::AtomicFile(fs::path path) : path_(std::move(path)), temporary_(with_suffix(path_, ".tmp")) {
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail_to_write(path_, errno, 0);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::write(const void* data, size_t bytes) {
  const char* next = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t written = ::write(descriptor_, next, bytes);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail_to_write(path_, errno, bytes);
    next += written;
    bytes -= static_cast<size_t>(written);
  }
}

void AtomicFile::commit() {
  // Some file systems find out only here that the disk is full. The descriptor stays open until the rename, so that
  // the destructor removes the temporary file after any failure.
  if (::fsync(descriptor_) != 0) fail_to_write(path_, errno, 0);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail_to_write(path_, errno, 0);
  ::close(std::exchange(descriptor_, -1));
  sync_path(path_.parent_path());
}

void write_folder_atomically(const fs::path& path, const std::function<void(const fs::path&)>& fill, IfThere if_there) {
  const auto exists = [&] { return fs::exists(fs::symlink_status(path)); };
  const auto refuse_existing = [&] {
    LT2_CHECK(if_there == IfThere::kReplace || !exists(), "{}: exists already. Remove it or choose another name",
              path.string());
  };
  refuse_existing();
  const fs::path temporary = with_suffix(path, ".tmp"), old = with_suffix(path, ".old");
  try {
    fs::remove_all(temporary);  // left by a process that was killed
    fs::create_directories(temporary);
    fill(temporary);
    for (const auto& entry : fs::recursive_directory_iterator(temporary))
      if (entry.is_regular_file() || entry.is_directory()) sync_path(entry.path());
    sync_path(temporary);
    refuse_existing();
    // A folder cannot be renamed over another one that has files.
    const bool replaces = exists();
    if (replaces) {
      fs::remove_all(old);
      fs::rename(path, old);
    }
    std::error_code failure;
    fs::rename(temporary, path, failure);
    if (failure) {
      if (replaces) fs::rename(old, path);
      throw fs::filesystem_error("rename", path, failure);
    }
    sync_path(path.parent_path());
    std::error_code ignored;
    if (replaces) fs::remove_all(old, ignored);
  } catch (const fs::filesystem_error& error) {
    std::error_code ignored;
    fs::remove_all(temporary, ignored);
    fail("{}: cannot write the folder: {}", path.string(), error.code().message());
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(temporary, ignored);
    throw;
  }
}

void make_folders(const fs::path& path, const std::string& name) {
  std::error_code error;
  fs::create_directories(path, error);
  LT2_CHECK(!error, "{}: cannot create the folder {}: {}", name, path.string(), error.message());
}

FileLock::FileLock(const fs::path& path, const std::string& message)
    : descriptor_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) {
  LT2_CHECK(descriptor_ >= 0, "{}: cannot open: {}", path.string(), reason(errno));
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
  ::close(descriptor_);
  throw Error(message);
}

FileLock::~FileLock() { ::close(descriptor_); }

MappedFile::MappedFile(const fs::path& path) {
  struct stat info {};
  const Descriptor file(open_to_read(path, info));
  LT2_CHECK(S_ISREG(info.st_mode), "{}: expected a regular file", path.string());
  if (info.st_size == 0) return;  // mmap refuses length 0
  void* address = ::mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_PRIVATE, file, 0);
  LT2_CHECK(address != MAP_FAILED, "{}: cannot map {} into memory: {}", path.string(),
            human_bytes(static_cast<double>(info.st_size)), reason(errno));
  data_ = static_cast<const uint8_t*>(address);
  size_ = static_cast<size_t>(info.st_size);
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<uint8_t*>(data_), size_);
}

}  // namespace lt2
