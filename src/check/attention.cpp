// Attention mixers as single layers.
#include <algorithm>

#include "check/judge.h"
#include "mixers/deepseek_sparse_attention.h"
#include "mixers/native_sparse_attention.h"

namespace lt2::check {
namespace {

constexpr double kOutputLimit = 1e-5, kGradientLimit = 5e-5, kLossLimit = 1e-4, kLossGradientLimit = 2e-3;

std::shared_ptr<Mixer> build(const SafetensorsFile& file, const std::string& type, const ModelConfig& config,
                             torch::Device device) {
  auto mixer = make_mixer(type, config);
  {
    torch::NoGradGuard no_grad;
    for (auto& [name, parameter] : parameters_of(*mixer)) parameter.copy_(file.tensor("param." + name));
  }
  mixer->to(device);
  return mixer;
}

/// A parameter that no gradient reached has a gradient of zero.
torch::Tensor gradient_of(const torch::Tensor& parameter) {
  return parameter.grad().defined() ? parameter.grad() : torch::zeros_like(parameter);
}

/// Chosen blocks or keys, padded with the empty columns that the vectors have for sequences with fewer.
torch::Tensor with_empty_columns(const torch::Tensor& chosen, int64_t columns) {
  return torch::constant_pad_nd(chosen.to(torch::kInt64), {0, columns - chosen.size(-1)}, -1);
}

void check_branches(const SafetensorsFile& file, NativeSparseAttention& mixer, const torch::Tensor& x, Judge& judge) {
  torch::NoGradGuard no_grad;
  const auto parts = mixer.branches(x);
  const auto blocks = file.tensor("aux.block_indices");
  judge.identical("block_indices", with_empty_columns(parts.blocks, blocks.size(-1)), blocks);
  judge.relative("o_cmp", parts.compressed, file.tensor("aux.o_cmp"), kOutputLimit);
  judge.relative("o_slc", parts.selected, file.tensor("aux.o_slc"), kOutputLimit);
  if (file.contains("aux.o_swa")) judge.relative("o_swa", parts.windowed, file.tensor("aux.o_swa"), kOutputLimit);
}

void check_index(const SafetensorsFile& file, DeepseekSparseAttention& mixer, const torch::Tensor& x, Judge& judge) {
  torch::NoGradGuard no_grad;
  const auto index = mixer.index_input(x, 0);
  const auto indices = file.tensor("aux.indices");
  judge.identical("indices", with_empty_columns(index_topk(index), indices.size(-1)), indices);
  const int64_t L = x.size(1);
  judge.relative("scores", index_scores(index, 0, L, L), file.tensor("aux.scores"), kOutputLimit);
}

void check_index_loss(const SafetensorsFile& file, const std::string& stage, const torch::Tensor& x, Judge& judge) {
  auto config = vector_config(file);
  config.dsa.kl_stage = stage;
  const auto mixer = build(file, "dsa", config, judge.options.device);
  std::vector<torch::Tensor> losses;
  mixer->forward(x.detach(), {.losses = &losses});
  const auto loss = losses.empty() ? torch::zeros({}) : losses[0];
  judge.relative("kl_" + stage, loss.reshape({1}), file.tensor("aux.kl_" + stage), kLossLimit);
  if (!losses.empty()) loss.backward();
  for (const auto& [name, parameter] : parameters_of(*mixer)) {
    const auto key = "grad_kl_" + stage + "." + name;
    if (file.contains(key)) {
      judge.relative(key, gradient_of(parameter), file.tensor(key), kLossGradientLimit);
    } else if (parameter.grad().defined()) {  // the loss trains only the indexer
      judge.absolute("grad_kl_" + stage + " elsewhere", parameter.grad(), torch::zeros_like(parameter), 0);
    }
  }
}

/// [B, L]: tokens for which a 16-bit run chooses the same blocks or keys as the file. Only their outputs can be judged:
/// rounding may swap two close scores, and then another function is computed.
torch::Tensor same_choice(const SafetensorsFile& file, Mixer& mixer, const torch::Tensor& x) {
  torch::NoGradGuard no_grad;
  torch::Tensor chosen, expected;
  if (auto* nsa = dynamic_cast<NativeSparseAttention*>(&mixer)) {
    chosen = nsa->branches(x).blocks;
    expected = file.tensor("aux.block_indices");
  } else if (auto* dsa = dynamic_cast<DeepseekSparseAttention*>(&mixer)) {
    chosen = index_topk(dsa->index_input(x, 0));
    expected = file.tensor("aux.indices");
  } else {
    return torch::ones({x.size(0), x.size(1)}, torch::kBool);
  }
  return (with_empty_columns(chosen, expected.size(-1)).to(torch::kCPU) == expected).flatten(2).all(2);
}

}  // namespace

void check_attention(const SafetensorsFile& file, Judge& judge) {
  const auto json = metadata_json(file, "config");
  const auto type = json.at("kind").get<std::string>();
  const auto known = mixer_types();
  if (std::find(known.begin(), known.end(), type) == known.end())
    throw Unsupported{"mixer " + type + " is not in this version"};
  const auto config = vector_config(file);
  const double output_limit = judge.reduced() ? reduced_layer_limit(config) : kOutputLimit;
  const auto device = judge.options.device;
  const std::optional<int64_t> window = json.contains("window") && json["window"].is_number()
                                            ? std::optional(json["window"].get<int64_t>())
                                            : std::nullopt;
  const auto mixer = build(file, type, config, device);
  const auto x = file.tensor("x").to(device).set_requires_grad(true);
  const auto y = mixer->forward(x.to(judge.options.dtype), {.window = window, .residual = {}});
  const auto judged = judge.reduced() ? same_choice(file, *mixer, x.to(judge.options.dtype)) : torch::Tensor();
  const auto compare_output = [&](const std::string& label, const torch::Tensor& actual) {
    const auto expected = file.tensor("y");
    if (!judged.defined() || actual.sizes() != expected.sizes())
      return judge.relative(label, actual, expected, output_limit);
    judge.relative(label, actual.to(torch::kCPU).index({judged}), expected.index({judged}), output_limit);
  };
  if (judged.defined()) {
    const double others = 1 - judged.to(torch::kFloat64).mean().item<double>();
    judge.add("share of tokens with another choice", others, 0.5, /*absolute=*/true);
  }
  compare_output("y", y);
  if (!judge.reduced()) {
    (y * file.tensor("dy").to(device)).sum().backward();
    judge.relative("grad.x", x.grad(), file.tensor("grad.x"), kGradientLimit);
    for (const auto& [name, parameter] : parameters_of(*mixer)) {
      judge.relative("grad." + name, gradient_of(parameter), file.tensor("grad." + name), kGradientLimit);
    }
    if (auto* nsa = dynamic_cast<NativeSparseAttention*>(mixer.get())) check_branches(file, *nsa, x, judge);
    if (auto* dsa = dynamic_cast<DeepseekSparseAttention*>(mixer.get())) check_index(file, *dsa, x, judge);
    for (const char* stage : {"sparse", "dense"}) {
      if (file.contains(std::string("aux.kl_") + stage)) check_index_loss(file, stage, x, judge);
    }
  }

  torch::NoGradGuard no_grad;
  for (const int64_t piece : {int64_t{1}, int64_t{5}}) {
    auto state = mixer->make_state(
        {.batch = x.size(0), .dtype = judge.options.dtype, .device = device, .window = window, .reserve_tokens = 0});
    std::vector<torch::Tensor> parts;
    for (int64_t begin = 0; begin < x.size(1); begin += piece) {
      const auto part = x.narrow(1, begin, std::min(piece, x.size(1) - begin)).to(judge.options.dtype);
      parts.push_back(mixer->forward(part, {.window = window, .sequences = state.get(), .residual = {}}));
    }
    compare_output(piece == 1 ? "y token by token" : "y in pieces of 5", torch::cat(parts, 1));
  }
}

}  // namespace lt2::check
