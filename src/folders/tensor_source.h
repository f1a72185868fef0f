#pragma once
// Parameters of a model from any source of tensors by name: checked against the configuration before any is read.
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "checkpoint/hf_folder.h"
#include "checkpoint/safetensors.h"
#include "mixers/mixer.h"
#include "model/looped_transformer.h"

namespace lt2 {

/// A source of tensors by name.
struct TensorSource {
  std::string where;  // the file or folder
  std::vector<std::string> names;
  std::function<std::string(const std::string&)> file;  // that holds the tensor
  std::function<std::vector<int64_t>(const std::string&)> shape;
  std::function<torch::Tensor(const std::string&)> view;
  /// Its name for the parameter of an official name; unset: the same.
  std::function<std::string(const std::string&)> own_name = {};
  /// Official names of parameters that are there in another form than as tensors (packed weights).
  std::set<std::string> elsewhere = {};

  std::string own(const std::string& official) const { return own_name ? own_name(official) : official; }
};

TensorSource tensor_source(const std::shared_ptr<SafetensorsFile>& file);
/// `own_name` as in TensorSource.
TensorSource tensor_source(const std::shared_ptr<HfFolder>& folder,
                           std::function<std::string(const std::string&)> own_name = {});

/// `where` stands in errors.
TensorSource tensor_source(std::string where, const NamedTensors& tensors);

/// Official name and shape of each parameter, in the order of LoopedTransformer::official_parameters, without a model:
/// costs the memory of one layer of each type, which is never touched. `config` must be validated.
std::vector<std::pair<std::string, std::vector<int64_t>>> parameter_shapes(const ModelConfig& config);

/// The one check of names, shapes and types: all parameters of the configuration's model as the source's views, under
/// their official names and in the model's order, but those that are elsewhere. Throws lt2::Error, one line with file,
/// tensor, expected and found, unless each is there with its shape in F32, BF16 or F16 and nothing else is, but rotary
/// tables and what repeats a tied output.
NamedTensors take_parameters(const TensorSource& source, const ModelConfig& config);

/// The same, copied into the model.
void take_parameters(LoopedTransformer& model, const TensorSource& source);

/// A name from a file, on one line and of bounded length.
std::string shown_name(const std::string& name);
/// Throws lt2::Error unless fp32 masters hold the tensor's type exactly.
void check_floating(const std::string& where, const std::string& name, const torch::Tensor& tensor);

}  // namespace lt2
