// The linear recurrence against its floor and its other forms.
//   linear_recurrence_bench [THREADS]       threads: 2 unless given
// One line per form: time (best of several), share of the floor = multiply-adds of the form at this machine's peak, and
// what the chunked kernel gains on it. The GDN shape is that of a model of width 2048.
#include <fmt/core.h>

#include <chrono>
#include <cstdlib>
#include <functional>

#include "base/threads.h"
#include "ops/linear_recurrence/op.h"
#include "ops/machine/machine.h"

namespace {

using lt2::LinearRecurrenceInput;
using torch::Tensor;

struct Kind {
  const char* name;
  int decay_rank;  // 0 none, 3 scalar, 4 vector
  bool delta;
  int64_t K, V;
};
constexpr Kind kKinds[] = {{"gdn", 3, true, 96, 192},     {"deltanet", 0, true, 128, 128},
                           {"mamba2", 3, false, 64, 256}, {"retnet", 3, false, 128, 256},
                           {"la", 0, false, 128, 128},    {"kda", 4, true, 128, 128},
                           {"gla", 4, false, 64, 128}};
constexpr int64_t kHeads = 16;

LinearRecurrenceInput make_input(const Kind& kind, int64_t B, int64_t L) {
  torch::manual_seed(1);
  const auto unit = [](const Tensor& x) { return x / x.norm(2, -1, true); };
  LinearRecurrenceInput in;
  in.q = unit(torch::randn({B, L, kHeads, kind.K}));
  in.k = unit(torch::randn({B, L, kHeads, kind.K}));
  in.v = torch::randn({B, L, kHeads, kind.V});
  if (kind.decay_rank == 3) in.g = -0.2 * torch::rand({B, L, kHeads});
  if (kind.decay_rank == 4) in.g = -0.2 * torch::rand({B, L, kHeads, kind.K});
  if (kind.delta) in.beta = torch::rand({B, L, kHeads});
  in.scale = 1 / std::sqrt(static_cast<double>(kind.K));
  return in;
}

// Seconds, best of `tries` after one run to warm up.
double best(int tries, const std::function<void()>& run) {
  run();
  double seconds = 1e30;
  for (int i = 0; i < tries; ++i) {
    const auto start = std::chrono::steady_clock::now();
    run();
    seconds = std::min(seconds, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return seconds;
}

// What one writes first: GDN token by token in plain C++, heads over the threads. Built with the project's flags, that
// is for plain x86-64: most of the distance to it is the instruction set. The tuned steps are the fair yardstick.
void plain_loop(const LinearRecurrenceInput& in, Tensor& o) {
  const int64_t B = in.q.size(0), L = in.q.size(1), H = in.q.size(2), K = in.q.size(3), V = in.v.size(3);
  const float scale = static_cast<float>(in.scale);
  const float *q = in.q.data_ptr<float>(), *k = in.k.data_ptr<float>(), *v = in.v.data_ptr<float>();
  const float *g = in.g.data_ptr<float>(), *beta = in.beta.data_ptr<float>();
  float* out = o.data_ptr<float>();
  lt2::parallel_for(B * H, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      std::vector<float> S(static_cast<size_t>(K * V), 0.0f), u(static_cast<size_t>(V));
      for (int64_t t = 0; t < L; ++t) {
        const int64_t row = (item / H * L + t) * H + item % H;
        const float fade = std::exp(g[row]);
        for (int64_t j = 0; j < V; ++j) u[j] = 0;
        for (int64_t i = 0; i < K; ++i) {
          for (int64_t j = 0; j < V; ++j) {
            S[i * V + j] *= fade;
            u[j] += k[row * K + i] * S[i * V + j];
          }
        }
        for (int64_t j = 0; j < V; ++j) u[j] = beta[row] * (v[row * V + j] - u[j]);
        for (int64_t j = 0; j < V; ++j) out[row * V + j] = 0;
        for (int64_t i = 0; i < K; ++i) {
          for (int64_t j = 0; j < V; ++j) {
            S[i * V + j] += k[row * K + i] * u[j];
            out[row * V + j] += scale * q[row * K + i] * S[i * V + j];
          }
        }
      }
    }
  });
}

// Multiply-adds per token and head of the chunked forms.
double forward_cost(const Kind& kind, double C = lt2::kRecurrenceChunk) {
  const double K = static_cast<double>(kind.K), V = static_cast<double>(kind.V);
  return kind.delta ? 3 * K * V + C * (K + V) : 2 * K * V + C * (K + V) / 2;
}
double backward_cost(const Kind& kind, double C = lt2::kRecurrenceChunk) {
  const double K = static_cast<double>(kind.K), V = static_cast<double>(kind.V);
  return kind.delta ? 8 * K * V + C * (4.5 * K + 2.5 * V) : 5 * K * V + C * (1.5 * K + V);
}

void line(const char* kind, const char* form, int64_t L, double seconds, double cost, double peak, double chunked) {
  const double floor = 2 * cost * static_cast<double>(L * kHeads) / (peak * 1e9);
  fmt::print("{:9} {:34} L {:6} {:9.2f} ms  {:5.1f} % of FMA peak  chunked gains x{:.2f}\n", kind, form, L,
             seconds * 1e3, 100 * floor / seconds, seconds / chunked);
  std::fflush(stdout);
}

double forward_backward(const LinearRecurrenceInput& given, int tries, bool torch_form) {
  auto in = given;
  for (auto* x : {&in.q, &in.k, &in.v, &in.g, &in.beta}) {
    if (x->defined()) *x = x->detach().clone().requires_grad_();
  }
  const auto weight = torch::randn(in.v.sizes());
  return best(tries, [&] {
    const auto out = torch_form ? lt2::linear_recurrence_torch(in) : lt2::linear_recurrence(in);
    out.o.backward(weight);
    for (auto* x : {&in.q, &in.k, &in.v, &in.g, &in.beta}) x->mutable_grad() = Tensor();
  });
}

void compare_forms(const Kind& kind, double peak) {
  const int64_t L = 4096;
  const auto in = make_input(kind, 1, L);
  const double fwd = forward_cost(kind), both = fwd + backward_cost(kind);
  double chunked, torch_form;
  {
    const torch::NoGradGuard no_grad;
    chunked = best(5, [&] { lt2::linear_recurrence(in); });
    line(kind.name, "forward chunked", L, chunked, fwd, peak, chunked);
    auto o = torch::empty_like(in.v);
    line(kind.name, "forward plain token loop", L, best(1, [&] { plain_loop(in, o); }), fwd, peak, chunked);
    line(kind.name, "forward tuned token steps", L, best(2, [&] { lt2::linear_recurrence_steps(in); }), fwd, peak,
         chunked);
    torch_form = best(2, [&] { lt2::linear_recurrence_torch(in); });
    line(kind.name, "forward torch form", L, torch_form, fwd, peak, chunked);
    const auto twice = make_input(kind, 1, 2 * L);
    const double longer = best(3, [&] { lt2::linear_recurrence(twice); });
    fmt::print("{:9} time({}) / time({}) = {:.3f}\n", kind.name, 2 * L, L, longer / chunked);
  }
  chunked = forward_backward(in, 3, false);
  line(kind.name, "forward + backward chunked", L, chunked, both, peak, chunked);
  line(kind.name, "forward + backward torch form", L, forward_backward(in, 2, true), both, peak, chunked);
}

void decode(const Kind& kind, int64_t B, double gbps) {
  const torch::NoGradGuard no_grad;
  auto in = make_input(kind, B, 1);
  in.state = torch::randn({B, kHeads, kind.K, kind.V});
  in.inplace_state = true;
  const double seconds = best(20, [&] { lt2::linear_recurrence(in); });
  const double bytes = 2.0 * static_cast<double>(in.state.nbytes());
  fmt::print("{:9} decode step, batch {:4} {:9.3f} ms  {:6.1f} MB of states  {:5.1f} % of read+write bandwidth\n",
             kind.name, B, seconds * 1e3, bytes / 2e6, 100 * bytes / (gbps * 1e9) / seconds);
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 2;
  lt2::set_num_threads(threads);
  const double peak = lt2::measure_fma_gflops(), gbps = lt2::measure_read_write_gbps();
  fmt::print("{} threads, FMA peak {:.0f} GFLOP/s, read+write {:.1f} GB/s; fp32, batch 1, {} heads, chunk {}\n",
             threads, peak, gbps, kHeads, lt2::kRecurrenceChunk);
  compare_forms(kKinds[0], peak);
  for (const auto& kind : kKinds) {
    const auto in = make_input(kind, 1, 4096);
    const torch::NoGradGuard no_grad;
    const double forward = best(3, [&] { lt2::linear_recurrence(in); });
    line(kind.name, "forward", 4096, forward, forward_cost(kind), peak, forward);
    const torch::AutoGradMode with_grad(true);
    const double both = forward_backward(in, 2, false);
    line(kind.name, "forward + backward", 4096, both, forward_cost(kind) + backward_cost(kind), peak, both);
  }
  for (const int64_t B : {1, 256}) {
    for (const auto& kind : kKinds) decode(kind, B, gbps);
  }
}
