// The linear op against the machine's limits and against at::linear.
//
//   build/release/bench/linear_bench [threads]
//
// Floor = max(flops / measured peak, weight bytes / measured read bandwidth); share = floor / time. The peak is that of
// fp32 multiply-adds, for bf16 that of the processor's bf16 unit where it has one, for int8 and int4 that of its unit
// for bytes. Shapes are those of the 0.6B (dim 1024, ffn 2816) and the 1.3B model (dim 2048, ffn 5632). "together": q,
// k and v by linear_all, against one by one. Rows of weights that fit a cache can exceed 100 %: their floor still
// counts memory. "packed": x in bf16 through pairs of maps as of a 1.3B model's feed-forward, together far beyond the
// caches. What is compared takes turns; ratios are medians of pairs (bench/timing.h): torch's time to ours, bf16's to
// the format's.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <vector>

#include "base/threads.h"
#include "base/torch.h"
#include "bench/timing.h"
#include "measure/machine.h"
#include "ops/linear/kernel.h"
#include "ops/linear/op.h"

namespace {

using torch::Tensor;

struct Limits {
  double gflops, bf16_gflops, byte_gflops, gbps;
};

// Run 0 is ours, run 1 torch's.
void print(const char* what, int64_t M, int64_t N, int64_t K, const char* dtype, double floor,
           const lt2::Turns& times) {
  fmt::print("{:<10} {:>5} {:>5} {:>5} {:<5} {:>10} {:>10.1f} {:>6} % {:>10} {:>7}\n", what, M, N, K, dtype,
             figure(times.seconds(0), 1e6), floor * 1e6, share(floor, times.seconds(0)), figure(times.seconds(1), 1e6),
             figure(times.ratio(1), 1, 2));
}

void bench(const Limits& limits, int64_t M, int64_t N, int64_t K, torch::Dtype dtype) {
  const bool bf16 = dtype == torch::kBFloat16;
  const char* name = bf16 ? "bf16" : "fp32";
  lt2::Linear linear(K, N);
  Tensor x = torch::randn({M, K}).to(dtype), weight;
  {
    torch::NoGradGuard no_grad;
    linear->weight.normal_(0, 0.02);
    weight = linear->weight.detach().to(dtype);
  }
  const double compute = 2.0 * static_cast<double>(M * N * K) / (bf16 ? limits.bf16_gflops : limits.gflops) * 1e-9;
  const double stream = static_cast<double>(N * K * (bf16 ? 2 : 4)) / limits.gbps * 1e-9;
  const double floor = std::max(compute, stream);
  {
    torch::NoGradGuard no_grad;
    print("forward", M, N, K, name, floor, lt2::Turns({[&] { linear(x); }, [&] { at::linear(x, weight); }}));
  }
  if (M < 256) return;

  const Tensor dy = torch::randn({M, N}).to(dtype);
  const auto matrix = [&](const Tensor& t) {
    return lt2::Matrix{t.data_ptr(), bf16 ? lt2::Element::kBf16 : lt2::Element::kF32, t.size(1)};
  };
  const float* w = linear->weight.data_ptr<float>();
  const auto backward_x = [&] {
    const Tensor dx = torch::empty({M, K}, dtype);
    lt2::linear_backward_input({M, N, K, matrix(dy), w, bf16, dx.data_ptr(), matrix(dx).element});
  };
  print("backward x", M, N, K, name, floor, lt2::Turns({backward_x, [&] { at::matmul(dy, weight); }}));
  const auto backward_w = [&] {
    const Tensor dw = torch::empty({N, K});
    lt2::linear_backward_weight({M, N, K, matrix(dy), matrix(x), dw.data_ptr<float>()});
  };
  print("backward w", M, N, K, name, floor, lt2::Turns({backward_w, [&] { at::matmul(dy.t(), x); }}));
}

// Three projections of one token: in one call, and one by one.
void bench_together(int64_t dim, torch::Dtype dtype) {
  torch::NoGradGuard no_grad;
  lt2::Linear q(dim, dim), k(dim, dim), v(dim, dim);
  for (auto* map : {&q, &k, &v}) (*map)->weight.normal_(0, 0.02);
  const Tensor x = torch::randn({1, dim}).to(dtype);
  const lt2::Turns times({[&] {
                            lt2::linear_all(x, {&q, &k, &v});
                          },
                          [&] {
                            q(x);
                            k(x);
                            v(x);
                          }});
  fmt::print("{:<10} {:>5} {:>5} {:>5} {:<5} {:>10} us, one by one {:>10} us, {} times as long\n", "together", 1, dim,
             dim, dtype == torch::kBFloat16 ? "bf16" : "fp32", figure(times.seconds(0), 1e6),
             figure(times.seconds(1), 1e6), figure(times.ratio(1), 1, 2));
}

void bench_packed(const Limits& limits, int64_t M) {
  torch::NoGradGuard no_grad;
  constexpr int64_t kDim = 2048, kFfn = 5632;
  const int pairs = M <= 64 ? 10 : 1;
  struct Row {
    const char* name;
    lt2::WeightFormat format;
    std::vector<lt2::Linear> maps = {};
  };
  std::vector<Row> rows{
      {"bf16", lt2::WeightFormat::kBf16}, {"int8", lt2::WeightFormat::kInt8}, {"int4", lt2::WeightFormat::kInt4}};
  const Tensor up = torch::randn({kFfn, kDim}) * 0.02, down = torch::randn({kDim, kFfn}) * 0.02;
  for (Row& row : rows) {
    const lt2::WithoutWeights without;
    for (int i = 0; i < pairs; ++i) {
      for (const Tensor& weight : {up, down}) {
        row.maps.emplace_back(weight.size(1), weight.size(0));
        row.maps.back()->pack(weight, row.format);
      }
    }
  }
  const Tensor x = torch::randn({M, kDim}).to(torch::kBFloat16);
  std::vector<std::function<void()>> runs;
  for (Row& row : rows) {
    runs.push_back([&x, &row] {
      Tensor y = x;
      for (auto& map : row.maps) y = map(y);
    });
  }
  const lt2::Turns times(runs, 1, 11);
  for (size_t i = 0; i < rows.size(); ++i) {
    const Row& row = rows[i];
    double bytes = 0, flops = 0;
    for (const auto& map : row.maps) {
      bytes += static_cast<double>(map->packed_weight_bytes());
      flops += 2.0 * static_cast<double>(M * map->weight.numel());
    }
    const double rate = row.format == lt2::WeightFormat::kBf16 ? limits.bf16_gflops : limits.byte_gflops;
    const double floor = std::max(flops / rate, bytes / limits.gbps) * 1e-9;
    fmt::print("{:<10} {:>5} {:<5} {:>10} {:>10.1f} {:>6} % {:>7}\n", "packed", M, row.name,
               figure(times.seconds(i), 1e6), floor * 1e6, share(floor, times.seconds(i)),
               figure(times.ratio(0, i), 1, 2));
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) lt2::set_num_threads(std::atoi(argv[1]));
  at::set_num_threads(lt2::num_threads());
  const auto rates = lt2::measure_rates({.fma = true, .bf16 = true, .bytes = true, .read = true});
  const double fma = rates.fma_gflops;
  const Limits limits{fma, rates.bf16_gflops > 0 ? rates.bf16_gflops : fma,
                      rates.byte_gflops > 0 ? rates.byte_gflops : fma, rates.read_gbps};
  fmt::print(
      "{} threads, peak {:.0f} GFLOP/s fp32, {:.0f} bf16 ({:.0f} in registers), {:.0f} int8 x bf16 ({:.0f} in "
      "registers), read {:.1f} GB/s\n\n",
      lt2::num_threads(), limits.gflops, limits.bf16_gflops, rates.bf16_register_gflops, limits.byte_gflops,
      rates.byte_register_gflops, limits.gbps);
  for (const auto dtype : {torch::kFloat32, torch::kBFloat16}) {
    for (const int64_t dim : {192, 512, 1024}) bench_together(dim, dtype);
  }
  fmt::print("\n{:<10} {:>5} {:<5} {:>10} {:>10} {:>8} {:>7}\n", "", "M", "type", "us", "floor us", "share", "ratio");
  for (const int64_t M : {1, 8, 2048}) bench_packed(limits, M);
  fmt::print("\n{:<10} {:>5} {:>5} {:>5} {:<5} {:>10} {:>10} {:>8} {:>10} {:>7}\n", "", "M", "N", "K", "type", "us",
             "floor us", "share", "torch us", "ratio");
  for (const auto dtype : {torch::kFloat32, torch::kBFloat16}) {
    for (const auto& [dim, ffn] : {std::pair<int64_t, int64_t>{1024, 2816}, {2048, 5632}}) {
      for (const auto& [N, K] : {std::pair<int64_t, int64_t>{dim, dim}, {ffn, dim}, {dim, ffn}}) {
        bench(limits, 512, N, K, dtype);
      }
      for (const int64_t M : {1, 2, 4, 8, 16, 32, 64}) bench(limits, M, ffn, dim, dtype);
    }
    bench(limits, 2048, 2048, 2048, dtype);
    bench(limits, 1, 512, 512, dtype);
    bench(limits, 1, 8192, 8192, dtype);
  }
  return 0;
}
