#pragma once
// One self-contained HTML page about a run: what it learnt, how fast it decodes, what its state weighs.
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "report/decode_comparison.h"
#include "report/run_record.h"

namespace lt2 {

/// "300 steps (2.46M tokens) took the training loss from 5.58 to 1.82 ..."; empty without a finite loss.
std::string training_summary(const RunRecord& run);

/// What a page that follows its run has besides.
struct LivePart {
  std::string_view style, script;
  std::string status;  // HTML, at the top
};

/// The whole page. It loads nothing: styles, script and pictures are inside. With a live part it may ask the server it
/// came from, and leaves out sections without data.
std::string render_report(const RunRecord& run, const LivePart* live = nullptr);

/// Of the page, the inside of its element #changing: what every new line of metrics.jsonl changes.
std::string render_changing_part(const RunRecord& run);

/// Reads the run in `dump_dir` (files as in read_run) and writes its page to `output`.
void write_report(const std::filesystem::path& dump_dir, const std::filesystem::path& output);

}  // namespace lt2
