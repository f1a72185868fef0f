#include "folders/training_state.h"

#include "base/error.h"
#include "checkpoint/safetensors.h"
#include "folders/tensor_source.h"

namespace lt2 {

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

NamedTensors read_optimizer(const std::filesystem::path& path, const NamedTensors& parameters) {
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

}  // namespace lt2
