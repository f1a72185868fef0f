// Time per token of attention that looks at a bounded number of keys, at growing lengths: it should not grow.
//   long_context_bench [LARGEST]       32768 unless given; 16 heads of 64, one sequence, fp32, 2 threads
// DSA's row is the attention over 512 chosen keys; what choosing them costs stands beside it, as that does grow.
#include <fmt/core.h>

#include <chrono>
#include <cstdlib>
#include <functional>

#include "ops/causal_attention/op.h"
#include "ops/index_topk/op.h"
#include "ops/runtime.h"
#include "ops/selected_attention/op.h"

namespace {

constexpr int64_t kHeads = 16, kHeadDim = 64, kTopk = 512, kKeyDim = 192, kValueDim = 128;

// Seconds, best of two after one run to warm up.
double best(const std::function<void()>& run) {
  run();
  double seconds = 1e30;
  for (int i = 0; i < 2; ++i) {
    const auto start = std::chrono::steady_clock::now();
    run();
    seconds = std::min(seconds, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return seconds;
}

struct Times {
  double forward, both, choosing;  // microseconds a token
};

Times window(int64_t L, int64_t w) {
  lt2::CausalAttentionInput in{.q = torch::randn({1, L, kHeads, kHeadDim}).requires_grad_(),
                               .k = torch::randn({1, L, kHeads, kHeadDim}).requires_grad_(),
                               .v = torch::randn({1, L, kHeads, kHeadDim}).requires_grad_(),
                               .window = w,
                               .scale = 0.125};
  const auto d_o = torch::randn({1, L, kHeads, kHeadDim});
  const double both = best([&] { lt2::causal_attention(in).backward(d_o); });
  const torch::NoGradGuard no_grad;
  const double forward = best([&] { lt2::causal_attention(in); });
  return {1e6 * forward / static_cast<double>(L), 1e6 * both / static_cast<double>(L), 0};
}

Times dsa(int64_t L) {
  const lt2::IndexTopkInput index{
      .q = torch::randn({1, L, 1, kHeadDim}), .k = torch::randn({1, L, kHeadDim}), .weights = {}, .count = kTopk};
  torch::Tensor chosen;
  const double choosing = best([&] { chosen = lt2::index_topk(index); });
  const auto kv = torch::randn({1, L, 1, kKeyDim}).requires_grad_();
  lt2::SelectedAttentionInput in{.q = torch::randn({1, L, kHeads, kKeyDim}).requires_grad_(),
                                 .k = kv,
                                 .v = kv.narrow(3, 0, kValueDim),
                                 .blocks = chosen.unsqueeze(2),
                                 .scale = 0.07};
  const auto d_o = torch::randn({1, L, kHeads, kValueDim});
  const double both = best([&] {
    in.v = kv.narrow(3, 0, kValueDim);
    lt2::selected_attention(in).backward(d_o);
  });
  const torch::NoGradGuard no_grad;
  const double forward = best([&] { lt2::selected_attention(in); });
  const double tokens = static_cast<double>(L);
  return {1e6 * forward / tokens, 1e6 * both / tokens, 1e6 * choosing / tokens};
}

void table(const char* name, int64_t largest, const std::function<Times(int64_t)>& measure) {
  Times first{};
  for (int64_t L = 8192; L <= largest; L *= 2) {
    const auto t = measure(L);
    if (L == 8192) first = t;
    fmt::print("{:14} L {:6}  forward {:7.2f} us/token = x{:.2f}   forward + backward {:7.2f} us/token = x{:.2f}", name,
               L, t.forward, t.forward / first.forward, t.both, t.both / first.both);
    if (t.choosing > 0) {
      fmt::print("   choosing keys {:6.2f} us/token, {:.0f} % of the forward pass", t.choosing,
                 100 * t.choosing / (t.choosing + t.forward));
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
