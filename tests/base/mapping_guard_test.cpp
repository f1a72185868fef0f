#include "base/mapping_guard.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>

#include "base/files.h"
#include "tests/support/temp_folder.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

// In a child, its standard error in `errors`: the exit status, or minus the signal it died of.
int status_of(const fs::path& errors, const std::function<void()>& act) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (!std::freopen(errors.c_str(), "w", stderr)) ::_exit(9);
    act();
    ::_exit(0);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

class MappingGuarded : public ::testing::Test {
 protected:
  void SetUp() override { std::ofstream(folder_ / "weights") << std::string(3 * 4096 + 5, 'w'); }
  test::TempFolder temporary_;
  fs::path folder_ = temporary_.path();
};

TEST_F(MappingGuarded, AFileCutShortIsNamed) {
  const auto path = folder_ / "weights";
  const int status = status_of(folder_ / "err", [&] {
    const MappedFile other(path), file(path);
    fs::resize_file(path, 4096);
    volatile uint8_t sum = file.data()[4095];
    sum = sum + file.data()[2 * 4096];
  });
  EXPECT_EQ(status, 1);
  EXPECT_EQ(read_file(folder_ / "err"),
            "error: " + path.string() +
                ": cannot be read any more: it was cut short while in use, or its disk fails. Restore it and start "
                "again\n");
}

TEST_F(MappingGuarded, OtherMemoryIsNotItsBusiness) {
  const auto path = folder_ / "weights";
  EXPECT_EQ(status_of(folder_ / "err",
                      [&] {
                        { const MappedFile gone(path); }
                        const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
                        auto* bytes =
                            static_cast<volatile char*>(::mmap(nullptr, 8192, PROT_READ, MAP_PRIVATE, file, 0));
                        fs::resize_file(path, 0);
                        ::_exit(bytes[4096]);
                      }),
            -SIGBUS);
  EXPECT_EQ(read_file(folder_ / "err"), "");
}

}  // namespace
}  // namespace lt2
