// causal_attention against torch's matmul, mask, softmax, matmul, and against the floors of this machine:
// multiply-adds at the measured FMA peak for prefill and training, one read of K and V at the measured bandwidth for
// decoding. Then selected_attention, whose time per token must not grow with the context.
//
//   causal_attention_bench           lengths up to 4096, contexts up to 32768 (about two minutes on two cores)
//   causal_attention_bench quick     a quarter of both
//   causal_attention_bench selected  selected_attention only
#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <string>

#include "base/threads.h"
#include "base/units.h"
#include "bench/timing.h"
#include "measure/machine.h"
#include "ops/causal_attention/op.h"
#include "ops/runtime.h"
#include "ops/selected_attention/op.h"

namespace lt2 {
namespace {

double status_bytes(const std::string& field) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(field, 0) == 0) return 1024 * std::stod(line.substr(field.size()));
  }
  return 0;
}

/// Growth of the resident memory's peak while `body` runs.
template <typename Body>
double peak_bytes(Body&& body) {
  malloc_trim(0);                                 // what earlier calls freed counts again
  std::ofstream("/proc/self/clear_refs") << "5";  // VmHWM := VmRSS
  const double before = status_bytes("VmRSS:");
  body();
  return status_bytes("VmHWM:") - before;
}

struct Shape {
  std::string name;
  int64_t L, S, H, Hk, E, window;  // window 0: none
  torch::ScalarType type = torch::kFloat32;
};

CausalAttentionInput make_input(const Shape& s) {
  CausalAttentionInput in;
  in.q = torch::randn({1, s.L, s.H, s.E}).to(s.type);
  in.k = torch::randn({1, s.S, s.Hk, s.E}).to(s.type);
  in.v = torch::randn({1, s.S, s.Hk, s.E}).to(s.type);
  if (s.window > 0) in.window = s.window;
  in.scale = 1 / std::sqrt(static_cast<double>(s.E));
  return in;
}

const char* type_name(torch::ScalarType type) { return type == torch::kFloat32 ? "fp32" : "bf16"; }

void prefill(const Shape& s, double gflops, bool against_torch) {
  auto in = make_input(s);
  const double window = static_cast<double>(s.window > 0 ? std::min(s.window, s.L) : s.L), L = static_cast<double>(s.L);
  const double pairs = window * (window + 1) / 2 + (L - window) * window;
  const double forward_gflop = 4e-9 * pairs * static_cast<double>(s.H * s.E);
  const auto forward = [&](auto op) {
    return [&in, op] {
      torch::NoGradGuard no_grad;
      op(in);
    };
  };
  const auto grad_o = torch::randn(in.q.sizes()).to(s.type);
  torch::Tensor o;
  const auto backward = [&] { torch::autograd::grad({o}, {in.q, in.k, in.v}, {grad_o}, true); };
  const auto train = [&](auto op) {
    return [&in, &o, &backward, op] {
      o = op(in);
      backward();
      o = torch::Tensor();
    };
  };
  const double forward_bytes = peak_bytes(forward(causal_attention));
  std::vector<std::function<void()>> forwards{forward(causal_attention)}, trainings{train(causal_attention)};
  if (against_torch) {
    forwards.push_back(forward(causal_attention_reference));
    trainings.push_back(train(causal_attention_reference));
  }
  const Turns forward_times(forwards, 1, 3);
  for (auto* t : {&in.q, &in.k, &in.v}) t->requires_grad_();
  const double train_bytes = peak_bytes(train(causal_attention));
  const Turns train_times(trainings, 1, 3);
  o = causal_attention(in);
  const Turns backward_times({backward}, 1, 3);
  o = torch::Tensor();
  const auto line = [&](const char* what, const char* who, const Turns& times, size_t run, double gflop, double bytes) {
    fmt::print("{:<22} {:<5} {:<17} {:<6} {:>9} ms {:9.1f} ms {:>6} % {:>11}{}\n", s.name, type_name(s.type), what, who,
               figure(times.seconds(run), 1e3), 1e3 * gflop / gflops, share(gflop / gflops, times.seconds(run), 1),
               human_bytes(bytes), run > 0 ? "   x" + figure(times.ratio(run), 1, 2) : "");
    std::fflush(stdout);
  };
  line("forward", "lt2", forward_times, 0, forward_gflop, forward_bytes);
  line("backward", "lt2", backward_times, 0, 2.5 * forward_gflop, train_bytes);
  line("forward+backward", "lt2", train_times, 0, 3.5 * forward_gflop, train_bytes);
  if (!against_torch) return;
  for (auto* t : {&in.q, &in.k, &in.v}) t->requires_grad_(false);
  line("forward", "torch", forward_times, 1, forward_gflop, peak_bytes(forward(causal_attention_reference)));
  for (auto* t : {&in.q, &in.k, &in.v}) t->requires_grad_();
  line("forward+backward", "torch", train_times, 1, 3.5 * forward_gflop, peak_bytes(train(causal_attention_reference)));
}

void decode(const Shape& s, double gbps) {
  torch::NoGradGuard no_grad;
  auto in = make_input(s);
  // As a cache holds them: [B, Hk, capacity, E]. Several copies in turn, so that no call finds its keys in a CPU cache.
  const int64_t copies = std::clamp<int64_t>((int64_t{512} << 20) / (2 * in.k.nbytes()), 2, 64);
  const auto cache = [&] { return torch::zeros({copies, s.Hk, s.S, s.E}, in.k.options()).normal_(); };
  const auto keys = cache(), values = cache();
  const Turns times({[&] {
    for (int64_t i = 0; i < copies; ++i) {
      in.k = keys.narrow(0, i, 1).transpose(1, 2);
      in.v = values.narrow(0, i, 1).transpose(1, 2);
      causal_attention(in);
    }
  }});
  const double bytes = 2.0 * static_cast<double>(in.k.nbytes()), each = 1 / static_cast<double>(copies);
  const double time = each * times.seconds().median;
  fmt::print("{:<22} {:<5} S {:<6} {:>9} us {:9.1f} us {:6.1f} GB/s {:6.1f} %\n", s.name, type_name(s.type), s.S,
             figure(times.seconds(), 1e6 * each), 1e-3 * bytes / gbps, 1e-9 * bytes / time, 1e-7 * bytes / time / gbps);
  std::fflush(stdout);
}

/// The last `L` queries of a context of S tokens, each with `N` blocks drawn from all of it; values lie in the keys.
void selected(const std::string& name, torch::ScalarType type, int64_t S, int64_t H, int64_t E, int64_t Ev, int64_t N,
              int64_t block_size, double gflops) {
  constexpr int64_t L = 64;
  SelectedAttentionInput in;
  in.q = torch::randn({1, L, H, E}).to(type);
  in.k = torch::randn({1, S, 1, E}).to(type);
  in.v = in.k.narrow(3, 0, Ev);
  in.block_size = block_size;
  in.scale = 1 / std::sqrt(static_cast<double>(E));
  std::vector<torch::Tensor> lists;
  for (int64_t l = 0; l < L; ++l)
    lists.push_back(std::get<0>(torch::randperm((S - L) / block_size).narrow(0, 0, N).sort()));
  in.blocks = torch::stack(lists).view({1, L, 1, N}).to(torch::kInt32);
  const auto line = [&](const char* what, const Turns& times, double products) {
    const double floor = 2e-9 * static_cast<double>(N * block_size * H) * products / gflops;
    fmt::print("{:<30} {:<5} S {:<6} {:<9} {:>9} us {:9.1f} us {:>6} %\n", name, type_name(type), S, what,
               figure(times.seconds(), 1e6 / L), 1e6 * floor, share(floor * L, times.seconds(), 1));
    std::fflush(stdout);
  };
  {
    const torch::NoGradGuard no_grad;
    line("forward", Turns({[&] { selected_attention(in); }}), static_cast<double>(E + Ev));
  }
  for (auto* t : {&in.q, &in.k}) t->requires_grad_();
  in.v = in.k.narrow(3, 0, Ev);
  const auto o = selected_attention(in);
  const auto grad_o = torch::randn(o.sizes()).to(type);
  const Turns times({[&] { torch::autograd::grad({o}, {in.q, in.k}, {grad_o}, true); }});
  line("backward", times, static_cast<double>(3 * E + 2 * Ev));
}

void run_selected(double gflops) {
  fmt::print("\n{:<30} {:<5} {:<8} {:<9} {:>12} {:>12} {:>8}\n", "selected, per token", "type", "context", "", "median",
             "floor", "of floor");
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    for (const int64_t S : {8192, 32768}) {
      selected("DSA H 16 E 576/512 topk 512", type, S, 16, 576, 512, 512, 1, gflops);
      selected("NSA G 4 E 64, 16 of 64", type, S, 4, 64, 64, 16, 64, gflops);
    }
  }
}

void run(int64_t divide) {
  init_runtime();
  at::set_num_threads(num_threads());  // the one it is measured against
  torch::manual_seed(1);
  const auto rates = measure_rates({.fma = true, .read = true});
  const double gflops = rates.fma_gflops, gbps = rates.read_gbps;
  fmt::print("{} threads, {:.0f} GFLOP/s FMA peak, {:.1f} GB/s read\n\n", num_threads(), gflops, gbps);
  fmt::print("{:<22} {:<5} {:<17} {:<6} {:>12} {:>12} {:>8} {:>11}\n", "prefill and training", "type", "", "", "median",
             "floor", "of floor", "peak memory");
  const int64_t L = 4096 / divide;
  prefill({"MHA 16 heads E 128", L, L, 16, 16, 128, 0}, gflops, true);
  prefill({"MHA 16 heads E 128", L, L, 16, 16, 128, 0, torch::kBFloat16}, gflops, false);
  prefill({"GQA 16/4 E 64", L, L, 16, 4, 64, 0}, gflops, false);
  prefill({"window 512 E 64", L, L, 16, 16, 64, 512}, gflops, false);
  fmt::print("\n{:<22} {:<5} {:<8} {:>12} {:>12} {:>11} {:>8}\n", "decoding, one token", "type", "context", "median",
             "floor", "", "of floor");
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    for (const int64_t S : {1024, 4096, 32768}) {
      decode({"MHA 8 heads E 64", 1, S / divide, 8, 8, 64, 0, type}, gbps);
      decode({"MHA 8 heads E 128", 1, S / divide, 8, 8, 128, 0, type}, gbps);
      decode({"GQA 32/8 E 128", 1, S / divide, 32, 8, 128, 0, type}, gbps);
      decode({"MQA 8/1 E 128", 1, S / divide, 8, 1, 128, 0, type}, gbps);
    }
  }
  run_selected(gflops);
}

}  // namespace
}  // namespace lt2

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "selected") {
    lt2::init_runtime();
    lt2::run_selected(lt2::measure_rates({.fma = true}).fma_gflops);
  } else {
    lt2::run(what == "quick" ? 4 : 1);
  }
  return 0;
}
