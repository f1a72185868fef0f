#include "folders/write_model.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/files.h"
#include "checkpoint/checksums.h"
#include "checkpoint/hf_folder.h"
#include "folders/companions.h"
#include "folders/ouro_form.h"
#include "folders/settings.h"
#include "folders/torch_form.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using OrderedJson = nlohmann::ordered_json;

std::string hf_config(const ModelConfig& config, torch::ScalarType dtype) {
  TrainConfig whole;
  whole.model = config;
  OrderedJson out{{"architectures", {"LT2ForCausalLM"}},
                  {"model_type", "lt2"},
                  {"torch_dtype", dtype == torch::kFloat32 ? "float32" : "bfloat16"}};
  out.update(OrderedJson::parse(to_json(whole)).at("model"));
  return out.dump(2) + "\n";
}

/// The special tokens that `settings` does not name yet, for programs that run the folder.
void add_marks(OrderedJson& settings, const ModelFolder& from, const Companions& companions) {
  const auto add = [&](const char* key, const std::vector<int32_t>& ids) {
    const bool known = !ids.empty() && ids[0] >= 0 && ids[0] < from.config.vocab_size;
    if (!known || (settings.contains(key) && !settings[key].is_null())) return;
    settings[key] = ids.size() == 1 ? OrderedJson(ids[0]) : OrderedJson(ids);
  };
  const auto stop_ids = read_stop_ids(from.where, from.config.vocab_size);
  add("bos_token_id", {companions.bos_id});
  add("eos_token_id", stop_ids.empty() ? std::vector{companions.eos_id} : stop_ids);
  add("pad_token_id", {companions.pad_id});
}

/// The companions; generation_config.json says where texts end, also if only the source's config.json knew it, which is
/// written anew. A run's texts end with its vocabulary's EOS, which only the hf form must name.
void write_companions(const ModelFolder& from, const Companions& companions, const fs::path& folder, bool hf) {
  companions.write(folder);
  const bool said = !read_stop_ids(from.where, from.config.vocab_size).empty();
  const auto* given = companions.find(kGenerationFile);
  auto settings = given ? OrderedJson::parse(*given) : OrderedJson::object();
  if ((!said && !hf) || (settings.contains("eos_token_id") && !settings["eos_token_id"].is_null())) return;
  add_marks(settings, from, companions);
  if (!settings.empty()) write_file_atomically(folder / kGenerationFile, settings.dump(2) + "\n");
}

}  // namespace

void write_model(const ModelFolder& from, const fs::path& folder, const WriteOptions& options) {
  const fs::path out = folder.has_filename() ? folder : folder.parent_path();  // "out/" too
  LT2_CHECK(!fs::exists(fs::symlink_status(out)), "{}: exists already. Remove it or choose another name", out.string());
  LT2_CHECK(!from.packed, "{}: holds weights packed for inference; nothing else can be done with them",
            from.where.string());
  if (const auto parent = out.parent_path(); !parent.empty()) make_folders(parent, "out");
  const bool ouro = from.config.model_type == "ouro", hf = options.to == FolderForm::kHf;
  NamedTensors parameters = from.parameters, optimizer = from.training.optimizer;
  if (!hf) {
    for (auto* tensors : {&parameters, &optimizer})
      for (auto& [name, tensor] : *tensors)
        if (tensor.is_floating_point()) tensor = tensor.to(torch::kFloat32);
  }
  const auto companions = companions_of(from.where, from.tokenizer);
  const auto config = companions.beside(from.run ? *from.run : from.run_config());
  write_folder_atomically(out, [&](const fs::path& aside) {
    write_companions(from, companions, aside, hf);
    // A published folder describes itself; of a run's, params.json knows more.
    if (from.run && config == *from.run) {
      write_file_atomically(aside / kParamsFile, from.run_json);
    } else if (from.has_params || !hf || !ouro) {
      write_file_atomically(aside / kParamsFile, to_json(config));
    }
    if (hf) {
      auto settings = OrderedJson::parse(ouro ? ouro_config_json(from.config, options.dtype, aside.string())
                                              : hf_config(from.config, options.dtype));
      add_marks(settings, from, companions);
      write_hf_folder(aside, settings.dump(2) + "\n", ouro ? ouro_parameters(parameters) : parameters, options.dtype,
                      options.shard_bytes);
      return;
    }
    if (from.training.loaders) write_file_atomically(aside / kTrainStateFile, *from.training.loaders);
    if (options.to == FolderForm::kOfficial) {
      write_torch_checkpoint(aside / kConsolidatedFile, parameters, optimizer, config.optim, from.where.string());
      return;
    }
    write_safetensors(aside / kWeightsFile, parameters, {{"format", "pt"}});
    if (!optimizer.empty()) write_safetensors(aside / kOptimizerFile, optimizer, {{"format", "pt"}});
    write_checksums(aside);
  });
}

}  // namespace lt2
