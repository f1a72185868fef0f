#include "data/sources.h"

#include <fmt/ranges.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/utf8.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code code;
  for (fs::directory_iterator it(folder, code), end; !code && it != end; it.increment(code))
    names.push_back(it->path().filename().string());
  LT2_CHECK(!code, "{}: cannot list this folder: {}", folder.string(), code.message());
  std::sort(names.begin(), names.end());
  return names;
}

// "a, b, c, ...", what a message shows of a folder.
std::string listing(std::vector<std::string> names) {
  if (names.empty()) return "nothing";
  const size_t all = names.size();
  names.resize(std::min<size_t>(all, 10));
  return fmt::format("{}{}", fmt::join(names, ", "), all > 10 ? fmt::format(", ... ({} in all)", all) : "");
}

fs::path path_of(const SourcePlace& place) { return fs::path(place.root_dir.value_or("")) / place.name; }

fs::path located(const SourcePlace& place) {
  const fs::path path = path_of(place);
  if (fs::exists(path)) return path;
  const fs::path parent = path.parent_path().empty() ? fs::path(".") : path.parent_path();
  LT2_CHECK(fs::is_directory(parent), "data.sources.{}: no such file or folder: {} (data.root_dir is {})", place.name,
            path.string(), place.root_dir ? *place.root_dir : "not set");
  fail("data.sources.{}: no such file or folder: {}. In {}: {}.", place.name, path.string(), parent.string(),
       listing(names_in(parent)));
}

bool is_chunk_name(const std::string& name) {
  constexpr std::string_view kMiddle = ".chunk.", kEnd = ".jsonl";
  const size_t at = name.find(kMiddle);
  return at != std::string::npos && name.ends_with(kEnd) && at + kMiddle.size() + kEnd.size() <= name.size();
}

std::vector<fs::path> files_in(const fs::path& folder, const char* pattern, bool (*matches)(const std::string&),
                               const char* advice) {
  std::vector<fs::path> files;
  const auto names = names_in(folder);
  for (const auto& name : names)
    if (matches(name)) files.push_back(folder / name);
  LT2_CHECK(!files.empty(), "{}: no {} file in this folder; found {}. {}", folder.string(), pattern, listing(names),
            advice);
  return files;
}

int64_t size_of(const fs::path& path) {
  const auto file = open_regular(path);
  struct stat info {};
  LT2_CHECK(::fstat(file, &info) == 0, "{}: {}", path.string(), std::strerror(errno));
  LT2_CHECK(info.st_size > 0, "{}: the file is empty", path.string());
  return info.st_size;
}

void check_kind(const fs::path& path) {
  const auto extension = path.extension();
  LT2_CHECK(extension == ".txt" || extension == ".jsonl",
            "{}: expected a folder of *.chunk.*.jsonl files, a .jsonl file or a .txt file", path.string());
}

// The first place from `at` on, of a text that ends at `end`, where a character begins.
int64_t character_border(const SourceFile& file, int64_t at, int64_t end) {
  constexpr int64_t kLongest = 4;
  return at + static_cast<int64_t>(utf8_border_from(file.bytes(at, std::min(at + kLongest, end)), 0));
}

// Where the held-back end of a single file begins: a character or line border at or before the exact place. 0 if there
// is none.
int64_t held_back_begin(const fs::path& path, double held_back) {
  const int64_t size = size_of(path);
  if (held_back <= 0) return size;
  auto at = std::min(size - 1, static_cast<int64_t>(std::floor(static_cast<double>(size) * (1 - held_back))));
  const SourceFile file(path);
  if (path.extension() == ".txt") return character_border(file, at, size);
  const auto begins_line = [&](int64_t i) {
    const char before = file.byte(i - 1);
    return before == '\n' || (before == '\r' && file.byte(i) != '\n');
  };
  while (at > 0 && !begins_line(at)) --at;
  return at;
}

FilePart whole_file(const fs::path& path) { return {.path = path.string(), .end = size_of(path)}; }

FilePart share_of_text(const fs::path& path, int64_t end, int64_t rank, int64_t world) {
  const SourceFile file(path);
  const auto border = [&](int64_t part) {
    return character_border(file, static_cast<int64_t>(static_cast<__int128>(end) * part / world), end);
  };
  const FilePart part{path.string(), border(rank), border(rank + 1), world, rank, true};
  LT2_CHECK(part.begin < part.end, "{}: too short to be shared by {} processes", path.string(), world);
  return part;
}

FilePart part_of_single_file(const fs::path& path, double held_back, int64_t rank, int64_t world) {
  check_kind(path);
  // A single line is trained on whole; validation_parts refuses it.
  const int64_t border = held_back_begin(path, held_back), end = border > 0 ? border : size_of(path);
  if (path.extension() == ".txt") return share_of_text(path, end, rank, world);
  return {.path = path.string(), .end = end, .block_size = world, .offset = rank, .is_file = true};
}

std::vector<fs::path> chunks_in(const fs::path& folder) {
  return files_in(folder, "*.chunk.*.jsonl", is_chunk_name, "`lt2 data prepare` makes chunk files of other formats.");
}

FilePart part_of_folder(const fs::path& folder, int64_t rank, int64_t world, bool allow_unread) {
  const auto files = chunks_in(folder);
  const auto count = static_cast<int64_t>(files.size());
  if (count > world) {
    LT2_CHECK(allow_unread,
              "{}: {} chunk files for {} process{}, which read one each: {} would never be read. Prepare the data with "
              "nchunks={}, train with {} processes, or set data.allow_unread_chunks=true",
              folder.string(), count, world, world == 1 ? "" : "es", count - world, world, count);
    if (rank == 0)
      log_warning("{}: only {} of {} chunk files are used, one for each process", folder.string(), world, count);
    return whole_file(files[static_cast<size_t>(rank)]);
  }
  LT2_CHECK(world % count == 0,
            "{}: {} processes cannot share {} chunk files evenly. Use a multiple of {} processes, or chunk files.",
            folder.string(), world, count, count);
  const int64_t sharing = world / count;
  FilePart part = whole_file(files[static_cast<size_t>(rank / sharing)]);
  part.block_size = sharing;
  part.offset = rank % sharing;
  return part;
}

// "data/corpus (4 chunk files)", "data/text.txt".
std::string text_of(const fs::path& path) {
  if (!fs::is_directory(path)) return path.string();
  const size_t files = chunks_in(path).size();
  return fmt::format("{} ({} chunk file{})", path.string(), files, files == 1 ? "" : "s");
}

}  // namespace

FilePart training_part(const SourcePlace& place, double held_back, int64_t rank, int64_t world, bool allow_unread) {
  const fs::path path = located(place);
  return fs::is_directory(path) ? part_of_folder(path, rank, world, allow_unread)
                                : part_of_single_file(path, held_back, rank, world);
}

bool is_there(const SourcePlace& place) { return fs::exists(path_of(place)); }

std::vector<std::string> source_lines(const std::optional<std::string>& root_dir,
                                      const std::vector<std::pair<std::string, double>>& sources) {
  double total = 0;
  for (const auto& [name, weight] : sources) total += weight;
  std::vector<std::string> lines;
  for (const auto& [name, weight] : sources) {
    const SourcePlace place{root_dir, name};
    lines.push_back(fmt::format("{:.4g} % of the documents from {}", 100 * weight / total,
                                is_there(place) ? text_of(located(place)) : name + " (not there)"));
  }
  return lines;
}

std::vector<FilePart> validation_parts(const SourcePlace& place, double share) {
  const fs::path path = located(place);
  if (!fs::is_directory(path)) {
    check_kind(path);
    LT2_CHECK(share > 0,
              "{}: val.fraction is 0, so nothing of it is held back. Set val.source, or val.every=0 for no validation.",
              path.string());
    FilePart part = whole_file(path);
    if (share < 1) part.begin = held_back_begin(path, share);
    LT2_CHECK(share == 1 || (part.begin > 0 && part.begin < part.end),
              "{}: too short to hold back {} of it for validation. Set val.source, or val.every=0 for none.",
              path.string(), share);
    return {part};
  }
  std::vector<FilePart> parts;
  for (const auto& file : files_in(
           path, "*.val.jsonl", [](const std::string& name) { return name.ends_with(".val.jsonl"); },
           "Add one, set val.source, or val.every=0 for no validation."))
    parts.push_back(whole_file(file));
  return parts;
}

}  // namespace lt2
