#include "report/run_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/files.h"
#include "report/html.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// Python writes NaN and Infinity into JSON where the standard has no word for them: null here.
std::string without_nan(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  bool in_string = false;
  for (size_t i = 0; i < text.size();) {
    if (!in_string) {
      size_t length = 0;
      for (const std::string_view word : {"-Infinity", "Infinity", "NaN"}) {
        if (text.substr(i).starts_with(word)) length = word.size();
      }
      if (length > 0) {
        out += "null";
        i += length;
        continue;
      }
    }
    if (text[i] == '"') in_string = !in_string;
    if (in_string && text[i] == '\\' && i + 1 < text.size()) out += text[i++];
    out += text[i++];
  }
  return out;
}

Json parse_json(std::string_view text) { return Json::parse(without_nan(valid_utf8(text))); }

/// One JSON object and where it stands, to read fields with a checked type.
struct Record {
  const Json& json;
  std::string where;  // "runs/demo/bench.jsonl:3"

  double number(const char* key) const {
    const auto at = json.find(key);
    if (at == json.end() || at->is_null()) return kAbsent;
    LT2_CHECK(at->is_number(), "{}: \"{}\" must be a number, found {}", where, key, shorten(*at));
    return at->get<double>();
  }
  double required_number(const char* key) const {
    LT2_CHECK(json.contains(key), "{}: no \"{}\" field; found {}", where, key, shorten(json));
    const double value = number(key);
    LT2_CHECK(std::isfinite(value), "{}: \"{}\" must be a finite number, found {}", where, key, shorten(json[key]));
    return value;
  }
  std::string text(const char* key, const std::string& absent) const {
    const auto at = json.find(key);
    if (at == json.end() || at->is_null()) return absent;
    LT2_CHECK(at->is_string(), "{}: \"{}\" must be a string, found {}", where, key, shorten(*at));
    return at->get<std::string>();
  }
  static std::string shorten(const Json& json) {
    std::string text = json.dump();
    if (text.size() > 60) text = valid_utf8(text.substr(0, 57)) + "...";
    return text;
  }
};

std::optional<std::string> read_if_there(const fs::path& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return std::nullopt;
  return read_file(path);
}

void read_lines(const fs::path& path, RunRecord& run, const std::function<void(const Record&)>& take) {
  const auto content = read_if_there(path);
  if (!content) return;
  std::string_view rest = *content;
  for (int64_t number = 1; !rest.empty(); ++number) {
    const size_t end = rest.find('\n');
    const bool cut_off = end == std::string_view::npos;
    const std::string_view line = rest.substr(0, end);
    rest = cut_off ? std::string_view{} : rest.substr(end + 1);
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string where = fmt::format("{}:{}", path.string(), number);
    Json json;
    try {
      json = parse_json(line);
    } catch (const Json::exception& error) {
      if (cut_off) {
        run.notes.push_back(fmt::format("{}:{}: the last line is cut off (the writer was stopped) and was skipped.",
                                        path.filename().string(), number));
        return;
      }
      fail("{}: not a JSON object on one line ({}). Repair or delete this line", where, error.what());
    }
    LT2_CHECK(json.is_object(), "{}: expected a JSON object, found {}", where, Record::shorten(json));
    take(Record{json, where});
  }
}

/// Null if the file is missing.
Json read_json(const fs::path& path) {
  const auto content = read_if_there(path);
  if (!content) return nullptr;
  try {
    return parse_json(*content);
  } catch (const Json::parse_error& error) {
    const auto end = content->begin() + static_cast<int64_t>(std::min(error.byte, content->size()));
    fail("{}:{}: not valid JSON ({})", path.string(), 1 + std::count(content->begin(), end, '\n'), error.what());
  } catch (const Json::exception& error) {
    fail("{}: not valid JSON ({})", path.string(), error.what());
  }
}

Json read_object(const fs::path& path) {
  Json json = read_json(path);
  LT2_CHECK(json.is_null() || json.is_object(), "{}: expected a JSON object, found {}", path.string(),
            Record::shorten(json));
  return json;
}

void read_train(const fs::path& path, RunRecord& run) {
  int64_t resumed = 0;
  read_lines(path, run, [&](const Record& line) {
    const double step = line.required_number("global_step");
    auto& train = run.train;
    if (!train.empty() && step < train.rbegin()->first) {
      // The run went on from a checkpoint: what was logged after that checkpoint did not happen any more.
      train.erase(train.lower_bound(step), train.end());
      ++resumed;
    }
    auto& point = train[step];
    point.loss = line.number("loss/out");
    point.learning_rate = line.number("optim/lr");
    point.grad_norm = line.number("optim/grad_norm");
    point.tokens_per_s = line.number("speed/wps");
    point.flops_per_s = line.number("speed/FLOPS");
    point.loops = line.number("speed/loops");
    point.total_tokens = line.number("optim/total_tokens");
  });
  if (resumed > 0) {
    run.notes.push_back(fmt::format(
        "metrics.jsonl: the run was resumed {} from an earlier step; the repeated steps count once, as last logged.",
        resumed == 1 ? "once" : fmt::format("{} times", resumed)));
  }
}

void read_validation(const fs::path& path, RunRecord& run) {
  read_lines(path, run, [&](const Record& line) {
    const double step = line.required_number("global_step");
    for (const auto& [source, values] : line.json.items()) {
      if (!values.is_object()) continue;
      const Record record{values, fmt::format("{}: {}", line.where, source)};
      ValidationPoint point{record.number("loss_per_token"), record.number("bits_per_byte")};
      // The official key holds a log-likelihood, negative.
      if (std::isnan(point.loss_per_token)) point.loss_per_token = -record.number("nll_per_token");
      run.validation[source][step] = point;
    }
  });
}

void read_bench(const fs::path& path, RunRecord& run) {
  read_lines(path, run, [&](const Record& line) {
    BenchRow row;
    row.kind = line.text("kind", "decode");
    row.model = line.text("model", "model");
    row.dtype = line.text("dtype", "");
    row.context = line.required_number("context");
    row.tokens_per_s = line.number("tokens_per_s");
    row.floor_tokens_per_s = line.number("floor_tokens_per_s");
    row.share = line.number("share");
    if (std::isnan(row.share)) row.share = row.tokens_per_s / row.floor_tokens_per_s;
    row.state_bytes = line.number("state_bytes");
    row.batch = line.json.contains("batch") ? line.required_number("batch") : 1;
    const auto same = std::find_if(run.bench.begin(), run.bench.end(), [&](const BenchRow& old) {
      return old.kind == row.kind && old.model == row.model && old.dtype == row.dtype && old.context == row.context &&
             old.batch == row.batch;
    });
    if (same == run.bench.end()) {
      run.bench.push_back(row);
    } else {
      *same = row;
    }
  });
}

void read_samples(const fs::path& path, RunRecord& run) {
  const Json json = read_json(path);
  if (json.is_null()) return;
  LT2_CHECK(json.is_array(), "{}: expected a list of samples, found {}", path.string(), Record::shorten(json));
  for (size_t i = 0; i < json.size(); ++i) {
    const Record entry{json[i], fmt::format("{}: entry {}", path.string(), i + 1)};
    LT2_CHECK(json[i].is_object(), "{}: expected an object, found {}", entry.where, Record::shorten(json[i]));
    LT2_CHECK(json[i].contains("text"), "{}: no \"text\" field; found {}", entry.where, Record::shorten(json[i]));
    run.samples.push_back(
        {entry.text("when", ""), entry.text("prompt", ""), entry.text("text", ""), entry.number("step")});
  }
}

}  // namespace

RunRecord read_run(const fs::path& folder) {
  LT2_CHECK(fs::is_directory(folder), "{}: no such folder. Name the dump_dir of a run", folder.string());
  LT2_CHECK(fs::exists(folder / "metrics.jsonl") || fs::exists(folder / "bench.jsonl"),
            "{}: nothing to report: expected metrics.jsonl (written by training) or bench.jsonl (written by "
            "benchmarks), found neither. Name the dump_dir of a run",
            folder.string());
  RunRecord run;
  const auto absolute = fs::weakly_canonical(folder);
  run.name = absolute.has_filename() ? absolute.filename().string() : absolute.string();
  read_train(folder / "metrics.jsonl", run);
  read_validation(folder / "metrics.validation.jsonl", run);
  read_bench(folder / "bench.jsonl", run);
  read_samples(folder / "samples.json", run);
  run.machine = read_object(folder / "machine.json");
  run.model = read_object(folder / "model.json");
  run.commands = read_if_there(folder / "commands.txt");
  run.config = read_if_there(folder / "config.yaml");
  return run;
}

}  // namespace lt2
