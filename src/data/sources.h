#pragma once
// From the name of a source to the bytes of files that a process reads.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/document_reader.h"

namespace lt2 {

/// A source is a folder of chunk files or one .txt or .jsonl file, named from root_dir.
struct SourcePlace {
  std::optional<std::string> root_dir;
  std::string name;
};

/// What process `rank` of `world` trains on.
///   folder   its *.chunk.*.jsonl files by name. More files than processes: an error, or with `allow_unread` one each.
///            Fewer: `world` must be a multiple of their number, and world / number processes share a file line by
///            line.
///   .jsonl   as a folder with this one file.
///   .txt     one document; several processes take equal shares of it, cut between characters.
/// Of a single file the last `held_back` of its bytes is left out: whole lines, or cut between characters. A folder has
/// its own validation files. Throws lt2::Error for what is missing, empty or cannot be shared.
FilePart training_part(const SourcePlace& place, double held_back, int64_t rank, int64_t world,
                       bool allow_unread = false);

/// Whether there is anything under its name.
bool is_there(const SourcePlace& place);

/// A line for each source: its share of the documents and where it lies, "25 % of the documents from data/corpus (4
/// chunk files)". A source that is not there is named without a path.
std::vector<std::string> source_lines(const std::optional<std::string>& root_dir,
                                      const std::vector<std::pair<std::string, double>>& sources);

/// What a validation reads, one part a file: of a single file its last `share` (what training_part leaves out; 1: all
/// of it), of a folder its *.val.jsonl files by name.
std::vector<FilePart> validation_parts(const SourcePlace& place, double share);

}  // namespace lt2
