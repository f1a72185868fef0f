// Ouro: logits and gates of every loop, the exit distribution, where tokens leave, greedy text with and without exits.
#include <algorithm>

#include "base/error.h"
#include "check/judge.h"
#include "folders/ouro_form.h"
#include "model/looped_transformer.h"

namespace lt2::check {
namespace {

constexpr double kLogits = 1e-4, kGradients = 2e-4, kExpectedGradients = 2e-3, kLoss = 1e-5, kLayer = 1e-4;

std::shared_ptr<LoopedTransformer> build(const SafetensorsFile& file, const Judge& judge) {
  const auto where = file.path().string() + ": config";
  const auto config = ouro_model_config(metadata_json(file, "config").dump(), where);
  const auto model = std::make_shared<LoopedTransformer>(config);
  torch::NoGradGuard no_grad;
  for (auto& [name, parameter] : model->official_parameters())
    parameter.copy_(file.tensor("param." + ouro_tensor_name(name)));
  model->to(judge.options.device);
  model->compute_type = judge.options.dtype;
  return model;
}

/// Gates [.., T] -> the probability of leaving after each loop; the last one gets the remainder.
torch::Tensor exit_distribution(const torch::Tensor& gates) {
  const auto leaves = torch::sigmoid(gates.to(torch::kFloat32));
  std::vector<torch::Tensor> p;
  torch::Tensor left = torch::ones_like(leaves.select(-1, 0));
  for (int64_t t = 0; t + 1 < gates.size(-1); ++t) {
    p.push_back(left * leaves.select(-1, t));
    left = left * (1 - leaves.select(-1, t));
  }
  p.push_back(left);
  return torch::stack(p, -1);
}

struct Loops {
  torch::Tensor logits, gates;  // [T, B, L, V], [B, L, T]
};

Loops run_loops(LoopedTransformer& model, const torch::Tensor& tokens) {
  std::vector<torch::Tensor> logits, gates;
  Taps taps;
  taps.on("logits.*", [&](const TapPoint&, const torch::Tensor& of_loop) { logits.push_back(of_loop); });
  taps.on("loop.*.out", [&](const TapPoint&, const torch::Tensor& h) {
    gates.push_back(model.early_exit_gate->forward(h).squeeze(-1));
  });
  const Listening listening(model, taps);
  model.hidden(tokens);
  return {.logits = torch::stack(logits), .gates = torch::stack(gates, -1)};
}

torch::Tensor expected(const Loops& loops) {
  return (loops.logits * exit_distribution(loops.gates).permute({2, 0, 1}).unsqueeze(-1)).sum(0);
}

void check_gradients(const SafetensorsFile& file, const std::string& prefix, LoopedTransformer& model,
                     const torch::Tensor& loss, double limit, Judge& judge) {
  model.zero_grad();
  loss.backward();
  for (const auto& [name, parameter] : model.official_parameters()) {
    const auto key = prefix + ouro_tensor_name(name);
    if (!file.contains(key)) continue;
    // No gradient reaches the gate from the last loop's logits.
    judge.relative(key, parameter.grad().defined() ? parameter.grad() : torch::zeros_like(parameter), file.tensor(key),
                   limit);
  }
}

// The residual stream after each loop; input and output of every layer's attention, before the norm after it.
void check_inside(const SafetensorsFile& file, LoopedTransformer& model, const torch::Tensor& tokens, Judge& judge) {
  const auto in = file.tensor("attn_in"), out = file.tensor("attn_out"), hidden = file.tensor("loop_hidden");
  Taps taps;
  taps.on("loop.*.layer.*.mixer_in", [&](const TapPoint& at, const torch::Tensor& x) {
    judge.relative("attn_in", x, in[at.loop][at.layer], kLayer);
  });
  taps.on("loop.*.layer.*.mixer_out", [&](const TapPoint& at, const torch::Tensor& y) {
    judge.relative("attn_out", y, out[at.loop][at.layer], kLayer);
  });
  taps.on("loop.*.out", [&](const TapPoint& at, const torch::Tensor& h) {
    judge.relative("loop_hidden", h, hidden[at.loop], kLogits);
  });
  const Listening listening(model, taps);
  model.hidden(tokens);
}

struct Advanced {
  torch::Tensor logits, exits;  // [B, L, V], [B, L]
};

// All rows of `tokens` as separate sequences, `piece` tokens at a time.
Advanced advance_all(LoopedTransformer& model, const torch::Tensor& tokens, int64_t piece, const ExitRule& rule) {
  std::vector<SequenceState> states;
  for (int64_t row = 0; row < tokens.size(0); ++row) states.push_back(model.make_state(1));
  std::vector<torch::Tensor> logits, exits;
  for (int64_t begin = 0; begin < tokens.size(1); begin += piece) {
    std::vector<Continuation> sequences;
    for (int64_t row = 0; row < tokens.size(0); ++row) {
      sequences.push_back({.state = &states[static_cast<size_t>(row)],
                           .tokens = tokens[row].narrow(0, begin, std::min(piece, tokens.size(1) - begin)),
                           .all_positions = true});
    }
    std::vector<torch::Tensor> part_logits, part_exits;
    for (const auto& continued : model.advance(sequences, rule)) {
      part_logits.push_back(continued.logits);
      part_exits.push_back(torch::tensor(continued.exits, torch::kInt64));
    }
    logits.push_back(torch::stack(part_logits));
    exits.push_back(torch::stack(part_exits));
  }
  return {.logits = torch::cat(logits, 1), .exits = torch::cat(exits, 1)};
}

void check_exits(const SafetensorsFile& file, LoopedTransformer& model, const torch::Tensor& tokens, Judge& judge) {
  for (const auto& entry : metadata_json(file, "thresholds")) {
    const double threshold = entry.get<double>();
    const auto steps = "exit_steps." + entry.dump(), logits = "exit_logits." + entry.dump();
    for (const bool defer : {false, true}) {
      for (const int64_t piece : {tokens.size(1), int64_t{1}}) {
        const auto found = advance_all(model, tokens, piece, {.step = {}, .threshold = threshold, .defer = defer});
        judge.identical(steps, found.exits, file.tensor(steps));
        if (file.contains(logits)) judge.absolute(logits, found.logits, file.tensor(logits), kLogits);
      }
    }
  }
}

}  // namespace

void check_ouro(const SafetensorsFile& file, Judge& judge) {
  const auto model = build(file, judge);
  const auto device = judge.options.device;
  const auto tokens = file.tensor("tokens").to(device), targets = file.tensor("targets").to(device);
  if (judge.reduced()) {
    torch::NoGradGuard no_grad;
    return judge.relative("loss", model->loss(tokens, targets).reshape({1}), file.tensor("loss"),
                          reduced_loss_limit(model->config()));
  }
  const auto loss_of = [&](const torch::Tensor& logits) {
    return torch::cross_entropy_loss(logits.flatten(0, 1), targets.flatten());
  };
  {
    torch::NoGradGuard no_grad;
    const auto loops = run_loops(*model, tokens);
    judge.absolute("loop_logits", loops.logits, file.tensor("loop_logits"), kLogits);
    judge.relative("gate_logits", loops.gates, file.tensor("gate_logits"), kLogits);
    judge.relative("exit_pdf", exit_distribution(loops.gates), file.tensor("exit_pdf"), kLogits);
    judge.relative("expected_logits", expected(loops), file.tensor("expected_logits"), kLogits);
    check_inside(file, *model, tokens, judge);
  }
  const auto loss = model->loss(tokens, targets);
  judge.absolute("loss", loss.reshape({1}), file.tensor("loss"), kLoss);
  check_gradients(file, "grad.", *model, loss, kGradients, judge);
  const auto loss_expected = loss_of(expected(run_loops(*model, tokens)));
  judge.absolute("loss_expected_logits", loss_expected.reshape({1}), file.tensor("loss_expected_logits"), kLoss);
  check_gradients(file, "grad_expected.", *model, loss_expected, kExpectedGradients, judge);

  torch::NoGradGuard no_grad;
  const auto last = file.tensor("loop_logits").select(0, -1);
  judge.absolute("logits by prefill", advance_all(*model, tokens, tokens.size(1), {}).logits, last, kLogits);
  judge.absolute("logits in pieces of 5", advance_all(*model, tokens, 5, {}).logits, last, kLogits);
  judge.absolute("logits token by token", advance_all(*model, tokens, 1, {}).logits, last, kLogits);
  check_exits(file, *model, tokens, judge);
  const auto prompt = file.tensor("greedy_prompt").to(device), want = file.tensor("greedy_tokens");
  judge.identical("greedy_tokens", greedy(*model, prompt, want.size(1), {}), want);
  const double threshold = std::stod(file.metadata().at("greedy_exit_threshold"));
  for (const bool defer : {false, true}) {
    judge.identical("greedy_exit_tokens",
                    greedy(*model, prompt, want.size(1), {.step = {}, .threshold = threshold, .defer = defer}),
                    file.tensor("greedy_exit_tokens"));
  }
}

}  // namespace lt2::check
