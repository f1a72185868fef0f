// lt2 data prepare: text files to shuffled chunk files.
#include <fmt/format.h>

#include "base/error.h"
#include "base/log.h"
#include "base/output.h"
#include "base/units.h"
#include "cli/command.h"
#include "cli/options.h"
#include "data/prepare.h"

namespace lt2 {
namespace {

void print(const PrepareReport& report, const PrepareConfig& config) {
  if (report.blank_lines > 0) log_info("prepare: {} blank lines or files are left out", report.blank_lines);
  if (report.bad_lines > 0) log_warning("prepare: {} lines without a text are left out", report.bad_lines);
  if (report.invalid_utf8 > 0)
    log_warning("prepare: {} byte sequences or escapes are not valid UTF-8; they are kept as they are",
                report.invalid_utf8);
  print_out("{}{}: {} documents ({}), of which {} for validation, {} chunks\n", report.was_done ? "done before: " : "",
            config.out, report.documents, human_bytes(static_cast<double>(report.text_bytes)),
            report.validation_documents, config.nchunks);
}

int run(const Arguments& arguments) {
  LT2_CHECK(!arguments.words.empty() && arguments.words.front() == "prepare",
            "lt2 data: expected `lt2 data prepare in=PATH out=DIR name=NAME`; `lt2 data --help` says more");
  PrepareConfig config;
  PrepareMemory memory;
  read_options({arguments.words.begin() + 1, arguments.words.end()}, "data prepare", Others::kRefused, config, memory);
  print(prepare_data(config, {.memory = static_cast<uint64_t>(memory.memory)}), config);
  return 0;
}

}  // namespace

Command data_command() {
  return {.name = "data",
          .summary = "prepare: text files to shuffled chunk files",
          .about =
              "Makes a source for training: the documents of text files, shuffled, in NAME.chunk.NN.jsonl, and some of "
              "them held back in NAME.val.jsonl. Folders are searched for .txt (each file one document), .jsonl, "
              ".jsonl.gz, .jsonl.zst and .parquet files. The result depends on the documents in the order of their "
              "files' names and on the seed, not on the memory. It needs disk space for the text about once more "
              "while it runs; a command that was stopped continues when it is repeated.",
          .usage = {"data prepare in=PATH[,PATH...] out=DIR name=NAME [key=value ...] [--memory 2G]"},
          .examples = {"data prepare in=books,web.jsonl.zst out=data/mine_shuffled name=mine nchunks=8 --memory 4G"},
          .keys = {keys_with<PrepareConfig, PrepareMemory>("keys of data prepare")},
          .run = run};
}

}  // namespace lt2
