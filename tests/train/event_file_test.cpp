// TensorBoard's format, byte by byte: golden records come from an independent encoder in Python (struct, a
// bitwise CRC).
#include "train/event_file.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <map>

#include "base/error.h"
#include "base/files.h"
#include "tests/support/error_of.h"
#include "tests/support/temp_folder.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

std::string hex(std::string_view bytes) {
  std::string out;
  for (const char byte : bytes) out += fmt::format("{:02x}", static_cast<uint8_t>(byte));
  return out;
}

TEST(Crc32c, KnownVectors) {
  std::string ascending;
  for (int i = 0; i < 32; ++i) ascending += static_cast<char>(i);
  EXPECT_EQ(crc32c(""), 0u);
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
  // RFC 3720, B.4.
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(crc32c(ascending), 0x46dd794eu);
}

constexpr double kTime = 1700000000.5;

TEST(EventRecord, GoldenBytes) {
  EXPECT_EQ(hex(event_record(version_event(kTime))),
            "1800000000000000a37f4b220900002040fc54d9411a0d627261696e2e4576656e743a322b353110");
  EXPECT_EQ(hex(event_record(start_event(kTime, 301))),
            "100000000000000095fbfe180900002040fc54d94110ad023a020801596f3f79");
  EXPECT_EQ(
      hex(event_record(scalars_event(kTime, 70000, {{"loss/out", 2.5}, {"optim/grad_norm/layers.11", 0.1}}))),
      "420000000000000079f36eaa0900002040fc54d94110f0a2042a330a0f0a086c6f73732f6f757415000020400a200a196f7074696d2f"
      "677261645f6e6f726d2f6c61796572732e313115cdcccc3d283bc588");
}

// A reader of the format, independent of the writer's code.
struct Event {
  double wall_time = 0;
  int64_t step = 0, session_status = 0;
  std::string version;
  std::map<std::string, float> values;
};

class Bytes {
 public:
  explicit Bytes(std::string_view bytes) : rest_(bytes) {}
  bool empty() const { return rest_.empty(); }
  std::string_view take(uint64_t count) {
    LT2_CHECK(count <= rest_.size(), "cut off");
    const auto out = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return out;
  }
  template <typename T>
  T fixed() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = fixed<uint8_t>();
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  }
  std::string_view bytes() { return take(varint()); }

 private:
  std::string_view rest_;
};

uint32_t unmasked(uint32_t crc) {
  const uint32_t rotated = crc - 0xa282ead8u;
  return (rotated >> 17) | (rotated << 15);
}

Event decode(std::string_view data) {
  Event event;
  for (Bytes fields(data); !fields.empty();) {
    const auto key = fields.varint();
    if (key == (1 << 3 | 1))
      event.wall_time = fields.fixed<double>();
    else if (key == (2 << 3 | 0))
      event.step = static_cast<int64_t>(fields.varint());
    else if (key == (3 << 3 | 2))
      event.version = fields.bytes();
    else if (key == (7 << 3 | 2)) {
      Bytes session(fields.bytes());
      EXPECT_EQ(session.varint(), 1u << 3);
      event.session_status = static_cast<int64_t>(session.varint());
    } else if (key == (5 << 3 | 2)) {
      for (Bytes summary(fields.bytes()); !summary.empty();) {
        EXPECT_EQ(summary.varint(), 1u << 3 | 2);
        Bytes value(summary.bytes());
        EXPECT_EQ(value.varint(), 1u << 3 | 2);
        const std::string tag(value.bytes());
        EXPECT_EQ(value.varint(), 2u << 3 | 5);
        event.values[tag] = value.fixed<float>();
      }
    } else {
      ADD_FAILURE() << "key " << key;
      return event;
    }
  }
  return event;
}

std::vector<Event> read_events(const fs::path& path) {
  const auto content = read_file(path);
  std::vector<Event> events;
  for (Bytes file(content); !file.empty();) {
    const auto length = file.take(8);
    EXPECT_EQ(unmasked(file.fixed<uint32_t>()), crc32c(length));
    const auto data = file.take(Bytes(length).fixed<uint64_t>());
    EXPECT_EQ(unmasked(file.fixed<uint32_t>()), crc32c(data));
    events.push_back(decode(data));
  }
  return events;
}

class EventFileTest : public ::testing::Test {
 protected:
  test::TempFolder temporary_;
  fs::path root_ = temporary_.path();
};

TEST_F(EventFileTest, HoldsWhatWasWrittenAtOnce) {
  EventFile file(root_ / "a" / "tensorboard", 0);
  const auto name = file.path().filename().string();
  EXPECT_TRUE(name.starts_with("events.out.tfevents.") && name.ends_with(".lt2.0")) << name;
  file.write(1, {{"loss/out", 5.25}, {"speed/wps", 1234.5}});
  file.write(int64_t{1} << 40, {{"loss/out", NAN}, {"a", 1e300}, {"b", -INFINITY}, {std::string(300, 'x'), -0.5}});
  const auto events = read_events(file.path());  // the file is still open
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events[0].version, "brain.Event:2");
  EXPECT_NEAR(events[0].wall_time, static_cast<double>(std::time(nullptr)), 60);
  EXPECT_EQ(events[1].session_status, 1);
  EXPECT_EQ(events[1].step, 1);
  EXPECT_EQ(events[2].step, 1);
  EXPECT_EQ(events[2].values, (std::map<std::string, float>{{"loss/out", 5.25f}, {"speed/wps", 1234.5f}}));
  EXPECT_EQ(events[3].step, int64_t{1} << 40);
  EXPECT_TRUE(std::isnan(events[3].values.at("loss/out")));
  EXPECT_EQ(events[3].values.at("a"), std::numeric_limits<float>::max());
  EXPECT_EQ(events[3].values.at("b"), -std::numeric_limits<float>::infinity());
  EXPECT_EQ(events[3].values.at(std::string(300, 'x')), -0.5f);
}

// What TensorBoard does with the files of a folder: in the order of their names; a start drops its step and later ones.
std::map<int64_t, float> merged_loss(const fs::path& folder) {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(folder)) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  std::map<int64_t, float> loss;
  for (const auto& path : paths) {
    for (const auto& event : read_events(path)) {
      if (event.session_status == 1) loss.erase(loss.lower_bound(event.step), loss.end());
      if (event.values.count("loss")) loss[event.step] = event.values.at("loss");
    }
  }
  return loss;
}

TEST_F(EventFileTest, AResumedRunSupersedesTheStepsAfterItsCheckpoint) {
  const auto run = [&](int64_t resumed, int64_t last, double loss) {
    EventFile file(root_, resumed);
    for (int64_t step = resumed + 1; step <= last; ++step) file.write(step, {{"loss", loss}});
  };
  run(0, 7, 3);  // all within one second: names must differ and stay in order
  run(4, 5, 2);
  run(5, 6, 1);
  EXPECT_EQ(merged_loss(root_), (std::map<int64_t, float>{{1, 3}, {2, 3}, {3, 3}, {4, 3}, {5, 2}, {6, 1}}));
}

TEST_F(EventFileTest, ComesAfterEveryOlderFileWhateverTheClockSays) {
  fs::create_directories(root_);
  for (const char* name : {"events.out.tfevents.9000000000.other.lt2.0", "events.out.tfevents.99999999999999999999.x",
                           "events.out.tfevents.abc", "events.out.tfevents.", "notes.txt"}) {
    std::ofstream(root_ / name) << "old";
  }
  const EventFile file(root_, 0);
  EXPECT_TRUE(file.path().filename().string().starts_with("events.out.tfevents.9000000001.")) << file.path();
}

TEST_F(EventFileTest, FailuresNameTheFile) {
  std::ofstream(root_ / "run") << "a file, not a folder";
  const auto error = test::error_of([&] { EventFile file(root_ / "run" / "tensorboard", 0); });
  EXPECT_NE(error.find((root_ / "run").string()), std::string::npos) << error;
}

}  // namespace
}  // namespace lt2
