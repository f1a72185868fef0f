#include "report/run_record.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
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
  bool flag(const char* key) const {
    const auto at = json.find(key);
    if (at == json.end() || at->is_null()) return false;
    LT2_CHECK(at->is_boolean(), "{}: \"{}\" must be true or false, found {}", where, key, shorten(*at));
    return at->get<bool>();
  }
  static std::string shorten(const Json& json) {
    std::string text = json.dump();
    if (text.size() > 60) text = valid_utf8(text.substr(0, 57)) + "...";
    return text;
  }
};

std::optional<std::string> read_if_there(const fs::path& path) {
  return is_there(path) ? std::optional(read_file(path)) : std::nullopt;
}

/// The JSON object on a line.
Json parse_line(std::string_view line, const std::string& where) {
  Json json;
  try {
    json = parse_json(line);
  } catch (const Json::exception& error) {
    fail("{}: not a JSON object on one line ({}). Repair or delete this line", where, error.what());
  }
  LT2_CHECK(json.is_object(), "{}: expected a JSON object, found {}", where, Record::shorten(json));
  return json;
}

/// Calls take(record) for every line of `text`; false if the last one is cut off, which is left out.
bool each_line(std::string_view text, const std::string& name, const std::function<void(const Record&)>& take) {
  for (int64_t number = 1; !text.empty(); ++number) {
    const size_t end = text.find('\n');
    const bool cut_off = end == std::string_view::npos;
    const std::string_view line = text.substr(0, end);
    text = cut_off ? std::string_view{} : text.substr(end + 1);
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string where = fmt::format("{}:{}", name, number);
    if (cut_off && !Json::accept(without_nan(valid_utf8(line)))) return false;
    const Json json = parse_line(line, where);
    take(Record{json, where});
  }
  return true;
}

void read_lines(const fs::path& path, RunRecord& run, const std::function<void(const Record&)>& take) {
  const auto content = read_if_there(path);
  if (!content || each_line(*content, path.string(), take)) return;
  run.notes.push_back(fmt::format("{}:{}: the last line is cut off (the writer was stopped) and was skipped.",
                                  path.filename().string(), 1 + std::count(content->begin(), content->end(), '\n')));
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

/// 2026-05-20T12:34:56.789012+00:00 in seconds since 1970; NaN for anything else.
double parse_time(const std::string& text) {
  tm utc{};
  double seconds = 0;
  if (std::sscanf(text.c_str(), "%4d-%2d-%2dT%2d:%2d:%lf", &utc.tm_year, &utc.tm_mon, &utc.tm_mday, &utc.tm_hour,
                  &utc.tm_min, &seconds) != 6 ||
      !text.ends_with("+00:00") || !(seconds >= 0 && seconds < 61)) {
    return kAbsent;
  }
  utc.tm_year -= 1900;
  --utc.tm_mon;
  return static_cast<double>(timegm(&utc)) + seconds;
}

constexpr std::string_view kUnitPrefix = "optim/grad_norm/";
constexpr size_t kMostUnits = 4096;

/// True if steps logged before are gone.
bool take_train_line(const Record& line, RunRecord& run) {
  const double step = line.required_number("global_step");
  TrainPoint point;
  point.loss = line.number("loss/out");
  point.learning_rate = line.number("optim/lr");
  point.grad_norm = line.number("optim/grad_norm");
  point.tokens_per_s = line.number("speed/wps");
  point.flops_per_s = line.number("speed/FLOPS");
  point.mfu = line.number("speed/mfu");
  point.loops = line.number("speed/loops");
  point.total_tokens = line.number("optim/total_tokens");
  point.time = parse_time(line.text("created_at", ""));
  size_t next = 0;  // lines name the units in one order: the search mostly ends at once
  for (const auto& [key, value] : line.json.items()) {
    if (!std::string_view(key).starts_with(kUnitPrefix)) continue;
    const auto unit = std::string_view(key).substr(kUnitPrefix.size());
    size_t at = next < run.units.size() && run.units[next] == unit
                    ? next
                    : static_cast<size_t>(std::find(run.units.begin(), run.units.end(), unit) - run.units.begin());
    if (at == run.units.size()) {
      LT2_CHECK(at < kMostUnits, "{}: more than {} different \"{}...\" fields", line.where, kMostUnits, kUnitPrefix);
      run.units.emplace_back(unit);
    }
    if (point.unit_norms.size() <= at) point.unit_norms.resize(at + 1, NAN);
    point.unit_norms[at] = static_cast<float>(line.number(key.c_str()));
    next = at + 1;
  }
  // The run went on from a checkpoint: what was logged after that checkpoint did not happen any more.
  const bool resumed = !run.train.empty() && step < run.train.rbegin()->first;
  run.train.erase(run.train.lower_bound(step), run.train.end());
  run.train.emplace(step, std::move(point));
  return resumed;
}

void note_resumed(RunRecord& run, int64_t resumed) {
  if (resumed == 0) return;
  run.notes.push_back(fmt::format(
      "metrics.jsonl: the run was resumed {} from an earlier step; the repeated steps count once, as last logged.",
      resumed == 1 ? "once" : fmt::format("{} times", resumed)));
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

void take_bench_row(const Record& line, std::vector<BenchRow>& rows) {
  BenchRow row;
  row.kind = line.text("kind", "decode");
  row.model = line.text("model", "model");
  row.dtype = line.text("dtype", "");
  row.shape = line.text("shape", "");
  row.mode = line.text("mode", "");
  row.reason = line.text(row.kind == "machine" ? "moved" : "reason", "");
  row.noisy = line.flag("noisy");
  if (row.kind == "machine") return rows.push_back(row);
  row.baseline = line.text("baseline", "");
  row.speed_ratio_noisy = line.flag("speed_ratio_noisy");
  row.predicted_share_noisy = line.flag("predicted_share_noisy");
  row.context = row.kind == "frontier" ? line.number("context") : line.required_number("context");
  row.tokens_per_s = line.number("tokens_per_s");
  row.floor_tokens_per_s = line.number("floor_tokens_per_s");
  row.share = line.number("share");
  if (std::isnan(row.share)) row.share = row.tokens_per_s / row.floor_tokens_per_s;
  for (auto [key, field] : {std::pair{"state_bytes", &BenchRow::state_bytes},
                            {"tokens_per_s_low", &BenchRow::tokens_per_s_low},
                            {"tokens_per_s_high", &BenchRow::tokens_per_s_high},
                            {"repeats", &BenchRow::repeats},
                            {"speed_ratio", &BenchRow::speed_ratio},
                            {"speed_ratio_low", &BenchRow::speed_ratio_low},
                            {"speed_ratio_high", &BenchRow::speed_ratio_high},
                            {"first_token_s", &BenchRow::first_token_s},
                            {"predicted_share", &BenchRow::predicted_share},
                            {"peak_bytes", &BenchRow::peak_bytes},
                            {"planned_bytes", &BenchRow::planned_bytes},
                            {"memory_bytes", &BenchRow::memory_bytes},
                            {"refused_context", &BenchRow::refused_context},
                            {"tried_context", &BenchRow::tried_context},
                            {"resident_bytes", &BenchRow::resident_bytes}}) {
    row.*field = line.number(key);
  }
  row.batch = line.json.contains("batch") ? line.required_number("batch") : 1;
  // A row measured after all replaces the note that it was not.
  const auto what = [](const BenchRow& of) { return of.kind == "skipped" ? of.mode : of.kind; };
  const auto same = std::find_if(rows.begin(), rows.end(), [&](const BenchRow& old) {
    const bool same_place = row.kind == "frontier" ? old.memory_bytes == row.memory_bytes : old.context == row.context;
    return what(old) == what(row) && old.shape == row.shape && old.model == row.model && old.dtype == row.dtype &&
           old.batch == row.batch && same_place;
  });
  if (same == rows.end()) {
    rows.push_back(row);
  } else if (row.kind != "skipped" || same->kind == "skipped") {
    *same = row;
  }
}

void read_bench(const fs::path& path, RunRecord& run) {
  read_lines(path, run, [&](const Record& line) { take_bench_row(line, run.bench); });
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

namespace {

std::string name_of(const fs::path& folder) {
  const auto absolute = fs::weakly_canonical(folder);
  return absolute.has_filename() ? absolute.filename().string() : absolute.string();
}

/// The number in the line "steps: " of the configuration's first level.
double configured_steps(const std::optional<std::string>& config) {
  constexpr std::string_view kKey = "\nsteps: ";
  const std::string text = "\n" + config.value_or("");
  const size_t at = text.find(kKey);
  if (at == std::string::npos) return kAbsent;
  char* end = nullptr;
  const double steps = std::strtod(text.c_str() + at + kKey.size(), &end);
  return std::isfinite(steps) && steps >= 1 && (*end == '\n' || *end == '\0') ? steps : kAbsent;
}

/// Everything but metrics.jsonl.
void read_others(const fs::path& folder, RunRecord& run) {
  read_validation(folder / "metrics.validation.jsonl", run);
  read_bench(folder / "bench.jsonl", run);
  read_samples(folder / "samples.json", run);
  run.machine = read_object(folder / "machine.json");
  run.model = read_object(folder / "model.json");
  run.commands = read_if_there(folder / "commands.txt");
  run.config = read_if_there(folder / "config.yaml");
  run.steps = configured_steps(run.config);
}

}  // namespace

std::vector<BenchRow> parse_bench(const std::string& text, const std::string& where) {
  std::vector<BenchRow> rows;
  each_line(text, where, [&](const Record& line) { take_bench_row(line, rows); });
  return rows;
}

RunRecord read_run(const fs::path& folder) {
  LT2_CHECK(fs::is_directory(folder), "{}: no such folder. Name the dump_dir of a run", folder.string());
  LT2_CHECK(fs::exists(folder / "metrics.jsonl") || fs::exists(folder / "bench.jsonl"),
            "{}: nothing to report: expected metrics.jsonl (written by training) or bench.jsonl (written by "
            "benchmarks), found neither. Name the dump_dir of a run",
            folder.string());
  RunRecord run;
  run.name = name_of(folder);
  int64_t resumed = 0;
  read_lines(folder / "metrics.jsonl", run, [&](const Record& line) {
    if (take_train_line(line, run)) ++resumed;
  });
  note_resumed(run, resumed);
  read_others(folder, run);
  return run;
}

RunFollower::RunFollower(fs::path folder)
    : folder_(std::move(folder)),
      // Pages that still show what an earlier server told them must not take this one's numbers for a continuation.
      epoch_(std::chrono::system_clock::now().time_since_epoch() / std::chrono::milliseconds(1)) {
  LT2_CHECK(fs::is_directory(folder_), "{}: no such folder. Name the dump_dir of a run", folder_.string());
  run_.name = name_of(folder_);
}

void RunFollower::refresh() {
  read_new_lines();
  const auto now = others();
  if (now == others_) return;
  RunRecord fresh;
  read_others(folder_, fresh);
  fresh.name = run_.name;
  fresh.train.swap(run_.train);
  fresh.units.swap(run_.units);
  note_resumed(fresh, resumed_);
  run_ = std::move(fresh);
  others_ = now;
  ++version_;
}

void RunFollower::read_new_lines() {
  constexpr size_t kMostBytes = size_t{16} << 20;  // of one line, and read at once
  const auto path = folder_ / "metrics.jsonl";
  if (!is_there(path)) return;
  const Descriptor descriptor = open_regular(path);
  struct stat facts {};
  LT2_CHECK(::fstat(descriptor, &facts) == 0, "{}: cannot read it: {}", path.string(), std::strerror(errno));
  if (facts.st_dev != device_ || facts.st_ino != inode_ || static_cast<uint64_t>(facts.st_size) < offset_) {
    // Another file: a resumed run has left out the steps after its checkpoint.
    if (offset_ > 0) ++epoch_, ++version_;
    run_.train.clear();
    run_.units.clear();
    offset_ = 0, line_ = 0, resumed_ = 0;
    device_ = facts.st_dev, inode_ = facts.st_ino;
  }
  for (std::string piece;;) {
    piece.resize(std::min<uint64_t>(kMostBytes, static_cast<uint64_t>(facts.st_size) - offset_));
    const auto got = ::pread(descriptor, piece.data(), piece.size(), static_cast<off_t>(offset_));
    LT2_CHECK(got >= 0, "{}: cannot read it: {}", path.string(), std::strerror(errno));
    piece.resize(static_cast<size_t>(got));
    const size_t complete = piece.rfind('\n') + 1;  // 0 if there is none
    LT2_CHECK(complete > 0 || piece.size() < kMostBytes, "{}:{}: a line of more than {} bytes. Repair or delete it",
              path.string(), line_ + 1, kMostBytes);
    if (complete == 0) return;
    for (std::string_view rest = std::string_view(piece).substr(0, complete); !rest.empty();) {
      const auto text = rest.substr(0, rest.find('\n'));
      if (text.find_first_not_of(" \t\r") != std::string_view::npos) {
        const std::string where = fmt::format("{}:{}", path.string(), line_ + 1);
        const Json json = parse_line(text, where);
        if (take_train_line(Record{json, where}, run_)) ++epoch_, ++resumed_;
        ++version_;
      }
      // Line by line: an error leaves the rest, and the broken line, for the next look.
      ++line_;
      offset_ += text.size() + 1;
      rest.remove_prefix(text.size() + 1);
    }
  }
}

std::string RunFollower::others() const {
  std::string out;
  for (const char* name : {"metrics.validation.jsonl", "bench.jsonl", "samples.json", "machine.json", "model.json",
                           "commands.txt", "config.yaml"}) {
    struct stat facts {};
    if (::stat((folder_ / name).c_str(), &facts) != 0) continue;
    out +=
        fmt::format("{} {} {} {}.{} ", name, facts.st_ino, facts.st_size, facts.st_mtim.tv_sec, facts.st_mtim.tv_nsec);
  }
  return out;
}

double RunFollower::silent_s() const {
  struct stat facts {};
  if (::stat((folder_ / "metrics.jsonl").c_str(), &facts) != 0) return kAbsent;
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return std::max(0.0, static_cast<double>(now.tv_sec - facts.st_mtim.tv_sec) +
                           1e-9 * static_cast<double>(now.tv_nsec - facts.st_mtim.tv_nsec));
}

}  // namespace lt2
