#include "model/model_folder.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "checkpoint/checksums.h"
#include "checkpoint/hf_folder.h"
#include "model/accounting.h"
#include "model/companions.h"
#include "model/model_io.h"
#include "model/ouro_folder.h"
#include "model/tensor_source.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char *kConfig = "config.json", *kGeneration = "generation_config.json",
                     *kTokenizerConfig = "tokenizer_config.json", *kParams = "params.json";
constexpr int kMaxDepth = 64;
std::string shown(const json& value) {
  const auto text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  return text.size() > 100 ? text.substr(0, 100) + "..." : text;
}

/// A small file of settings; an empty object if it is not there.
json read_settings(const fs::path& path) {
  if (!fs::exists(path)) return json::object();
  const auto bounded = [&](int depth, json::parse_event_t, json&) {
    LT2_CHECK(depth <= kMaxDepth, "{}: nested more than {} deep", path.string(), kMaxDepth);
    return true;
  };
  json root = json::parse(read_file(path), bounded, /*allow_exceptions=*/false);
  LT2_CHECK(root.is_object(), "{}: expected a JSON object", path.string());
  return root;
}

const json* setting(const json& root, const char* key) {
  const auto found = root.find(key);
  return found == root.end() || found->is_null() ? nullptr : &*found;
}

void read_number(const json& root, const char* key, const std::string& where, std::optional<double>& out) {
  const auto* value = setting(root, key);
  if (!value) return;
  LT2_CHECK(value->is_number() && std::isfinite(value->get<double>()) && value->get<double>() >= 0,
            "{}: {} must be a number of at least 0; found {}", where, key, shown(*value));
  out = value->get<double>();
}

void read_count(const json& root, const char* key, const std::string& where, std::optional<int64_t>& out) {
  const auto* value = setting(root, key);
  if (!value) return;
  LT2_CHECK(value->is_number_unsigned() && value->get<uint64_t>() <= uint64_t{1} << 31,
            "{}: {} must be a whole number of at least 0; found {}", where, key, shown(*value));
  out = value->get<int64_t>();
}

void read_flag(const json& root, const char* key, const std::string& where, std::optional<bool>& out) {
  const auto* value = setting(root, key);
  if (!value) return;
  LT2_CHECK(value->is_boolean(), "{}: {} must be true or false; found {}", where, key, shown(*value));
  out = value->get<bool>();
}

GenerationDefaults read_generation(const fs::path& path) {
  const auto root = read_settings(path);
  const auto where = path.string();
  GenerationDefaults out;
  read_flag(root, "do_sample", where, out.do_sample);
  read_number(root, "temperature", where, out.temperature);
  read_number(root, "top_p", where, out.top_p);
  read_number(root, "min_p", where, out.min_p);
  read_number(root, "repetition_penalty", where, out.repetition_penalty);
  read_count(root, "top_k", where, out.top_k);
  read_count(root, "max_new_tokens", where, out.max_new_tokens);
  return out;
}

void apply(const ModelFolderOptions& options, ModelConfig& config, const std::string& where) {
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
}

void take_tokenizer(ModelFolder& out) {
  out.tokenizer = find_tokenizer(out.where, out.run);
  if (out.run) {
    out.add_bos = out.run->data.add_bos;
    return;
  }
  const fs::path settings = out.where / kTokenizerConfig;
  std::optional<bool> add_bos;
  read_flag(read_settings(settings), "add_bos_token", settings.string(), add_bos);
  out.add_bos = add_bos.value_or(false);
}

// The folder's frozen weights, and the parameters beside them.
void take_frozen(ModelFolder& out) {
  out.frozen = std::make_shared<SafetensorsFile>(out.where / kFrozenFile);
  const auto& file = *out.frozen;
  const auto where = file.path().string();
  const auto said = [&](const char* key) {
    const auto found = file.metadata().find(key);
    return found == file.metadata().end() ? std::string("nothing") : found->second;
  };
  LT2_CHECK(said("format") == kFrozenFormat, "{}: its format is {}; expected {}, as `lt2 quantize` writes it", where,
            shown_name(said("format")), kFrozenFormat);
  out.format = parse_weight_format(said("weights"), where + ": weights");
  LT2_CHECK(file.contains("tok_embeddings.weight"), "{}: tok_embeddings.weight is missing", where);
  std::set<std::string> known;
  for (const auto& [name, shape] : parameter_shapes(out.config)) {
    for (const char* part : {"", ".panels", ".layout", ".scales"}) known.insert(name + part);
    LT2_CHECK(file.contains(name) || file.contains(name + ".panels"),
              "{}: {} is missing; the model of this configuration has it", where, name);
    if (!file.contains(name)) continue;
    out.parameters.emplace_back(name, file.view(name));
    const auto& tensor = out.parameters.back().second;
    check_floating(where, name, tensor);
    LT2_CHECK(tensor.sizes() == torch::IntArrayRef(shape), "{}: {} is [{}], the model needs [{}]", where, name,
              fmt::join(tensor.sizes(), ", "), fmt::join(shape, ", "));
  }
  for (const auto& name : file.names())
    LT2_CHECK(known.count(name), "{}: {} has no place in the model of this configuration", where, shown_name(name));
}

// What is read of a folder: everything in it but a run's optimizer and state.
std::vector<std::string> files_read(const fs::path& folder) {
  auto names = companion_names();
  names.insert(names.end(), {kConfig, kParams});
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const auto name = entry.path().filename().string();
    const bool weights = name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json");
    if (weights && name != "optimizer.safetensors") names.push_back(name);
  }
  return names;
}

ModelFolder open_run(const fs::path& path, const ModelFolderOptions& options) {
  ModelFolder out;
  out.where = fs::exists(path / kFrozenFile) ? path : resolve_checkpoint(path);
  verify_files(out.where, files_read(out.where));
  const auto params = out.where / kParams, weights = out.where / "model.safetensors";
  LT2_CHECK(fs::exists(params), "{} does not exist; a checkpoint folder holds the run's configuration there",
            params.string());
  out.run = parse_train_config(read_file(params), params.string(), {});
  out.config = out.run->model;
  validate_model(out.config, params.string());
  apply(options, out.config, params.string());
  out.dtype = parse_dtype(out.run->distributed.model_dtype, params.string() + ": distributed.model_dtype");
  if (fs::exists(out.where / kFrozenFile)) {
    take_frozen(out);
  } else {
    out.parameters = take_parameters(tensor_source(std::make_shared<SafetensorsFile>(weights)), out.config);
  }
  take_tokenizer(out);
  return out;
}

torch::ScalarType trained_type(const json& config, const torch::Tensor& embedding) {
  for (const char* key : {"torch_dtype", "dtype"}) {
    const auto* value = setting(config, key);
    if (value) return *value == "bfloat16" ? torch::kBFloat16 : torch::kFloat32;
  }
  return embedding.scalar_type() == torch::kBFloat16 ? torch::kBFloat16 : torch::kFloat32;
}

ModelFolder open_hf(const fs::path& path, const ModelFolderOptions& options) {
  ModelFolder out;
  out.where = path;
  verify_files(path, files_read(path));
  const bool frozen = fs::exists(path / kFrozenFile);
  const auto folder = frozen ? nullptr : std::make_shared<HfFolder>(path);
  const std::string where = (path / kConfig).string();
  const auto root = read_settings(where);
  const std::string config = root.dump();
  const auto type = root.value("model_type", json());
  LT2_CHECK(type == "ouro" || type == "lt2", "{}: model_type is {}; expected \"ouro\" or \"lt2\"", where, shown(type));
  const bool ouro = type == "ouro";
  out.config = ouro ? ouro_model_config(config, where) : model_config_from_json(config, where);
  if (!ouro) validate_model(out.config, where);
  LT2_CHECK(out.config.vocab_size > 0, "{}: vocab_size must be given", where);
  apply(options, out.config, where);
  if (frozen) {
    take_frozen(out);
  } else {
    out.parameters =
        take_parameters(ouro ? tensor_source(folder, ouro_tensor_name) : tensor_source(folder), out.config);
  }
  out.dtype = trained_type(root, out.parameters[0].second);
  try {
    if (fs::exists(path / kParams))
      out.run = parse_train_config(read_file(path / kParams), (path / kParams).string(), {});
  } catch (const Error& error) {  // of a program of another age; config.json describes the model
    log_warning("{}; only the model is taken over", error.what());
  }
  take_tokenizer(out);
  return out;
}

}  // namespace

WeightFormat parse_weight_format(const std::string& text, const std::string& field) {
  for (const auto format : {WeightFormat::kF32, WeightFormat::kBf16, WeightFormat::kInt8, WeightFormat::kInt4}) {
    if (text == weight_format_name(format)) return format;
  }
  fail("{} must be fp32, bf16, int8 or int4; found \"{}\"", field, text);
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

bool is_hf_model_folder(const fs::path& path) { return fs::exists(path / kConfig); }

std::vector<int32_t> read_stop_ids(const fs::path& folder, int64_t vocab_size) {
  std::vector<int32_t> out;
  for (const char* name : {kGeneration, kConfig}) {
    const auto where = (folder / name).string();
    const auto root = read_settings(where);
    const auto* value = setting(root, "eos_token_id");
    if (!value) continue;
    for (const auto& id : value->is_array() ? *value : json::array({*value})) {
      LT2_CHECK(id.is_number_unsigned() && id.get<uint64_t>() < static_cast<uint64_t>(vocab_size),
                "{}: eos_token_id must be an id below vocab_size = {}, or a list of them; found {}", where, vocab_size,
                shown(*value));
      out.push_back(id.get<int32_t>());
    }
    return out;
  }
  return out;
}

ModelFolder open_model_folder(const fs::path& path, const ModelFolderOptions& options) {
  auto out = is_hf_model_folder(path) ? open_hf(path, options) : open_run(path, options);
  out.stop_ids = read_stop_ids(out.where, out.config.vocab_size);
  out.generation = read_generation(out.where / kGeneration);
  return out;
}

void take_parameters(LoopedTransformer& model, const ModelFolder& folder) {
  const auto where = folder.where.string();
  LT2_CHECK(!folder.frozen, "{}: holds weights frozen for inference; nothing else can be done with them", where);
  copy_parameters(model, where, folder.parameters);
}

std::shared_ptr<LoopedTransformer> load_masters(const ModelFolder& folder,
                                                std::optional<torch::ScalarType> compute_type) {
  auto model = std::make_shared<LoopedTransformer>(folder.config);
  take_parameters(*model, folder);
  model->compute_type = compute_type.value_or(folder.dtype);
  return model;
}

}  // namespace lt2
