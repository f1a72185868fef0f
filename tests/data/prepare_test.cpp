#include "data/prepare.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/files.h"
#include "base/units.h"
#include "data/json_line.h"
#include "data/loader.h"
#include "tests/support/error_of.h"
#include "tests/support/temp_folder.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

using Files = std::map<std::string, std::string>;  // name -> content

class PrepareTest : public ::testing::Test {
 protected:
  PrepareTest() { fs::create_directories(root_ / "in"); }
  // Much is made safe on the disk here, which costs nothing in memory.
  static fs::path fast_folder() {
    const bool free = std::getenv("TMPDIR") == nullptr && ::access("/dev/shm", W_OK) == 0;
    return free ? fs::path("/dev/shm") : fs::temp_directory_path();
  }

  void write(const std::string& name, const std::string& content) const {
    fs::create_directories((root_ / "in" / name).parent_path());
    std::ofstream(root_ / "in" / name, std::ios::binary) << content;
  }
  static std::string line(int number, size_t length = 0) {
    return fmt::format("{{\"text\": \"{:07}{}\"}}\n", number, std::string(length, 'x'));
  }
  // Lines of many lengths, numbered from `first`.
  static std::string numbered(int first, int count, size_t longest = 0) {
    std::string lines;
    for (int i = first; i < first + count; ++i)
      lines += line(i, longest == 0 ? 0 : static_cast<size_t>(i) * 7919 % longest);
    return lines;
  }

  PrepareConfig config(int64_t nchunks = 3, int64_t validation_lines = 2) const {
    PrepareConfig config;
    config.in = (root_ / "in").string();
    config.out = (root_ / "out").string();
    config.name = "n";
    config.nchunks = nchunks;
    config.validation_lines = validation_lines;
    return config;
  }
  static PrepareLimits limits(uint64_t memory = 1 << 20) {
    PrepareLimits limits;
    limits.memory = memory;
    return limits;
  }

  // The .jsonl files of the finished folder.
  Files output() const {
    Files files;
    for (const auto& entry : fs::directory_iterator(root_ / "out"))
      if (entry.path().extension() == ".jsonl") files[entry.path().filename().string()] = read_file(entry.path());
    return files;
  }
  Files made(const PrepareConfig& config, const PrepareLimits& limits) const {
    fs::remove_all(root_ / "out");
    prepare_data(config, limits);
    EXPECT_FALSE(fs::exists(root_ / "out.prepare"));
    return output();
  }
  static std::vector<std::string> lines_of(const std::string& content) {
    std::vector<std::string> lines;
    for (size_t begin = 0; begin < content.size();) {
      const size_t end = content.find('\n', begin);
      EXPECT_NE(end, std::string::npos) << "no newline at the end";
      lines.push_back(content.substr(begin, end + 1 - begin));
      begin = end + 1;
    }
    return lines;
  }
  static std::vector<std::string> sorted_lines(const Files& files) {
    std::vector<std::string> all;
    for (const auto& [name, content] : files)
      for (auto& text : lines_of(content)) all.push_back(std::move(text));
    std::sort(all.begin(), all.end());
    return all;
  }

  // The message without the folder of the test.
  template <typename Call>
  std::string message_of(Call&& call) const {
    auto message = test::error_of(call);
    const std::string folder = root_.string() + "/";
    for (size_t at; (at = message.find(folder)) != std::string::npos;) message.erase(at, folder.size());
    return message;
  }
  std::string error_of(const PrepareConfig& config, const PrepareLimits& limits = PrepareTest::limits()) const {
    return message_of([&] { prepare_data(config, limits); });
  }

  test::TempFolder temporary_{fast_folder()};
  fs::path root_ = temporary_.path();
};

// The bytes may never change: who prepares the same data again gets the same batches.
TEST_F(PrepareTest, TheOrderIsFixed) {
  write("b.jsonl", numbered(4, 4));
  write("a.jsonl", numbered(0, 4));
  EXPECT_EQ(made(config(2, 1), limits()), (Files{{"n.chunk.00.jsonl", line(5) + line(6) + line(2)},
                                                 {"n.chunk.01.jsonl", line(0) + line(7) + line(4)},
                                                 {"n.val.jsonl", line(1) + line(3)}}));
}

TEST_F(PrepareTest, MemoryDoesNotMatter) {
  write("a.jsonl", numbered(0, 300, 7000));
  write("b/c.jsonl", numbered(300, 100, 100));
  const Files expected = made(config(), limits(1 << 30));
  std::string all = numbered(0, 300, 7000) + numbered(300, 100, 100);
  EXPECT_EQ(sorted_lines(expected), sorted_lines({{"", all}}));
  for (const uint64_t memory : {64 << 10, 100 << 10, 1 << 20, 4 << 20}) {
    int splits = 0;
    PrepareLimits small = limits(memory);
    small.after_step = [&](std::string_view step) { splits += step == "split"; };
    EXPECT_TRUE(made(config(), small) == expected) << memory;
    // A megabyte does not fit into two buckets of 48 KiB.
    EXPECT_TRUE(memory > 64 << 10 || splits > 4) << splits;
  }
}

TEST_F(PrepareTest, SeedAndInputsMatter) {
  write("a.jsonl", numbered(0, 100));
  PrepareConfig other = config();
  const Files expected = made(other, limits());
  other.seed = 43;
  const Files reseeded = made(other, limits());
  EXPECT_NE(reseeded, expected);
  EXPECT_EQ(sorted_lines(reseeded), sorted_lines(expected));
  // Where the lines are cut into files does not matter, nor do blank lines, line ends and the name of the folder.
  fs::remove(root_ / "in/a.jsonl");
  std::string windows = numbered(60, 40);
  for (size_t at = 0; (at = windows.find('\n', at)) != std::string::npos; at += 2) windows.replace(at, 1, "\r\n");
  write("x/1.jsonl", "\n \t\n" + numbered(0, 60) + "\n\n");
  write("x/2.jsonl", windows.substr(0, windows.size() - 2));
  write("x/3.jsonl", "");
  write("x/3.txt", "");
  write("x/notes.md", "not a document");
  const auto report = [&] {
    fs::remove_all(root_ / "out");
    return prepare_data(config(), limits());
  }();
  EXPECT_EQ(output(), expected);
  EXPECT_EQ(report.documents, 100u);
  EXPECT_EQ(report.blank_lines, 5u);
}

TEST_F(PrepareTest, TheFirstLinesOfEveryChunkAreHeldBack) {
  write("a.jsonl", numbered(0, 100));
  const Files none = made(config(3, 0), limits());
  ASSERT_EQ(none.size(), 3u);
  EXPECT_FALSE(none.contains("n.val.jsonl"));
  const auto chunk = [&](int i) { return lines_of(none.at(fmt::format("n.chunk.{:02}.jsonl", i))); };
  EXPECT_EQ(chunk(0).size(), 34u);
  EXPECT_EQ(chunk(1).size(), 33u);
  const Files held = made(config(3, 5), limits());
  ASSERT_EQ(held.size(), 4u);
  std::string validation;
  for (int i = 0; i < 3; ++i) {
    const auto lines = chunk(i);
    std::string rest;
    for (size_t n = 0; n < lines.size(); ++n) (n < 5 ? validation : rest) += lines[n];
    EXPECT_EQ(held.at(fmt::format("n.chunk.{:02}.jsonl", i)), rest);
  }
  EXPECT_EQ(held.at("n.val.jsonl"), validation);
}

TEST_F(PrepareTest, FewLinesGiveAHundredthForValidation) {
  const auto held = [&](int lines, int64_t wanted) {
    write("a.jsonl", numbered(0, lines));
    const Files files = made(config(2, wanted), limits());
    return files.contains("n.val.jsonl") ? lines_of(files.at("n.val.jsonl")).size() : 0;
  };
  EXPECT_EQ(held(400, 199), 398u);  // 2 * (199 + 1) lines: one stays in each chunk
  EXPECT_EQ(held(399, 199), 3u);    // of chunks of 200 and 199
  EXPECT_EQ(held(600, 300), 6u);
  EXPECT_EQ(held(600, INT64_MAX), 6u);
  EXPECT_EQ(held(150, 100), 0u);
}

TEST_F(PrepareTest, AChunkIsNeverEmpty) {
  write("a.jsonl", numbered(0, 3));
  EXPECT_EQ(error_of(config(4)), "in=in: 3 documents cannot fill 4 chunks. Set nchunks=3 or less");
  EXPECT_FALSE(fs::exists(root_ / "out.prepare"));
  EXPECT_EQ(made(config(3), limits()).size(), 3u);
  write("a.jsonl", "\n\n");
  fs::remove_all(root_ / "out");
  EXPECT_EQ(error_of(config(1)), "in=in: 0 documents cannot fill 1 chunks. Give other inputs");
}

TEST_F(PrepareTest, BadLinesStopOrAreCounted) {
  write("a.jsonl", line(0) + "{\"text\": 1}\n" + line(1) + "no json\n" + line(2));
  PrepareConfig lenient = config(1);
  EXPECT_EQ(error_of(lenient),
            "in/a.jsonl:2: \"text\" is a number; expected a string (on_bad_line=skip leaves such lines out)");
  // The work of the stopped command is of no use, and not in the way.
  lenient.on_bad_line = "skip";
  const auto report = prepare_data(lenient, limits());
  EXPECT_EQ(report.bad_lines, 2u);
  EXPECT_EQ(report.documents, 3u);
  EXPECT_EQ(sorted_lines(output()), (std::vector<std::string>{line(0), line(1), line(2)}));
}

TEST_F(PrepareTest, BrokenUtf8IsKeptAndCounted) {
  write("a.jsonl",
        "{\"text\": \"a\xff"
        "b\\ud800\"}\n");
  write("b.txt", "\xc3(");
  const auto report = prepare_data(config(1, 0), limits());
  EXPECT_EQ(report.invalid_utf8, 3u);
  EXPECT_EQ(sorted_lines(output()), (std::vector<std::string>{"{\"text\": \"a\xff"
                                                              "b\\ud800\"}\n",
                                                              "{\"text\": \"\xc3(\"}\n"}));
}

// ---- stopped and repeated ----

class Stopped : public PrepareTest {
 protected:
  Stopped() {
    write("a.jsonl", numbered(0, 60, 2000));
    write("b.jsonl", numbered(60, 60, 2000));
    write("c.txt", "a text\nof two lines");
  }
  // Ends at its step number `stop`; the steps until then, whether it came to the end.
  std::pair<std::vector<std::string>, bool> run_until(int stop, uint64_t memory) const {
    std::vector<std::string> steps;
    PrepareLimits stopping = limits(memory);
    stopping.checkpoint_bytes = 30000;
    stopping.after_step = [&](std::string_view step) {
      steps.emplace_back(step);
      LT2_CHECK(static_cast<int>(steps.size()) <= stop, "stopped");
    };
    try {
      prepare_data(config(), stopping);
    } catch (const Error& error) {
      EXPECT_STREQ(error.what(), "stopped");
      return {steps, false};
    }
    return {steps, true};
  }
  // A killed process leaves more than it has accounted for.
  void add_rubbish() const {
    if (!fs::exists(root_ / "out.prepare")) return;
    std::vector<fs::path> files;
    for (const auto& entry : fs::recursive_directory_iterator(root_ / "out.prepare"))
      if (entry.is_regular_file() && entry.path().filename() != "state.json") files.push_back(entry.path());
    for (const auto& path : files) std::ofstream(path, std::ios::binary | std::ios::app) << "half a li";
    std::ofstream(root_ / "out.prepare/.state.json.tmp-0123456789abcdef") << "{";
  }
};

TEST_F(Stopped, AtEveryStepAndRepeated) {
  const Files expected = made(config(), limits());
  std::set<std::string> seen;
  for (int stop = 0;; ++stop) {
    fs::remove_all(root_ / "out");
    const auto [steps, complete] = run_until(stop, 64 << 10);
    seen.insert(steps.begin(), steps.end());
    if (complete) break;
    EXPECT_EQ(fs::exists(root_ / "out"), steps.back() == "rename");
    add_rubbish();
    // Another memory limit may continue.
    const auto report = prepare_data(config(), limits(stop % 2 ? 64 << 10 : 1 << 20));
    EXPECT_TRUE(output() == expected) << stop << " " << steps.back();
    EXPECT_EQ(report.documents, 121u);
    EXPECT_EQ(report.validation_documents, 6u);
    EXPECT_FALSE(fs::exists(root_ / "out.prepare"));
  }
  EXPECT_EQ(seen, (std::set<std::string>{"start", "checkpoint", "read", "split", "split saved", "bucket", "validation",
                                         "manifest", "rename"}));
}

TEST_F(Stopped, OverAndOver) {
  const Files expected = made(config(), limits());
  fs::remove_all(root_ / "out");
  int runs = 0;
  while (!run_until(runs % 5, 64 << 10).second) {
    add_rubbish();
    ASSERT_LT(++runs, 100);
  }
  EXPECT_TRUE(output() == expected);
  EXPECT_GT(runs, 5);
}

// A process that is really gone, with its lock.
TEST_F(Stopped, KilledForGood) {
  const Files expected = made(config(), limits());
  fs::remove_all(root_ / "out");
  const pid_t child = ::fork();
  if (child == 0) {
    PrepareLimits dying = limits(64 << 10);
    dying.checkpoint_bytes = 30000;
    dying.after_step = [](std::string_view step) {
      if (step == "split") ::raise(SIGKILL);
    };
    prepare_data(config(), dying);
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status));
  {
    const FileLock other(root_ / "out.prepare/lock", "");
    const auto error = error_of(config());
    EXPECT_EQ(error.rfind("out: another process prepares this folder (held by process ", 0), 0u) << error;
  }
  prepare_data(config(), limits());
  EXPECT_TRUE(output() == expected);
}

TEST_F(Stopped, ChangedInputsStartAgainOtherSettingsAreRefused) {
  EXPECT_FALSE(run_until(4, 64 << 10).second);
  PrepareConfig other = config();
  other.seed = 7;
  EXPECT_EQ(
      error_of(other),
      "out.prepare: unfinished work with other settings: seed was 42, now it is 7. Repeat that command, or remove "
      "the folder");
  write("b.jsonl", numbered(500, 10));
  prepare_data(config(), limits());
  const Files continued = output();
  EXPECT_TRUE(made(config(), limits()) == continued);
  EXPECT_EQ(sorted_lines(continued).size(), 71u);
}

TEST_F(Stopped, ADamagedStateIsAnError) {
  EXPECT_FALSE(run_until(4, 64 << 10).second);
  const fs::path path = root_ / "out.prepare/state.json";
  const std::string state = read_file(path);
  const auto error_with = [&](const std::string& content) {
    std::ofstream(path, std::ios::binary) << content;
    return error_of(config());
  };
  const std::string damaged = "out.prepare/state.json: damaged, or not made here. Remove out.prepare and start again";
  for (const char* content : {"", "{", "[]", "{}", "{\"job\": 3}", "{\"job\": {\"inputs\": {}}}"})
    EXPECT_EQ(error_with(content), damaged) << content;
  const size_t job = state.find("\"reading\"");
  for (const auto& [rest, what] : {std::pair{"\"reading\": 3}", "reading: expected true or false, found number 3"},
                                   {"\"reading\": true}", "no \"input\" here"}}) {
    const auto error = error_with(state.substr(0, job) + rest);
    EXPECT_NE(error.find(what), std::string::npos) << error;
    EXPECT_NE(error.find("damaged"), std::string::npos) << error;
  }
  std::string lines = state;
  lines.insert(lines.find("\"input\": ") + 9, "9");
  EXPECT_NE(error_with(lines).find("damaged"), std::string::npos);
  // A bucket shorter than it was.
  std::ofstream(path, std::ios::binary) << state;
  for (const auto& entry : fs::directory_iterator(root_ / "out.prepare/buckets")) fs::resize_file(entry.path(), 1);
  EXPECT_NE(error_of(config()).find("the file has been changed since"), std::string::npos);
}

// ---- folders that are there already ----

TEST_F(PrepareTest, AFinishedFolderIsKept) {
  write("a.jsonl", numbered(0, 100));
  write("b.jsonl", numbered(100, 100));
  const Files expected = made(config(), limits());
  const auto again = prepare_data(config(), limits());
  EXPECT_TRUE(again.was_done);
  EXPECT_EQ(again.documents, 200u);
  EXPECT_EQ(again.validation_documents, 6u);
  const std::string front = "out=out: this folder was made from other inputs or settings: ",
                    back = ". Remove it, or name another";
  PrepareConfig other = config(4);
  EXPECT_EQ(error_of(other), front + "nchunks was 3, now it is 4" + back);
  other = config();
  other.in = (root_ / "in/a.jsonl").string();
  EXPECT_EQ(error_of(other), front + "in/b.jsonl was an input then" + back);
  write("aa.jsonl", numbered(200, 1));
  EXPECT_EQ(error_of(config()), front + "in/aa.jsonl was no input then" + back);
  fs::remove(root_ / "in/aa.jsonl");
  write("a.jsonl", numbered(0, 99));
  EXPECT_EQ(error_of(config()), front + "in/a.jsonl has changed since" + back);
  EXPECT_EQ(output(), expected);
}

TEST_F(PrepareTest, AFolderThatLostAFileIsAnError) {
  write("a.jsonl", numbered(0, 100));
  made(config(), limits());
  fs::resize_file(root_ / "out/n.chunk.01.jsonl", 10);
  EXPECT_EQ(error_of(config()),
            "out/n.chunk.01.jsonl: missing or changed since it was made. Remove out to make it again");
  std::ofstream(root_ / "out/prepare.json") << "{}";
  EXPECT_EQ(error_of(config()), "out/prepare.json: damaged, or not made here. Remove out and start again");
}

TEST_F(PrepareTest, ForeignFilesAreNotTouched) {
  write("a.jsonl", numbered(0, 100));
  fs::create_directories(root_ / "out");
  std::ofstream(root_ / "out/thesis.txt") << "all of it";
  EXPECT_EQ(error_of(config()),
            "out=out: this folder holds files that are not from here (thesis.txt, ...). Name a new or an empty folder, "
            "for example out/n_shuffled");
  EXPECT_EQ(read_file(root_ / "out/thesis.txt"), "all of it");
  fs::remove(root_ / "out/thesis.txt");
  fs::create_directories(root_ / "out.prepare");
  std::ofstream(root_ / "out.prepare/thesis.txt") << "all of it";
  EXPECT_EQ(
      error_of(config()),
      "out.prepare: needed for the work, but it holds files that are not from here (thesis.txt). Name another out=");
  fs::remove_all(root_ / "out.prepare");
  prepare_data(config(), limits());  // an empty folder is as good as none
  EXPECT_EQ(sorted_lines(output()).size(), 100u);
  PrepareConfig file = config();
  file.out = (root_ / "in/a.jsonl").string();
  EXPECT_EQ(error_of(file), "out=in/a.jsonl: expected a folder, found a regular file");
}

TEST_F(PrepareTest, TheResultMayLieAmongTheInputs) {
  write("a.jsonl", numbered(0, 100));
  PrepareConfig inside = config();
  inside.out = (root_ / "in/shuffled/").string();
  prepare_data(inside, limits());
  EXPECT_TRUE(prepare_data(inside, limits()).was_done);
  EXPECT_TRUE(fs::exists(root_ / "in/shuffled/n.val.jsonl"));
}

// ---- what cannot be done ----

TEST_F(PrepareTest, ArgumentsAreCheckedFirst) {
  write("a.jsonl", numbered(0, 100));
  write("b.bin", "x");
  const auto error_with = [&](auto&& change) {
    PrepareConfig changed = config();
    change(changed);
    return error_of(changed);
  };
  using Config = PrepareConfig&;
  EXPECT_TRUE(error_with([](Config c) { c.in = ""; }).starts_with("data prepare: in=PATH[,PATH...] is required"));
  EXPECT_TRUE(error_with([](Config c) { c.out = ""; }).starts_with("data prepare: out=DIR is required"));
  EXPECT_TRUE(error_with([](Config c) { c.name = ""; }).starts_with("data prepare: name=NAME is required"));
  for (const char* name : {"a/b", "..", ".a", "a b", "a\n", "x.chunk", "x.chunk.y"})
    EXPECT_NE(error_with([&](Config c) { c.name = name; }).find("expected letters, digits"), std::string::npos) << name;
  EXPECT_EQ(error_with([&](Config c) { c.in = (root_ / "none").string(); }), "in=none: no such file or folder: none");
  EXPECT_EQ(error_with([&](Config c) { c.in += "," + (root_ / "in/a.jsonl").string(); }),
            "in=in,in/a.jsonl: in/a.jsonl is named twice");
  EXPECT_EQ(error_with([&](Config c) { c.in += ","; }),
            "in=in,: an empty path; give paths with one comma between them");
  EXPECT_EQ(error_with([&](Config c) { c.in += "/b.bin"; }),
            "in=in/b.bin: expected a .txt, .jsonl, .jsonl.gz, .jsonl.zst or .parquet file");
  EXPECT_TRUE(error_with([](Config c) { c.out = "/proc/x/y"; }).find("cannot create the folder /proc/x/y.prepare") !=
              std::string::npos);
  EXPECT_TRUE(error_of(config(), limits(1000)).find("at least 64.0 KiB are needed") != std::string::npos);
  EXPECT_FALSE(fs::exists(root_ / "out"));
}

// Runs in a child with its own mounts: 0 when all is well, 77 where mounting is not allowed.
int prepare_on_small_disk(const fs::path& disk, PrepareConfig config, PrepareLimits limits) {
  const bool root = ::geteuid() == 0;
  const std::string map = "0 " + std::to_string(::geteuid()) + " 1";
  if (::unshare(root ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER) != 0) return 77;
  if (!root) std::ofstream("/proc/self/uid_map") << map;
  if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return 77;
  fs::create_directories(disk);
  config.out = (disk / "out").string();
  const auto message = [&]() -> std::string { return test::error_of([&] { prepare_data(config, limits); }); };
  const auto mount_of = [&](const char* size, unsigned long flags) {
    return ::mount("lt2", disk.c_str(), "tmpfs", flags, size) == 0;
  };
  if (!mount_of("size=100k", 0)) return 77;
  if (message().find("Free some space, or write to another disk") == std::string::npos) return 1;
  // Enough for the inputs, too little for the work.
  if (!mount_of("size=512k", MS_REMOUNT)) return 77;
  const std::string full = message();
  if (full.find("No space left on device") == std::string::npos ||
      full.find("continues where it stopped") == std::string::npos)
    return 2;
  if (fs::exists(config.out)) return 3;
  if (!mount_of("size=8m", MS_REMOUNT)) return 77;
  if (!message().empty()) return 4;
  return fs::exists(disk / "out/n.val.jsonl") && !fs::exists(disk / "out.prepare") ? 0 : 5;
}

TEST_F(PrepareTest, AFullDiskIsSaidAndTheWorkContinues) {
  write("a.jsonl", numbered(0, 400, 2000));
  PrepareLimits small = limits(64 << 10);
  small.checkpoint_bytes = 100000;
  const pid_t child = ::fork();
  if (child == 0) ::_exit(prepare_on_small_disk(root_ / "disk", config(), small));
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "mounting a small disk is not allowed here";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

// What a newcomer types is what one rank reads whole.
TEST_F(PrepareTest, UnlessAskedForThereIsOneChunk) {
  write("a.jsonl", numbered(0, 64));
  PrepareConfig plain = config();
  plain.nchunks = PrepareConfig().nchunks;
  const auto files = made(plain, limits());
  EXPECT_EQ(files.count("n.chunk.00.jsonl"), 1u);
  EXPECT_EQ(files.size(), files.count("n.val.jsonl") + 1);
}

TEST_F(PrepareTest, TheLoaderReadsEveryDocumentOnce) {
  write("a.jsonl", numbered(0, 64));
  prepare_data(config(2, 1), limits());
  DataConfig loading;
  loading.root_dir = root_.string();
  loading.sources = {{"out", 1}};
  loading.batch_size = 1;
  loading.seq_len = 8;
  loading.prefetch_size = 1;
  loading.load_async = loading.add_eos = false;
  std::set<std::string> texts;
  for (int64_t rank = 0; rank < 2; ++rank) {
    Loader loader(loading, rank, 2);
    for (int i = 0; i < 31; ++i) {
      const Batch batch = loader.next();
      std::string text;
      for (size_t t = 1; t < 8; ++t) text += static_cast<char>(batch.tokens[2 * t]);
      EXPECT_TRUE(texts.insert(text).second) << text;
    }
  }
  for (const auto& held : lines_of(output().at("n.val.jsonl")))
    EXPECT_TRUE(texts.insert(text_of_json_line(held).text).second);
  EXPECT_EQ(texts.size(), 64u);
}

}  // namespace
}  // namespace lt2
