// Every mixer as a layer's part: prefill, training and decode with their floors.
//   mixers_bench [DIM] [LENGTH] [fp32|bf16]       1024, 4096 and bf16 unless given; 16 heads, one sequence, 2 threads
// Floors: multiply-adds (projections included) at the measured peak of fp32 multiply-adds; for decode the longer of
// that and the bytes of weights and state at the measured read bandwidth. Weights and small states fit into the last
// cache here, so short contexts may beat the bandwidth of memory.
#include <fmt/core.h>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <string_view>

#include "bench/timing.h"
#include "measure/machine.h"
#include "mixers/mixer.h"
#include "ops/runtime.h"

namespace {

using lt2::Mixer;

struct Row {
  const char *name, *type;
  std::function<void(lt2::ModelConfig&)> adjust = [](auto&) {};
  std::optional<int64_t> window = {};
};

const std::vector<Row>& rows() {
  static const std::vector<Row> all{
      {"full", "full"},
      {"full w=256", "full", [](auto&) {}, 256},
      {"full w=2048", "full", [](auto&) {}, 2048},
      {"gdn", "gdn"},
      {"kda", "kda"},
      {"deltanet", "deltanet"},
      {"mamba2", "mamba2"},
      {"retnet", "retnet"},
      {"hgrn2", "hgrn2"},
      {"gla", "gla"},
      {"la", "la"},
      {"nsa, 1 key head", "nsa", [](auto& c) { c.n_kv_heads = 1; }},
      {"dsa topk=512", "dsa", [](auto& c) { c.dsa.topk = 512, c.dsa.dim = 128; }},
      {"dsa lightning", "dsa", [](auto& c) { c.dsa.topk = 512, c.dsa.dim = 128, c.dsa.indexer = "lightning"; }},
      {"mla", "mla"},
  };
  return all;
}

std::shared_ptr<Mixer> make(const Row& row, int64_t dim) {
  lt2::ModelConfig config;
  config.dim = dim;
  config.n_heads = 16;
  config.n_layers = 1;
  config.vocab_size = 256;
  config.layer_pattern = row.type;
  row.adjust(config);
  lt2::validate_model(config);
  auto mixer = lt2::make_mixer(row.type, config);
  lt2::Initialiser init(1, 1 / std::sqrt(static_cast<double>(dim)));
  mixer->initialise(init);
  return mixer;
}

// One token after `context` synthetic ones.
lt2::Spread decode_seconds(Mixer& mixer, const Row& row, int64_t dim, int64_t context, torch::ScalarType type) {
  torch::InferenceMode inference;
  auto state = mixer.make_state(
      {.batch = 1, .dtype = type, .device = torch::kCPU, .window = row.window, .reserve_tokens = context + 4096});
  state->fill_synthetic(context);
  const auto x = torch::randn({1, 1, dim}).to(type);
  // A turn is a few steps; no more of them than there is room for.
  constexpr int kSteps = 10;
  std::vector<double> seconds;
  const auto steps = [&] {
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < kSteps; ++i) mixer.forward(x, {.window = row.window, .sequences = state.get()});
    return lt2::seconds_since(begin) / kSteps;
  };
  steps();
  return lt2::spread_of(lt2::run_in_turns({steps}, {.seconds = 0.1, .most = 400})[0]);
}

void measure(const Row& row, int64_t dim, int64_t L, torch::ScalarType type, double gflops, double gbps) {
  auto mixer = make(row, dim);
  torch::manual_seed(1);
  const auto x = torch::randn({1, L, dim}).to(type);
  const auto forward = [&] { return mixer->forward(x, {.window = row.window}); };
  const auto dy = torch::randn({1, L, dim}).to(type);
  const lt2::Turns times({[&] {
                            torch::InferenceMode inference;
                            forward();
                          },
                          [&] {
                            forward().backward(dy);
                            for (auto& parameter : mixer->parameters()) parameter.mutable_grad() = torch::Tensor();
                          }},
                         0.6, 3);
  const auto prefill = times.seconds(0), train = times.seconds(1);
  const double flops = static_cast<double>(L) * mixer->flops_per_token((L + 1) / 2, row.window);
  const double floor = flops / (gflops * 1e9);
  const auto rate = [&](const lt2::Spread& seconds) {
    return fmt::format("{}{:.0f}", seconds.noisy() ? "~" : "", static_cast<double>(L) / seconds.median);
  };
  fmt::print("{:15} prefill {:>8} tok/s {:>5} %  train {:>8} tok/s {:>5} %", row.name, rate(prefill),
             share(floor, prefill, 1), rate(train), share(3 * floor, train, 1));
  double weights = 0;
  for (const auto& parameter : mixer->parameters()) weights += static_cast<double>(parameter.numel());
  weights *= static_cast<double>(c10::elementSize(type));
  for (const int64_t context : {1024, 32768}) {
    const auto seconds = decode_seconds(*mixer, row, dim, context, type);
    const double bytes = weights + static_cast<double>(mixer->state_traffic_bytes(context, row.window, type));
    const double least = std::max(bytes / (gbps * 1e9), mixer->flops_per_token(context, row.window) / (gflops * 1e9));
    fmt::print("  decode@{}k {:>6} us {:>5} %", context / 1024, figure(seconds, 1e6), share(least, seconds, 1));
  }
  fmt::print("  state@32k {:6.2f} MB\n", static_cast<double>(mixer->state_bytes(32768, row.window, type)) / 1e6);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  lt2::init_runtime();
  const int64_t dim = argc > 1 ? std::atoll(argv[1]) : 1024, L = argc > 2 ? std::atoll(argv[2]) : 4096;
  const auto type = argc > 3 && std::string_view(argv[3]) == "fp32" ? torch::kFloat32 : torch::kBFloat16;
  const auto rates = lt2::measure_rates({.fma = true, .read = true});
  const double gflops = rates.fma_gflops, gbps = rates.read_gbps;
  fmt::print("dim {}, 16 heads, {} tokens, {}; FMA peak {:.0f} GFLOP/s, read {:.1f} GB/s; shares are of the floor\n",
             dim, L, c10::toString(type), gflops, gbps);
  for (const auto& row : rows()) measure(row, dim, L, type, gflops, gbps);
}
