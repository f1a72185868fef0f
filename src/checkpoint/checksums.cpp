#include "checkpoint/checksums.h"

#include <fmt/ranges.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <nlohmann/json.hpp>
#include <system_error>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kFileName = "checksums.json";

struct Entry {
  uint64_t bytes = 0;
  std::string crc32;
};

// A name must not lead out of the folder.
bool is_inside(const fs::path& name) {
  return !name.empty() && name.is_relative() &&
         std::none_of(name.begin(), name.end(), [](const fs::path& part) { return part == ".."; });
}

std::map<std::string, Entry> read_entries(const fs::path& folder) {
  const fs::path path = folder / kFileName;
  LT2_CHECK(is_there(path), "{}: missing: the checkpoint was not written to its end. Use an earlier one",
            path.string());
  // Three levels is all it has; without a limit a damaged file could nest without end.
  const auto limit = [](int depth, json::parse_event_t, json&) { return depth <= 3; };
  const json root = json::parse(read_file(path), limit, /*allow_exceptions=*/false);
  LT2_CHECK(root.is_object(), "{}: expected a JSON object of files", path.string());
  std::map<std::string, Entry> entries;
  for (const auto& [name, value] : root.items()) {
    const bool valid = is_inside(name) && value.is_object() && value.size() == 2 && value.contains("bytes") &&
                       value["bytes"].is_number_unsigned() && value.contains("crc32") && value["crc32"].is_string();
    LT2_CHECK(valid, "{}: expected \"FILE\": {{\"bytes\": N, \"crc32\": \"...\"}}, found {}: {}", path.string(),
              json(name).dump(), value.dump());
    entries[name] = {value["bytes"], value["crc32"]};
  }
  return entries;
}

void check_size(const fs::path& path, const Entry& entry) {
  std::error_code error;
  const uint64_t bytes = fs::file_size(path, error);
  LT2_CHECK(!error, "{}: {} lists it, but: {}", path.string(), kFileName, error.message());
  LT2_CHECK(bytes == entry.bytes, "{}: expected {} bytes, found {}. Damaged or copied incompletely", path.string(),
            entry.bytes, bytes);
}

void check_content(const fs::path& path, const Entry& entry) {
  const std::string found = file_crc32(path);
  LT2_CHECK(found == entry.crc32, "{}: expected CRC-32 {}, found {}. Damaged: restore it or use another checkpoint",
            path.string(), entry.crc32, found);
}

}  // namespace

std::string file_crc32(const fs::path& path) {
  const Descriptor file = open_regular(path);
  std::vector<unsigned char> buffer(1 << 20);
  uLong crc = ::crc32(0, nullptr, 0);
  for (;;) {
    const ssize_t got = ::read(file, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    LT2_CHECK(got >= 0, "{}: cannot read: {}", path.string(), std::system_category().message(errno));
    if (got == 0) return fmt::format("{:08x}", crc);
    crc = ::crc32(crc, buffer.data(), static_cast<uInt>(got));
  }
}

void write_checksums(const fs::path& folder) {
  json root = json::object();
  try {
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
      const std::string name = fs::relative(entry.path(), folder).generic_string();
      if (!entry.is_regular_file() || name == kFileName) continue;
      root[name] = {{"bytes", entry.file_size()}, {"crc32", file_crc32(entry.path())}};
    }
  } catch (const fs::filesystem_error& error) {
    fail("{}: cannot list the folder: {}", folder.string(), error.code().message());
  }
  write_file_atomically(folder / kFileName, root.dump(2) + "\n");
}

void verify_checksums(const fs::path& folder) {
  const auto entries = read_entries(folder);
  for (const auto& [name, entry] : entries) check_size(folder / name, entry);
  for (const auto& [name, entry] : entries) check_content(folder / name, entry);
}

void verify_files(const fs::path& folder, const std::vector<std::string>& names) {
  std::vector<std::string> there, unlisted, gone;
  for (const auto& name : names)
    if (is_there(folder / name)) there.push_back(name);
  if (!is_there(folder / kFileName)) {
    if (!there.empty())
      log_info("{}: no {} in it: damage to {} would not be seen", folder.string(), kFileName, fmt::join(there, ", "));
    return;
  }
  const auto entries = read_entries(folder);
  for (const auto& name : names) {
    const auto entry = entries.find(name);
    const bool exists = std::find(there.begin(), there.end(), name) != there.end();
    if (exists && entry == entries.end()) unlisted.push_back(name);
    if (!exists && entry != entries.end()) gone.push_back(name);
    if (!exists || entry == entries.end()) continue;
    check_size(folder / name, entry->second);
    check_content(folder / name, entry->second);
  }
  if (!unlisted.empty())
    log_warning("{}: {} does not list {}: damage to that would not be seen", folder.string(), kFileName,
                fmt::join(unlisted, ", "));
  if (!gone.empty()) log_warning("{}: {} lists {}, which is gone", folder.string(), kFileName, fmt::join(gone, ", "));
}

std::string incompleteness(const fs::path& folder) {
  try {
    for (const auto& [name, entry] : read_entries(folder)) check_size(folder / name, entry);
    return "";
  } catch (const std::exception& error) {
    return error.what();
  }
}

}  // namespace lt2
