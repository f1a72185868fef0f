#include "folders/torch_form.h"

#include <cmath>
#include <map>
#include <set>

#include "base/error.h"
#include "folders/training_state.h"

namespace lt2 {
namespace {

using Kind = PickleValue::Kind;

// Names under which a tied output may be saved once more.
const std::set<std::string> kTiedAliases = {"output.tied_module.weight", "output.weight"};
const std::vector<std::string> kMoments = {"exp_avg", "exp_avg_sq"};

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

PickleRef optimizer_values(TorchFileBuilder& file, const NamedTensors& parameters, const NamedTensors& optimizer,
                           const OptimConfig& optim, const std::string& where) {
  Pickle& values = file.values;
  std::vector<std::pair<std::string, PickleRef>> state;
  for (size_t i = 0; i < optimizer.size(); i += 3) {
    const auto& [first, exp_avg] = optimizer[i];
    const auto step = optimizer[i + 2].second.item<int64_t>();
    LT2_CHECK(step <= 1 << 24, "{}: {} updates are more than the official form's fp32 counter holds", where, step);
    state.emplace_back(first.substr(0, first.size() - std::string(".exp_avg").size()),
                       values.dict({{"step", file.tensor(torch::tensor(static_cast<float>(step)))},
                                    {"exp_avg", file.tensor(exp_avg.to(torch::kFloat32))},
                                    {"exp_avg_sq", file.tensor(optimizer[i + 1].second.to(torch::kFloat32))}}));
  }
  std::vector<PickleRef> names;
  for (const auto& [name, parameter] : parameters) names.push_back(values.text(name));
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

}  // namespace

TorchCheckpoint::TorchCheckpoint(const std::filesystem::path& path) : file_(std::make_shared<TorchArchive>(path)) {
  LT2_CHECK(file_->root()->is(Kind::kDict), "{}: expected a dict with \"model\"; found {}", path.string(),
            file_->root()->kind_name());
}

TensorSource TorchCheckpoint::model() const {
  const PickleRef dict = file_->root()->find("model");
  LT2_CHECK(dict && dict->is(Kind::kDict), "{}: expected a dict \"model\" of tensors; found {}", file_->where(),
            dict ? dict->kind_name() : "none");
  const PickleValue& model = *dict;
  TensorSource out;
  out.where = file_->where();
  out.file = [where = file_->where()](const std::string&) { return where; };
  auto tensors = std::make_shared<std::map<std::string, PickleRef>>();
  for (size_t i = 0; i < model.items.size(); i += 2) {
    const PickleValue &key = *model.items[i], &value = *model.items[i + 1];
    LT2_CHECK(key.is(Kind::kText) && value.is(Kind::kTensor),
              "{}: \"model\" must hold names and tensors; found {} with {}", file_->where(), key.kind_name(),
              value.kind_name());
    LT2_CHECK(tensors->emplace(key.text, &value).second, "{}: {} appears twice", file_->where(), shown_name(key.text));
    out.names.push_back(key.text);
  }
  out.shape = [tensors](const std::string& name) { return tensors->at(name)->tensor->shape; };
  out.view = [tensors, file = file_](const std::string& name) { return tensor_of(*file, *tensors->at(name)); };
  return out;
}

/// {"state": {NAME: {"step": .., "exp_avg": .., "exp_avg_sq": ..}}, "param_groups": [..]}
NamedTensors TorchCheckpoint::optimizer(const NamedTensors& parameters, bool tied) const {
  const TorchArchive& file = *file_;
  const PickleRef optim = file.root()->find("optim");
  if (!optim || optim->is(Kind::kNone)) return {};
  const PickleRef state = optim->find("state");
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

void write_torch_checkpoint(const std::filesystem::path& path, const NamedTensors& parameters,
                            const NamedTensors& optimizer, const OptimConfig& config, const std::string& where) {
  TorchFileBuilder file;
  std::vector<std::pair<std::string, PickleRef>> model;
  for (const auto& [name, tensor] : parameters) model.emplace_back(name, file.tensor(tensor));
  std::vector<std::pair<std::string, PickleRef>> root{{"model", file.values.dict(model)}};
  if (!optimizer.empty()) root.emplace_back("optim", optimizer_values(file, parameters, optimizer, config, where));
  file.write(path, file.values.dict(root));
}

}  // namespace lt2
