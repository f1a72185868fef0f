#include "check/judge.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/regex/regex.h"
#include "config/patterns.h"

namespace lt2::check {
namespace {

// All layers share one line: layers.3.attention.wq.weight -> layers.*.attention.wq.weight.
std::string collapse(const std::string& name) {
  static const Regex layer("layers\\.[0-9]+\\.", "layer");
  std::string out;
  size_t at = 0;
  layer.each_match(name, [&](size_t begin, size_t end) {
    out += name.substr(at, begin - at) + "layers.*.";
    at = end;
  });
  return out + name.substr(at);
}

double largest_difference(const torch::Tensor& a, const torch::Tensor& b) {
  if (!a.defined() || a.sizes() != b.sizes()) return std::numeric_limits<double>::infinity();
  if (b.numel() == 0) return 0;
  const auto d = a.detach().to(torch::kCPU, torch::kFloat64) - b.to(torch::kFloat64);
  return torch::isfinite(d).all().item<bool>() ? d.abs().max().item<double>()
                                               : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace

void Judge::add(const std::string& full_name, double error, double limit, bool absolute) {
  const auto name = collapse(full_name);
  for (auto& t : tensors) {
    if (t.name != name) continue;
    if (!(error <= t.error)) t.error = std::isnan(t.error) ? t.error : error;
    return;
  }
  tensors.push_back({name, error, limit, absolute});
}

void Judge::relative(const std::string& name, const torch::Tensor& actual, const torch::Tensor& expected,
                     double limit) {
  const double scale = expected.numel() ? expected.to(torch::kFloat64).abs().max().item<double>() : 0;
  add(name, largest_difference(actual, expected) / (scale > 0 ? scale : 1), limit, false);
}

void Judge::absolute(const std::string& name, const torch::Tensor& actual, const torch::Tensor& expected,
                     double limit) {
  add(name, largest_difference(actual, expected), limit, true);
}

void Judge::identical(const std::string& name, const torch::Tensor& actual, const torch::Tensor& expected) {
  const bool fits = actual.defined() && actual.sizes() == expected.sizes();
  add(name, fits ? (actual.to(torch::kCPU) != expected).sum().item<double>() : std::numeric_limits<double>::infinity(),
      0, true);
}

nlohmann::json metadata_json(const SafetensorsFile& file, const std::string& key) {
  const auto found = file.metadata().find(key);
  LT2_CHECK(found != file.metadata().end(), "{}: metadata has no field \"{}\"", file.path().string(), key);
  auto parsed = nlohmann::json::parse(found->second, nullptr, /*allow_exceptions=*/false);
  LT2_CHECK(!parsed.is_discarded(), "{}: metadata field \"{}\" is not JSON", file.path().string(), key);
  return parsed;
}

double reduced_layer_limit(const ModelConfig& config) { return config.dim < 64 ? 3e-2 : 2e-2; }

double reduced_loss_limit(const ModelConfig& config) {
  const auto types = layer_types(config.layer_pattern, config.n_layers);
  const bool selects =
      std::any_of(types.begin(), types.end(), [](const auto& type) { return type == "dsa" || type == "nsa"; });
  return selects ? 2e-2 : 1e-2;
}

OptimConfig optim_config(const nlohmann::json& json) {
  OptimConfig config;
  read_tree(parse_yaml(json.dump(), "optim", /*line_numbers=*/false), collect_fields(config), /*lenient=*/true);
  return config;
}

}  // namespace lt2::check
