#include "base/append_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "base/error.h"

namespace lt2 {

AppendFile::AppendFile(const std::filesystem::path& path)
    : name_(path.string()),
      file_(::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0666)) {
  LT2_CHECK(file_ >= 0, "{}: cannot open it for appending: {}", name_,
            errno == ENXIO ? "nobody reads from it" : std::system_category().message(errno));
  ::fcntl(file_, F_SETFL, O_APPEND);  // a full pipe is waited for
}

void AppendFile::append(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(file_, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    LT2_CHECK(written >= 0, "{}: cannot append to it: {}{}", name_, std::system_category().message(errno),
              errno == EFBIG ? " (the shell's limit: ulimit -f)" : "");
    text.remove_prefix(static_cast<size_t>(written));
  }
}

}  // namespace lt2
