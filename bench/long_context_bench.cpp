// Time per token of attention that looks at a bounded number of keys, at growing lengths: it should not grow.
//   long_context_bench [LARGEST]       32768 unless given; 16 heads of 64, one sequence, fp32, 2 threads
// DSA's row is the attention over 512 chosen keys; the cost of choosing them stands next to it, because it grows.
#include <fmt/core.h>

#include <cstdlib>
#include <functional>

#include "bench/timing.h"
#include "ops/causal_attention/op.h"
#include "ops/index_topk/op.h"
#include "ops/runtime.h"
#include "ops/selected_attention/op.h"

namespace {

constexpr int64_t kHeads = 16, kHeadDim = 64, kTopk = 512, kKeyDim = 192, kValueDim = 128;

struct Work {
  std::function<void()> forward, both, choosing;  // choosing: of keys, for `forward`; empty: there is none
};

Work window(int64_t L, int64_t w) {
  const lt2::CausalAttentionInput in{.q = torch::randn({1, L, kHeads, kHeadDim}).requires_grad_(),
                                     .k = torch::randn({1, L, kHeads, kHeadDim}).requires_grad_(),
                                     .v = torch::randn({1, L, kHeads, kHeadDim}).requires_grad_(),
                                     .window = w,
                                     .scale = 0.125};
  const auto d_o = torch::randn({1, L, kHeads, kHeadDim});
  return {.forward =
              [=] {
                const torch::NoGradGuard no_grad;
                lt2::causal_attention(in);
              },
          .both = [=] { lt2::causal_attention(in).backward(d_o); },
          .choosing = {}};
}

Work dsa(int64_t L) {
  const lt2::IndexTopkInput index{
      .q = torch::randn({1, L, 1, kHeadDim}), .k = torch::randn({1, L, kHeadDim}), .weights = {}, .count = kTopk};
  const auto kv = torch::randn({1, L, 1, kKeyDim}).requires_grad_();
  const lt2::SelectedAttentionInput in{.q = torch::randn({1, L, kHeads, kKeyDim}).requires_grad_(),
                                       .k = kv,
                                       .v = {},
                                       .blocks = lt2::index_topk(index).unsqueeze(2),
                                       .scale = 0.07};
  const auto attend = [=] {
    auto own = in;
    own.v = kv.narrow(3, 0, kValueDim);
    return lt2::selected_attention(own);
  };
  const auto d_o = torch::randn({1, L, kHeads, kValueDim});
  return {.forward =
              [=] {
                const torch::NoGradGuard no_grad;
                attend();
              },
          .both = [=] { attend().backward(d_o); },
          .choosing = [=] { lt2::index_topk(index); }};
}

// Every length takes turns with the shortest.
void table(const char* name, int64_t largest, const std::function<Work(int64_t)>& make) {
  constexpr int64_t kShortest = 8192;
  const Work shortest = make(kShortest);
  for (int64_t L = kShortest; L <= largest; L *= 2) {
    const Work work = make(L);
    const double us = 1e6 / static_cast<double>(L), shorter = static_cast<double>(kShortest) / static_cast<double>(L);
    const auto text = [&](const lt2::Turns& times) {
      return fmt::format("{:>7} us/token = x{}", figure(times.seconds(1), us, 2), figure(times.ratio(1), shorter, 2));
    };
    std::vector<std::function<void()>> runs{shortest.forward, work.forward};
    if (work.choosing) runs.push_back(work.choosing);
    const lt2::Turns forward(runs, 1, 3), both({shortest.both, work.both}, 1, 3);
    fmt::print("{:14} L {:6}  forward {}   forward + backward {}", name, L, text(forward), text(both));
    if (work.choosing) {
      fmt::print("   choosing keys {:>6} us/token, {} times the forward pass", figure(forward.seconds(2), us, 2),
                 figure(forward.ratio(2, 1), 1, 2));
    }
    fmt::print("\n");
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  lt2::init_runtime();
  torch::manual_seed(1);
  const int64_t largest = argc > 1 ? std::atoll(argv[1]) : 32768;
  table("window 256", largest, [](int64_t L) { return window(L, 256); });
  table("window 2048", largest, [](int64_t L) { return window(L, 2048); });
  table("dsa topk 512", largest, dsa);
}
