// Writing: aside under a unique name, then renamed.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "base/units.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMark = ".tmp-";
constexpr size_t kDigits = 16;
constexpr size_t kLongestStem = 200;  // of the 255 bytes that a name may have

std::string reason(int error) { return std::system_category().message(error); }

fs::path folder_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

// "folder/" is "folder".
fs::path without_slash(fs::path path) { return path.has_filename() ? path : path.parent_path(); }

[[noreturn]] void fail_to_write(const fs::path& path, int error, size_t bytes_missing) {
  std::string advice;
  if (error == ENOSPC || error == EDQUOT) {
    std::error_code ignored;
    const auto space = fs::space(folder_of(path), ignored);
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
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  // Some file systems cannot sync a folder (EINVAL): there is nothing better to do then.
  if (file < 0 || (::fsync(file) != 0 && errno != EINVAL)) fail_to_write(path, errno, 0);
}

std::string stem_of(const fs::path& goal) {
  return "." + goal.filename().string().substr(0, kLongestStem) + std::string(kMark);
}

fs::path aside_name(const fs::path& goal) {
  uint64_t number = 0;
  if (::getrandom(&number, sizeof number, 0) != sizeof number) fail_to_write(goal, errno, 0);
  return goal.parent_path() / fmt::format("{}{:0{}x}", stem_of(goal), number, kDigits);
}

// False only if another process holds the lock: some file systems have none.
bool lock(int descriptor) { return ::flock(descriptor, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK; }

bool is_still(int descriptor, const fs::path& path) {
  struct stat held {
  }, named{};
  return ::fstat(descriptor, &held) == 0 && ::lstat(path.c_str(), &named) == 0 && held.st_dev == named.st_dev &&
         held.st_ino == named.st_ino;
}

void remove_if_abandoned(const fs::path& path) {
  constexpr int kFlags = O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
  Descriptor left(::open(path.c_str(), O_RDWR | kFlags));  // some file systems lock only what may be written
  if (left < 0 && errno == EISDIR) left = Descriptor(::open(path.c_str(), O_RDONLY | O_DIRECTORY | kFlags));
  if (left < 0 || ::flock(left, LOCK_EX | LOCK_NB) != 0 || !is_still(left, path)) return;
  std::error_code ignored;
  fs::remove_all(path, ignored);
}

template <typename Wanted>
void remove_abandoned(const fs::path& folder, const Wanted& wanted) {
  std::error_code ignored;
  std::vector<fs::path> found;
  for (fs::directory_iterator it(folder, ignored), end; !ignored && it != end; it.increment(ignored)) {
    if (is_aside(it->path().filename()) && wanted(it->path().filename().string())) found.push_back(it->path());
  }
  std::for_each(found.begin(), found.end(), remove_if_abandoned);
}

// What may be renamed over: nothing, a file, or a link to one or to nowhere.
void check_goal(const fs::path& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    if (errno != ENOENT) fail_to_write(path, errno, 0);
    return;
  }
  LT2_CHECK(S_ISREG(info.st_mode), "{}: cannot write: expected a file to replace or a new name, found {}",
            path.string(), kind_of_file(info.st_mode));
}

}  // namespace

bool is_aside(const fs::path& name) {
  const std::string text = name.filename().string();
  if (text.size() < 2 + kMark.size() + kDigits || text[0] != '.') return false;
  const auto digits = text.substr(text.size() - kDigits);
  return text.compare(text.size() - kDigits - kMark.size(), kMark.size(), kMark) == 0 &&
         digits.find_first_not_of("0123456789abcdef") == std::string::npos;
}

void remove_leftovers(const fs::path& folder) {
  remove_abandoned(folder, [](const std::string&) { return true; });
}

Aside::Aside(fs::path goal, Kind kind) : goal_(without_slash(std::move(goal))) {
  remove_abandoned(folder_of(goal_), [stem = stem_of(goal_)](const std::string& name) {
    return name.size() == stem.size() + kDigits && name.starts_with(stem);
  });
  for (;;) {
    path_ = aside_name(goal_);
    if (kind == Kind::kFile) {
      descriptor_ = Descriptor(::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666));
      if (descriptor_ < 0 && errno != EEXIST) fail_to_write(goal_, errno, 0);
    } else {
      if (::mkdir(path_.c_str(), 0777) != 0 && errno != EEXIST) fail_to_write(goal_, errno, 0);
      descriptor_ = Descriptor(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (descriptor_ < 0 && errno != ENOENT) fail_to_write(goal_, errno, 0);
    }
    // Before the lock was there another writer may have taken it for abandoned.
    if (descriptor_ >= 0 && lock(descriptor_) && is_still(descriptor_, path_)) return;
  }
}

Aside::~Aside() {
  std::error_code ignored;
  if (!renamed_) fs::remove_all(path_, ignored);
}

void Aside::rename() {
  fs::rename(path_, goal_);
  renamed_ = true;
}

void remove_atomically(const fs::path& path) {
  const fs::path goal = without_slash(path), aside = aside_name(goal);
  const Descriptor held(::open(goal.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (held >= 0) ::flock(held, LOCK_EX | LOCK_NB);
  std::error_code error;
  fs::rename(goal, aside, error);
  if (!error) fs::remove_all(aside, error);
  LT2_CHECK(!error, "{}: cannot remove it: {}", path.string(), error.message());
}

void write_file_atomically(const fs::path& path, const std::string& content) {
  AtomicFile file(path);
  file.write(content.data(), content.size());
  file.commit();
}

AtomicFile::AtomicFile(fs::path path) : path_((check_goal(path), std::move(path))), aside_(path_, Aside::Kind::kFile) {}

void AtomicFile::write(const void* data, size_t bytes) {
  const char* next = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t written = ::write(aside_.descriptor(), next, bytes);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail_to_write(path_, errno, bytes);
    next += written;
    bytes -= static_cast<size_t>(written);
  }
}

void AtomicFile::commit() {
  // Some file systems find out only here that the disk is full.
  if (::fsync(aside_.descriptor()) != 0) fail_to_write(path_, errno, 0);
  check_goal(path_);  // again: the write may have taken long
  try {
    aside_.rename();
  } catch (const fs::filesystem_error& error) {
    fail_to_write(path_, error.code().value(), 0);
  }
  sync_path(folder_of(path_));
}

void write_folder_atomically(const fs::path& path, const std::function<void(const fs::path&)>& fill, IfThere if_there) {
  const fs::path goal = without_slash(path);
  const auto exists = [&] { return fs::exists(fs::symlink_status(goal)); };
  const auto refuse_existing = [&] {
    LT2_CHECK(if_there == IfThere::kReplace || !exists(), "{}: exists already. Remove it or choose another name",
              path.string());
  };
  try {
    refuse_existing();
    fs::create_directories(folder_of(goal));
    Aside aside(goal, Aside::Kind::kFolder);
    fill(aside.path());
    for (const auto& entry : fs::recursive_directory_iterator(aside.path()))
      if (entry.is_regular_file() || entry.is_directory()) sync_path(entry.path());
    sync_path(aside.path());
    refuse_existing();
    // A folder cannot be renamed over another one that has files.
    const fs::path old = exists() ? aside_name(goal) : fs::path();
    Descriptor held;
    if (!old.empty()) {
      held = Descriptor(::open(goal.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
      if (held >= 0) lock(held);
      fs::rename(goal, old);
    }
    try {
      aside.rename();
    } catch (const fs::filesystem_error&) {
      if (!old.empty()) fs::rename(old, goal);
      refuse_existing();  // made by another process in the meantime
      throw;
    }
    sync_path(folder_of(goal));
    std::error_code ignored;
    if (!old.empty()) fs::remove_all(old, ignored);
  } catch (const fs::filesystem_error& error) {
    fail("{}: cannot write the folder: {}", path.string(), error.code().message());
  }
}

void make_folders(const fs::path& path, const std::string& name) {
  std::error_code error;
  fs::create_directories(path, error);
  LT2_CHECK(!error, "{}: cannot create the folder {}: {}", name, path.string(), error.message());
}

namespace {

std::string this_process(const std::string& purpose) {
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) host[0] = '\0';
  return fmt::format("process {}{}{}{}{}", ::getpid(), host[0] ? " on " : "", host.data(), purpose.empty() ? "" : ", ",
                     purpose);
}

// One line, whatever the file holds.
std::string holder_in(int descriptor) {
  std::array<char, 400> text{};
  const ssize_t size = ::pread(descriptor, text.data(), text.size(), 0);
  std::string line(text.data(), static_cast<size_t>(std::max<ssize_t>(size, 0)));
  line.resize(std::min(line.size(), line.find('\n')));
  std::replace_if(
      line.begin(), line.end(), [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; }, '?');
  return line;
}

}  // namespace

FileLock::FileLock(const fs::path& path, const std::string& message, const std::string& purpose) : path_(path) {
  for (;;) {
    descriptor_ = Descriptor(::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666));
    LT2_CHECK(descriptor_ >= 0, "{}: cannot lock it: {}", path.string(),
              errno == ELOOP ? "it is a symbolic link. Remove it" : reason(errno));
    struct stat info {};
    LT2_CHECK(::fstat(descriptor_, &info) == 0 && S_ISREG(info.st_mode),
              "{}: cannot lock it: expected a regular file, found {}. Remove it", path.string(),
              kind_of_file(info.st_mode));
    if (!lock(descriptor_)) {
      const std::string holder = holder_in(descriptor_);
      throw Error(message + (holder.empty() ? "" : " (held by " + holder + ")"));
    }
    if (is_still(descriptor_, path_)) break;  // else: removed by the last holder since it was opened
  }
  const std::string holder = this_process(purpose) + "\n";
  // For others to read; a full disk must not keep a run from its lock.
  if (::ftruncate(descriptor_, 0) == 0) [[maybe_unused]]
    const ssize_t ignored = ::pwrite(descriptor_, holder.data(), holder.size(), 0);
}

FileLock::~FileLock() {
  if (descriptor_ >= 0 && is_still(descriptor_, path_)) ::unlink(path_.c_str());
}

}  // namespace lt2
