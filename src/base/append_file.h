#pragma once
// Lines added to a file that others may read meanwhile.
#include <filesystem>
#include <string>
#include <string_view>

#include "base/descriptor.h"

namespace lt2 {

class AppendFile {
 public:
  /// Creates the file if needed. Like a shell's >> it follows links and takes what can be written to, but it never
  /// waits for somebody to read a pipe. Throws lt2::Error.
  explicit AppendFile(const std::filesystem::path& path);
  /// Adds `text` at the end, wherever that is by now, in one write unless the disk is full. Throws lt2::Error.
  void append(std::string_view text);

 private:
  std::string name_;
  Descriptor file_;
};

}  // namespace lt2
