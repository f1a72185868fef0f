#pragma once
// The two pattern languages: which mixer each layer is (layer_pattern), and how far full layers look in each loop
// (attention_pattern).
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace lt2 {

struct ModelConfig;

/// The names a layer_pattern may use: the mixers of ModelConfig.
const std::vector<std::string>& layer_type_names();
/// Those with a state of fixed size: built on the linear recurrence.
const std::vector<std::string>& linear_layer_type_names();
bool is_linear_layer_type(const std::string& name);
/// Whether layers of this type obey the windows of attention_pattern; for the others a pattern only decides which
/// layers form a block.
bool sees_windows(const std::string& type);
/// The text of --help about layer_pattern.
const char* layer_pattern_help();

/// The mixer of every layer: one name for all, interleaved:N:M:A:B (a cycle of N layers of A, then M of B), or
/// bookend:K:OUTER:INNER (first and last K layers OUTER). Case and surrounding space do not matter. Throws lt2::Error
/// naming field, value and what is allowed.
std::vector<std::string> layer_types(const std::string& layer_pattern, int64_t n_layers);

/// Windows of the layers that see them and the size of a residual block.
struct AttentionPlan {
  std::vector<std::vector<std::optional<int64_t>>> windows;  // [T][n_layers]; nullopt: unlimited
  int64_t block_size = 1;                                    // layers per block residual
  bool random = false;                                       // another draw gives other windows

  int64_t n_blocks() const {  // the last block may be short
    const auto layers = static_cast<int64_t>(windows[0].size());
    return (layers + block_size - 1) / block_size;
  }
};

/// The plan of attention_pattern. Random patterns are drawn with seed + draw; others do not depend on it. Throws
/// lt2::Error as above.
AttentionPlan attention_plan(const ModelConfig& config, int64_t draw = 0);

bool is_random_pattern(const std::string& attention_pattern);

}  // namespace lt2
