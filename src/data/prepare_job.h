#pragma once
// What a preparation is made from and how far it has come: its inputs, and the two JSON files that it writes about
// itself, state.json in the unfinished work and prepare.json in the folder made.
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "data/external_shuffle.h"
#include "data/prepare.h"

namespace lt2 {

struct PrepareInput {
  std::string path;
  uint64_t bytes = 0;
  int64_t modified_ns = 0;
};

/// The file as it is now. Throws lt2::Error if there is none.
PrepareInput input_at(const std::filesystem::path& path);
/// The files named by `list` (PrepareConfig::in) and below its folders, in the order of their names; nothing below
/// `own`, which is made here. Throws lt2::Error for a path that is missing, no document file or named twice.
std::vector<PrepareInput> find_inputs(const std::string& list, const std::vector<std::filesystem::path>& own);

/// Everything that the result depends on.
nlohmann::ordered_json job_of(const PrepareConfig& config, const std::vector<PrepareInput>& inputs);

struct JobDifference {
  std::string key, text;
};
/// The first thing in which two jobs differ.
std::optional<JobDifference> job_difference(const nlohmann::ordered_json& before, const nlohmann::ordered_json& now);

/// How far the work has come.
struct PrepareState {
  bool reading = true;
  uint64_t input = 0, lines = 0;  // lines of inputs[input] that are done
  PrepareReport report;
  std::vector<ShuffleBucket> buckets;  // in the order of their keys; while dealing: those that are left
  uint64_t dealt = 0;
  std::vector<uint64_t> sizes;  // of the files dealt to
};

nlohmann::ordered_json json_of(const nlohmann::ordered_json& job, const PrepareState& state);
/// Throws lt2::Error that names the field, and `where` it stands, if it is none.
PrepareState prepare_state_of(const nlohmann::ordered_json& json, const std::string& where);
/// The counts of a state or of a manifest.
PrepareReport counts_of(const nlohmann::ordered_json& json, const std::string& where);
/// A state or manifest. Throws lt2::Error that says to remove `folder` if it is none.
nlohmann::ordered_json read_prepare_json(const std::filesystem::path& path, const std::filesystem::path& folder);

}  // namespace lt2
