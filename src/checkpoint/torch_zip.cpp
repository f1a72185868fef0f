#include "checkpoint/torch_zip.h"

#include <zlib.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/error.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little);

constexpr uint32_t kLocalHeader = 0x04034b50, kDirectoryEntry = 0x02014b50, kEnd = 0x06054b50, kEnd64 = 0x06064b50,
                   kEnd64Locator = 0x07064b50;
constexpr uint64_t kLocalHeaderBytes = 30, kDirectoryEntryBytes = 46, kEndBytes = 22, kEnd64Bytes = 56,
                   kEnd64LocatorBytes = 20, kMaxComment = 0xffff;
constexpr uint16_t kZip64Field = 1, kPaddingField = 'F' | 'B' << 8;
constexpr uint16_t kEncrypted = 1 | 1 << 6 | 1 << 13, kUtf8 = 1 << 11;
constexpr uint64_t kAlignment = 64;
// Deflate's best case; an entry that claims more is a bomb.
constexpr uint64_t kMaxDeflateRatio = 1032;
constexpr uint16_t kMidnight1980 = 1 | 1 << 5;

template <class T>
T number_at(const SharedBytes& bytes, uint64_t at) {
  T value;
  std::memcpy(&value, bytes.data.get() + at, sizeof(T));
  return value;
}

std::string printable(const std::string& name) {
  std::string out;
  for (const char c : name.substr(0, 120)) out += c >= 0x20 && c < 0x7f ? c : '?';
  return name.size() > 120 ? out + "..." : out;
}

uint32_t crc32_of(const uint8_t* data, uint64_t bytes) {
  uLong crc = ::crc32(0, nullptr, 0);
  while (bytes > 0) {
    const auto piece = static_cast<uInt>(std::min<uint64_t>(bytes, 1 << 30));
    crc = ::crc32(crc, data, piece);
    data += piece;
    bytes -= piece;
  }
  return static_cast<uint32_t>(crc);
}

SharedBytes map_file(const fs::path& path) {
  auto file = std::make_shared<MappedFile>(path);
  const uint8_t* data = file->data();
  const uint64_t size = file->size();
  return {std::shared_ptr<const uint8_t>(std::move(file), data), size};
}

}  // namespace

ZipArchive::ZipArchive(const fs::path& path) : ZipArchive(map_file(path), path.string()) {}

ZipArchive::ZipArchive(SharedBytes bytes, std::string where) : where_(std::move(where)), file_(std::move(bytes)) {
  read_directory();
}

void ZipArchive::read_directory() {
  const uint64_t size = file_.size;
  const bool begins = size >= 4 && number_at<uint32_t>(file_, 0) == kLocalHeader;
  const bool legacy = size >= 2 && file_.data.get()[0] == 0x80;
  LT2_CHECK(!legacy, "{}: a file of torch.save from before PyTorch 1.6; load and save it once with a newer PyTorch",
            where_);
  LT2_CHECK(begins, "{}: not a zip archive, so no file of torch.save", where_);
  // The end record is the last thing in the file but for a comment, whose length it gives.
  uint64_t end = 0;
  bool found = false;
  for (uint64_t back = kEndBytes; back <= std::min(size, kEndBytes + kMaxComment) && !found; ++back) {
    end = size - back;
    found = number_at<uint32_t>(file_, end) == kEnd && number_at<uint16_t>(file_, end + 20) == back - kEndBytes;
  }
  LT2_CHECK(found, "{}: the zip archive has no end. Copied completely?", where_);
  uint64_t disk = number_at<uint16_t>(file_, end + 4), count = number_at<uint16_t>(file_, end + 10),
           length = number_at<uint32_t>(file_, end + 12), begin = number_at<uint32_t>(file_, end + 16), stop = end;
  const bool zip64 = end >= kEnd64LocatorBytes && number_at<uint32_t>(file_, end - kEnd64LocatorBytes) == kEnd64Locator;
  if (zip64) {
    stop = number_at<uint64_t>(file_, end - kEnd64LocatorBytes + 8);
    const uint64_t limit = end - kEnd64LocatorBytes;
    LT2_CHECK(stop <= limit && limit - stop >= kEnd64Bytes && number_at<uint32_t>(file_, stop) == kEnd64,
              "{}: the zip64 end record is not at byte {}", where_, stop);
    disk = number_at<uint32_t>(file_, stop + 16);
    count = number_at<uint64_t>(file_, stop + 32);
    length = number_at<uint64_t>(file_, stop + 40);
    begin = number_at<uint64_t>(file_, stop + 48);
  }
  LT2_CHECK(disk == 0, "{}: a part of a zip archive in several parts", where_);
  LT2_CHECK(begin <= stop && length == stop - begin,
            "{}: the zip directory should take {} bytes from byte {} on and end at byte {}. Copied completely?", where_,
            length, begin, stop);
  LT2_CHECK(count <= length / kDirectoryEntryBytes, "{}: {} entries do not fit a zip directory of {} bytes", where_,
            count, length);
  uint64_t at = begin;
  for (uint64_t i = 0; i < count; ++i) read_entry(at, stop);
  LT2_CHECK(at == stop, "{}: the zip directory holds {} bytes besides its {} entries", where_, stop - at, count);
  check_places(begin);
}

void ZipArchive::read_entry(uint64_t& at, uint64_t end) {
  LT2_CHECK(end - at >= kDirectoryEntryBytes && number_at<uint32_t>(file_, at) == kDirectoryEntry,
            "{}: byte {}: no entry of a zip directory", where_, at);
  const auto flags = number_at<uint16_t>(file_, at + 8), method = number_at<uint16_t>(file_, at + 10);
  const uint64_t name_bytes = number_at<uint16_t>(file_, at + 28), extra_bytes = number_at<uint16_t>(file_, at + 30),
                 comment_bytes = number_at<uint16_t>(file_, at + 32);
  ZipEntry entry{.crc = number_at<uint32_t>(file_, at + 16),
                 .packed_bytes = number_at<uint32_t>(file_, at + 20),
                 .bytes = number_at<uint32_t>(file_, at + 24),
                 .begin = number_at<uint32_t>(file_, at + 42)};
  const uint64_t name_at = at + kDirectoryEntryBytes, extra_at = name_at + name_bytes;
  LT2_CHECK(name_bytes + extra_bytes + comment_bytes <= end - name_at, "{}: byte {}: an entry beyond the directory",
            where_, at);
  entry.name.assign(file_.view().substr(name_at, name_bytes));
  const std::string name = printable(entry.name);
  LT2_CHECK(!(flags & kEncrypted), "{}: {} is encrypted", where_, name);
  LT2_CHECK(method == 0 || method == Z_DEFLATED, "{}: {} is packed by method {}, expected 0 (stored) or 8 (deflated)",
            where_, name, method);
  entry.deflated = method == Z_DEFLATED;
  // Numbers that do not fit 32 bits stand in zip64's extra field, in this order.
  for (uint64_t field = extra_at, stop = extra_at + extra_bytes; stop - field >= 4;) {
    const auto id = number_at<uint16_t>(file_, field), length = number_at<uint16_t>(file_, field + 2);
    field += 4;
    LT2_CHECK(length <= stop - field, "{}: {}: an extra field of {} bytes beyond its end", where_, name, length);
    uint64_t next = field;
    for (uint64_t* number : {&entry.bytes, &entry.packed_bytes, &entry.begin}) {
      if (id != kZip64Field || *number != 0xffffffff) continue;
      LT2_CHECK(next + 8 <= field + length, "{}: {}: a zip64 field of {} bytes lacks a number", where_, name, length);
      *number = number_at<uint64_t>(file_, next);
      next += 8;
    }
    field += length;
  }
  LT2_CHECK(entry.deflated || entry.packed_bytes == entry.bytes, "{}: {} is stored, but takes {} bytes for {}", where_,
            name, entry.packed_bytes, entry.bytes);
  LT2_CHECK(entry.bytes / kMaxDeflateRatio <= entry.packed_bytes,
            "{}: {} claims {} bytes from {}: more than deflate can pack", where_, name, entry.bytes,
            entry.packed_bytes);
  LT2_CHECK(by_name_.emplace(entry.name, entries_.size()).second, "{}: two entries {}", where_, name);
  entries_.push_back(std::move(entry));
  at = extra_at + extra_bytes + comment_bytes;
}

void ZipArchive::check_places(uint64_t directory) {
  std::vector<ZipEntry*> order;
  for (auto& entry : entries_) order.push_back(&entry);
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) { return a->begin < b->begin; });
  uint64_t covered = 0;
  for (ZipEntry* entry : order) {
    const std::string name = printable(entry->name);
    LT2_CHECK(entry->begin >= covered, "{}: {} begins at byte {} inside the entry before, which ends at {}", where_,
              name, entry->begin, covered);
    LT2_CHECK(entry->begin <= directory && directory - entry->begin >= kLocalHeaderBytes &&
                  number_at<uint32_t>(file_, entry->begin) == kLocalHeader,
              "{}: {}: no entry at byte {}", where_, name, entry->begin);
    const uint64_t name_bytes = number_at<uint16_t>(file_, entry->begin + 26),
                   extra_bytes = number_at<uint16_t>(file_, entry->begin + 28);
    entry->data = entry->begin + kLocalHeaderBytes + name_bytes + extra_bytes;
    LT2_CHECK(entry->data <= directory && entry->packed_bytes <= directory - entry->data,
              "{}: {}: {} bytes from byte {} on reach beyond the entries' end at {}. Copied completely?", where_, name,
              entry->packed_bytes, entry->data, directory);
    LT2_CHECK(file_.view().substr(entry->begin + kLocalHeaderBytes, name_bytes) == entry->name,
              "{}: {} has another name where its data is", where_, name);
    covered = entry->data + entry->packed_bytes;
  }
}

const ZipEntry* ZipArchive::find(const std::string& name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &entries_[found->second];
}

SharedBytes ZipArchive::read(const ZipEntry& entry) const {
  const SharedBytes bytes =
      entry.deflated
          ? inflated(entry)
          : SharedBytes{std::shared_ptr<const uint8_t>(file_.data, file_.data.get() + entry.data), entry.bytes};
  const uint32_t crc = crc32_of(bytes.data.get(), bytes.size);
  LT2_CHECK(crc == entry.crc, "{}: {}: expected CRC-32 {:08x}, found {:08x}. Damaged: copy it again", where_,
            printable(entry.name), entry.crc, crc);
  return bytes;
}

SharedBytes ZipArchive::inflated(const ZipEntry& entry) const {
  const std::string name = printable(entry.name);
  const std::shared_ptr<uint8_t> out(new uint8_t[static_cast<size_t>(entry.bytes) + 1],
                                     std::default_delete<uint8_t[]>());
  z_stream stream{};
  LT2_CHECK(::inflateInit2(&stream, -MAX_WBITS) == Z_OK, "{}: {}: out of memory", where_, name);
  const std::unique_ptr<z_stream, int (*)(z_stream*)> cleanup(&stream, ::inflateEnd);
  uint64_t in_left = entry.packed_bytes, out_left = entry.bytes + 1;  // one more: to see what does not end
  stream.next_in = const_cast<uint8_t*>(file_.data.get() + entry.data);
  stream.next_out = out.get();
  int status = Z_OK;
  while (status == Z_OK) {
    // zlib counts in 32 bits.
    const auto in = static_cast<uInt>(std::min<uint64_t>(in_left, 1 << 30)),
               room = static_cast<uInt>(std::min<uint64_t>(out_left, 1 << 30));
    stream.avail_in = in;
    stream.avail_out = room;
    status = ::inflate(&stream, Z_NO_FLUSH);
    in_left -= in - stream.avail_in;
    out_left -= room - stream.avail_out;
  }
  LT2_CHECK(status == Z_STREAM_END && in_left == 0 && out_left == 1,
            "{}: {}: the packed data does not give the {} bytes that it should. Damaged: copy it again", where_, name,
            entry.bytes);
  return {out, entry.bytes};
}

namespace {

template <class T>
void append(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

uint32_t clipped(uint64_t value, uint64_t zip64_from) {
  return value >= zip64_from ? 0xffffffff : static_cast<uint32_t>(value);
}

}  // namespace

ZipWriter::ZipWriter(Sink sink, uint64_t zip64_from) : sink_(std::move(sink)), zip64_from_(zip64_from) {}

void ZipWriter::put(const std::string& bytes) {
  sink_(bytes.data(), bytes.size());
  position_ += bytes.size();
}

void ZipWriter::add(const std::string& name, const void* data, uint64_t bytes) {
  LT2_CHECK(name.size() <= 0xffff, "a name of {} bytes is too long for a zip archive", name.size());
  const ZipEntry entry{.name = name,
                       .crc = crc32_of(static_cast<const uint8_t*>(data), bytes),
                       .packed_bytes = bytes,
                       .bytes = bytes,
                       .begin = position_};
  std::string extra;
  const bool zip64 = bytes >= zip64_from_;
  if (zip64) {
    append(extra, kZip64Field);
    append(extra, uint16_t{16});
    append(extra, bytes);
    append(extra, bytes);
  }
  const uint64_t unpadded = position_ + kLocalHeaderBytes + name.size() + extra.size() + 4;
  const uint64_t padding = (kAlignment - unpadded % kAlignment) % kAlignment;
  append(extra, kPaddingField);
  append(extra, static_cast<uint16_t>(padding));
  extra.append(padding, 'Z');

  std::string header;
  append(header, kLocalHeader);
  append(header, uint16_t(zip64 ? 45 : 20));  // version needed
  append(header, kUtf8);
  append(header, uint16_t{0});  // stored
  append(header, uint16_t{0});
  append(header, kMidnight1980);
  append(header, entry.crc);
  append(header, clipped(bytes, zip64_from_));
  append(header, clipped(bytes, zip64_from_));
  append(header, static_cast<uint16_t>(name.size()));
  append(header, static_cast<uint16_t>(extra.size()));
  put(header + name + extra);
  if (bytes > 0) sink_(data, static_cast<size_t>(bytes));
  position_ += bytes;
  entries_.push_back(entry);
}

void ZipWriter::finish() {
  const uint64_t begin = position_;
  bool zip64 = begin >= zip64_from_ || entries_.size() >= 0xffff;
  for (const auto& entry : entries_) {
    std::string numbers;
    for (const uint64_t number : {entry.bytes, entry.bytes, entry.begin})
      if (number >= zip64_from_) append(numbers, number);
    zip64 = zip64 || !numbers.empty();
    std::string record;
    append(record, kDirectoryEntry);
    append(record, uint16_t(numbers.empty() ? 20 : 45));  // made by
    append(record, uint16_t(numbers.empty() ? 20 : 45));  // needed
    append(record, kUtf8);
    append(record, uint16_t{0});  // stored
    append(record, uint16_t{0});
    append(record, kMidnight1980);
    append(record, entry.crc);
    append(record, clipped(entry.bytes, zip64_from_));
    append(record, clipped(entry.bytes, zip64_from_));
    append(record, static_cast<uint16_t>(entry.name.size()));
    append(record, static_cast<uint16_t>(numbers.empty() ? 0 : numbers.size() + 4));
    append(record, uint16_t{0});  // comment
    append(record, uint16_t{0});  // disk
    append(record, uint16_t{0});  // internal attributes
    append(record, uint32_t{0});  // external attributes
    append(record, clipped(entry.begin, zip64_from_));
    record += entry.name;
    if (!numbers.empty()) {
      append(record, kZip64Field);
      append(record, static_cast<uint16_t>(numbers.size()));
      record += numbers;
    }
    put(record);
  }
  const uint64_t end = position_, length = end - begin, count = entries_.size();
  std::string tail;
  if (zip64) {
    append(tail, kEnd64);
    append(tail, kEnd64Bytes - 12);
    append(tail, uint16_t{45});
    append(tail, uint16_t{45});
    append(tail, uint32_t{0});  // this disk
    append(tail, uint32_t{0});  // the directory's disk
    append(tail, count);
    append(tail, count);
    append(tail, length);
    append(tail, begin);
    append(tail, kEnd64Locator);
    append(tail, uint32_t{0});  // its disk
    append(tail, end);
    append(tail, uint32_t{1});  // disks
  }
  append(tail, kEnd);
  append(tail, uint16_t{0});
  append(tail, uint16_t{0});
  append(tail, static_cast<uint16_t>(std::min<uint64_t>(count, 0xffff)));
  append(tail, static_cast<uint16_t>(std::min<uint64_t>(count, 0xffff)));
  append(tail, clipped(length, zip64_from_));
  append(tail, clipped(begin, zip64_from_));
  append(tail, uint16_t{0});  // comment
  put(tail);
}

TorchArchive::TorchArchive(const fs::path& path) : zip_(path) { read_values(); }

TorchArchive::TorchArchive(SharedBytes bytes, const std::string& where) : zip_(std::move(bytes), where) {
  read_values();
}

void TorchArchive::read_values() {
  const ZipEntry* values = nullptr;
  for (const auto& entry : zip_.entries()) {
    const auto slash = entry.name.find('/');
    if (slash == std::string::npos || entry.name.substr(slash) != "/data.pkl") continue;
    LT2_CHECK(!values, "{}: holds both {} and {}, expected one data.pkl", zip_.where(), printable(values->name),
              printable(entry.name));
    values = &entry;
    folder_ = entry.name.substr(0, slash + 1);
  }
  LT2_CHECK(values, "{}: no NAME/data.pkl in the archive, so no file of torch.save", zip_.where());
  LT2_CHECK(values->bytes <= kMaxPickleBytes, "{}: data.pkl of {} bytes is too long, at most {}", zip_.where(),
            values->bytes, kMaxPickleBytes);
  if (const ZipEntry* order = zip_.find(folder_ + "byteorder")) {
    LT2_CHECK(order->bytes <= 16 && zip_.read(*order).view() == "little",
              "{}: written by a big-endian machine, expected byteorder little", zip_.where());
  }
  values_ = Pickle::read(zip_.read(*values).view(), zip_.where() + ": data.pkl");
}

SharedBytes TorchArchive::storage(const StorageInfo& info) const {
  const std::string name = folder_ + "data/" + info.key;
  const ZipEntry* entry = zip_.find(name);
  LT2_CHECK(entry, "{}: no entry {}, which a tensor needs", zip_.where(), printable(name));
  const uint64_t bytes = info.elements * dtype_bytes(info.dtype);
  LT2_CHECK(entry->bytes == bytes, "{}: {}: {} elements of {} need {} bytes, found {}", zip_.where(), printable(name),
            info.elements, info.dtype, bytes, entry->bytes);
  const auto known = storages_.find(info.key);
  return known != storages_.end() ? known->second : storages_.emplace(info.key, zip_.read(*entry)).first->second;
}

TorchArchiveWriter::TorchArchiveWriter(ZipWriter::Sink sink, const std::string& values, uint64_t zip64_from)
    : zip_(std::move(sink), zip64_from) {
  zip_.add("archive/data.pkl", values.data(), values.size());
  zip_.add("archive/byteorder", "little", 6);
}

void TorchArchiveWriter::add_storage(const void* data, uint64_t bytes) {
  zip_.add(fmt::format("archive/data/{}", storages_++), data, bytes);
}

void TorchArchiveWriter::finish() {
  zip_.add("archive/version", "3\n", 2);
  zip_.finish();
}

}  // namespace lt2
