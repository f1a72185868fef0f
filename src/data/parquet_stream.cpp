// Rows of a parquet file from scripts/parquet/parquet-lines.mjs. Debian has no parquet library for C++.
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>
#include <system_error>
#include <vector>

#include "base/error.h"
#include "data/byte_stream.h"

extern char** environ;

namespace lt2 {
namespace {

namespace fs = std::filesystem;

std::string reason(int error) { return std::system_category().message(error); }

// The folder with the script: named by the environment, installed next to the program, or in the sources it was built
// from.
fs::path script() {
  const char* kName = "parquet-lines.mjs";
  std::vector<fs::path> folders;
  if (const char* named = std::getenv("LT2_PARQUET_DIR"); named && *named) {
    folders = {named};
  } else {
    std::error_code ignored;
    const fs::path program = fs::read_symlink("/proc/self/exe", ignored).parent_path();
    folders = {program / "../share/lt2/parquet", program / "../../scripts/parquet",
               program / "../../../scripts/parquet"};
  }
  for (const fs::path& folder : folders)
    if (fs::exists(folder / kName)) return (folder / kName).lexically_normal();
  fail(
      "reading parquet needs {}, which is not in {}. Set LT2_PARQUET_DIR to the folder that has it: scripts/parquet of "
      "the sources",
      kName, folders.front().lexically_normal().string());
}

class Parquet : public ByteStream {
 public:
  explicit Parquet(const fs::path& path) : path_(path.string()) {
    const std::string program = script().string();
    int ends[2];
    LT2_CHECK(::pipe2(ends, O_CLOEXEC) == 0, "{}: cannot open a pipe: {}", path_, reason(errno));
    pipe_ = ends[0];
    messages_ = ::memfd_create("messages", MFD_CLOEXEC);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, messages_, STDERR_FILENO);
    const std::string argument = fs::absolute(path).string();
    const char* words[] = {"node", program.c_str(), argument.c_str(), nullptr};
    const int result = ::posix_spawnp(&child_, words[0], &actions, nullptr, const_cast<char**>(words), environ);
    posix_spawn_file_actions_destroy(&actions);
    ::close(ends[1]);
    if (result == 0) return;
    child_ = -1;
    close();
    fail(
        "{}: reading parquet needs Node.js, and `node` cannot be started ({}). Install it (Debian: apt-get install "
        "nodejs npm), then run scripts/setup.sh --with-parquet",
        path_, reason(result));
  }
  ~Parquet() override { close(); }
  Parquet(const Parquet&) = delete;
  Parquet& operator=(const Parquet&) = delete;

  size_t read(char* to, size_t bytes) override {
    if (child_ < 0) return 0;
    for (;;) {
      const ssize_t got = ::read(pipe_, to, bytes);
      if (got < 0 && errno == EINTR) continue;
      LT2_CHECK(got >= 0, "{}: cannot read from the parquet reader: {}", path_, reason(errno));
      if (got == 0) finish();
      return static_cast<size_t>(got);
    }
  }
  // What Node has read is not known here.
  int64_t file_position() const override { return 0; }

 private:
  void finish() {
    int status = 0;
    while (::waitpid(child_, &status, 0) < 0 && errno == EINTR) {
    }
    child_ = -1;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
    if (WIFSIGNALED(status)) fail("{}: the parquet reader was ended by signal {}", path_, WTERMSIG(status));
    // The script says in one line what is wrong; Node itself prints that after a trace.
    std::string text(2000, '\0');
    const ssize_t got = ::pread(messages_, text.data(), text.size(), 0);
    text.resize(got > 0 ? static_cast<size_t>(got) : 0);
    while (!text.empty() && text.back() == '\n') text.pop_back();
    constexpr std::string_view kMark = "parquet-lines: ";
    const size_t at = text.rfind(kMark);
    fail("{}: {}", path_,
         at != std::string::npos ? text.substr(at + kMark.size())
                                 : fmt::format("the parquet reader failed with status {}: {}", WEXITSTATUS(status),
                                               text.substr(0, text.find('\n'))));
  }

  void close() {
    if (child_ >= 0) {
      ::kill(child_, SIGKILL);
      while (::waitpid(child_, nullptr, 0) < 0 && errno == EINTR) {
      }
    }
    if (pipe_ >= 0) ::close(pipe_);
    if (messages_ >= 0) ::close(messages_);
    child_ = pipe_ = messages_ = -1;
  }

  std::string path_;
  int pipe_ = -1, messages_ = -1;
  pid_t child_ = -1;
};

}  // namespace

std::unique_ptr<ByteStream> open_parquet(const fs::path& path) { return std::make_unique<Parquet>(path); }

}  // namespace lt2
