#include "model/model_io.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "checkpoint/checksums.h"
#include "config/tokenizer_path.h"
#include "config/train_config.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

bool is_step_name(const std::string& name) {
  return name.size() == 10 &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
}

}  // namespace

std::vector<fs::path> step_folders(const fs::path& checkpoints) {
  std::vector<fs::path> found;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(checkpoints, ignored)) {
    if (entry.is_directory() && is_step_name(entry.path().filename().string())) found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::vector<fs::path> complete_checkpoints(const fs::path& checkpoints) {
  auto found = step_folders(checkpoints);
  std::erase_if(found, [](const fs::path& folder) { return !is_complete(folder); });
  return found;
}

std::optional<fs::path> newest_complete_checkpoint(const fs::path& checkpoints) {
  for (auto folders = step_folders(checkpoints); !folders.empty(); folders.pop_back()) {
    const auto problem = incompleteness(folders.back());
    if (problem.empty()) return folders.back();
    log_warning("{}; passed over", problem);
  }
  return std::nullopt;
}

fs::path resolve_checkpoint(const fs::path& path) {
  LT2_CHECK(fs::exists(path), "{} does not exist; expected a folder with a model", path.string());
  LT2_CHECK(fs::is_directory(path), "{} is a file; expected a checkpoint folder or a run's dump directory",
            path.string());
  if (fs::exists(path / "model.safetensors")) return path;
  for (const auto& folder : {path, path / "checkpoints"})
    if (const auto newest = newest_complete_checkpoint(folder)) return *newest;
  fail(
      "no complete checkpoint in {}; expected model.safetensors in it, or step folders like "
      "checkpoints/0000000100 under it",
      path.string());
}

void copy_parameters(LoopedTransformer& model, const std::string& where, const NamedTensors& tensors) {
  torch::NoGradGuard no_grad;
  std::map<std::string, torch::Tensor> given(tensors.begin(), tensors.end());
  for (auto& [name, parameter] : model.official_parameters()) {
    const auto found = given.find(name);
    LT2_CHECK(found != given.end(),
              "{}: {} is missing; the model of this configuration has it. Another layer_pattern or option?", where,
              name);
    const auto& saved = found->second;
    LT2_CHECK(saved.sizes() == parameter.sizes(),
              "{}: {} is [{}], the model needs [{}]. Saved with another configuration?", where, name,
              fmt::join(saved.sizes(), ", "), fmt::join(parameter.sizes(), ", "));
    LT2_CHECK(saved.is_floating_point(), "{}: {} has type {}, expected a floating-point type", where, name,
              c10::toString(saved.scalar_type()));
    parameter.copy_(saved);
    given.erase(found);
  }
  LT2_CHECK(given.empty(), "{}: {} has no place in the model of this configuration. Another layer_pattern or option?",
            where, given.begin()->first);
}

void load_parameters(LoopedTransformer& model, const SafetensorsFile& file) {
  NamedTensors tensors;
  for (const auto& name : file.names()) {
    const bool repeats_the_tied = name == "output.tied_module.weight" || name == "output.weight";
    if (!(model.config().weight_tying && repeats_the_tied)) tensors.emplace_back(name, file.view(name));
  }
  copy_parameters(model, file.path().string(), tensors);
}

LoadedModel load_model(const fs::path& path, std::optional<torch::ScalarType> compute_type) {
  LoadedModel out;
  out.folder = resolve_checkpoint(path);
  verify_files(out.folder, {"params.json", "model.safetensors"});
  const auto params = out.folder / "params.json";
  LT2_CHECK(fs::exists(params), "{} does not exist; a checkpoint folder holds the run's configuration there",
            params.string());
  out.config = parse_train_config(read_file(params), params.string(), {});
  out.config.data.tokenizer = located(out.config.data.tokenizer, out.folder);
  validate_model(out.config.model, params.string());
  out.model = std::make_shared<LoopedTransformer>(out.config.model);
  const auto weights = out.folder / "model.safetensors";
  LT2_CHECK(fs::exists(weights), "{} does not exist", weights.string());
  load_parameters(*out.model, SafetensorsFile(weights));
  out.model->compute_type =
      compute_type ? *compute_type
                   : parse_dtype(out.config.distributed.model_dtype, params.string() + ": distributed.model_dtype");
  return out;
}

torch::ScalarType parse_dtype(const std::string& name, const std::string& field) {
  if (name == "fp32") return torch::kFloat32;
  if (name == "bf16") return torch::kBFloat16;
  fail("{} must be fp32 or bf16; found \"{}\"", field, name);
}

}  // namespace lt2
