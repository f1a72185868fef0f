// Several ranks of a small shell script: what they are told, how one's failure ends the others.
#include "distributed/local_launch.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>

#include "base/files.h"
#include "tests/support/processes.h"
#include "tests/support/temp_folder.h"

namespace lt2 {
namespace {

class LocalLaunchTest : public ::testing::Test {
 protected:
  // In a process of its own, because it takes the signals over; what it says is in root_/err.
  std::optional<int> status_of(const LocalLaunch& launch) {
    const pid_t child = ::fork();
    if (child == 0) {
      if (::chdir(root_.c_str()) != 0 || !std::freopen("err", "w", stderr)) ::_exit(99);
      ::_exit(launch_local(launch));
    }
    return test::exit_status(child, 30);
  }
  static std::vector<std::string> shell(const std::string& script) { return {"sh", "-c", script}; }
  std::string err() { return read_file(root_ / "err"); }
  bool says(const std::string& part) { return err().find(part) != std::string::npos; }

  test::TempFolder temporary_;
  std::filesystem::path root_ = temporary_.path();
};

TEST_F(LocalLaunchTest, RanksKnowTheirNumberAndTheirPlace) {
  const auto script =
      "echo $RANK $LOCAL_RANK $WORLD_SIZE $LOCAL_WORLD_SIZE ${MASTER_PORT-none} >said.$RANK; "
      "echo $MASTER_ADDR >>place; stat -c %a ${MASTER_ADDR%/*} >>mode";
  EXPECT_EQ(status_of({.command = shell(script), .processes = 3}), 0) << err();
  for (int rank = 0; rank < 3; ++rank)
    EXPECT_EQ(read_file(root_ / fmt::format("said.{}", rank)), fmt::format("{0} {0} 3 3 none\n", rank));
  const auto places = read_file(root_ / "place");
  const auto place = places.substr(0, places.find('\n') + 1);
  EXPECT_EQ(places, place + place + place);
  EXPECT_EQ(read_file(root_ / "mode"), "700\n700\n700\n");
  EXPECT_FALSE(std::filesystem::exists(place.substr(0, place.find_last_of('/'))));
}

TEST_F(LocalLaunchTest, AFailureEndsTheOthersAndIsNamed) {
  EXPECT_EQ(status_of({.command = shell("[ $RANK = 1 ] && exit 3; exec sleep 60"), .processes = 2}), 1) << err();
  EXPECT_TRUE(says("rank 1 ended with status 3; the others were stopped")) << err();
  EXPECT_EQ(status_of({.command = shell("[ $RANK = 0 ] && kill -KILL $$; exec sleep 60"), .processes = 2}), 1);
  EXPECT_TRUE(says("rank 0 was killed by signal 9")) << err();
}

TEST_F(LocalLaunchTest, AFailedJobStartsAgainAsOftenAsAllowed) {
  const auto script = "echo x >>lives.$RANK; [ $RANK = 1 ] && exit 1; exec sleep 60";
  EXPECT_EQ(status_of({.command = shell(script), .processes = 2, .max_restarts = 2}), 1) << err();
  EXPECT_EQ(read_file(root_ / "lives.1"), "x\nx\nx\n");
  EXPECT_TRUE(says("Starting again from the last checkpoint (2 of 2)")) << err();
  // The second life succeeds.
  const auto once = "[ -e again ] && exit 0; [ $RANK = 1 ] && touch again && exit 1; exec sleep 60";
  EXPECT_EQ(status_of({.command = shell(once), .processes = 2, .max_restarts = 2}), 0) << err();
}

TEST_F(LocalLaunchTest, LinesOfTheOtherRanksBeginWithTheirNumber) {
  EXPECT_EQ(status_of({.command = shell("echo from $RANK >&2"), .processes = 2}), 0) << err();
  EXPECT_TRUE(says("rank 1: from 1")) << err();
  EXPECT_FALSE(says("rank 0: ")) << err();
}

TEST_F(LocalLaunchTest, AProgramThatIsNotThereIsNamed) {
  EXPECT_EQ(status_of({.command = {"/no/such/program"}, .processes = 1}), 1);
  EXPECT_TRUE(says("cannot run /no/such/program: No such file or directory")) << err();
  EXPECT_TRUE(says("rank 0 ended with status 127")) << err();
}

}  // namespace
}  // namespace lt2
