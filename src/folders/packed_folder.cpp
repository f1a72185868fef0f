#include "folders/packed_folder.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "folders/companions.h"
#include "folders/tensor_source.h"
#include "model/packed_weights.h"
#include "ops/dtype.h"
#include "ops/linear/packed_weight.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

constexpr const char *kPackedFormat = "lt2-packed-1", *kParts[] = {"panels", "layout", "scales"};

// fp16 as fp32, which holds all its numbers; other types as they lie.
torch::Tensor widened(const torch::Tensor& weight) {
  return weight.scalar_type() == torch::kFloat16 ? weight.to(torch::kFloat32) : weight;
}

// What becomes of weights in fp16: products know fp32 and bf16.
void report_fp16(const ModelFolder& folder, WeightFormat wanted) {
  const auto half = [](const auto& parameter) { return parameter.second.scalar_type() == torch::kFloat16; };
  if (std::none_of(folder.parameters.begin(), folder.parameters.end(), half)) return;
  log_info("{}: weights in fp16 are {}", folder.where.string(),
           wanted == WeightFormat::kF32    ? "widened to fp32, which changes none"
           : wanted == WeightFormat::kBf16 ? "rounded to bf16 (8 bits of their 11); weights=fp32 keeps them exactly"
                                           : "widened to fp32, which changes none, and packed from there");
}

}  // namespace

void take_packed(ModelFolder& folder) {
  folder.packed = std::make_shared<SafetensorsFile>(folder.where / kPackedFile);
  const auto& file = *folder.packed;
  const auto where = file.path().string();
  const auto said = [&](const char* key) {
    const auto found = file.metadata().find(key);
    return found == file.metadata().end() ? std::string("nothing") : found->second;
  };
  LT2_CHECK(said("format") == kPackedFormat, "{}: its format is {}; expected {}, as `lt2 quantize` writes it", where,
            shown_name(said("format")), kPackedFormat);
  folder.format = parse_weight_format(said("weights"), where + ": weights");
  LT2_CHECK(file.contains("tok_embeddings.weight"), "{}: tok_embeddings.weight is missing", where);
  auto source = tensor_source(folder.packed);
  std::set<std::string> names;
  for (const auto& name : source.names) {
    const auto is_part = [&](const char* part) { return name.ends_with(std::string(".") + part); };
    const bool part = std::any_of(std::begin(kParts), std::end(kParts), is_part);
    const auto whole = part ? name.substr(0, name.rfind('.')) : name;
    const bool packed = part && file.contains(whole + ".panels");
    names.insert(packed ? whole : name);  // a stray part stays what it is called
    if (packed && !file.contains(whole)) source.elsewhere.insert(whole);
  }
  source.names.assign(names.begin(), names.end());
  folder.parameters = take_parameters(source, folder.config);
}

std::shared_ptr<LoopedTransformer> load_packed(const ModelFolder& folder, std::optional<WeightFormat> format,
                                               torch::ScalarType compute_type) {
  const auto model = [&] {
    const WithoutWeights sizes_only;
    return std::make_shared<LoopedTransformer>(folder.config);
  }();
  model->compute_type = compute_type;
  const auto weight = [&](const std::string& name) { return widened(folder.weight(name)); };
  if (!folder.packed) {
    const auto wanted = format.value_or(compute_type == torch::kBFloat16 ? WeightFormat::kBf16 : WeightFormat::kF32);
    report_fp16(folder, wanted);
    fill_packed(*model, weight, [&](const std::string& name, LinearImpl& map) {
      map.pack(weight(name), packing_format(wanted, name, map.weight));
    });
    return model;
  }
  const auto& file = *folder.packed;
  LT2_CHECK(!format || *format == folder.format,
            "{}: holds {} weights; {} cannot be made from them. Take the folder "
            "they were made from",
            file.path().string(), weight_format_name(folder.format),
            weight_format_name(format.value_or(folder.format)));
  fill_packed(*model, weight, [&](const std::string& name, LinearImpl& map) {
    NamedTensors parts;
    for (const char* part : kParts) {
      const auto key = name + "." + part;
      if (file.contains(key)) parts.emplace_back(part, file.view(key));
    }
    try {
      map.adopt(parts, packing_format(folder.format, name, map.weight));
    } catch (const Error& error) {
      fail("{}: {}: {}", file.path().string(), name, error.what());
    }
  });
  return model;
}

void write_packed_folder(const fs::path& out, const LoopedTransformer& model, WeightFormat format,
                         const ModelFolder& from) {
  const auto companions = companions_of(from.where, from.tokenizer);
  write_folder_atomically(out, [&](const fs::path& aside) {
    write_safetensors(aside / kPackedFile, packed_tensors(model),
                      {{"format", kPackedFormat}, {"weights", weight_format_name(format)}});
    companions.write(aside);
    for (const char* name : {kConfigFile, kParamsFile}) {
      if (fs::exists(from.where / name)) write_file_atomically(aside / name, read_file(from.where / name));
    }
    // Only where the vocabulary now has another place: the text of other programs stays as they wrote it.
    if (from.run && companions.beside(*from.run) != *from.run)
      write_file_atomically(aside / kParamsFile, to_json(companions.beside(*from.run)));
  });
}

}  // namespace lt2
