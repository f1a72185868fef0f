// Linear mixers: bare recurrences (kind "op") and whole layers (kind "layer").
#include <algorithm>

#include "base/error.h"
#include "check/judge.h"
#include "mixers/linear_state.h"
#include "mixers/mixer.h"
#include "ops/linear_recurrence/op.h"

namespace lt2::check {
namespace {

constexpr double kOutput = 2e-5, kOpGradient = 5e-5, kLayerGradient = 1e-4, kReducedOp = 2e-2;

// Inputs of the recurrence as the file has them, each a leaf that accumulates a gradient.
struct OpInputs {
  std::vector<std::pair<std::string, torch::Tensor>> leaves;
  torch::Tensor leaf(const std::string& name) const {
    for (const auto& [key, tensor] : leaves) {
      if (key == name) return tensor;
    }
    return {};
  }
};

OpInputs read_inputs(const SafetensorsFile& file, torch::ScalarType type, torch::Device device, bool with_state) {
  OpInputs in;
  std::vector<std::string> names{"q", "k", "v", "g", "beta", "x", "dt", "A", "Bm", "Cm", "D"};
  if (with_state) names.push_back("S0");
  for (const auto& name : names) {
    if (file.contains(name)) in.leaves.emplace_back(name, file.tensor(name).to(device, type).set_requires_grad(true));
  }
  return in;
}

LinearRecurrenceInput as_recurrence(const OpInputs& in, double scale, torch::ScalarType compute) {
  const auto narrow = [&](const torch::Tensor& t) { return t.to(compute); };
  LinearRecurrenceInput out;
  out.scale = scale;
  out.state = in.leaf("S0");
  if (in.leaf("dt").defined()) {  // mamba2: q = C, k = B for all heads, v = dt x, g = dt A
    const auto x = in.leaf("x"), dt = in.leaf("dt");
    const int64_t H = x.size(2);
    const auto all_heads = [&](const torch::Tensor& t) { return t.unsqueeze(2).expand({-1, -1, H, -1}); };
    out.q = narrow(all_heads(in.leaf("Cm")));
    out.k = narrow(all_heads(in.leaf("Bm")));
    out.v = narrow(dt.unsqueeze(-1) * x);
    out.g = dt * in.leaf("A");
    return out;
  }
  out.q = narrow(in.leaf("q"));
  out.k = narrow(in.leaf("k"));
  out.v = narrow(in.leaf("v"));
  out.beta = in.leaf("beta");
  out.g = in.leaf("g");
  if (out.g.defined() && out.g.dim() == 1)
    out.g = out.g.expand({out.q.size(0), out.q.size(1), out.q.size(2)});  // retnet
  return out;
}

using Form = LinearRecurrenceOutput (*)(const LinearRecurrenceInput&);

void check_op_form(const SafetensorsFile& file, Judge& judge, const std::string& label, Form form,
                   torch::ScalarType type, torch::ScalarType compute, double output_limit, double gradient_limit,
                   double scale) {
  for (const std::string run : {"zero", "init"}) {
    const auto in = read_inputs(file, type, judge.options.device, run == "init");
    const auto out = form(as_recurrence(in, scale, compute));
    auto o = out.o.to(type);
    if (in.leaf("D").defined()) o = o + in.leaf("D").unsqueeze(-1) * in.leaf("x");
    judge.relative(label + run + ".o", o, file.tensor(run + ".o"), output_limit);
    judge.relative(label + run + ".S", out.state, file.tensor(run + ".S"), output_limit);
    if (gradient_limit == 0) continue;
    const auto target = (o * file.tensor("do").to(o)).sum() + (out.state * file.tensor("dS").to(out.state)).sum();
    target.backward();
    for (const auto& [name, leaf] : in.leaves) {
      const auto key = run + ".d" + name;
      if (file.contains(key)) judge.relative(label + key, leaf.grad(), file.tensor(key), gradient_limit);
    }
  }
}

LinearRecurrenceOutput torch_form(const LinearRecurrenceInput& in) { return linear_recurrence_torch(in); }

void check_op(const SafetensorsFile& file, Judge& judge, const nlohmann::json& config) {
  const double scale = config.at("scale").get<double>();
  if (judge.reduced()) {
    return check_op_form(file, judge, "", linear_recurrence, torch::kFloat32, judge.options.dtype, kReducedOp, 0,
                         scale);
  }
  check_op_form(file, judge, "", linear_recurrence, torch::kFloat32, torch::kFloat32, kOutput, kOpGradient, scale);
  check_op_form(file, judge, "torch.", torch_form, torch::kFloat32, torch::kFloat32, kOutput, kOpGradient, scale);
  const bool exact = config.value("f64", false);  // if false, the file itself is rounded to fp32
  check_op_form(file, judge, "fp64.", linear_recurrence_reference, torch::kFloat64, torch::kFloat64,
                exact ? 1e-12 : 1e-6, exact ? 1e-12 : 1e-6, scale);
}

// Vectors have one column for each kernel position, [B, channels, width], oldest first. The oldest is never read again:
// our tails are [B, width - 1, channels].
torch::Tensor tail_of(const torch::Tensor& columns) {
  return columns.narrow(2, 1, columns.size(2) - 1).transpose(1, 2).contiguous();
}

NamedTensors state_tensors(const SafetensorsFile& file, const std::string& prefix) {
  NamedTensors out;
  for (const auto& name : file.names()) {
    if (name.rfind(prefix, 0) != 0) continue;
    const auto key = name.substr(prefix.size());
    out.emplace_back(key, key.rfind("conv.", 0) == 0 ? tail_of(file.tensor(name)) : file.tensor(name));
  }
  return out;
}

void check_layer(const SafetensorsFile& file, Judge& judge, const nlohmann::json& config) {
  const auto type = config.at("mixer").get<std::string>();
  const auto known = mixer_types();
  if (std::find(known.begin(), known.end(), type) == known.end())
    throw Unsupported{"mixer " + type + " is not in this version"};
  const auto device = judge.options.device;
  const auto model_config = vector_config(file);
  const auto mixer = make_mixer(type, model_config);
  auto parameters = parameters_of(*mixer);
  {
    torch::NoGradGuard no_grad;
    for (auto& [name, parameter] : parameters) parameter.copy_(file.tensor("param." + name));
  }
  mixer->to(device);
  parameters = parameters_of(*mixer);

  const auto x = file.tensor("x").to(device).set_requires_grad(true);
  const int64_t B = x.size(0), L = x.size(1);
  const double output_limit = judge.reduced() ? reduced_layer_limit(model_config) : kOutput;
  const auto start = [&] {
    auto state = mixer->make_state(
        {.batch = B, .dtype = judge.options.dtype, .device = device, .window = {}, .reserve_tokens = 0});
    if (config.value("has_init", false)) state->restore(state_tensors(file, "init."), config.value("pos0", int64_t{0}));
    return state;
  };
  const auto compare_state = [&](const std::string& label, const MixerState& state, const std::string& prefix) {
    const auto actual = state.tensors();
    for (const auto& [name, expected] : state_tensors(file, prefix)) {
      const auto found =
          std::find_if(actual.begin(), actual.end(), [&, &key = name](const auto& item) { return item.first == key; });
      // An absent tensor is an infinite error.
      judge.relative(label + name, found == actual.end() ? torch::Tensor() : found->second, expected, output_limit);
    }
  };

  // One pass with gradients. Given initial states are constants.
  auto state = start();
  const auto y = mixer->forward(x.to(judge.options.dtype), {.window = {}, .sequences = state.get(), .residual = {}});
  judge.relative("y", y, file.tensor("y"), output_limit);
  compare_state("state.", *state, "state.");
  if (!judge.reduced()) {
    (y * file.tensor("dy").to(device)).sum().backward();
    judge.relative("grad.x", x.grad(), file.tensor("grad.x"), kLayerGradient);
    for (const auto& [name, parameter] : parameters)
      judge.relative("grad." + name, parameter.grad(), file.tensor("grad." + name), kLayerGradient);
    if (!config.value("has_init", false)) {  // training calls have no state
      judge.relative("y without state", mixer->forward(x, {}), file.tensor("y"), output_limit);
    }
  }

  // The same in parts: split where the file says, and token by token.
  torch::NoGradGuard no_grad;
  const auto run_in_pieces = [&](const std::string& label, const std::vector<int64_t>& pieces) {
    auto piecewise = start();
    std::vector<torch::Tensor> parts;
    int64_t begin = 0;
    for (const int64_t piece : pieces) {
      parts.push_back(mixer->forward(x.narrow(1, begin, piece).to(judge.options.dtype),
                                     {.window = {}, .sequences = piecewise.get(), .residual = {}}));
      begin += piece;
      if (label == "y split" && begin < L) compare_state("mid.", *piecewise, "mid.");
    }
    judge.relative(label, torch::cat(parts, 1), file.tensor("y"), output_limit);
    compare_state("state after " + label + ".", *piecewise, "state.");
  };
  if (config.contains("split") && config["split"].is_number()) {
    const auto split = config["split"].get<int64_t>();
    if (split > 0 && split < L) run_in_pieces("y split", {split, L - split});
  }
  run_in_pieces("y token by token", std::vector<int64_t>(static_cast<size_t>(L), 1));
}

}  // namespace

ModelConfig vector_config(const SafetensorsFile& file) {
  const auto where = file.path().string() + ": config";
  auto config = model_config_from_json(metadata_json(file, "config").dump(), where);
  if (config.vocab_size < 0) config.vocab_size = 1;  // single mixers have no vocabulary
  validate_model(config, where);
  return config;
}

void check_linear(const SafetensorsFile& file, Judge& judge) {
  const auto config = metadata_json(file, "config");
  config.at("kind") == "op" ? check_op(file, judge, config) : check_layer(file, judge, config);
}

}  // namespace lt2::check
