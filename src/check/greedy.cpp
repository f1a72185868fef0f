// The vectors' greedy text, by the engine.
#include "check/judge.h"
#include "infer/engine.h"

namespace lt2::check {

torch::Tensor greedy(LoopedTransformer& model, const torch::Tensor& prompt, int64_t count, const ExitRule& rule) {
  Engine engine(model, {.slots = prompt.size(0), .exit = rule});
  const auto rows = prompt.to(torch::kCPU, torch::kInt32).contiguous();
  std::vector<Engine::Id> requests;
  for (int64_t b = 0; b < rows.size(0); ++b) {
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < rows.size(1); ++i) ids.push_back(rows[b][i].item<int32_t>());
    requests.push_back(engine.submit({.prompt = ids, .max_gen_len = count}));
  }
  engine.run();
  std::vector<torch::Tensor> text;
  for (const auto id : requests) text.push_back(torch::tensor(engine.take(id).ids(), torch::kInt64));
  return torch::stack(text);
}

}  // namespace lt2::check
