// Five optimiser steps from given weights on given batches.
#include <cmath>

#include "base/error.h"
#include "check/judge.h"
#include "model/looped_transformer.h"
#include "train/adamw.h"
#include "train/schedule.h"
#include "train/step.h"

namespace lt2::check {

void check_training(const SafetensorsFile& file, Judge& judge) {
  const auto config = vector_config(file);
  require_known_mixers(config);
  const auto model = std::make_shared<LoopedTransformer>(config);
  {
    torch::NoGradGuard no_grad;
    for (auto& [name, parameter] : model->official_parameters()) parameter.copy_(file.tensor("init." + name));
  }
  model->to(judge.options.device);
  model->compute_type = judge.options.dtype;
  bool hybrid = !judge.reduced() && is_random_pattern(model->config().attention_pattern);
  for (const auto& layer : model->layers) hybrid = hybrid || layer->type != "full";
  const double loss_limit = hybrid ? 3e-4 : 1e-5, norm_limit = hybrid ? 2e-3 : 5e-5,
               parameter_limit = hybrid ? 2e-4 : 5e-5;

  const auto optim_json = metadata_json(file, "optim");
  const auto optim = optim_config(optim_json);
  const auto total_steps = optim_json.at("steps").get<int64_t>();
  Replica replica(*model, optim);
  const auto tokens = file.tensor("tokens").to(judge.options.device);  // [steps, micro-steps, B, L + 1]
  const int64_t L = tokens.size(3) - 1;
  std::vector<double> losses, norms, rates, micro_losses;
  int64_t draw = 0;
  for (int64_t step = 0; step < tokens.size(0); ++step) {
    StepResult result = train_step(replica, optim, step, total_steps, tokens.size(1), [&](int64_t micro) {
      const auto batch = tokens[step][micro];
      return MicroBatch{.inputs = batch.narrow(1, 0, L), .targets = batch.narrow(1, 1, L), .draw = draw++};
    });
    losses.push_back(result.loss);
    norms.push_back(result.gradient_norm);
    rates.push_back(result.lr);
    micro_losses.insert(micro_losses.end(), result.micro_losses.begin(), result.micro_losses.end());
  }
  const auto as_tensor = [](const std::vector<double>& values) { return torch::tensor(values, torch::kFloat64); };
  if (judge.reduced()) {
    // AdamW's first steps have the size of the learning rate, whatever the gradient's size, so the sign of a rounded
    // gradient determines them. Therefore bf16 is judged on the weights of the file, before the first update.
    return judge.relative("loss before the first update", as_tensor(losses).narrow(0, 0, 1),
                          file.tensor("loss").narrow(0, 0, 1), reduced_loss_limit(model->config()));
  }
  judge.absolute("loss", as_tensor(losses), file.tensor("loss"), loss_limit);
  judge.absolute("micro_loss", as_tensor(micro_losses), file.tensor("micro_loss").reshape(-1), loss_limit);
  judge.relative("lr", as_tensor(rates), file.tensor("lr"), 1e-7);  // stored rounded to fp32
  // Per step: the norms differ in size.
  const auto expected = file.tensor("grad_norm");
  for (int64_t i = 0; i < expected.numel(); ++i) {
    judge.relative("grad_norm", torch::tensor({norms[static_cast<size_t>(i)]}, torch::kFloat64),
                   expected[i].reshape({1}), norm_limit);
  }
  for (const auto& [name, parameter] : model->official_parameters()) {
    judge.absolute("final." + name, parameter, file.tensor("final." + name), parameter_limit);
  }
}

}  // namespace lt2::check
