#include "data/byte_stream.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <system_error>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "base/units.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

class Plain : public ByteStream {
 public:
  explicit Plain(const fs::path& path) : path_(path.string()), file_(open_regular(path)) {
    ::posix_fadvise(file_, 0, 0, POSIX_FADV_SEQUENTIAL);
    struct stat info {};
    if (::fstat(file_, &info) == 0) size_ = info.st_size;
  }

  size_t read(char* to, size_t bytes) override {
    for (;;) {
      const ssize_t got = ::read(file_, to, bytes);
      if (got < 0 && errno == EINTR) continue;
      LT2_CHECK(got >= 0, "{}: cannot read: {}", path_, std::system_category().message(errno));
      position_ += got;
      LT2_CHECK(got > 0 || bytes == 0 || position_ >= size_,
                "{}: it had {} bytes when it was opened, now it has at most {}: cut short while it was being read. "
                "Restore it",
                path_, size_, position_);
      return static_cast<size_t>(got);
    }
  }
  int64_t file_position() const override { return position_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  Descriptor file_;
  int64_t position_ = 0, size_ = 0;  // size_: when it was opened
};

// What both formats share: a block of packed bytes and where it lies in the file.
class Packed : public ByteStream {
 public:
  Packed(const fs::path& path, const char* format) : file_(path), format_(format), block_(256 << 10) {}
  int64_t file_position() const override { return file_.file_position() - static_cast<int64_t>(left_); }

 protected:
  /// False at the end of the file.
  bool refill() {
    begin_ = 0;
    left_ = file_.read(block_.data(), block_.size());
    return left_ > 0;
  }
  const char* packed() const { return block_.data() + begin_; }
  size_t left() const { return left_; }
  void use(size_t bytes) {
    begin_ += bytes;
    left_ -= bytes;
  }

  [[noreturn]] void fail_cut_off() const {
    if (file_.file_position() == 0) fail("{}: the file is empty, which is no {} data", file_.path(), format_);
    fail("{}: the {} data end too early, at byte {}: the file is cut off. Fetch it again", file_.path(), format_,
         file_position());
  }
  [[noreturn]] void fail_damaged(const char* reason) const {
    fail("{}: damaged {} data at byte {}: {}. Fetch it again", file_.path(), format_, file_position(), reason);
  }
  const std::string& path() const { return file_.path(); }

 private:
  Plain file_;
  const char* format_;
  std::vector<char> block_;
  size_t begin_ = 0, left_ = 0;
};

class Gzip : public Packed {
 public:
  explicit Gzip(const fs::path& path) : Packed(path, "gzip") {
    constexpr int kGzipOnly = 16;
    LT2_CHECK(inflateInit2(&stream_, MAX_WBITS + kGzipOnly) == Z_OK, "zlib: out of memory");
  }
  ~Gzip() override { inflateEnd(&stream_); }
  Gzip(const Gzip&) = delete;
  Gzip& operator=(const Gzip&) = delete;

  size_t read(char* to, size_t bytes) override {
    stream_.next_out = reinterpret_cast<Bytef*>(to);
    stream_.avail_out = static_cast<uInt>(std::min<size_t>(bytes, 1 << 30));
    const uInt asked = stream_.avail_out;
    while (stream_.avail_out == asked) {
      if (left() == 0 && !refill()) {
        if (!between_ || members_ == 0) fail_cut_off();
        return 0;
      }
      if (between_ && members_ > 0) {
        // Tapes and some tools pad with zeros; another member begins with 1f.
        if (*packed() == 0) {
          use(1);
          padded_ = true;
          continue;
        }
        if (padded_) fail_damaged("data after a padding of zeros");
        inflateReset(&stream_);
      }
      inflate_block();
    }
    return asked - stream_.avail_out;
  }

 private:
  void inflate_block() {
    between_ = false;
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed()));
    stream_.avail_in = static_cast<uInt>(left());
    const int result = inflate(&stream_, Z_NO_FLUSH);
    use(left() - stream_.avail_in);
    if (result == Z_STREAM_END) {
      between_ = true;
      ++members_;
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
      fail_damaged(stream_.msg ? stream_.msg : "zlib cannot read it");
    }
  }

  z_stream stream_{};
  int64_t members_ = 0;
  bool between_ = true, padded_ = false;
};

class Zstd : public Packed {
 public:
  Zstd(const fs::path& path, uint64_t window) : Packed(path, "zstd"), stream_(ZSTD_createDStream()) {
    LT2_CHECK(stream_, "zstd: out of memory");
    const auto bounds = ZSTD_dParam_getBounds(ZSTD_d_windowLogMax);
    window_log_ = std::clamp(static_cast<int>(std::bit_width(window)) - 1, bounds.lowerBound, bounds.upperBound);
    ZSTD_DCtx_setParameter(stream_, ZSTD_d_windowLogMax, window_log_);
  }
  ~Zstd() override { ZSTD_freeDStream(stream_); }
  Zstd(const Zstd&) = delete;
  Zstd& operator=(const Zstd&) = delete;

  size_t read(char* to, size_t bytes) override {
    ZSTD_outBuffer out{to, bytes, 0};
    while (out.pos == 0) {
      // A frame can still hold back output after its last input byte.
      if (left() == 0 && !refill() && !flushing_) {
        if (hint_ != 0 || file_position() == 0) fail_cut_off();
        return 0;
      }
      ZSTD_inBuffer in{packed(), left(), 0};
      hint_ = ZSTD_decompressStream(stream_, &out, &in);
      use(in.pos);
      if (ZSTD_isError(hint_)) fail_frame();
      flushing_ = hint_ != 0 && out.pos == out.size;
    }
    return out.pos;
  }

 private:
  [[noreturn]] void fail_frame() const {
    if (ZSTD_getErrorCode(hint_) == ZSTD_error_frameParameter_windowTooLarge)
      fail("{}: a zstd frame needs a window of more than {}. Raise --memory to four times its window or more", path(),
           human_bytes(static_cast<double>(uint64_t{1} << window_log_)));
    fail_damaged(ZSTD_getErrorName(hint_));
  }

  ZSTD_DStream* stream_;
  int window_log_ = 0;
  size_t hint_ = 0;  // 0: between frames
  bool flushing_ = false;
};

}  // namespace

std::unique_ptr<ByteStream> open_plain(const fs::path& path) { return std::make_unique<Plain>(path); }
std::unique_ptr<ByteStream> open_gzip(const fs::path& path) { return std::make_unique<Gzip>(path); }
std::unique_ptr<ByteStream> open_zstd(const fs::path& path, uint64_t window) {
  return std::make_unique<Zstd>(path, window);
}

}  // namespace lt2
