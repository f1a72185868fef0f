#include "model/convert.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "checkpoint/checksums.h"
#include "checkpoint/hf_folder.h"
#include "checkpoint/torch_file.h"
#include "model/companions.h"
#include "model/model_folder.h"
#include "model/model_io.h"
#include "model/ouro_folder.h"
#include "model/tensor_source.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using Kind = PickleValue::Kind;

constexpr const char *kParams = "params.json", *kTrainState = "train_state.json", *kOptimizer = "optimizer.safetensors",
                     *kWeights = "model.safetensors", *kConsolidated = "consolidated.pth", *kConfig = "config.json",
                     *kGeneration = "generation_config.json";
// Names under which a tied output may be saved once more.
const std::set<std::string> kTiedAliases = {"output.tied_module.weight", "output.weight"};
const std::vector<std::string> kMoments = {"exp_avg", "exp_avg_sq"};

TensorSource source_of(const std::shared_ptr<TorchArchive>& file, const PickleValue& model) {
  TensorSource out;
  out.where = file->where();
  out.file = [where = file->where()](const std::string&) { return where; };
  auto tensors = std::make_shared<std::map<std::string, PickleRef>>();
  for (size_t i = 0; i < model.items.size(); i += 2) {
    const PickleValue &key = *model.items[i], &value = *model.items[i + 1];
    LT2_CHECK(key.is(Kind::kText) && value.is(Kind::kTensor),
              "{}: \"model\" must hold names and tensors; found {} with {}", file->where(), key.kind_name(),
              value.kind_name());
    LT2_CHECK(tensors->emplace(key.text, &value).second, "{}: {} appears twice", file->where(), shown_name(key.text));
    out.names.push_back(key.text);
  }
  out.shape = [tensors](const std::string& name) { return tensors->at(name)->tensor->shape; };
  out.view = [tensors, file](const std::string& name) { return tensor_of(*file, *tensors->at(name)); };
  return out;
}

// ---------------------------------------------------------------------------------------------- configuration

void take_config(AnyCheckpoint& out, const fs::path& params) {
  LT2_CHECK(fs::exists(params), "{} does not exist; a checkpoint's configuration is read there", params.string());
  out.params_json = read_file(params);
  try {
    out.config = parse_train_config(out.params_json, params.string(), {});
  } catch (const Error& error) {
    // Programs of other ages have other fields; those of the model must be right.
    out.config = {};
    out.config.model = model_config_from_json(out.params_json, params.string());
    log_warning("{}; of the configuration only the model is taken over", error.what());
    out.params_json.clear();
  }
  validate_model(out.config.model, params.string());
  LT2_CHECK(out.config.model.vocab_size > 0, "{}: model.vocab_size must be given", params.string());
  if (out.params_json.empty()) out.params_json = to_json(out.config);
  out.tokenizer = find_tokenizer(out.folder, out.config);
}

std::string hf_config(const ModelConfig& config, torch::ScalarType dtype) {
  TrainConfig whole;
  whole.model = config;
  nlohmann::ordered_json out{{"architectures", {"LT2ForCausalLM"}},
                             {"model_type", "lt2"},
                             {"torch_dtype", dtype == torch::kFloat32 ? "float32" : "bfloat16"}};
  out.update(nlohmann::ordered_json::parse(to_json(whole)).at("model"));
  return out.dump(2) + "\n";
}

// ---------------------------------------------------------------------------------------------- optimizer state

/// Adds one parameter's moments, in the order in which optimizer.safetensors holds them.
void add_moments(NamedTensors& out, const std::string& where, const std::string& name, const torch::Tensor& parameter,
                 const torch::Tensor& exp_avg, const torch::Tensor& exp_avg_sq, int64_t step) {
  for (const auto* moment : {&exp_avg, &exp_avg_sq}) {
    LT2_CHECK(moment->sizes() == parameter.sizes(), "{}: a moment of {} is [{}], the parameter [{}]", where, name,
              fmt::join(moment->sizes(), ", "), fmt::join(parameter.sizes(), ", "));
    check_floating(where, "a moment of " + name, *moment);
  }
  LT2_CHECK(step >= 0, "{}: {} has been updated {} times", where, name, step);
  out.emplace_back(name + ".exp_avg", exp_avg);
  out.emplace_back(name + ".exp_avg_sq", exp_avg_sq);
  out.emplace_back(name + ".step", torch::tensor({step}, torch::kInt64));
}

NamedTensors read_our_optimizer(const fs::path& path, const NamedTensors& parameters) {
  const SafetensorsFile file(path);
  NamedTensors out;
  for (const auto& [name, parameter] : parameters) {
    if (!file.contains(name + ".step")) continue;
    const auto step = file.tensor(name + ".step");
    LT2_CHECK(step.scalar_type() == torch::kInt64 && step.numel() == 1, "{}: {}.step must be one I64", path.string(),
              name);
    add_moments(out, path.string(), name, parameter, file.view(name + ".exp_avg"), file.view(name + ".exp_avg_sq"),
                step.item<int64_t>());
  }
  LT2_CHECK(out.size() == file.names().size(), "{}: {} of its {} tensors belong to no parameter of the model",
            path.string(), file.names().size() - out.size(), file.names().size());
  return out;
}

int64_t read_step(const TorchArchive& file, const std::string& name, const PickleValue& value) {
  double step = -1;
  if (value.is(Kind::kInt)) return value.integer;
  if (value.is(Kind::kFloat)) step = value.real;
  if (value.is(Kind::kTensor)) {
    const auto tensor = tensor_of(file, value);
    LT2_CHECK(tensor.numel() == 1, "{}: the step of {} has {} elements", file.where(), name, tensor.numel());
    step = tensor.to(torch::kFloat64).item<double>();
  }
  LT2_CHECK(step >= 0 && step <= 0x1p53 && step == std::floor(step), "{}: the step of {} must be a whole number",
            file.where(), name);
  return static_cast<int64_t>(step);
}

/// {"state": {NAME: {"step": .., "exp_avg": .., "exp_avg_sq": ..}}, "param_groups": [..]}
NamedTensors read_official_optimizer(const TorchArchive& file, const PickleValue& optim, const NamedTensors& parameters,
                                     bool tied) {
  const PickleRef state = optim.find("state");
  LT2_CHECK(state && state->is(Kind::kDict), "{}: \"optim\" must hold a dict \"state\"", file.where());
  std::map<std::string, PickleRef> slots;
  for (size_t i = 0; i < state->items.size(); i += 2) {
    const PickleValue &key = *state->items[i], &value = *state->items[i + 1];
    LT2_CHECK(key.is(Kind::kText) && value.is(Kind::kDict),
              "{}: the optimizer's state must map names of parameters to dicts; found {} with {}", file.where(),
              key.kind_name(), value.kind_name());
    slots[key.text] = &value;
  }
  NamedTensors out;
  std::set<std::string> known = tied ? kTiedAliases : std::set<std::string>();
  for (const auto& [name, parameter] : parameters) {
    known.insert(name);
    const auto found = slots.find(name);
    if (found == slots.end() || found->second->items.empty()) continue;
    const PickleValue& slot = *found->second;
    std::vector<torch::Tensor> moments;
    for (const auto& moment : kMoments) {
      const PickleRef value = slot.find(moment);
      LT2_CHECK(value && value->is(Kind::kTensor), "{}: the optimizer's state of {} has no tensor {}", file.where(),
                name, moment);
      moments.push_back(tensor_of(file, *value));
    }
    const PickleRef step = slot.find("step");
    LT2_CHECK(step && slot.items.size() == 6,
              "{}: the optimizer's state of {} must be step, exp_avg and exp_avg_sq: AdamW without amsgrad",
              file.where(), name);
    add_moments(out, file.where(), name, parameter, moments[0], moments[1], read_step(file, name, *step));
  }
  for (const auto& [name, slot] : slots)
    LT2_CHECK(known.count(name), "{}: the optimizer has state of {}, the model has no such parameter", file.where(),
              shown_name(name));
  return out;
}

PickleRef optimizer_values(TorchFileBuilder& file, const AnyCheckpoint& checkpoint) {
  Pickle& values = file.values;
  std::vector<std::pair<std::string, PickleRef>> state;
  for (size_t i = 0; i < checkpoint.optimizer.size(); i += 3) {
    const auto& [first, exp_avg] = checkpoint.optimizer[i];
    const auto step = checkpoint.optimizer[i + 2].second.item<int64_t>();
    LT2_CHECK(step <= 1 << 24, "{}: {} updates are more than the official form's fp32 counter holds",
              checkpoint.folder.string(), step);
    state.emplace_back(
        first.substr(0, first.size() - std::string(".exp_avg").size()),
        values.dict({{"step", file.tensor(torch::tensor(static_cast<float>(step)))},
                     {"exp_avg", file.tensor(exp_avg.to(torch::kFloat32))},
                     {"exp_avg_sq", file.tensor(checkpoint.optimizer[i + 1].second.to(torch::kFloat32))}}));
  }
  std::vector<PickleRef> names;
  for (const auto& [name, parameter] : checkpoint.parameters) names.push_back(values.text(name));
  const auto& optim = checkpoint.config.optim;
  const PickleRef group = values.dict({{"lr", values.real(optim.lr)},
                                       {"betas", values.tuple({values.real(optim.beta1), values.real(optim.beta2)})},
                                       {"eps", values.real(optim.epsilon)},
                                       {"weight_decay", values.real(optim.weight_decay)},
                                       {"amsgrad", values.boolean(false)},
                                       {"maximize", values.boolean(false)},
                                       {"foreach", values.none()},
                                       {"capturable", values.boolean(false)},
                                       {"differentiable", values.boolean(false)},
                                       {"fused", values.none()},
                                       {"initial_lr", values.real(optim.lr)},
                                       {"params", values.list(names)}});
  return values.dict({{"state", values.dict(state)}, {"param_groups", values.list({group})}});
}

// ---------------------------------------------------------------------------------------------- opening

std::optional<std::string> read_train_state(const fs::path& folder) {
  return fs::exists(folder / kTrainState) ? std::optional(read_file(folder / kTrainState)) : std::nullopt;
}

AnyCheckpoint open_lt2(const fs::path& folder) {
  AnyCheckpoint out{.form = CheckpointForm::kLt2, .folder = folder};
  auto files = companion_names();
  files.insert(files.end(), {kParams, kWeights, kOptimizer, kTrainState});
  verify_files(folder, files);
  take_config(out, folder / kParams);
  out.parameters =
      take_parameters(tensor_source(std::make_shared<SafetensorsFile>(folder / kWeights)), out.config.model);
  if (fs::exists(folder / kOptimizer)) out.optimizer = read_our_optimizer(folder / kOptimizer, out.parameters);
  out.train_state = read_train_state(folder);
  return out;
}

AnyCheckpoint open_official(const fs::path& path) {
  AnyCheckpoint out{.form = CheckpointForm::kOfficial, .folder = path.parent_path()};
  verify_files(out.folder, {kParams, kTrainState});  // the archive has checksums of its own
  take_config(out, out.folder / kParams);
  const auto file = std::make_shared<TorchArchive>(path);
  const PickleValue& root = *file->root();
  LT2_CHECK(root.is(Kind::kDict), "{}: expected a dict with \"model\"; found {}", path.string(), root.kind_name());
  const PickleRef model = root.find("model");
  LT2_CHECK(model && model->is(Kind::kDict), "{}: expected a dict \"model\" of tensors; found {}", path.string(),
            model ? model->kind_name() : "none");
  out.parameters = take_parameters(source_of(file, *model), out.config.model);
  if (const PickleRef optim = root.find("optim"); optim && !optim->is(Kind::kNone))
    out.optimizer = read_official_optimizer(*file, *optim, out.parameters, out.config.model.weight_tying);
  out.train_state = read_train_state(out.folder);
  return out;
}

// What config.json and params.json both say of the model.
bool agree(const ModelConfig& config, ModelConfig run, const std::string& where) {
  if (config.model_type != "ouro") return config == run;
  if (run.model_type != "ouro") return false;
  // Where tokens leave the loops is a choice of whoever runs the model: config.json's holds.
  run.early_exit_step = config.early_exit_step;
  run.early_exit_threshold = config.early_exit_threshold;
  return ouro_config_json(config, torch::kFloat32, where) == ouro_config_json(run, torch::kFloat32, where);
}

AnyCheckpoint open_hf(const fs::path& path) {
  AnyCheckpoint out{.form = CheckpointForm::kHf, .folder = path};
  const auto folder = open_model_folder(path);
  if (fs::exists(path / kParams)) {
    take_config(out, path / kParams);
    LT2_CHECK(agree(folder.config, out.config.model, path.string()),
              "{} and {} describe different models. Remove the one that is wrong", (path / kConfig).string(),
              (path / kParams).string());
    auto& run = out.config.model;
    if (run.early_exit_step != folder.config.early_exit_step ||
        run.early_exit_threshold != folder.config.early_exit_threshold) {
      run.early_exit_step = folder.config.early_exit_step;
      run.early_exit_threshold = folder.config.early_exit_threshold;
      out.params_json = to_json(out.config);
    }
  } else {
    out.config.model = folder.config;
    out.config.data.add_bos = folder.add_bos;
    out.config.distributed.model_dtype = folder.dtype == torch::kBFloat16 ? "bf16" : "fp32";
    if (folder.tokenizer) out.config.data.tokenizer = *folder.tokenizer;
  }
  out.tokenizer = folder.tokenizer;
  out.parameters = folder.parameters;
  return out;
}

/// The .pth file in a consolidated folder, if it is one.
std::optional<fs::path> find_pth(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    if (entry.path().filename() == kConsolidated) return entry.path();
    if (entry.path().extension() == ".pth") found.push_back(entry.path());
  }
  LT2_CHECK(found.size() <= 1, "{}: holds {} .pth files and none is called {}. Name the one you mean", folder.string(),
            found.size(), kConsolidated);
  return found.empty() ? std::nullopt : std::optional(found[0]);
}

bool has_shards_of_torch(const fs::path& folder) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored))
    if (entry.path().extension() == ".distcp") return true;
  return false;
}

// ---------------------------------------------------------------------------------------------- marks

using Settings = nlohmann::ordered_json;

/// The marks that `settings` does not name yet, for whoever runs the folder.
void add_marks(Settings& settings, const AnyCheckpoint& checkpoint, const Companions& companions) {
  const auto add = [&](const char* key, const std::vector<int32_t>& ids) {
    const bool known = !ids.empty() && ids[0] >= 0 && ids[0] < checkpoint.config.model.vocab_size;
    if (!known || (settings.contains(key) && !settings[key].is_null())) return;
    settings[key] = ids.size() == 1 ? Settings(ids[0]) : Settings(ids);
  };
  const auto stop_ids = read_stop_ids(checkpoint.folder, checkpoint.config.model.vocab_size);
  add("bos_token_id", {companions.bos_id});
  add("eos_token_id", stop_ids.empty() ? std::vector{companions.eos_id} : stop_ids);
  add("pad_token_id", {companions.pad_id});
}

/// The companions; generation_config.json says where texts end, also if only the source's config.json knew it, which is
/// written anew. A run's texts end with its vocabulary's EOS, which only the hf form must name.
void write_companions(const AnyCheckpoint& checkpoint, const Companions& companions, const fs::path& folder, bool hf) {
  companions.write(folder);
  const bool said = !read_stop_ids(checkpoint.folder, checkpoint.config.model.vocab_size).empty();
  const auto* given = companions.find(kGeneration);
  auto settings = given ? Settings::parse(*given) : Settings::object();
  if ((!said && !hf) || (settings.contains("eos_token_id") && !settings["eos_token_id"].is_null())) return;
  add_marks(settings, checkpoint, companions);
  if (!settings.empty()) write_file_atomically(folder / kGeneration, settings.dump(2) + "\n");
}

}  // namespace

const char* form_name(CheckpointForm form) {
  return form == CheckpointForm::kLt2 ? "lt2" : form == CheckpointForm::kOfficial ? "official" : "hf";
}

CheckpointForm parse_form(const std::string& name, const std::string& field) {
  for (const auto form : {CheckpointForm::kLt2, CheckpointForm::kOfficial, CheckpointForm::kHf})
    if (name == form_name(form)) return form;
  fail("{} must be lt2, official or hf; found \"{}\"", field, name);
}

AnyCheckpoint open_checkpoint(const fs::path& path) {
  LT2_CHECK(fs::exists(path), "{} does not exist", path.string());
  if (!fs::is_directory(path)) {
    LT2_CHECK(path.extension() == ".pth", "{}: expected a folder, or a .pth file with params.json beside it",
              path.string());
    return open_official(path);
  }
  if (is_hf_model_folder(path)) return open_hf(path);
  if (fs::exists(path / kWeights)) return open_lt2(path);
  for (const auto& folder : {path, path / "consolidated"})
    if (const auto pth = find_pth(folder)) return open_official(*pth);
  LT2_CHECK(!has_shards_of_torch(path),
            "{}: sharded by torch.distributed.checkpoint; consolidate it first with the program that wrote it, into "
            "consolidated/{}",
            path.string(), kConsolidated);
  for (const auto& folder : {path, path / "checkpoints"})
    if (const auto newest = newest_complete_checkpoint(folder)) return open_lt2(*newest);
  fail("{}: no checkpoint; expected {} and {} (lt2), {} and {} (official), config.json and {} (hf), or a run's folder",
       path.string(), kWeights, kParams, kConsolidated, kParams, kWeights);
}

void write_checkpoint(const AnyCheckpoint& checkpoint, const fs::path& folder, const ConvertOptions& options) {
  const fs::path out = folder.has_filename() ? folder : folder.parent_path();  // "out/" too
  LT2_CHECK(!fs::exists(fs::symlink_status(out)), "{}: exists already. Remove it or choose another name", out.string());
  if (const auto parent = out.parent_path(); !parent.empty()) make_folders(parent, "out");
  NamedTensors parameters = checkpoint.parameters, optimizer = checkpoint.optimizer;
  if (options.to != CheckpointForm::kHf) {
    for (auto* tensors : {&parameters, &optimizer})
      for (auto& [name, tensor] : *tensors)
        if (tensor.is_floating_point()) tensor = tensor.to(torch::kFloat32);
  }
  const ModelConfig& model_config = checkpoint.config.model;
  const bool ouro = model_config.model_type == "ouro", hf = options.to == CheckpointForm::kHf;
  const auto companions = companions_of(checkpoint.folder, checkpoint.tokenizer);
  const auto config = companions.beside(checkpoint.config);
  write_folder_atomically(out, [&](const fs::path& aside) {
    write_companions(checkpoint, companions, aside, hf);
    // A published folder describes itself; of a run's, params.json knows more.
    if (!checkpoint.params_json.empty() && config == checkpoint.config) {
      write_file_atomically(aside / kParams, checkpoint.params_json);
    } else if (!checkpoint.params_json.empty() || !hf || !ouro) {
      write_file_atomically(aside / kParams, to_json(config));
    }
    if (hf) {
      auto settings = Settings::parse(ouro ? ouro_config_json(model_config, options.dtype, aside.string())
                                           : hf_config(model_config, options.dtype));
      add_marks(settings, checkpoint, companions);
      write_hf_folder(aside, settings.dump(2) + "\n", ouro ? ouro_parameters(parameters) : parameters, options.dtype,
                      options.shard_bytes);
      return;
    }
    if (checkpoint.train_state) write_file_atomically(aside / kTrainState, *checkpoint.train_state);
    if (options.to == CheckpointForm::kLt2) {
      write_safetensors(aside / kWeights, parameters, {{"format", "pt"}});
      if (!optimizer.empty()) write_safetensors(aside / kOptimizer, optimizer, {{"format", "pt"}});
      write_checksums(aside);
      return;
    }
    TorchFileBuilder file;
    std::vector<std::pair<std::string, PickleRef>> model;
    for (const auto& [name, tensor] : parameters) model.emplace_back(name, file.tensor(tensor));
    std::vector<std::pair<std::string, PickleRef>> root{{"model", file.values.dict(model)}};
    if (!optimizer.empty()) root.emplace_back("optim", optimizer_values(file, checkpoint));
    file.write(aside / kConsolidated, file.values.dict(root));
  });
}

}  // namespace lt2
