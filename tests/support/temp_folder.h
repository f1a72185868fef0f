#pragma once
// A folder for what a test writes.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <system_error>

namespace lt2::test {

/// A new, empty folder under TMPDIR (/tmp if it is not set) that no other test has. It is removed with the object, so
/// also after a failure; a forked child leaves it alone. Give a fixture one before the members that use it:
///   TempFolder temporary_;
///   fs::path root_ = temporary_.path();
class TempFolder {
 public:
  TempFolder() : TempFolder(std::filesystem::temp_directory_path()) {}
  /// Under `parent`. Throws std::system_error if no folder can be made there.
  explicit TempFolder(const std::filesystem::path& parent) {
    std::string name = (parent / "lt2-XXXXXX").string();  // short: sockets lie in it, whose paths end at 107 bytes
    if (::mkdtemp(name.data()) == nullptr) throw std::system_error(errno, std::generic_category(), name);
    path_ = name;
  }
  ~TempFolder() {
    if (::getpid() != owner_) return;
    std::error_code error;
    std::filesystem::remove_all(path_, error);
    if (error) ADD_FAILURE() << path_ << " cannot be removed: " << error.message();
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  pid_t owner_ = ::getpid();
  std::filesystem::path path_;
};

}  // namespace lt2::test
