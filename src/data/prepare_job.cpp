#include "data/prepare_job.h"

#include <sys/stat.h>

#include <algorithm>
#include <system_error>

#include "base/error.h"
#include "base/files.h"
#include "base/json_field.h"
#include "base/utf8.h"
#include "data/line_source.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using OrderedField = BasicJsonField<Json>;

bool lies_in(const fs::path& path, const fs::path& folder) {
  return std::mismatch(folder.begin(), folder.end(), path.begin(), path.end()).first == folder.end();
}

// Document files below `folder`, without the files that this program makes there.
void add_folder(const fs::path& folder, const std::vector<fs::path>& own, std::vector<PrepareInput>& inputs) {
  std::error_code code;
  const size_t before = inputs.size();
  fs::recursive_directory_iterator it(folder, code);
  for (const fs::recursive_directory_iterator end; !code && it != end; it.increment(code)) {
    const fs::path& path = it->path();
    const bool skip = std::any_of(own.begin(), own.end(), [&](const fs::path& mine) { return lies_in(path, mine); });
    if (skip) {
      it.disable_recursion_pending();
    } else if (is_document_file(path) && it->is_regular_file()) {
      inputs.push_back(input_at(path));
    }
  }
  LT2_CHECK(!code, "{}: cannot list this folder: {}", folder.string(), code.message());
  LT2_CHECK(inputs.size() > before, "in={}: no .txt, .jsonl, .jsonl.gz, .jsonl.zst or .parquet file in this folder",
            folder.string());
}

uint64_t count_of(const OrderedField& field) { return static_cast<uint64_t>(field.integer(0, int64_t{1} << 62)); }

JobDifference input_difference(const Json& before, const Json& now) {
  for (size_t i = 0; i < std::max(before.size(), now.size()); ++i) {
    if (i < before.size() && i < now.size() && before[i] == now[i]) continue;
    const auto path = [&](const Json& files) {
      const bool known =
          i < files.size() && files[i].is_object() && files[i].contains("path") && files[i]["path"].is_string();
      return known ? files[i]["path"].get<std::string>() : std::string();
    };
    const std::string was = path(before), is = path(now);
    if (was == is) return {"inputs", is + " has changed since"};
    if (is.empty() || (!was.empty() && was < is)) return {"inputs", was + " was an input then"};
    return {"inputs", is + " was no input then"};
  }
  return {"inputs", "the inputs differ"};
}

}  // namespace

PrepareInput input_at(const fs::path& path) {
  struct stat info {};
  LT2_CHECK(::fstat(open_regular(path), &info) == 0, "{}: {}", path.string(), std::system_category().message(errno));
  return {path.string(), static_cast<uint64_t>(info.st_size),
          int64_t{info.st_mtim.tv_sec} * 1000000000 + info.st_mtim.tv_nsec};
}

std::vector<PrepareInput> find_inputs(const std::string& list, const std::vector<fs::path>& own) {
  std::vector<PrepareInput> inputs;
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find(',', begin), list.size());
    const std::string name = list.substr(begin, end - begin);
    begin = end + 1;
    LT2_CHECK(!name.empty(), "in={}: an empty path; give paths with one comma between them", list);
    const fs::path path = fs::absolute(expand_home(name, "in")).lexically_normal();
    LT2_CHECK(fs::exists(path), "in={}: no such file or folder: {}", list, path.string());
    if (fs::is_directory(path)) {
      add_folder(path, own, inputs);
      continue;
    }
    LT2_CHECK(is_document_file(path), "in={}: expected a .txt, .jsonl, .jsonl.gz, .jsonl.zst or .parquet file",
              path.string());
    inputs.push_back(input_at(path));
  }
  std::sort(inputs.begin(), inputs.end(), [](const PrepareInput& a, const PrepareInput& b) { return a.path < b.path; });
  for (size_t i = 1; i < inputs.size(); ++i)
    LT2_CHECK(inputs[i].path != inputs[i - 1].path, "in={}: {} is named twice", list, inputs[i].path);
  return inputs;
}

Json job_of(const PrepareConfig& config, const std::vector<PrepareInput>& inputs) {
  Json files = Json::array();
  for (const PrepareInput& input : inputs)
    // Names are bytes; JSON wants text.
    files.push_back(
        {{"path", escape_invalid_utf8(input.path)}, {"bytes", input.bytes}, {"modified_ns", input.modified_ns}});
  return {{"format", 1},
          {"name", config.name},
          {"nchunks", config.nchunks},
          {"validation_lines", config.validation_lines},
          {"seed", config.seed},
          {"on_bad_line", config.on_bad_line},
          {"inputs", std::move(files)}};
}

std::optional<JobDifference> job_difference(const Json& before, const Json& now) {
  // The inputs are the last key: a setting that differs is the clearer thing to say.
  for (const auto& [key, value] : now.items()) {
    const Json was = before.value(key, Json());
    if (was == value) continue;
    if (key == "inputs") return input_difference(was, value);
    return JobDifference{key, fmt::format("{} was {}, now it is {}", key, was.dump(), value.dump())};
  }
  return std::nullopt;
}

Json json_of(const Json& job, const PrepareState& state) {
  Json buckets = Json::array();
  for (const auto& bucket : state.buckets) buckets.push_back({bucket.bits, bucket.prefix, bucket.bytes, bucket.lines});
  const PrepareReport& report = state.report;
  return {{"job", job},
          {"reading", state.reading},
          {"input", state.input},
          {"lines", state.lines},
          {"documents", report.documents},
          {"text_bytes", report.text_bytes},
          {"blank_lines", report.blank_lines},
          {"bad_lines", report.bad_lines},
          {"invalid_utf8", report.invalid_utf8},
          {"buckets", std::move(buckets)},
          {"dealt", state.dealt},
          {"sizes", state.sizes}};
}

PrepareReport counts_of(const Json& json, const std::string& where) {
  const OrderedField root(json, where);
  const auto count = [&](const char* key) { return count_of(root.at(key)); };
  PrepareReport report;
  report.documents = count("documents");
  report.text_bytes = count("text_bytes");
  report.blank_lines = count("blank_lines");
  report.bad_lines = count("bad_lines");
  report.invalid_utf8 = count("invalid_utf8");
  return report;
}

PrepareState prepare_state_of(const Json& json, const std::string& where) {
  const OrderedField root(json, where);
  PrepareState state;
  state.reading = root.at("reading").boolean();
  state.input = count_of(root.at("input"));
  state.lines = count_of(root.at("lines"));
  state.report = counts_of(json, where);
  const OrderedField buckets = root.at("buckets").array(), sizes = root.at("sizes").array();
  for (size_t i = 0; i < buckets.size(); ++i) {
    const OrderedField bucket = buckets.at(i).array();
    if (bucket.size() != 4) bucket.refuse("expected four numbers");
    const OrderedField prefix = bucket.at(1);
    if (!prefix.value().is_number_unsigned()) prefix.refuse("expected a whole number >= 0");
    state.buckets.push_back({static_cast<int>(bucket.at(0).integer(0, 64)), prefix.value().get<uint64_t>(),
                             count_of(bucket.at(2)), count_of(bucket.at(3))});
  }
  state.dealt = count_of(root.at("dealt"));
  for (size_t i = 0; i < sizes.size(); ++i) state.sizes.push_back(count_of(sizes.at(i)));
  return state;
}

Json read_prepare_json(const fs::path& path, const fs::path& folder) {
  Json json;
  try {
    json = parse_json<Json>(read_file(path), path.string());
    OrderedField(json, path.string()).at("job").at("inputs").array();
  } catch (const Error&) {
    fail("{}: damaged, or not made here. Remove {} and start again", path.string(), folder.string());
  }
  return json;
}

}  // namespace lt2
