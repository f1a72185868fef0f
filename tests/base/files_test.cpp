#include "base/files.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "base/error.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

class Files : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "lt2-files-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }
  size_t entries() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }
  fs::path folder_;
};

std::string message(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

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
  EXPECT_EQ(message([&] { read_file(folder_ / "none"); }),
            (folder_ / "none").string() + ": cannot open: No such file or directory");
  EXPECT_EQ(message([&] { read_file(folder_); }), folder_.string() + ": expected a file, found a folder");
  EXPECT_TRUE(
      has(message([&] { write_file_atomically(folder_ / "none/file", "x"); }), "none/file: cannot write: No such"));
  EXPECT_TRUE(has(message([&] { MappedFile file(folder_ / "none"); }), "none: cannot open"));
  EXPECT_TRUE(has(message([&] { MappedFile file("/dev/null"); }), "expected a regular file"));
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
  EXPECT_TRUE(has(message([&] { write_file_atomically(folder_ / "taken", "x"); }), "taken: cannot write"));
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
  const std::string error = message([&] { write_file_atomically(path, std::string(100000, 'x')); });
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
  const std::string error = message([&] { write_file_atomically(folder / "file", large); });
  if (!has(error, "No space left on device") || !has(error, "more needed") || !has(error, "free")) return 1;
  if (read_file(folder / "file") != "old" || fs::exists(folder / "file.tmp")) return 2;
  const std::string in_folder = message([&] {
    write_folder_atomically(folder / "step", [&](const fs::path& aside) {
      write_file_atomically(aside / "small", "x");
      write_file_atomically(aside / "large", large);
    });
  });
  if (!has(in_folder, "No space left on device")) return 3;
  if (fs::exists(folder / "step") || fs::exists(folder / "step.tmp")) return 4;
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
  EXPECT_TRUE(has(message([&] { write_folder_atomically(path, [](const fs::path&) {}); }), "exists already"));
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
    return message([&] { write_folder_atomically(path, fill, IfThere::kReplace); });
  };
  EXPECT_EQ(write("1", false), "no error");
  EXPECT_EQ(write("2", true), "stop");
  EXPECT_EQ(read_file(path / "a"), "1");
  EXPECT_EQ(write("2", false), "no error");
  EXPECT_EQ(read_file(path / "a"), "2");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(Files, MakesFoldersOrNamesTheKey) {
  make_folders(folder_ / "a/b", "dump_dir");
  make_folders(folder_ / "a/b", "dump_dir");
  EXPECT_TRUE(fs::is_directory(folder_ / "a/b"));
  EXPECT_EQ(
      message([] { make_folders("/proc/x", "dump_dir"); }).rfind("dump_dir: cannot create the folder /proc/x: ", 0),
      0u);
}

TEST_F(Files, ALockHasOneHolder) {
  const auto take = [&] { return message([&] { FileLock(folder_ / "lock", "taken"); }); };
  {
    const FileLock lock(folder_ / "lock", "taken");
    EXPECT_EQ(take(), "taken");
  }
  EXPECT_EQ(take(), "no error");
}

TEST_F(Files, FailedFolderLeavesNothing) {
  fs::create_directories(folder_ / "step.tmp/left by a crash");
  const auto fill = [](const fs::path& aside) {
    EXPECT_TRUE(fs::is_empty(aside));
    write_file_atomically(aside / "a", "1");
    fail("stop");
  };
  EXPECT_EQ(message([&] { write_folder_atomically(folder_ / "step", fill); }), "stop");
  EXPECT_EQ(entries(), 0u);
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
