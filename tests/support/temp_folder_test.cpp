#include "tests/support/temp_folder.h"

#include <gtest/gtest-spi.h>
#include <sys/wait.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <optional>

namespace lt2::test {
namespace {

namespace fs = std::filesystem;

TEST(TempFolder, IsNewEmptyAndGoesWithAllThatIsInIt) {
  fs::path first, second;
  {
    const TempFolder a, b;
    first = a.path(), second = b.path();
    EXPECT_NE(first, second);
    EXPECT_TRUE(fs::is_empty(first));
    fs::create_directories(first / "deep" / "er");
    std::ofstream(first / "deep" / "er" / "file") << "text";
  }
  EXPECT_FALSE(fs::exists(first) || fs::exists(second));
}

TEST(TempFolder, LiesWhereTmpdirSays) {
  const TempFolder outer;
  const char* before = std::getenv("TMPDIR");
  const auto kept = before ? std::optional<std::string>(before) : std::nullopt;
  ::setenv("TMPDIR", outer.path().c_str(), 1);
  fs::path inner = TempFolder().path();
  kept ? ::setenv("TMPDIR", kept->c_str(), 1) : ::unsetenv("TMPDIR");
  EXPECT_EQ(inner.parent_path(), outer.path());
  EXPECT_THROW(TempFolder(outer.path() / "none"), std::system_error);
}

TEST(TempFolder, AForkedChildLeavesItAlone) {
  auto folder = std::make_unique<TempFolder>();
  const pid_t child = ::fork();
  if (child == 0) {
    folder.reset();
    ::_exit(0);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(fs::exists(folder->path()));
}

// A failure in the middle of a test leaves nothing.
fs::path path_of_failed;
void fail_on_purpose() {
  const TempFolder folder;
  path_of_failed = folder.path();
  FAIL() << "on purpose";
}

TEST(TempFolder, GoesAfterAFailure) {
  EXPECT_FATAL_FAILURE(fail_on_purpose(), "on purpose");
  EXPECT_FALSE(path_of_failed.empty() || fs::exists(path_of_failed));
}

}  // namespace
}  // namespace lt2::test
