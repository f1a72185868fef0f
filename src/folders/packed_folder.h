#pragma once
// Models for inference alone: weights packed once in the form they are multiplied in, nothing else kept.
//
// A folder with `packed.safetensors` holds them packed: metadata {"format": "lt2-packed-1", "weights": "int8"}, of each
// map with packed weights NAME.panels, NAME.layout and NAME.scales (ops/linear/packed_weight.h), of every other
// parameter NAME. Next to it lie the settings and the tokenizer of the folder it was made from. It is mapped, not read:
// opening takes no time, and processes that run the same folder share its pages.
#include "folders/model_folder.h"

namespace lt2 {

/// Opens the packed weights in folder.where, for the model of folder.config: fills `packed`, `format` and `parameters`.
/// Throws lt2::Error that names the file and what does not fit.
void take_packed(ModelFolder& folder);

/// The folder's model with all large maps in `format` (see packing_format); no fp32 copy is made on the way. Products
/// in `compute_type`. A folder that holds packed weights gives them in their own format; asking for another is an
/// lt2::Error.
std::shared_ptr<LoopedTransformer> load_packed(const ModelFolder& folder, std::optional<WeightFormat> format,
                                               torch::ScalarType compute_type);

/// Writes the packed weights of `model` into a new folder `out`, with the small files of `from`, which it was loaded
/// from. Put together aside and renamed. Throws lt2::Error if `out` exists.
void write_packed_folder(const std::filesystem::path& out, const LoopedTransformer& model, WeightFormat format,
                         const ModelFolder& from);

}  // namespace lt2
