#include "base/files.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdint>
#include <string_view>
#include <system_error>

#include "base/error.h"
#include "base/units.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

std::string reason(int error) { return std::system_category().message(error); }

// Opened without waiting for a writer of a pipe, and without becoming the terminal's process.
Descriptor open_at_once(const fs::path& path, struct stat& info) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  // A socket has no other way to say what it is.
  if (file < 0 && errno == ENXIO && ::stat(path.c_str(), &info) == 0) return file;
  LT2_CHECK(file >= 0 && ::fstat(file, &info) == 0, "{}: cannot open: {}", path.string(), reason(errno));
  return file;
}

[[noreturn]] void refuse(const fs::path& path, const struct stat& info) {
  fail("{}: expected a regular file, found {}", path.string(), kind_of_file(info.st_mode));
}

// The descriptor that "/dev/fd/N" names, -1 if `path` is no such name.
int open_already(const std::string& path) {
  if (path == "/dev/stdin") return STDIN_FILENO;
  for (const std::string_view folder : {"/dev/fd/", "/proc/self/fd/"}) {
    if (!path.starts_with(folder)) continue;
    int number = -1;
    const char* const end = path.data() + path.size();
    const auto [stop, error] = std::from_chars(path.data() + folder.size(), end, number);
    if (error == std::errc() && stop == end) return number;
  }
  return -1;
}

std::string read_all(int file, size_t expected, const std::string& name) {
  // Pipes and /proc report no size, so the end is where read() says it is.
  std::string content(expected + 1, '\0');
  size_t size = 0;
  for (;;) {
    if (size == content.size()) content.resize(2 * content.size());
    const ssize_t got = ::read(file, content.data() + size, content.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) {  // opened as non-blocking by another process; this reader waits
      pollfd ready{.fd = file, .events = POLLIN, .revents = 0};
      ::poll(&ready, 1, -1);
      continue;
    }
    LT2_CHECK(got >= 0, "{}: cannot read: {}", name, reason(errno));
    if (got == 0) break;
    size += static_cast<size_t>(got);
  }
  content.resize(size);
  return content;
}

}  // namespace

std::string kind_of_file(mode_t mode) {
  if (S_ISREG(mode)) return "a regular file";
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  if (S_ISLNK(mode)) return "a symbolic link";
  return "a device";
}

bool is_there(const fs::path& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0) return true;
  LT2_CHECK(errno == ENOENT || errno == ENOTDIR, "{}: cannot open: {}", path.string(), reason(errno));
  return false;
}

Descriptor open_regular(const fs::path& path) {
  struct stat info {};
  Descriptor file = open_at_once(path, info);
  if (!S_ISREG(info.st_mode)) refuse(path, info);
  return file;
}

Descriptor open_stream(const fs::path& path) {
  struct stat info {};
  if (const int open = open_already(path.string()); open >= 0) {
    Descriptor file(::fcntl(open, F_DUPFD_CLOEXEC, 0));
    LT2_CHECK(file >= 0 && ::fstat(file, &info) == 0, "{}: cannot open: {}", path.string(), reason(errno));
    if (S_ISDIR(info.st_mode)) refuse(path, info);
    return file;
  }
  Descriptor file = open_at_once(path, info);
  const bool null = S_ISCHR(info.st_mode) && info.st_rdev == makedev(1, 3);
  if (!S_ISREG(info.st_mode) && !null) refuse(path, info);
  return file;
}

std::string read_file(const fs::path& path) {
  const Descriptor file = open_regular(path);
  struct stat info {};
  LT2_CHECK(::fstat(file, &info) == 0, "{}: cannot read: {}", path.string(), reason(errno));
  return read_all(file, static_cast<size_t>(info.st_size), path.string());
}

std::string read_stream(const fs::path& path) { return read_all(open_stream(path), 4096, path.string()); }

MappedFile::MappedFile(const fs::path& path) {
  const Descriptor file = open_regular(path);
  struct stat info {};
  LT2_CHECK(::fstat(file, &info) == 0, "{}: cannot read: {}", path.string(), reason(errno));
  if (info.st_size == 0) return;  // mmap refuses length 0
  void* address = ::mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_PRIVATE, file, 0);
  LT2_CHECK(address != MAP_FAILED, "{}: cannot map {} into memory: {}", path.string(),
            human_bytes(static_cast<double>(info.st_size)), reason(errno));
  data_ = static_cast<const uint8_t*>(address);
  size_ = static_cast<size_t>(info.st_size);
  guard_ = std::make_unique<MappingGuard>(data_, size_, path.string());
}

MappedFile::~MappedFile() {
  guard_.reset();
  if (data_) ::munmap(const_cast<uint8_t*>(data_), size_);
}

}  // namespace lt2
