// Whole looped models: logits after every loop, losses, gradients, greedy text.
#include <algorithm>

#include "base/error.h"
#include "check/judge.h"
#include "config/patterns.h"
#include "model/looped_transformer.h"

namespace lt2::check {
namespace {

std::shared_ptr<LoopedTransformer> build(const SafetensorsFile& file, const Judge& judge, const std::string& prefix) {
  const auto config = vector_config(file);
  require_known_mixers(config);
  const auto model = std::make_shared<LoopedTransformer>(config);
  torch::NoGradGuard no_grad;
  for (auto& [name, parameter] : model->official_parameters()) parameter.copy_(file.tensor(prefix + name));
  model->to(judge.options.device);
  model->compute_type = judge.options.dtype;
  return model;
}

}  // namespace

void require_known_mixers(const ModelConfig& config) {
  const auto known = mixer_types();
  for (const auto& type : layer_types(config.layer_pattern, config.n_layers)) {
    if (std::find(known.begin(), known.end(), type) == known.end())
      throw Unsupported{"mixer " + type + " is not in this version"};
  }
}

void check_model(const SafetensorsFile& file, Judge& judge) {
  const auto kind = file.metadata().count("kind") ? file.metadata().at("kind") : "";
  if (kind == "ouro") return check_ouro(file, judge);
  if (kind != "lt2") throw Unsupported{"models of kind \"" + kind + "\" are not in this version"};
  const auto model = build(file, judge, "param.");
  const auto device = judge.options.device;
  bool hybrid = false;
  for (const auto& layer : model->layers) hybrid = hybrid || layer->type != "full";
  const double logit_limit = hybrid ? 5e-4 : 1e-4, gradient_limit = hybrid ? 2e-3 : 2e-4;
  const auto tokens = file.tensor("tokens").to(device), targets = file.tensor("targets").to(device);

  if (judge.reduced()) {  // looped random weights amplify rounding: whole bf16 models are judged only by the loss
    torch::NoGradGuard no_grad;
    return judge.relative("loss", model->losses(tokens, targets).cross_entropy.reshape({1}), file.tensor("loss"),
                          reduced_loss_limit(model->config()));
  }
  const auto loop_hidden = file.tensor("loop_hidden"), loop_logits = file.tensor("loop_logits");
  {
    torch::NoGradGuard no_grad;
    Taps taps;
    taps.on("loop.*.out", [&](const TapPoint& at, const torch::Tensor& h) {
      judge.relative("loop_hidden", h, loop_hidden[at.loop], logit_limit);
    });
    taps.on("logits.*", [&](const TapPoint& at, const torch::Tensor& logits) {
      judge.absolute("loop_logits", logits, loop_logits[at.loop], logit_limit);
    });
    const Listening listening(*model, taps);
    const auto last = model->hidden(tokens);
    if (file.contains("logits")) judge.absolute("logits", model->logits(last), file.tensor("logits"), logit_limit);
  }
  const auto losses = model->losses(tokens, targets);
  judge.absolute("loss", losses.cross_entropy.reshape({1}), file.tensor("loss"), 1e-5);
  if (file.contains("kl_loss")) {
    judge.relative("kl_loss", losses.mixers.defined() ? losses.mixers.reshape({1}) : torch::Tensor(),
                   file.tensor("kl_loss"), 1e-4);
  }
  losses.total.backward();
  const auto untouched = file.metadata().count("no_gradient")
                             ? metadata_json(file, "no_gradient").get<std::vector<std::string>>()
                             : std::vector<std::string>();
  for (const auto& [name, parameter] : model->official_parameters()) {
    if (std::find(untouched.begin(), untouched.end(), name) != untouched.end()) {
      // The gradient must be undefined, not zero: the optimizer does not change a parameter without a gradient, not
      // even by weight decay.
      judge.add("no gradient for " + name, parameter.grad().defined() ? 1 : 0, 0, true);
    } else {
      judge.relative("grad." + name, parameter.grad(), file.tensor("grad." + name), gradient_limit);
    }
  }

  torch::NoGradGuard no_grad;
  const auto expected = file.contains("infer_logits") ? file.tensor("infer_logits")
                        : file.contains("logits")     ? file.tensor("logits")
                                                      : loop_logits[loop_logits.size(0) - 1];
  for (const int64_t piece : {tokens.size(1), int64_t{5}, int64_t{1}}) {
    auto state = model->make_state(tokens.size(0));
    std::vector<torch::Tensor> parts;
    for (int64_t begin = 0; begin < tokens.size(1); begin += piece) {
      parts.push_back(
          model->step(tokens.narrow(1, begin, std::min(piece, tokens.size(1) - begin)), state, /*all_positions=*/true));
    }
    judge.absolute(piece == 1   ? "logits token by token"
                   : piece == 5 ? "logits in pieces of 5"
                                : "logits by prefill",
                   torch::cat(parts, 1), expected, logit_limit);
  }
  if (file.contains("greedy_tokens")) {
    const auto want = file.tensor("greedy_tokens");
    judge.identical("greedy_tokens", greedy(*model, file.tensor("greedy_prompt").to(device), want.size(1)), want);
  }
}

}  // namespace lt2::check
