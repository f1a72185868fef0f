#include "data/prepare.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/files.h"
#include "base/json_field.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/units.h"
#include "base/utf8.h"
#include "data/append_files.h"
#include "data/external_shuffle.h"
#include "data/json_line.h"
#include "data/line_source.h"
#include "data/prepare_job.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr uint64_t kLeastMemory = 64 << 10;
constexpr const char* kManifest = "prepare.json";

std::string human(uint64_t bytes) { return human_bytes(static_cast<double>(bytes)); }

void sync_folder(const fs::path& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0) return;  // a file system without this has nothing to make safe
  ::fsync(file);
  ::close(file);
}

// A bar over bytes, in MiB.
class ByteBar {
 public:
  ByteBar(const std::string& label, uint64_t total, uint64_t start)
      : bar_(label + " MiB", static_cast<int64_t>(total / kUnit), 1, static_cast<int64_t>(start / kUnit)),
        step_(stderr_is_terminal() ? kUnit : std::max<uint64_t>(kUnit, total / 10)),
        next_(start + step_) {}
  void update(uint64_t done) {
    if (done < next_) return;
    next_ = done + step_;
    bar_.update(static_cast<int64_t>(done / kUnit), "");
  }
  void finish() { bar_.finish(); }

 private:
  static constexpr uint64_t kUnit = 1 << 20;
  ProgressBar bar_;
  uint64_t step_, next_;
};

class Clock {
 public:
  // "in 3.2 s, 310 MB/s"
  std::string speed(uint64_t bytes) const {
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
    return fmt::format("in {}, {:.0f} MB/s", human_duration(seconds),
                       static_cast<double>(bytes) / 1e6 / std::max(seconds, 1e-9));
  }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

// What `read` makes of a file that was written here. Throws lt2::Error that says to remove `folder` if it is damaged.
template <typename Read>
auto read_own(const fs::path& folder, const Read& read) {
  try {
    return read();
  } catch (const Error& error) {
    fail("{}: damaged. Remove {} and start again", error.what(), folder.string());
  }
}

// ---- the work ----

class Preparation {
 public:
  Preparation(const PrepareConfig& config, const PrepareLimits& limits)
      : config_(config), limits_(limits), out_(absolute_out(config.out)), work_(out_.string() + ".prepare") {
    check_out();
    inputs_ = find_inputs(config.in, {out_, work_});
    job_ = job_of(config, inputs_);
  }

  PrepareReport run() {
    if (is_done()) {
      remove_work();
      return done_report();
    }
    make_folders(work_, "out");
    const FileLock lock(work_ / "lock", fmt::format("{}: another process prepares this folder", out_.string()));
    start_or_continue();
    if (state_.reading) read_inputs();
    deal();
    write_validation();
    publish();
    return state_.report;
  }

 private:
  static fs::path absolute_out(const std::string& out) {
    fs::path path = fs::weakly_canonical(fs::absolute(out)).lexically_normal();
    if (!path.has_filename()) path = path.parent_path();
    LT2_CHECK(path.has_filename(), "out={}: expected a folder that can be made", out);
    return path;
  }

  void check_out() const {
    if (!fs::exists(out_)) return;
    struct stat info {};
    LT2_CHECK(::stat(out_.c_str(), &info) == 0 && S_ISDIR(info.st_mode), "out={}: expected a folder, found {}",
              out_.string(), kind_of_file(info.st_mode));
    if (fs::exists(out_ / kManifest)) return;
    const fs::directory_iterator entries(out_);
    LT2_CHECK(entries == fs::directory_iterator(),
              "out={}: this folder holds files that are not from here ({}, ...). Name a new or an empty folder, for "
              "example {}",
              out_.string(), entries->path().filename().string(), (out_ / (config_.name + "_shuffled")).string());
  }

  fs::path buckets() const { return work_ / "buckets"; }
  fs::path output() const { return work_ / "output"; }
  fs::path state_path() const { return work_ / "state.json"; }
  size_t chunks() const { return static_cast<size_t>(config_.nchunks); }
  std::string chunk_name(size_t chunk) const { return fmt::format("{}.chunk.{:02}.jsonl", config_.name, chunk); }
  std::string validation_name() const { return config_.name + ".val.jsonl"; }

  bool is_done() const {
    if (!fs::exists(out_ / kManifest)) return false;
    const Json manifest = read_prepare_json(out_ / kManifest, out_);
    const auto other = job_difference(manifest.at("job"), job_);
    LT2_CHECK(!other, "out={}: this folder was made from other inputs or settings: {}. Remove it, or name another",
              out_.string(), other->text);
    const Json files = manifest.value("files", Json::object());
    for (const auto& [name, bytes] : files.items()) {
      std::error_code code;
      LT2_CHECK(fs::file_size(out_ / name, code) == bytes && !code,
                "{}: missing or changed since it was made. Remove {} to make it again", (out_ / name).string(),
                out_.string());
    }
    return true;
  }

  PrepareReport done_report() const {
    const Json manifest = read_prepare_json(out_ / kManifest, out_);
    const std::string where = (out_ / kManifest).string();
    PrepareReport report = read_own(out_, [&] {
      PrepareReport counts = counts_of(manifest, where);
      const auto held_back = BasicJsonField<Json>(manifest, where).at("validation_documents");
      counts.validation_documents = static_cast<uint64_t>(held_back.integer(0, int64_t{1} << 62));
      return counts;
    });
    report.was_done = true;
    return report;
  }

  // ---- starting ----

  void start_or_continue() {
    if (fs::exists(state_path())) {
      const Json saved = read_prepare_json(state_path(), work_);
      const auto other = job_difference(saved.at("job"), job_);
      if (!other) return continue_from(saved);
      // A mended line or file: what was made of the old one is of no use.
      LT2_CHECK(other->key == "inputs" || other->key == "on_bad_line",
                "{}: unfinished work with other settings: {}. Repeat that command, or remove the folder",
                work_.string(), other->text);
      log_warning("{}: starting again, for {}", work_.string(), other->text);
    } else {
      for (const auto& entry : fs::directory_iterator(work_)) {
        const std::string name = entry.path().filename().string();
        LT2_CHECK(name == "lock" || is_aside(name),
                  "{}: needed for the work, but it holds files that are not from here ({}). Name another out=",
                  work_.string(), name);
      }
    }
    uint64_t expected = 0;
    for (const PrepareInput& input : inputs_) expected += expected_text_bytes(input.path, input.bytes);
    state_ = PrepareState{};
    state_.buckets = plan_buckets(expected, limits_.memory);
    check_space(expected);
    // First, so that the new state never meets files of an old one.
    fs::remove_all(buckets());
    fs::remove_all(output());
    fs::remove_all(work_ / "validation");
    save();
    limits_.after_step("start");
  }

  void continue_from(const Json& saved) {
    state_ = read_own(work_, [&] { return prepare_state_of(saved, state_path().string()); });
    const bool whole = state_.input <= inputs_.size() && (!state_.reading || !state_.buckets.empty()) &&
                       (state_.sizes.empty() || state_.sizes.size() == 2 * chunks());
    LT2_CHECK(whole, "{}: damaged. Remove {} and start again", state_path().string(), work_.string());
    if (state_.reading)
      log_info("prepare: continuing after {} documents, file {} of {}", state_.report.documents, state_.input + 1,
               inputs_.size());
    else
      log_info("prepare: continuing, {} of {} documents are in chunks", state_.dealt, state_.report.documents);
  }

  // Buckets shrink while chunks grow: the text once, what is dealt between two checkpoints, and a bucket. The inputs
  // stay.
  void check_space(uint64_t expected) const {
    uint64_t least = 0;
    for (const PrepareInput& input : inputs_) least += input.bytes;
    const uint64_t need = expected + std::min(expected, limits_.memory + limits_.checkpoint_bytes);
    std::error_code code;
    const auto space = fs::space(work_, code);
    const uint64_t free = code ? UINT64_MAX : space.available;
    log_info("prepare: {} files of {}, about {} of text; up to {} more disk space while it runs ({} free), {} buckets",
             inputs_.size(), human(least), human(expected), human(need), code ? "unknown" : human(free),
             state_.buckets.size());
    LT2_CHECK(free >= least, "{}: {} free, about {} needed. Free some space, or write to another disk", out_.string(),
              human(free), human(need));
    if (free < need)
      log_warning("{}: the disk may be too small: {} free, about {} needed", out_.string(), human(free), human(need));
  }

  void save() const {
    // Bytes that are no UTF-8 were escaped by job_of.
    write_file_atomically(state_path(), json_of(job_, state_).dump(1) + "\n");
  }

  // ---- documents to buckets ----

  void read_inputs() {
    make_folders(buckets(), "out");
    BucketWriter writer(buckets(), state_.buckets, limits_.memory);
    uint64_t total = 0, behind = 0;
    for (const PrepareInput& input : inputs_) total += input.bytes;
    for (uint64_t i = 0; i < state_.input; ++i) behind += inputs_[i].bytes;
    ByteBar bar("reading", total, behind);
    const Clock clock;
    const uint64_t start = saved_bytes_ = state_.report.text_bytes;
    for (; state_.input < inputs_.size(); ++state_.input, state_.lines = 0) {
      read_input(inputs_[state_.input], writer, behind, bar);
      behind += inputs_[state_.input].bytes;
    }
    bar.finish();
    writer.sync();
    state_.buckets = writer.buckets();
    check_count();
    state_.reading = false;
    save();
    const PrepareReport& report = state_.report;
    log_info("prepare: read {} documents, {} of text, {}", report.documents, human(report.text_bytes),
             clock.speed(report.text_bytes - start));
    limits_.after_step("read");
  }

  void read_input(const PrepareInput& input, BucketWriter& writer, uint64_t behind, ByteBar& bar) {
    const auto source = LineSource::open(input.path, limits_.memory);
    std::string_view line;
    for (uint64_t i = 0; i < state_.lines; ++i)
      LT2_CHECK(source->next(line), "{}: has changed while it was read. Repeat the command", input.path);
    while (source->next(line)) {
      ++state_.lines;
      take(input, line, source->is_checked(), writer);
      if ((state_.lines & 255) == 0) bar.update(behind + static_cast<uint64_t>(source->file_position()));
      if (state_.report.text_bytes - saved_bytes_ < limits_.checkpoint_bytes) continue;
      saved_bytes_ = state_.report.text_bytes;
      writer.sync();
      state_.buckets = writer.buckets();
      save();
      limits_.after_step("checkpoint");
    }
    bar.update(behind + input.bytes);
    const PrepareInput now = input_at(input.path);
    LT2_CHECK(now.bytes == input.bytes && now.modified_ns == input.modified_ns,
              "{}: has changed while it was read. Repeat the command", input.path);
  }

  void take(const PrepareInput& input, std::string_view line, bool checked, BucketWriter& writer) {
    PrepareReport& report = state_.report;
    if (line.find_first_not_of(" \t") == std::string_view::npos) {
      ++report.blank_lines;
      return;
    }
    try {
      if (!checked) report.invalid_utf8 += static_cast<uint64_t>(text_of_json_line(line).lone_surrogates);
    } catch (const Error& error) {
      const std::string message = fmt::format("{}:{}: {}", input.path, state_.lines, error.what());
      if (config_.on_bad_line == "error") fail("{} (on_bad_line=skip leaves such lines out)", message);
      if (report.bad_lines++ == 0) log_warning("{}; it is left out, and so are others like it", message);
      return;
    }
    report.invalid_utf8 += static_cast<uint64_t>(count_invalid_utf8(line));
    writer.add(shuffle_key(static_cast<uint64_t>(config_.seed), report.documents), line);
    ++report.documents;
    report.text_bytes += line.size() + 1;
  }

  void check_count() {
    const uint64_t documents = state_.report.documents;
    if (documents >= chunks()) return;
    remove_work();
    fail("in={}: {} documents cannot fill {} chunks. {}", config_.in, documents, chunks(),
         documents == 0 ? "Give other inputs" : fmt::format("Set nchunks={} or less", documents));
  }

  // ---- buckets to chunks ----

  uint64_t validation_lines(size_t chunk) const {
    const uint64_t documents = state_.report.documents, wanted = static_cast<uint64_t>(config_.validation_lines);
    // Compared without the product, which could overflow.
    if (documents / chunks() > wanted) return wanted;
    const uint64_t lines = (documents - chunk + chunks() - 1) / chunks();
    return std::min(wanted, lines / 100);
  }

  void deal() {
    make_folders(output(), "out");
    make_folders(work_ / "validation", "out");
    std::vector<fs::path> paths;
    for (size_t i = 0; i < chunks(); ++i) paths.push_back(output() / chunk_name(i));
    for (size_t i = 0; i < chunks(); ++i) paths.push_back(work_ / "validation" / fmt::format("{:05}", i));
    if (state_.sizes.empty()) state_.sizes.resize(paths.size());
    AppendFiles files(paths, state_.sizes, limits_.memory / 8);
    std::vector<uint64_t> held_back;
    for (size_t i = 0; i < chunks(); ++i) held_back.push_back(validation_lines(i));

    remove_old_buckets();
    const uint64_t total = state_.report.text_bytes;
    uint64_t done = bytes_of(state_.sizes);
    ByteBar bar("writing", total, done);
    const Clock clock;
    const uint64_t start = done;
    uint64_t dealt = state_.dealt, saved = done;
    size_t used = 0;  // buckets at the front of the list
    const auto checkpoint = [&] {
      files.sync();
      state_.sizes = files.sizes();
      state_.dealt = dealt;
      state_.buckets.erase(state_.buckets.begin(), state_.buckets.begin() + static_cast<std::ptrdiff_t>(used));
      used = 0;
      saved = done;
      save();
      limits_.after_step("bucket");
      remove_old_buckets();
    };
    while (used < state_.buckets.size()) {
      const ShuffleBucket bucket = state_.buckets[used];
      if (!bucket_fits(bucket, limits_.memory)) {
        if (used > 0) checkpoint();
        split_first();
        continue;
      }
      for_each_sorted(buckets(), bucket, [&](std::string_view line) {
        const size_t chunk = dealt % chunks();
        const size_t file = dealt / chunks() < held_back[chunk] ? chunks() + chunk : chunk;
        files.append(file, line);
        files.append(file, "\n");
        ++dealt;
        done += line.size() + 1;
      });
      ++used;
      bar.update(done);
      if (done - saved >= limits_.checkpoint_bytes) checkpoint();
    }
    bar.finish();
    if (used > 0) checkpoint();
    LT2_CHECK(dealt == state_.report.documents,
              "{}: {} documents in its buckets, {} were read. Remove it and start again", work_.string(), dealt,
              state_.report.documents);
    if (done > start) log_info("prepare: wrote {} chunks, {}", chunks(), clock.speed(done - start));
  }

  void split_first() {
    const auto parts = split_bucket(buckets(), state_.buckets.front(), limits_.memory);
    limits_.after_step("split");
    state_.buckets.erase(state_.buckets.begin());
    state_.buckets.insert(state_.buckets.begin(), parts.begin(), parts.end());
    save();
    limits_.after_step("split saved");
    remove_old_buckets();
  }

  // Files of buckets that are dealt, and of a split that was cut short.
  void remove_old_buckets() const {
    std::vector<std::string> kept;
    for (const auto& bucket : state_.buckets) kept.push_back(bucket_path(buckets(), bucket).filename().string());
    std::sort(kept.begin(), kept.end());
    std::vector<fs::path> old;
    for (const auto& entry : fs::directory_iterator(buckets()))
      if (!std::binary_search(kept.begin(), kept.end(), entry.path().filename().string())) old.push_back(entry.path());
    for (const fs::path& path : old) fs::remove(path);
  }

  static uint64_t bytes_of(const std::vector<uint64_t>& sizes) {
    uint64_t sum = 0;
    for (const uint64_t size : sizes) sum += size;
    return sum;
  }

  // ---- the end ----

  void write_validation() {
    uint64_t documents = 0;
    for (size_t i = 0; i < chunks(); ++i) documents += validation_lines(i);
    state_.report.validation_documents = documents;
    const uint64_t wanted = static_cast<uint64_t>(config_.validation_lines) * chunks();
    if (documents < wanted)
      log_warning("{}: {} documents are too few for {} validation lines a chunk; {}", out_.string(),
                  state_.report.documents, config_.validation_lines,
                  documents > 0 ? fmt::format("1 % of them, {}, are held back", documents)
                                : fmt::format("none are held back. {} val.source for training",
                                              chunks() > 1 ? "Use fewer chunks, or set" : "Set"));
    if (documents == 0) return;
    AppendFiles file({output() / validation_name()}, {0}, limits_.memory / 8);
    std::string block(std::min<uint64_t>(limits_.memory / 8, 1 << 20), '\0');
    for (size_t i = 0; i < chunks(); ++i) {
      const auto part = open_plain(work_ / "validation" / fmt::format("{:05}", i));
      while (const size_t got = part->read(block.data(), block.size())) file.append(0, {block.data(), got});
    }
    file.sync();
    limits_.after_step("validation");
  }

  void publish() {
    Json files = Json::object();
    for (size_t i = 0; i < chunks(); ++i) files[chunk_name(i)] = state_.sizes[i];
    const PrepareReport& report = state_.report;
    if (report.validation_documents > 0) files[validation_name()] = fs::file_size(output() / validation_name());
    const Json manifest = {{"job", job_},
                           {"documents", report.documents},
                           {"validation_documents", report.validation_documents},
                           {"text_bytes", report.text_bytes},
                           {"blank_lines", report.blank_lines},
                           {"bad_lines", report.bad_lines},
                           {"invalid_utf8", report.invalid_utf8},
                           {"files", std::move(files)}};
    write_file_atomically(output() / kManifest, manifest.dump(1) + "\n");
    limits_.after_step("manifest");
    std::error_code code;
    fs::rename(output(), out_, code);  // an empty folder gives way
    LT2_CHECK(!code, "out={}: cannot rename {} to it: {}", out_.string(), output().string(), code.message());
    sync_folder(out_.parent_path());
    limits_.after_step("rename");
    remove_work();
  }

  void remove_work() const {
    std::error_code code;
    fs::remove_all(work_, code);
    if (code) log_warning("{}: cannot remove what the work has left: {}", work_.string(), code.message());
  }

  PrepareConfig config_;
  PrepareLimits limits_;
  fs::path out_, work_;
  std::vector<PrepareInput> inputs_;
  Json job_;
  PrepareState state_;
  uint64_t saved_bytes_ = 0;  // of text that the saved state counts
};

void check(const PrepareConfig& config, const PrepareLimits& limits) {
  const char* example = "lt2 data prepare in=texts out=data/texts_shuffled name=texts";
  LT2_CHECK(!config.in.empty(), "data prepare: in=PATH[,PATH...] is required, for example {}", example);
  LT2_CHECK(!config.out.empty(), "data prepare: out=DIR is required, for example {}", example);
  LT2_CHECK(!config.name.empty(), "data prepare: name=NAME is required, for example {}", example);
  // NAME.val.jsonl of a name with .chunk in it would be taken for a chunk.
  const bool plain = std::all_of(config.name.begin(), config.name.end(), [](unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-' ||
           c == '.';
  });
  LT2_CHECK(plain && config.name.front() != '.' && config.name.find(".chunk") == std::string::npos,
            "data prepare: name={}: expected letters, digits, _, - and . without \".chunk\"", config.name);
  LT2_CHECK(limits.memory >= kLeastMemory, "data prepare: {} of memory; at least {} are needed", human(limits.memory),
            human(kLeastMemory));
}

}  // namespace

PrepareReport prepare_data(const PrepareConfig& config, const PrepareLimits& limits) {
  check(config, limits);
  try {
    return Preparation(config, limits).run();
  } catch (const fs::filesystem_error& error) {
    fail("{}: {}", error.path1().string(), error.code().message());
  } catch (const Json::exception& error) {
    fail("out={}: {} in it or in {}.prepare is damaged: {}. Remove both and start again", config.out, kManifest,
         config.out, error.what());
  }
}

}  // namespace lt2
