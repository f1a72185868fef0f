#include "data/line_source.h"

#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

#include "base/error.h"
#include "data/json_line.h"
#include "tests/support/error_of.h"
#include "tests/support/temp_folder.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

std::string gzip(const std::string& text) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, text.size()) + 32, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

// Text that hardly packs: `count` lines of random hex.
std::string noise(int count) {
  std::mt19937_64 random(1);
  std::string text;
  for (int i = 0; i < count; ++i) text += fmt::format("{:016x}{:016x}\n", random(), random());
  return text;
}

class LineSourceTest : public ::testing::Test {
 protected:
  fs::path write(const std::string& name, const std::string& content) const {
    std::ofstream(root_ / name, std::ios::binary) << content;
    return root_ / name;
  }

  using Lines = std::vector<std::string>;
  static Lines lines_of(const fs::path& path, uint64_t memory = 1 << 20) {
    const auto source = LineSource::open(path, memory);
    Lines lines;
    for (std::string_view line; source->next(line);) lines.emplace_back(line);
    std::string_view again;
    EXPECT_FALSE(source->next(again));
    return lines;
  }
  Lines lines(const std::string& name, const std::string& content, uint64_t memory = 1 << 20) const {
    return lines_of(write(name, content), memory);
  }
  // The message without the folder in front.
  std::string error(const std::string& name, const std::string& content, uint64_t memory = 1 << 20) const {
    const auto message = test::error_of([&] { lines(name, content, memory); }), front = root_.string() + "/";
    return message.starts_with(front) ? message.substr(front.size()) : message;
  }
  test::TempFolder temporary_;
  fs::path root_ = temporary_.path();
};

TEST_F(LineSourceTest, EveryLineEnd) {
  EXPECT_EQ(lines("a.jsonl", "one\ntwo\r\nthree\rfour\r\r\n\nfive"),
            (Lines{"one", "two", "three", "four", "", "", "five"}));
  EXPECT_EQ(lines("a.jsonl", "one\r\n"), Lines{"one"});
  EXPECT_EQ(lines("a.jsonl", "one\r"), Lines{"one"});
  EXPECT_EQ(lines("a.jsonl", "\n"), Lines{""});
  EXPECT_EQ(lines("a.jsonl", ""), Lines{});
}

TEST_F(LineSourceTest, AByteOrderMarkIsLeftOutInFrontOnly) {
  EXPECT_EQ(lines("a.jsonl", "\xef\xbb\xbfone\n\xef\xbb\xbftwo\n"), (Lines{"one", "\xef\xbb\xbftwo"}));
  EXPECT_EQ(lines("a.txt", "\xef\xbb\xbfone\n"), Lines{R"({"text": "one\n"})"});
}

// Blocks of 2 KiB: line ends, and both bytes of \r\n, come to lie on every side of their borders.
TEST_F(LineSourceTest, BordersOfBlocks) {
  for (const std::string end : {"\n", "\r\n", "\r"}) {
    std::string text;
    Lines expected;
    for (size_t i = 0; i < 300; ++i) {
      expected.emplace_back(i % 97, static_cast<char>('a' + i % 26));
      text += expected.back() + end;
    }
    for (size_t shift = 0; shift < 5; ++shift) {
      EXPECT_EQ(lines("a.jsonl", text, 64 << 10), expected);
      expected.front() += 'x';
      text = 'x' + text;
    }
  }
}

TEST_F(LineSourceTest, ALongLineGrowsTheBufferUpToTheLimit) {
  const std::string allowed(8 << 10, 'x'), longer = allowed + "x";
  EXPECT_EQ(lines("a.jsonl", "a\n" + allowed + "\nb", 64 << 10), (Lines{"a", allowed, "b"}));
  const std::string expected =
      "a.jsonl:2: longer than 8.0 KiB, an eighth of the memory limit; a document must fit several times. Raise "
      "--memory, or cut the document";
  EXPECT_EQ(error("a.jsonl", "a\n" + longer + "\nb", 64 << 10), expected);
  EXPECT_EQ(error("a.jsonl", "a\n" + std::string(1 << 20, 'x'), 64 << 10), expected);
  EXPECT_TRUE(error("a.txt", longer, 64 << 10).starts_with("a.txt: longer than 8.0 KiB"));
  // Escapes make it longer.
  EXPECT_TRUE(error("a.txt", std::string(4 << 10, '"'), 64 << 10).starts_with("a.txt: longer than"));
}

TEST_F(LineSourceTest, ATextFileIsOneDocument) {
  const std::string text = std::string("a\0b", 3) + "\"q\" \\ \b\f\r\n\t\x1f\x7f \xff\xc3 gr\xc3\xbc\xc3\x9f";
  const auto line = lines("a.txt", text);
  ASSERT_EQ(line.size(), 1u);
  EXPECT_EQ(line[0], "{\"text\": \"a\\u0000b\\\"q\\\" \\\\ \\b\\f\\r\\n\\t\\u001f\x7f \xff\xc3 gr\xc3\xbc\xc3\x9f\"}");
  EXPECT_EQ(text_of_json_line(line[0]).text, text);
  EXPECT_EQ(lines("a.txt", ""), Lines{""});
  EXPECT_EQ(lines("a.txt", " \r\n\t"), Lines{""});
}

TEST_F(LineSourceTest, PackedFilesOfSeveralParts) {
  const std::string text = noise(20000);
  const Lines expected = lines("a.jsonl", text);
  ASSERT_EQ(expected.size(), 20000u);
  for (const size_t cut : {size_t{0}, size_t{1}, text.size() / 3, text.size()}) {
    const std::string a = text.substr(0, cut), b = text.substr(cut);
    EXPECT_EQ(lines("a.jsonl.gz", gzip(a) + gzip(b) + gzip("")), expected);
    EXPECT_EQ(lines("a.jsonl.zst", zstd(a) + zstd(b) + zstd("")), expected);
  }
  EXPECT_EQ(lines("a.jsonl.gz", gzip("a\n") + std::string(1000, '\0')), Lines{"a"});
  const std::string skippable("\x50\x2a\x4d\x18\x03\0\0\0abc", 11);
  EXPECT_EQ(lines("a.jsonl.zst", skippable + zstd("a\n") + skippable), Lines{"a"});
}

// Much text from few packed bytes: what is left in the decompressor counts, not what is left in the file.
TEST_F(LineSourceTest, TextThatPacksWell) {
  std::string text;
  while (text.size() < 3 << 20) text += std::string(1023, 'a') + "\n";
  const Lines expected(text.size() / 1024, std::string(1023, 'a'));
  EXPECT_EQ(lines("a.jsonl.gz", gzip(text)), expected);
  EXPECT_EQ(lines("a.jsonl.zst", zstd(text)), expected);
}

TEST_F(LineSourceTest, CutOffAnywhereIsAnError) {
  const std::string text = noise(20), gz = gzip(text), zst = zstd(text);
  for (size_t size = 1; size < gz.size(); size += 13)
    EXPECT_EQ(
        error("a.jsonl.gz", gz.substr(0, size)),
        fmt::format("a.jsonl.gz: the gzip data end too early, at byte {}: the file is cut off. Fetch it again", size));
  for (size_t size = 1; size < zst.size(); size += 13)
    EXPECT_EQ(
        error("a.jsonl.zst", zst.substr(0, size)),
        fmt::format("a.jsonl.zst: the zstd data end too early, at byte {}: the file is cut off. Fetch it again", size));
  EXPECT_EQ(error("a.jsonl.gz", gz + gz.substr(0, 30)),
            fmt::format("a.jsonl.gz: the gzip data end too early, at byte {}: the file is cut off. Fetch it again",
                        gz.size() + 30));
  EXPECT_EQ(error("a.jsonl.gz", ""), "a.jsonl.gz: the file is empty, which is no gzip data");
  EXPECT_EQ(error("a.jsonl.zst", ""), "a.jsonl.zst: the file is empty, which is no zstd data");
}

TEST_F(LineSourceTest, DamagedDataIsAnErrorWithItsPlace) {
  EXPECT_TRUE(error("a.jsonl.gz", "plain text, not packed\n").starts_with("a.jsonl.gz: damaged gzip data at byte "));
  EXPECT_TRUE(error("a.jsonl.zst", "plain text, not packed\n").starts_with("a.jsonl.zst: damaged zstd data at byte "));
  EXPECT_TRUE(error("a.jsonl.gz", gzip("a\n") + "rubbish").starts_with("a.jsonl.gz: damaged gzip data at byte "));
  EXPECT_TRUE(error("a.jsonl.gz", gzip("a\n") + std::string(3, '\0') + gzip("b\n")).find("after a padding") !=
              std::string::npos);
  std::string gz = gzip(noise(100));
  gz[gz.size() / 2] = static_cast<char>(gz[gz.size() / 2] ^ 0x10);
  EXPECT_TRUE(error("a.jsonl.gz", gz).starts_with("a.jsonl.gz: damaged gzip data at byte ")) << error("a.jsonl.gz", gz);
  // The checksum at the end.
  std::string sum = gzip(noise(100));
  sum[sum.size() - 6] = static_cast<char>(sum[sum.size() - 6] ^ 1);
  EXPECT_NE(error("a.jsonl.gz", sum).find("incorrect data check"), std::string::npos);
}

TEST_F(LineSourceTest, AZstdWindowBeyondTheLimitIsAnError) {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, 25);
  ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0);
  std::string packed(1 << 16, '\0');
  const std::string text = "a\n";
  ZSTD_inBuffer in{text.data(), text.size(), 0};
  ZSTD_outBuffer out{packed.data(), packed.size(), 0};
  ZSTD_compressStream2(context, &out, &in, ZSTD_e_continue);
  EXPECT_EQ(ZSTD_compressStream2(context, &out, &in, ZSTD_e_end), 0u);
  ZSTD_freeCCtx(context);
  packed.resize(out.pos);
  EXPECT_EQ(lines("a.jsonl.zst", packed, 128 << 20), Lines{"a"});
  EXPECT_EQ(error("a.jsonl.zst", packed, 64 << 20),
            "a.jsonl.zst: a zstd frame needs a window of more than 16.0 MiB. Raise --memory to four times its window "
            "or more");
}

TEST_F(LineSourceTest, WhatCannotBeOpened) {
  EXPECT_THROW(lines_of(root_ / "none.jsonl"), Error);
  EXPECT_THROW(lines_of(root_ / "none.txt"), Error);
  fs::create_directory(root_ / "folder.jsonl");
  EXPECT_THROW(lines_of(root_ / "folder.jsonl"), Error);
  EXPECT_FALSE(is_document_file("a.json"));
  EXPECT_FALSE(is_document_file("a.txt.gz"));
  EXPECT_TRUE(is_document_file("b/a.jsonl.zst"));
}

class Parquet : public LineSourceTest {
 protected:
  Parquet() {
    ::setenv("LT2_PARQUET_DIR", LT2_SOURCE_DIR "/scripts/parquet", 1);
    files_ = fs::path(LT2_TEST_DATA) / "parquet";
  }
  ~Parquet() override { ::unsetenv("LT2_PARQUET_DIR"); }
  static bool is_installed() {
    return fs::exists(LT2_SOURCE_DIR "/scripts/parquet/node_modules/hyparquet") &&
           std::system("node --version >/dev/null 2>&1") == 0;
  }
  static std::string message(const fs::path& path) {
    const auto text = test::error_of([&] { lines_of(path); });
    return text.starts_with(path.string()) ? text.substr(path.string().size()) : text;
  }
  fs::path files_;
};

TEST_F(Parquet, RowsOfEveryCodec) {
  if (!is_installed()) GTEST_SKIP() << "Node.js or hyparquet is missing: scripts/setup.sh --with-parquet installs it";
  const Lines rows = lines_of(files_ / "snappy.parquet");
  ASSERT_EQ(rows.size(), 40u);
  EXPECT_EQ(rows[6], R"({"id":"id-6","text":"document 6: lorem ipsum "})");
  EXPECT_EQ(text_of_json_line(rows[7]).text,
            "quote \" backslash \\ line\nbreak \x01 Gr\xc3\xbc\xc3\x9f"
            "e \xe6\xbc\xa2\xe5\xad\x97 \xf0\x9f\x98\x80");
  EXPECT_EQ(lines_of(files_ / "gzip.parquet"), rows);
  EXPECT_EQ(lines_of(files_ / "zstd.parquet"), rows);
  EXPECT_EQ(lines_of(files_ / "null_text.parquet"), (Lines{R"({"text":"a"})", R"({"text":null})", R"({"text":"b"})"}));
}

TEST_F(Parquet, WhatCannotBeReadIsSaidInOneLine) {
  if (!is_installed()) GTEST_SKIP() << "Node.js or hyparquet is missing: scripts/setup.sh --with-parquet installs it";
  EXPECT_EQ(message(files_ / "no_text.parquet"), ": no \"text\" or \"content\" column, found \"body\". Rename one");
  EXPECT_TRUE(message(write("a.parquet", "no parquet")).starts_with(": cannot read it as parquet: "));
  // Left in the middle: the child must not stay.
  std::string_view line;
  EXPECT_TRUE(LineSource::open(files_ / "snappy.parquet", 1 << 20)->next(line));
}

TEST_F(Parquet, WhatIsMissingIsSaid) {
  ::setenv("LT2_PARQUET_DIR", root_.c_str(), 1);
  EXPECT_EQ(
      message(files_ / "snappy.parquet"),
      fmt::format("reading parquet needs parquet-lines.mjs, which is not in {}. Set LT2_PARQUET_DIR to the folder "
                  "that has it: scripts/parquet of the sources",
                  root_.string()));
  fs::copy(LT2_SOURCE_DIR "/scripts/parquet/parquet-lines.mjs", root_);
  if (std::system("node --version >/dev/null 2>&1") == 0) {
    EXPECT_TRUE(
        message(files_ / "snappy.parquet")
            .starts_with(": reading parquet needs the npm package hyparquet. Run scripts/setup.sh --with-parquet"));
  }
  const std::string path = std::getenv("PATH");
  ::setenv("PATH", root_.c_str(), 1);
  EXPECT_EQ(message(files_ / "snappy.parquet"),
            ": reading parquet needs Node.js, and `node` cannot be started (No such file or directory). Install it "
            "(Debian: apt-get install nodejs npm), then run scripts/setup.sh --with-parquet");
  ::setenv("PATH", path.c_str(), 1);
}

TEST_F(LineSourceTest, AFileCutShortWhileItIsReadIsNamed) {
  for (const std::string name : {"a.jsonl", "a.txt"}) {
    const auto path = write(name, noise(200000));  // several blocks
    const auto bytes = open_plain(path);
    std::string block(1000, ' ');
    ASSERT_EQ(bytes->read(block.data(), block.size()), 1000u);
    fs::resize_file(path, 33 * 1000);
    try {
      while (bytes->read(block.data(), block.size()) > 0) {
      }
      FAIL() << "expected an error";
    } catch (const Error& error) {
      EXPECT_EQ(
          std::string(error.what()),
          path.string() +
              ": it had 6600000 bytes when it was opened, now it has at most 33000: cut short while it was being read. "
              "Restore it");
    }
  }
}

}  // namespace
}  // namespace lt2
