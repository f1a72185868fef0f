#include "check/check.h"

#include <algorithm>
#include <functional>
#include <map>

#include "base/error.h"
#include "base/files.h"
#include "check/judge.h"

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

bool is_vector_file(const fs::path& path) { return path.extension() == ".safetensors" || path.extension() == ".json"; }

}  // namespace

CheckedFile check_file(const fs::path& path, const CheckOptions& options) {
  CheckedFile result{.path = path, .status = CheckedFile::Status::kPassed, .note = {}, .tensors = {}};
  Judge judge(options);
  try {
    path.extension() == ".json" ? check_json(path, judge) : check_safetensors(path, judge);
    result.tensors = judge.tensors;
    LT2_CHECK(!result.tensors.empty(), "{}: nothing in it could be compared", path.string());
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
    for (const auto& entry : fs::recursive_directory_iterator(path)) {
      // Inside tokenizer folders the .json files are vocabularies and notes, not tables of results.
      if (entry.is_regular_file() && is_vector_file(entry.path()) &&
          fs::relative(entry.path(), path).string().find("tokenizer/") == std::string::npos) {
        files.push_back(entry.path());
      }
    }
  }
  LT2_CHECK(!files.empty(), "check: no .safetensors or .json vector file in {}",
            paths.empty() ? "" : paths[0].string());
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace lt2
