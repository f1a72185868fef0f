#include "base/files.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "base/error.h"
#include "tests/support/error_of.h"
#include "tests/support/temp_folder.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using test::error_of;

class Files : public ::testing::Test {
 protected:
  size_t entries() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }
  test::TempFolder temporary_;
  fs::path folder_ = temporary_.path();
};

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST_F(Files, WritesAndReadsAnyBytes) {
  const fs::path path = folder_ / "file";
  for (const std::string& content : {std::string("\0\n\xff text", 8), std::string(), std::string(300000, 'x')}) {
    write_file_atomically(path, content);
    EXPECT_EQ(read_file(path), content);
    EXPECT_EQ(entries(), 1u);
  }
}

TEST_F(Files, ReadsWhatHasNoSize) { EXPECT_TRUE(has(read_file("/proc/self/status"), "Pid:")); }

TEST_F(Files, ErrorsNamePathAndReason) {
  EXPECT_EQ(error_of([&] { read_file(folder_ / "none"); }),
            (folder_ / "none").string() + ": cannot open: No such file or directory");
  EXPECT_EQ(error_of([&] { read_file(folder_); }), folder_.string() + ": expected a regular file, found a folder");
  EXPECT_TRUE(
      has(error_of([&] { write_file_atomically(folder_ / "none/file", "x"); }), "none/file: cannot write: No such"));
  EXPECT_TRUE(has(error_of([&] { MappedFile file(folder_ / "none"); }), "none: cannot open"));
  EXPECT_TRUE(has(error_of([&] { MappedFile file("/dev/null"); }), "expected a regular file"));
}

TEST_F(Files, AppearsOnlyWhenCommitted) {
  const fs::path path = folder_ / "file";
  write_file_atomically(path, "old");
  {
    AtomicFile file(path);
    file.write("new", 3);
    EXPECT_EQ(read_file(path), "old");
  }
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(entries(), 1u);
  AtomicFile file(path);
  file.write("n", 1);
  file.write("ew", 2);
  file.commit();
  EXPECT_EQ(read_file(path), "new");
}

TEST_F(Files, FailedRenameLeavesNothing) {
  fs::create_directories(folder_ / "taken/inside");
  EXPECT_TRUE(has(error_of([&] { write_file_atomically(folder_ / "taken", "x"); }), "taken: cannot write"));
  EXPECT_EQ(entries(), 1u);
}

// A limit on the file size fails like a full disk, in the middle of a write.
TEST_F(Files, FailedWriteKeepsTheOldFile) {
  const fs::path path = folder_ / "file";
  write_file_atomically(path, "old");
  rlimit old{};
  ::getrlimit(RLIMIT_FSIZE, &old);
  const rlimit small{4096, old.rlim_max};
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  ::setrlimit(RLIMIT_FSIZE, &small);
  const std::string error = error_of([&] { write_file_atomically(path, std::string(100000, 'x')); });
  ::setrlimit(RLIMIT_FSIZE, &old);
  ::signal(SIGXFSZ, handler);
  EXPECT_TRUE(has(error, "cannot write: File too large")) << error;
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(entries(), 1u);
}

// Runs in a child with its own mounts: exits 0 when all is well, 77 where mounting is not allowed.
int write_on_full_disk(const fs::path& folder) {
  const bool root = ::geteuid() == 0;
  const std::string map = "0 " + std::to_string(::geteuid()) + " 1";
  if (::unshare(root ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER) != 0) return 77;
  if (!root) std::ofstream("/proc/self/uid_map") << map;
  if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return 77;
  if (::mount("lt2", folder.c_str(), "tmpfs", 0, "size=256k") != 0) return 77;
  write_file_atomically(folder / "file", "old");
  const std::string large(1 << 20, 'x');
  const std::string error = error_of([&] { write_file_atomically(folder / "file", large); });
  if (!has(error, "No space left on device") || !has(error, "more needed") || !has(error, "free")) return 1;
  const auto entries = [&] { return std::distance(fs::directory_iterator(folder), fs::directory_iterator()); };
  if (read_file(folder / "file") != "old" || entries() != 1) return 2;
  const std::string in_folder = error_of([&] {
    write_folder_atomically(folder / "step", [&](const fs::path& aside) {
      write_file_atomically(aside / "small", "x");
      write_file_atomically(aside / "large", large);
    });
  });
  if (!has(in_folder, "No space left on device")) return 3;
  if (entries() != 1) return 4;
  return 0;
}

TEST_F(Files, FullDiskKeepsTheOldFile) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(write_on_full_disk(folder_));
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "mounting a small disk is not allowed here";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(Files, FolderAppearsWhole) {
  const fs::path path = folder_ / "parent/step";
  write_folder_atomically(path, [&](const fs::path& aside) {
    EXPECT_EQ(aside.parent_path(), path.parent_path());
    fs::create_directory(aside / "inner");
    write_file_atomically(aside / "inner/a", "1");
    EXPECT_FALSE(fs::exists(path));
  });
  EXPECT_EQ(read_file(path / "inner/a"), "1");
  EXPECT_TRUE(has(error_of([&] { write_folder_atomically(path, [](const fs::path&) {}); }), "exists already"));
}

TEST_F(Files, AReplacedFolderStaysUntilTheNewOneIsWhole) {
  const fs::path path = folder_ / "step";
  const auto write = [&](const std::string& text, bool broken) {
    const auto fill = [&](const fs::path& aside) {
      write_file_atomically(aside / "a", text);
      if (fs::exists(path)) {
        EXPECT_EQ(read_file(path / "a"), "1");
      }
      LT2_CHECK(!broken, "stop");
    };
    return error_of([&] { write_folder_atomically(path, fill, IfThere::kReplace); });
  };
  EXPECT_EQ(write("1", false), "");
  EXPECT_EQ(write("2", true), "stop");
  EXPECT_EQ(read_file(path / "a"), "1");
  EXPECT_EQ(write("2", false), "");
  EXPECT_EQ(read_file(path / "a"), "2");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(Files, MakesFoldersOrNamesTheKey) {
  make_folders(folder_ / "a/b", "dump_dir");
  make_folders(folder_ / "a/b", "dump_dir");
  EXPECT_TRUE(fs::is_directory(folder_ / "a/b"));
  EXPECT_EQ(
      error_of([] { make_folders("/proc/x", "dump_dir"); }).rfind("dump_dir: cannot create the folder /proc/x: ", 0),
      0u);
}

TEST_F(Files, ALockHasOneHolderWhoIsNamed) {
  const auto take = [&] { return error_of([&] { FileLock(folder_ / "lock", "taken", "a test"); }); };
  {
    const FileLock lock(folder_ / "lock", "taken", "a test");
    const std::string error = take();
    EXPECT_TRUE(has(error, "taken (held by process " + std::to_string(::getpid()) + " on ")) << error;
    EXPECT_TRUE(has(error, ", a test)")) << error;
  }
  EXPECT_EQ(take(), "");
  EXPECT_EQ(entries(), 0u);
}

TEST_F(Files, ALockFollowsNoLink) {
  write_file_atomically(folder_ / "victim", "precious");
  fs::create_symlink("victim", folder_ / "lock");
  const std::string error = error_of([&] { FileLock(folder_ / "lock", "taken"); });
  EXPECT_TRUE(has(error, "lock: cannot lock it: it is a symbolic link")) << error;
  EXPECT_EQ(read_file(folder_ / "victim"), "precious");
}

TEST_F(Files, FailedFolderLeavesNothing) {
  fs::create_directories(folder_ / ".step.tmp-0123456789abcdef/left by a crash");
  const auto fill = [](const fs::path& aside) {
    EXPECT_TRUE(fs::is_empty(aside));
    write_file_atomically(aside / "a", "1");
    fail("stop");
  };
  EXPECT_EQ(error_of([&] { write_folder_atomically(folder_ / "step", fill); }), "stop");
  EXPECT_EQ(entries(), 0u);
}

// Planted where the program was known, or might be guessed, to write aside.
TEST_F(Files, APlantedLinkIsNeverFollowed) {
  write_file_atomically(folder_ / "victim", "precious");
  fs::create_directory(folder_ / "folder");
  write_file_atomically(folder_ / "folder/victim", "precious");
  for (const char* name : {"file.tmp", ".file.tmp-0123456789abcdef", ".file.tmp-0000000000000000", "file"})
    fs::create_symlink("victim", folder_ / name);
  for (const char* name : {"step.tmp", ".step.tmp-0123456789abcdef"}) fs::create_symlink("folder", folder_ / name);
  write_file_atomically(folder_ / "file", "new");
  write_folder_atomically(folder_ / "step", [](const fs::path& aside) { write_file_atomically(aside / "a", "1"); });
  EXPECT_EQ(read_file(folder_ / "victim"), "precious");
  EXPECT_EQ(read_file(folder_ / "folder/victim"), "precious");
  EXPECT_EQ(read_file(folder_ / "file"), "new");
  EXPECT_FALSE(fs::is_symlink(folder_ / "file"));
  EXPECT_EQ(read_file(folder_ / "step/a"), "1");
}

TEST_F(Files, WritersOfOneNameNeverMix) {
  const fs::path path = folder_ / "session";
  constexpr size_t kBytes = 200000;
  std::vector<pid_t> writers;
  for (char letter = 'a'; letter < 'e'; ++letter) {
    writers.push_back(::fork());
    if (writers.back() != 0) continue;
    const std::string content(kBytes, letter);
    for (int i = 0; i < 25; ++i) {
      AtomicFile file(path);
      for (size_t at = 0; at < kBytes; at += kBytes / 4) file.write(content.data() + at, kBytes / 4);
      file.commit();
    }
    ::_exit(0);
  }
  size_t left = writers.size();
  for (int status = 0; left > 0;) {
    if (::waitpid(-1, &status, WNOHANG) > 0) {
      EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
      --left;
    }
    if (!fs::exists(path)) continue;
    const std::string content = read_file(path);
    ASSERT_EQ(content.size(), kBytes);
    ASSERT_EQ(content.find_first_not_of(content[0]), std::string::npos);
  }
  EXPECT_EQ(entries(), 1u);
}

// Runs `act` in a process that is killed at the end of it, as from outside: nothing is cleaned up.
void killed(const std::function<void()>& act) {
  const pid_t child = ::fork();
  if (child == 0) {
    act();
    ::raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
}

TEST_F(Files, AKilledWriterKeepsTheOldFileAndIsCleanedUp) {
  const fs::path path = folder_ / "file";
  write_file_atomically(path, "old");
  killed([&] {
    auto* file = new AtomicFile(path);
    file->write("half", 4);
  });
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(entries(), 2u);
  AtomicFile slow(path);  // removes what the killed one left
  slow.write("slow", 4);
  EXPECT_EQ(entries(), 2u);
  write_file_atomically(path, "quick");  // leaves a living one alone
  EXPECT_EQ(read_file(path), "quick");
  slow.commit();
  EXPECT_EQ(read_file(path), "slow");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(Files, AKilledWriterOfAFolderIsCleanedUp) {
  const auto fill_and_die = [&](const char* name) {
    killed([&] {
      write_folder_atomically(
          folder_ / name,
          [](const fs::path& aside) {
            write_file_atomically(aside / "a", "half");
            ::raise(SIGKILL);
          },
          IfThere::kReplace);
    });
  };
  const auto write = [&](const char* text) {
    write_folder_atomically(
        folder_ / "step", [&](const fs::path& aside) { write_file_atomically(aside / "a", text); }, IfThere::kReplace);
  };
  write("1");
  fill_and_die("step");
  fill_and_die("other");
  EXPECT_EQ(read_file(folder_ / "step/a"), "1");
  EXPECT_EQ(entries(), 3u);
  write("2");
  EXPECT_EQ(read_file(folder_ / "step/a"), "2");
  EXPECT_EQ(entries(), 2u);
  AtomicFile living(folder_ / "x");
  remove_leftovers(folder_);
  EXPECT_EQ(entries(), 2u);
  remove_atomically(folder_ / "step");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(Files, OnlyAFileGivesWayToAFile) {
  ASSERT_EQ(::mkfifo((folder_ / "fifo").c_str(), 0600), 0);
  fs::create_symlink("loop", folder_ / "loop");
  fs::create_symlink("/dev/null", folder_ / "null");
  const auto write = [&](const char* name) { return error_of([&] { write_file_atomically(folder_ / name, "x"); }); };
  EXPECT_TRUE(has(write("fifo"), "fifo: cannot write: expected a file to replace or a new name, found a pipe"));
  EXPECT_TRUE(has(write("null"), "found a device"));
  EXPECT_TRUE(has(write("loop"), "loop: cannot write: Too many levels of symbolic links"));
  EXPECT_TRUE(fs::is_fifo(folder_ / "fifo"));
  EXPECT_EQ(entries(), 3u);
}

TEST_F(Files, LongNamesAreWritten) {
  const std::string name(255, 'n');
  write_file_atomically(folder_ / name, "x");
  EXPECT_EQ(read_file(folder_ / name), "x");
  EXPECT_EQ(entries(), 1u);
}

// Neither waits for a writer of a pipe nor reads a device without end.
TEST_F(Files, OnlyRegularFilesAreRead) {
  ASSERT_EQ(::mkfifo((folder_ / "fifo").c_str(), 0600), 0);
  fs::create_symlink("loop", folder_ / "loop");
  const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, (folder_ / "socket").c_str(), sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  for (const auto& read : std::vector<std::function<void(const fs::path&)>>{
           [](const fs::path& path) { read_file(path); }, [](const fs::path& path) { MappedFile file(path); },
           [](const fs::path& path) { read_stream(path); }}) {
    const auto error = [&](const char* name) { return error_of([&] { read(folder_ / name); }); };
    EXPECT_EQ(error("fifo"), (folder_ / "fifo").string() + ": expected a regular file, found a pipe");
    EXPECT_EQ(error("socket"), (folder_ / "socket").string() + ": expected a regular file, found a socket");
    EXPECT_EQ(error("."), (folder_ / ".").string() + ": expected a regular file, found a folder");
    EXPECT_EQ(error("loop"), (folder_ / "loop").string() + ": cannot open: Too many levels of symbolic links");
    EXPECT_EQ(error_of([&] { read("/dev/zero"); }), "/dev/zero: expected a regular file, found a device");
  }
  ::close(socket);
}

TEST_F(Files, StreamsAreWhatIsOpenAlready) {
  EXPECT_EQ(read_stream("/dev/null"), "");
  EXPECT_EQ(error_of([] { read_file("/dev/null"); }), "/dev/null: expected a regular file, found a device");
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_NONBLOCK), 0);
  const std::string name = "/dev/fd/" + std::to_string(ends[0]);
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(ends[0]);
    for (const char* piece : {"said ", "in ", "pieces"}) {
      ::usleep(20000);
      if (::write(ends[1], piece, std::strlen(piece)) < 0) ::_exit(1);
    }
    ::_exit(0);
  }
  ::close(ends[1]);
  EXPECT_EQ(read_stream(name), "said in pieces");
  ::waitpid(child, nullptr, 0);
  ::close(ends[0]);
  EXPECT_EQ(error_of([&] { read_stream(name); }), name + ": cannot open: Bad file descriptor");
}

TEST_F(Files, MapsAndOutlivesTheName) {
  write_file_atomically(folder_ / "file", "mapped");
  const MappedFile file(folder_ / "file");
  fs::remove(folder_ / "file");
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(file.data()), file.size()), "mapped");
  write_file_atomically(folder_ / "empty", "");
  EXPECT_EQ(MappedFile(folder_ / "empty").size(), 0u);
}

}  // namespace
}  // namespace lt2
