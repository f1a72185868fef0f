#include "folders/model_folder.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "checkpoint/checksums.h"
#include "checkpoint/hf_folder.h"
#include "folders/companions.h"
#include "folders/ouro_form.h"
#include "folders/packed_folder.h"
#include "folders/run_folder.h"
#include "folders/settings.h"
#include "folders/tensor_source.h"
#include "folders/torch_form.h"
#include "folders/training_state.h"
#include "ops/dtype.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// What a path is: a form, and the folder or .pth file with the weights.
struct Found {
  FolderForm form;
  fs::path path;
};

/// The .pth file in a consolidated folder, if it is one.
std::optional<fs::path> find_pth(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    if (entry.path().filename() == kConsolidatedFile) return entry.path();
    if (entry.path().extension() == ".pth") found.push_back(entry.path());
  }
  LT2_CHECK(found.size() <= 1, "{}: holds {} .pth files and none is called {}. Name the one you mean", folder.string(),
            found.size(), kConsolidatedFile);
  return found.empty() ? std::nullopt : std::optional(found[0]);
}

bool has_shards_of_torch(const fs::path& folder) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored))
    if (entry.path().extension() == ".distcp") return true;
  return false;
}

Found find_model(const fs::path& path) {
  LT2_CHECK(fs::exists(path), "{} does not exist; expected a folder with a model", path.string());
  if (!fs::is_directory(path)) {
    LT2_CHECK(path.extension() == ".pth",
              "{} is a file; expected a folder with a model, a run's folder, or a .pth file with {} next to it",
              path.string(), kParamsFile);
    return {FolderForm::kOfficial, path};
  }
  LT2_CHECK(!fs::exists(path / "frozen.safetensors"),
            "{}: quantised by an earlier version of this program; quantise the folder it was made from again",
            (path / "frozen.safetensors").string());
  if (fs::exists(path / kConfigFile)) return {FolderForm::kHf, path};
  if (fs::exists(path / kWeightsFile) || fs::exists(path / kPackedFile)) return {FolderForm::kLt2, path};
  for (const auto& folder : {path, path / "consolidated"})
    if (const auto pth = find_pth(folder)) return {FolderForm::kOfficial, *pth};
  LT2_CHECK(!has_shards_of_torch(path),
            "{}: sharded by torch.distributed.checkpoint; consolidate it first with the program that wrote it, into "
            "consolidated/{}",
            path.string(), kConsolidatedFile);
  for (const auto& folder : {path, path / "checkpoints"})
    if (const auto newest = newest_complete_checkpoint(folder)) return {FolderForm::kLt2, *newest};
  fail(
      "no complete checkpoint in {}; expected {} and {} in it (lt2), {} and {} (official), {} and {} (hf), or step "
      "folders like checkpoints/0000000100 under it",
      path.string(), kWeightsFile, kParamsFile, kConsolidatedFile, kParamsFile, kConfigFile, kWeightsFile);
}

// What is read of a folder; a .pth file has checksums of its own.
std::vector<std::string> files_read(const ModelFolder& folder, const OpenOptions& options) {
  auto names = companion_names();
  names.insert(names.end(), {kConfigFile, kParamsFile});
  if (options.training_state && folder.form != FolderForm::kHf) names.emplace_back(kTrainStateFile);
  if (options.training_state && folder.form == FolderForm::kLt2) names.emplace_back(kOptimizerFile);
  if (folder.form == FolderForm::kOfficial) return names;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder.where, ignored)) {
    const auto name = entry.path().filename().string();
    const bool weights = name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json");
    if (weights && name != kOptimizerFile) names.push_back(name);
  }
  return names;
}

// params.json, where it can be read whole; else it is of a program of another age, and `what_holds` is said.
void read_run(ModelFolder& out, const char* what_holds, const OpenOptions& options) {
  const auto path = out.where / kParamsFile;
  out.has_params = fs::exists(path);
  if (!out.has_params) return;
  auto text = read_file(path);
  try {
    auto run = parse_train_config(text, path.string(), {});
    validate_model(run.model, path.string());
    LT2_CHECK(run.model.vocab_size > 0, "{}: model.vocab_size must be given", path.string());
    out.run = std::move(run);
    out.run_json = std::move(text);
  } catch (const Error& error) {
    if (!options.quiet) log_warning("{}; {}", error.what(), what_holds);
  }
}

void apply(const OpenOptions& options, ModelFolder& out, const std::string& where) {
  ModelConfig& config = out.config;
  if (!options.total_ut_steps && !options.early_exit_step && !options.early_exit_threshold) return;
  LT2_CHECK(
      config.model_type == "ouro",
      "{}: total_ut_steps, early_exit_step and early_exit_threshold can be chosen for ouro models; this one is {}",
      where, config.model_type);
  if (options.total_ut_steps) config.loop_count = *options.total_ut_steps;
  if (options.early_exit_step) config.early_exit_step = options.early_exit_step;
  if (options.early_exit_threshold) config.early_exit_threshold = options.early_exit_threshold;
  LT2_CHECK(config.loop_count >= 1 && config.loop_count <= 10000, "total_ut_steps must be from 1 to 10000; found {}",
            config.loop_count);
  const double threshold = config.early_exit_threshold.value_or(1);
  LT2_CHECK(threshold > 0 && threshold <= 1, "early_exit_threshold must be above 0 and at most 1; found {}", threshold);
  validate_model(config, where);
  if (!out.run) return;
  out.run->model = config;
  out.run_json = to_json(*out.run);
}

torch::ScalarType trained_type(const Settings& config, const torch::Tensor& embedding) {
  for (const char* key : {"torch_dtype", "dtype"}) {
    const auto* value = config.find(key);
    if (value) return *value == "bfloat16" ? torch::kBFloat16 : torch::kFloat32;
  }
  return embedding.scalar_type() == torch::kBFloat16 ? torch::kBFloat16 : torch::kFloat32;
}

// config.json and params.json must describe one model, but the user may choose where tokens leave its loops:
// config.json's holds.
void check_agreement(ModelFolder& out) {
  if (!out.run) return;
  const auto& config = out.config;
  ModelConfig run = out.run->model;
  const bool ouro = config.model_type == "ouro";
  if (ouro) {
    run.early_exit_step = config.early_exit_step;
    run.early_exit_threshold = config.early_exit_threshold;
  }
  const auto where = out.where.string();
  const bool agree = config.model_type == run.model_type && (ouro ? ouro_config_json(config, torch::kFloat32, where) ==
                                                                        ouro_config_json(run, torch::kFloat32, where)
                                                                  : config == run);
  LT2_CHECK(agree, "{} and {} describe different models. Remove the one that is wrong",
            (out.where / kConfigFile).string(), (out.where / kParamsFile).string());
  if (out.run->model == run) return;
  out.run->model = run;
  out.run_json = to_json(*out.run);
}

void open_hf(ModelFolder& out, const OpenOptions& options) {
  const bool packed = fs::exists(out.where / kPackedFile);
  const auto folder = packed ? nullptr : std::make_shared<HfFolder>(out.where);
  const std::string where = (out.where / kConfigFile).string();
  const auto root = read_settings(where);
  const Settings settings(root, where);
  const auto* type = settings.find("model_type");
  LT2_CHECK(type && (*type == "ouro" || *type == "lt2"), "{}: model_type is {}; expected \"ouro\" or \"lt2\"", where,
            type ? shown(*type) : "null");
  const bool ouro = *type == "ouro";
  out.config = ouro ? ouro_model_config(root.dump(), where) : model_config_from_json(root.dump(), where);
  if (!ouro) validate_model(out.config, where);
  LT2_CHECK(out.config.vocab_size > 0, "{}: vocab_size must be given", where);
  read_run(out, "config.json describes the model", options);
  check_agreement(out);
  apply(options, out, where);
  if (packed) {
    take_packed(out);
  } else {
    out.parameters =
        take_parameters(ouro ? tensor_source(folder, ouro_tensor_name) : tensor_source(folder), out.config);
  }
  out.dtype = trained_type(settings, out.parameters[0].second);
}

// lt2 and official: params.json describes the model.
void open_with_params(ModelFolder& out, const fs::path& weights, const OpenOptions& options) {
  const auto params = out.where / kParamsFile;
  read_run(out, "only the model is taken over: type of the products, BOS and vocabulary are this program's defaults",
           options);
  LT2_CHECK(out.has_params, "{} does not exist; a checkpoint's configuration is read there", params.string());
  out.config = out.run ? out.run->model : model_config_from_json(read_file(params), params.string());
  validate_model(out.config, params.string());
  LT2_CHECK(out.config.vocab_size > 0, "{}: model.vocab_size must be given", params.string());
  apply(options, out, params.string());
  if (out.run) out.dtype = parse_dtype(out.run->distributed.model_dtype, params.string() + ": distributed.model_dtype");
  if (out.form == FolderForm::kOfficial) {
    const TorchCheckpoint file(weights);
    out.parameters = take_parameters(file.model(), out.config);
    if (options.training_state) out.training.optimizer = file.optimizer(out.parameters, out.config.weight_tying);
  } else if (fs::exists(weights / kPackedFile)) {
    take_packed(out);
  } else {
    out.parameters =
        take_parameters(tensor_source(std::make_shared<SafetensorsFile>(weights / kWeightsFile)), out.config);
    if (options.training_state && fs::exists(weights / kOptimizerFile))
      out.training.optimizer = read_optimizer(weights / kOptimizerFile, out.parameters);
  }
  if (options.training_state && fs::exists(out.where / kTrainStateFile))
    out.training.loaders = read_file(out.where / kTrainStateFile);
}

bool adds_bos(const ModelFolder& folder) {
  if (folder.run) return folder.run->data.add_bos;
  const auto path = folder.where / "tokenizer_config.json";
  const auto root = read_settings(path);
  return Settings(root, path.string()).flag("add_bos_token").value_or(false);
}

}  // namespace

const char* form_name(FolderForm form) {
  return form == FolderForm::kLt2 ? "lt2" : form == FolderForm::kOfficial ? "official" : "hf";
}

FolderForm parse_form(const std::string& name, const std::string& field) {
  for (const auto form : {FolderForm::kLt2, FolderForm::kOfficial, FolderForm::kHf})
    if (name == form_name(form)) return form;
  fail("{} must be lt2, official or hf; found \"{}\"", field, name);
}

const torch::Tensor& ModelFolder::weight(const std::string& official_name) const {
  const auto found = std::find_if(parameters.begin(), parameters.end(),
                                  [&](const auto& parameter) { return parameter.first == official_name; });
  LT2_CHECK(found != parameters.end(), "{}: the model has no parameter {}", where.string(), official_name);
  return found->second;
}

std::vector<std::string> ModelFolder::names() const {
  std::vector<std::string> out;
  for (const auto& [name, tensor] : parameters) out.push_back(name);
  return out;
}

TrainConfig ModelFolder::run_config() const {
  auto out = run.value_or(TrainConfig());
  out.model = config;
  if (tokenizer) out.data.tokenizer = *tokenizer;
  if (run) return out;
  out.data.add_bos = add_bos;
  out.distributed.model_dtype = dtype_name(dtype);
  return out;
}

ModelFolder open_model(const fs::path& path, const OpenOptions& options) {
  const auto found = find_model(path);
  ModelFolder out{.form = found.form,
                  .where = found.form == FolderForm::kOfficial ? found.path.parent_path() : found.path,
                  .weights = found.form == FolderForm::kLt2 ? found.path / kWeightsFile : found.path};
  if (options.verify) verify_files(out.where, files_read(out, options));
  if (found.form == FolderForm::kHf) {
    open_hf(out, options);
  } else {
    open_with_params(out, found.path, options);
  }
  out.tokenizer = find_tokenizer(out.where, out.run);
  out.add_bos = adds_bos(out);
  if (options.training_state) return out;
  out.stop_ids = read_stop_ids(out.where, out.config.vocab_size);
  out.generation = read_generation_defaults(out.where);
  return out;
}

std::unique_ptr<Tokenizer> open_tokenizer(const ModelFolder& folder) {
  // Without one there is still a place where it is looked for: the error names the missing file.
  const auto config = folder.tokenizer.value_or(
      TokenizerConfig{.name = "hf", .path = (folder.where / "tokenizer.json").string(), .specials = "lingua"});
  return make_tokenizer(config.name, config.path, config.specials);
}

void take_parameters(LoopedTransformer& model, const ModelFolder& folder) {
  const auto where = folder.where.string();
  LT2_CHECK(!folder.packed, "{}: holds weights packed for inference; nothing else can be done with them", where);
  take_parameters(model, tensor_source(folder.weights.string(), folder.parameters));
}

std::shared_ptr<LoopedTransformer> load_masters(const ModelFolder& folder,
                                                std::optional<torch::ScalarType> compute_type) {
  auto model = std::make_shared<LoopedTransformer>(folder.config);
  take_parameters(*model, folder);
  model->compute_type = compute_type.value_or(folder.dtype);
  return model;
}

}  // namespace lt2
