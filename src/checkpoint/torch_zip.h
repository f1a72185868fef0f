#pragma once
// The container of torch.save: a zip archive NAME/data.pkl (a pickle), NAME/data/0, 1, ... (the storages' bytes).
//
// A file may come from anywhere: sizes, places and checksums are checked before anything is used, and memory follows
// the size of the file. Stored entries are read where they are mapped; deflated ones, which torch never writes but
// archivers do, are inflated one at a time.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"
#include "checkpoint/pickle.h"

namespace lt2 {

struct ZipEntry {
  std::string name;
  bool deflated = false;
  uint32_t crc = 0;
  uint64_t packed_bytes = 0, bytes = 0;  // in the file, and as they are
  uint64_t begin = 0, data = 0;          // of its local header, and of its data
};

/// Bytes that stay where they are as long as a copy of this lives.
struct SharedBytes {
  std::shared_ptr<const uint8_t> data;
  uint64_t size = 0;
  std::string_view view() const { return {reinterpret_cast<const char*>(data.get()), static_cast<size_t>(size)}; }
};

/// A zip archive (with zip64) for reading.
class ZipArchive {
 public:
  /// Throws lt2::Error, one line with file, entry, expected and found, unless every entry lies inside the file next to
  /// the others.
  explicit ZipArchive(const std::filesystem::path& path);
  /// Of bytes in memory; `where` names them in messages.
  ZipArchive(SharedBytes bytes, std::string where);

  const std::vector<ZipEntry>& entries() const { return entries_; }
  /// nullptr if there is none of that name.
  const ZipEntry* find(const std::string& name) const;
  /// The entry's bytes, whose checksum holds. Throws lt2::Error else.
  SharedBytes read(const ZipEntry& entry) const;
  const std::string& where() const { return where_; }

 private:
  void read_directory();
  void read_entry(uint64_t& at, uint64_t end);
  void check_places(uint64_t directory);
  SharedBytes inflated(const ZipEntry& entry) const;

  std::string where_;
  SharedBytes file_;
  std::vector<ZipEntry> entries_;
  std::map<std::string, size_t> by_name_;
};

/// Writes a zip archive of stored entries, whose data begins at multiples of 64 bytes as torch wants it.
class ZipWriter {
 public:
  using Sink = std::function<void(const void* data, size_t bytes)>;
  /// Sizes and places from `zip64_from` on are written in zip64's form.
  explicit ZipWriter(Sink sink, uint64_t zip64_from = 0xffffffff);
  void add(const std::string& name, const void* data, uint64_t bytes);
  /// The directory; call it last.
  void finish();

 private:
  void put(const std::string& bytes);

  Sink sink_;
  uint64_t zip64_from_, position_ = 0;
  std::vector<ZipEntry> entries_;
};

/// A file of torch.save: the values, and the bytes of the storages that their tensors name.
class TorchArchive {
 public:
  explicit TorchArchive(const std::filesystem::path& path);
  TorchArchive(SharedBytes bytes, const std::string& where);

  PickleRef root() const { return values_.root(); }
  /// All bytes of a storage. Throws lt2::Error if it is not there, damaged or of another size.
  SharedBytes storage(const StorageInfo& info) const;
  const std::string& where() const { return zip_.where(); }

 private:
  void read_values();

  ZipArchive zip_;
  std::string folder_;  // NAME/
  Pickle values_;
  mutable std::map<std::string, SharedBytes> storages_;  // those asked for: checked and inflated once
};

/// Writes such a file: `values` is data.pkl, then add() the storages in the order of their keys "0", "1", ...
class TorchArchiveWriter {
 public:
  TorchArchiveWriter(ZipWriter::Sink sink, const std::string& values, uint64_t zip64_from = 0xffffffff);
  void add_storage(const void* data, uint64_t bytes);
  void finish();

 private:
  ZipWriter zip_;
  uint64_t storages_ = 0;
};

}  // namespace lt2
