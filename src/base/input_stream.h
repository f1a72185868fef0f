#pragma once
// Text as it comes: lines of a file, of standard input, of a pipe.
#include <string>

#include "base/descriptor.h"

namespace lt2 {

class InputStream {
 public:
  /// Reads what `path` names (open_stream in base/files.h); "-" is standard input. Throws lt2::Error.
  explicit InputStream(const std::string& path);
  /// The next line without its end; false after the last one. Throws lt2::Error if reading fails.
  bool line(std::string& line);
  /// Everything that is left.
  std::string rest();
  /// Whether something can be read, or the end be seen, within that time.
  bool ready(int milliseconds) const;
  const std::string& name() const { return name_; }

 private:
  bool refill();  // false at the end

  std::string name_;
  Descriptor file_;
  std::string buffer_;
  size_t begin_ = 0;  // of what is not taken yet
};

}  // namespace lt2
