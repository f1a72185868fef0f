#include "check/check.h"

#include <algorithm>
#include <functional>
#include <map>

#include "base/error.h"
#include "base/files.h"
#include "check/judge.h"
#include "check/tokenizer.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using check::Judge;

void check_safetensors(const fs::path& path, Judge& judge) {
  static const std::map<std::string, std::function<void(const SafetensorsFile&, Judge&)>> formats{
      {"lt2-linear-1", check::check_linear},
      {"lt2-golden-layer-1", check::check_attention},
      {"lt2-golden-model-1", check::check_model},
      {"lt2-golden-train-1", check::check_training},
  };
  const SafetensorsFile file(path);
  const auto format = file.metadata().find("format");
  if (format == file.metadata().end()) throw check::Unsupported{"no `format` in its metadata: not a vector file"};
  const auto found = formats.find(format->second);
  if (found == formats.end()) throw check::Unsupported{"unknown format " + format->second};
  found->second(file, judge);
}

void check_json(const fs::path& path, Judge& judge) {
  const auto table = nlohmann::json::parse(read_file(path), nullptr, /*allow_exceptions=*/false);
  LT2_CHECK(!table.is_discarded(), "{}: not valid JSON", path.string());
  if (table.is_object() && table.contains("attention") && table.contains("shuffles"))
    return check::check_patterns(table, judge);
  if (table.is_array() && !table.empty() && table[0].contains("factors")) return check::check_schedules(table, judge);
  throw check::Unsupported{"a table of unknown kind"};
}

// Counts of unequal texts and lists of ids, vocabulary by vocabulary.
void check_tokenizers(const fs::path& folder, Judge& judge, std::string& note) {
  for (const auto& row : check_tokenizer_vectors(folder)) {
    judge.add(fmt::format("{} {} ({})", row.vocabulary, row.what, row.compared), static_cast<double>(row.wrong), 0,
              /*absolute=*/true);
    if (row.wrong > 0 && note.empty()) note = row.first;
  }
}

bool is_vector_file(const fs::path& path) { return path.extension() == ".safetensors" || path.extension() == ".json"; }

}  // namespace

CheckedFile check_file(const fs::path& path, const CheckOptions& options) {
  CheckedFile result{.path = path, .status = CheckedFile::Status::kPassed, .note = {}, .tensors = {}};
  Judge judge(options);
  try {
    if (fs::is_directory(path)) {
      check_tokenizers(path, judge, result.note);
    } else {
      path.extension() == ".json" ? check_json(path, judge) : check_safetensors(path, judge);
    }
    result.tensors = judge.tensors;
    LT2_CHECK(!result.tensors.empty(), "{}: holds nothing to compare", path.string());
    const bool ok = std::all_of(result.tensors.begin(), result.tensors.end(), [](const auto& t) { return t.ok(); });
    if (!ok) result.status = CheckedFile::Status::kFailed;
  } catch (const check::Unsupported& unsupported) {
    result.status = CheckedFile::Status::kSkipped;
    result.note = unsupported.why;
  } catch (const std::exception& error) {
    result.tensors = judge.tensors;
    result.status = CheckedFile::Status::kFailed;
    result.note = error.what();
  }
  return result;
}

std::vector<fs::path> vector_files(const std::vector<fs::path>& paths) {
  std::vector<fs::path> files;
  for (const auto& path : paths) {
    LT2_CHECK(fs::exists(path), "check: {} does not exist; give vector files or folders of them", path.string());
    if (!fs::is_directory(path)) {
      files.push_back(path);
      continue;
    }
    if (has_tokenizer_vectors(path)) {
      files.push_back(path);
      continue;
    }
    for (auto entry = fs::recursive_directory_iterator(path); entry != fs::recursive_directory_iterator(); ++entry) {
      if (entry->is_directory() && has_tokenizer_vectors(entry->path())) {
        files.push_back(entry->path());
        entry.disable_recursion_pending();
      } else if (entry->is_regular_file() && is_vector_file(entry->path())) {
        files.push_back(entry->path());
      }
    }
  }
  LT2_CHECK(!files.empty(), "check: no .safetensors or .json vector file in {}",
            paths.empty() ? "" : paths[0].string());
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace lt2
