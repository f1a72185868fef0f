// The linear recurrence against its floor and its other forms.
//   linear_recurrence_bench [THREADS [MIXER]]       threads: 2 unless given; one mixer: all unless named
// One line per mixer, direction and type: time of the chunked kernel (median), its floor, how many times the
// floor it takes, and how many times longer the other forms take. The shapes are those of a model of width 2048.
#include <fmt/core.h>

#include <cstdlib>
#include <functional>

#include "base/threads.h"
#include "bench/timing.h"
#include "measure/machine.h"
#include "ops/linear_recurrence/op.h"
#include "ops/runtime.h"

namespace {

using lt2::LinearRecurrenceInput;
using torch::Tensor;

struct Kind {
  const char* name;
  int decay_rank;  // 0 none, 3 scalar, 4 vector
  bool delta;
  int64_t K, V;
};
constexpr Kind kKinds[] = {{"gdn", 3, true, 96, 192},       {"hgrn2", 4, false, 128, 128},
                           {"deltanet", 0, true, 128, 128}, {"mamba2", 3, false, 64, 256},
                           {"retnet", 3, false, 128, 256},  {"la", 0, false, 128, 128},
                           {"kda", 4, true, 128, 128},      {"gla", 4, false, 64, 128}};
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

// What one writes first: GDN token by token in plain C++, heads over the threads, left to the compiler. `head_project`
// is built with the project's flags (plain x86-64), `head_native` once more for each instruction set.
struct PlainHead {
  int64_t L, H, K, V;
  float scale;
  const float *q, *k, *v, *g, *beta, *d_o;  // of this head, rows H apart
  float *o, *dq, *dk, *dv, *dg, *dbeta;     // gradients may be null
};

// S -> S after token t; u [V] is what was written.
inline __attribute__((always_inline)) void plain_step(const PlainHead& h, int64_t t, float* S, float* u) {
  const float *k = h.k + t * h.H * h.K, *v = h.v + t * h.H * h.V;
  const float fade = std::exp(h.g[t * h.H]), beta = h.beta[t * h.H];
  for (int64_t j = 0; j < h.V; ++j) u[j] = 0;
  for (int64_t i = 0; i < h.K; ++i) {
    for (int64_t j = 0; j < h.V; ++j) {
      S[i * h.V + j] *= fade;
      u[j] += k[i] * S[i * h.V + j];
    }
  }
  for (int64_t j = 0; j < h.V; ++j) u[j] = beta * (v[j] - u[j]);
  for (int64_t i = 0; i < h.K; ++i) {
    for (int64_t j = 0; j < h.V; ++j) S[i * h.V + j] += k[i] * u[j];
  }
}

inline __attribute__((always_inline)) void plain_forward(const PlainHead& h, float* S, float* u) {
  for (int64_t t = 0; t < h.L; ++t) {
    plain_step(h, t, S, u);
    float* o = h.o + t * h.H * h.V;
    const float* q = h.q + t * h.H * h.K;
    for (int64_t j = 0; j < h.V; ++j) o[j] = 0;
    for (int64_t i = 0; i < h.K; ++i) {
      for (int64_t j = 0; j < h.V; ++j) o[j] += h.scale * q[i] * S[i * h.V + j];
    }
  }
}

// Backward from states kept every kSegment tokens.
constexpr int64_t kSegment = 64;
inline __attribute__((always_inline)) void plain_backward(const PlainHead& h, float* segments, float* states,
                                                          float* writes, float* dS, float* du) {
  const int64_t size = h.K * h.V;
  std::fill_n(states, size, 0.0f);
  for (int64_t t = 0; t < h.L; ++t) {
    if (t % kSegment == 0) std::copy_n(states, size, segments + t / kSegment * size);
    plain_step(h, t, states, writes);
  }
  std::fill_n(dS, size, 0.0f);
  for (int64_t first = (h.L - 1) / kSegment * kSegment; first >= 0; first -= kSegment) {
    const int64_t end = std::min(h.L, first + kSegment);
    std::copy_n(segments + first / kSegment * size, size, states);
    for (int64_t t = first; t < end; ++t) {
      float* next = states + (t - first + 1) * size;
      std::copy_n(next - size, size, next);
      plain_step(h, t, next, writes + (t - first) * h.V);
    }
    for (int64_t t = end - 1; t >= first; --t) {
      const float *S = states + (t - first + 1) * size, *before = S - size, *u = writes + (t - first) * h.V;
      const float *q = h.q + t * h.H * h.K, *k = h.k + t * h.H * h.K;
      const float* d_o = h.d_o + t * h.H * h.V;
      const float fade = std::exp(h.g[t * h.H]), beta = h.beta[t * h.H];
      float *dq = h.dq + t * h.H * h.K, *dk = h.dk + t * h.H * h.K, *dv = h.dv + t * h.H * h.V;
      for (int64_t j = 0; j < h.V; ++j) du[j] = 0;
      for (int64_t i = 0; i < h.K; ++i) {
        float to_q = 0, to_k = 0;
        for (int64_t j = 0; j < h.V; ++j) {
          dS[i * h.V + j] += h.scale * q[i] * d_o[j];
          to_q += S[i * h.V + j] * d_o[j];
          to_k += dS[i * h.V + j] * u[j];
          du[j] += dS[i * h.V + j] * k[i];
        }
        dq[i] = h.scale * to_q;
        dk[i] = to_k;
      }
      float to_beta = 0, to_g = 0;
      for (int64_t j = 0; j < h.V; ++j) {
        dv[j] = beta * du[j];
        to_beta += du[j] * u[j];  // u = beta times the error
      }
      for (int64_t i = 0; i < h.K; ++i) {
        float to_k = 0;
        for (int64_t j = 0; j < h.V; ++j) {
          const float faded = fade * before[i * h.V + j];
          to_k += faded * dv[j];
          dS[i * h.V + j] -= k[i] * dv[j];
          to_g += dS[i * h.V + j] * faded;
          dS[i * h.V + j] *= fade;
        }
        dk[i] -= to_k;
      }
      h.dbeta[t * h.H] = to_beta / beta;
      h.dg[t * h.H] = to_g;
    }
  }
}

using HeadLoop = void (*)(const PlainHead&, std::vector<float>&);

inline __attribute__((always_inline)) void plain_head(const PlainHead& h, std::vector<float>& scratch) {
  const int64_t size = h.K * h.V;
  if (!h.d_o) {
    scratch.assign(static_cast<size_t>(size + h.V), 0.0f);
    return plain_forward(h, scratch.data(), scratch.data() + size);
  }
  const int64_t segments = (h.L + kSegment - 1) / kSegment;
  scratch.resize(static_cast<size_t>((segments + kSegment + 2) * size + (kSegment + 2) * h.V));
  float* at = scratch.data();
  float *kept = at, *states = kept + segments * size, *dS = states + (kSegment + 1) * size, *writes = dS + size;
  plain_backward(h, kept, states, writes, dS, writes + (kSegment + 1) * h.V);
}

void head_project(const PlainHead& h, std::vector<float>& scratch) { plain_head(h, scratch); }
__attribute__((target_clones("avx512f", "avx2", "default"),
               optimize("O3", "associative-math", "no-signed-zeros", "no-trapping-math"))) void
head_native(const PlainHead& h, std::vector<float>& scratch) {
  plain_head(h, scratch);
}

/// Forward only, or with `d_o` forward and backward into `gradients` (like q, k, v, g, beta).
void plain_loop(HeadLoop loop, const LinearRecurrenceInput& in, Tensor& o, const Tensor& d_o = {},
                const std::vector<Tensor>& gradients = {}) {
  const int64_t B = in.q.size(0), L = in.q.size(1), H = in.q.size(2), K = in.q.size(3), V = in.v.size(3);
  const auto head_of = [&](const Tensor& x, int64_t item, int64_t n) {
    return x.data_ptr<float>() + (item / H * L * H + item % H) * n;
  };
  lt2::parallel_for(B * H, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> scratch;
    for (int64_t item = begin; item < end; ++item) {
      PlainHead head{L,
                     H,
                     K,
                     V,
                     static_cast<float>(in.scale),
                     head_of(in.q, item, K),
                     head_of(in.k, item, K),
                     head_of(in.v, item, V),
                     head_of(in.g, item, 1),
                     head_of(in.beta, item, 1),
                     nullptr,
                     head_of(o, item, V),
                     nullptr,
                     nullptr,
                     nullptr,
                     nullptr,
                     nullptr};
      loop(head, scratch);
      if (!d_o.defined()) continue;
      head.d_o = head_of(d_o, item, V);
      head.dq = head_of(gradients[0], item, K);
      head.dk = head_of(gradients[1], item, K);
      head.dv = head_of(gradients[2], item, V);
      head.dg = head_of(gradients[3], item, 1);
      head.dbeta = head_of(gradients[4], item, 1);
      loop(head, scratch);
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
  return kind.delta ? 8 * K * V + C * (3.5 * K + 2.5 * V) : 5 * K * V + C * (1.5 * K + V);
}

struct Limits {
  double gflops, read_write_gbps;
};

// Seconds that no implementation of the chunked form goes below: its multiply-adds at the measured peak (of fp32
// multiply-adds: bf16 inputs are widened where the processor has no bf16 products), or its tensors once through memory.
double floor_seconds(const Kind& kind, int64_t L, int64_t element_bytes, bool backward, const Limits& limits) {
  const double rows = static_cast<double>(L * kHeads), K = static_cast<double>(kind.K), V = static_cast<double>(kind.V);
  const double flops = 2 * rows * (forward_cost(kind) + (backward ? backward_cost(kind) : 0));
  const double gates = 4 * ((kind.decay_rank == 4 ? K : kind.decay_rank == 3 ? 1 : 0) + (kind.delta ? 1 : 0));
  const double forward_bytes = rows * (static_cast<double>(element_bytes) * (2 * K + 2 * V) + gates);
  return std::max(flops / (limits.gflops * 1e9), (backward ? 3 : 1) * forward_bytes / (limits.read_write_gbps * 1e9));
}

struct Form {
  const char* name;
  std::function<void()> run;
};

// Ours, forms[0], and the others in turns.
void print(const Kind& kind, const char* what, const char* dtype, int64_t L, double floor,
           const std::vector<Form>& forms) {
  std::vector<std::function<void()>> runs;
  for (const auto& form : forms) runs.push_back(form.run);
  const lt2::Turns times(runs, 0.4, 3);
  fmt::print("{:9} {:18} {} L {:5} {:>9} ms  floor {:8.2f} ms  x{:.2f} of it", kind.name, what, dtype, L,
             figure(times.seconds(0), 1e3, 2), floor * 1e3, times.seconds(0).median / floor);
  for (size_t i = 1; i < forms.size(); ++i)
    fmt::print("   {} {} ms = x{}", forms[i].name, figure(times.seconds(i), 1e3, 0), figure(times.ratio(i)));
  fmt::print("\n");
  std::fflush(stdout);
}

std::function<void()> forward_backward(const LinearRecurrenceInput& given, bool torch_form) {
  auto in = given;
  for (auto* x : {&in.q, &in.k, &in.v, &in.g, &in.beta}) {
    if (x->defined()) *x = x->detach().clone().requires_grad_();
  }
  const auto weight = torch::randn(in.v.sizes()).to(in.v.scalar_type());
  return [=]() mutable {
    const auto out = torch_form ? lt2::linear_recurrence_torch(in) : lt2::linear_recurrence(in);
    out.o.backward(weight.to(out.o.scalar_type()));
    for (auto* x : {&in.q, &in.k, &in.v, &in.g, &in.beta}) x->mutable_grad() = Tensor();
  };
}

// The plain loops know GDN in fp32; every kind is compared with the chunked form written in torch operations.
void compare(const Kind& kind, torch::ScalarType type, const Limits& limits) {
  const int64_t L = 4096, bytes = static_cast<int64_t>(c10::elementSize(type));
  const char* dtype = bytes == 4 ? "fp32" : "bf16";
  auto in = make_input(kind, 1, L);
  const bool plain = bytes == 4 && std::string_view(kind.name) == "gdn";
  const auto full = in;
  for (auto* x : {&in.q, &in.k, &in.v}) *x = x->to(type);
  auto o = torch::empty_like(full.v);
  {
    const torch::NoGradGuard no_grad;
    const auto ours = [&] { lt2::linear_recurrence(in); };
    std::vector<Form> forms{{"", ours},
                            {"torch", [&] { lt2::linear_recurrence_torch(in); }},
                            {"steps", [&] { lt2::linear_recurrence_steps(in); }}};
    if (plain) {
      forms.push_back({"plain loop", [&] { plain_loop(head_project, full, o); }});
      forms.push_back({"plain loop, vectorised", [&] { plain_loop(head_native, full, o); }});
    }
    print(kind, "forward", dtype, L, floor_seconds(kind, L, bytes, false, limits), forms);
    if (plain) {
      const auto twice = make_input(kind, 1, 2 * L);
      const lt2::Turns times({ours, [&] { lt2::linear_recurrence(twice); }});
      fmt::print("{:9} time({}) / time({}) = {}\n", kind.name, 2 * L, L, figure(times.ratio(1), 1, 3));
    }
  }
  std::vector<Form> forms{{"", forward_backward(in, false)}, {"torch", forward_backward(in, true)}};
  std::vector<Tensor> gradients;
  const auto d_o = torch::randn(full.v.sizes());
  if (plain) {
    for (const auto* x : {&full.q, &full.k, &full.v, &full.g, &full.beta}) gradients.push_back(torch::empty_like(*x));
    forms.push_back({"plain loop", [&] { plain_loop(head_project, full, o, d_o, gradients); }});
    forms.push_back({"plain loop, vectorised", [&] { plain_loop(head_native, full, o, d_o, gradients); }});
  }
  print(kind, "forward + backward", dtype, L, floor_seconds(kind, L, bytes, true, limits), forms);
}

void decode(const Kind& kind, int64_t B, double gbps) {
  const torch::NoGradGuard no_grad;
  auto in = make_input(kind, B, 1);
  in.state = torch::randn({B, kHeads, kind.K, kind.V});
  in.inplace_state = true;
  const auto seconds = lt2::Turns({[&] { lt2::linear_recurrence(in); }}, 0.4).seconds();
  const double bytes = 2.0 * static_cast<double>(in.state.nbytes());
  fmt::print("{:9} decode step, batch {:4} {:>9} ms  {:6.1f} MB of states  {:>5} % of read+write bandwidth\n",
             kind.name, B, figure(seconds, 1e3, 3), bytes / 2e6, share(bytes / (gbps * 1e9), seconds, 1));
}

}  // namespace

int main(int argc, char** argv) {
  lt2::init_runtime(argc > 1 ? std::atoi(argv[1]) : 2);
  at::set_num_threads(lt2::num_threads());  // the one it is measured against
  const std::string only = argc > 2 ? argv[2] : "";
  const auto rates = lt2::measure_rates({.fma = true, .read_write = true});
  Limits limits{rates.fma_gflops, rates.read_write_gbps};
  fmt::print("{} threads, FMA peak {:.0f} GFLOP/s, read+write {:.1f} GB/s; batch 1, {} heads, chunk {}\n",
             lt2::num_threads(), limits.gflops, limits.read_write_gbps, kHeads, lt2::kRecurrenceChunk);
  for (const auto& kind : kKinds) {
    if (!only.empty() && only != kind.name) continue;
    // Measured again for each kind: on a shared machine the limits wander too.
    limits = {std::max(limits.gflops, lt2::measure_rates({.fma = true}).fma_gflops), limits.read_write_gbps};
    for (const auto type : {torch::kFloat32, torch::kBFloat16}) compare(kind, type, limits);
  }
  for (const int64_t B : {1, 256}) {
    for (const auto& kind : kKinds) {
      if (only.empty() || only == kind.name) decode(kind, B, limits.read_write_gbps);
    }
  }
}
