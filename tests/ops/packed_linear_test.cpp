// Packed weights: fp32 and bf16 against weights that are not, int8 and int4 against their own numbers in fp64.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <cmath>
#include <thread>

#include "base/error.h"
#include "base/threads.h"
#include "ops/linear/kernel.h"
#include "ops/linear/op.h"
#include "ops/simd/byte_unit.h"
#include "ops/simd/isa.h"
#include "ops/simd/tile_unit.h"
#include "ops/swiglu/op.h"
#include "tests/support/compare.h"

namespace lt2 {
namespace {

using test::close;
using test::identical;
using torch::Tensor;
using Parts = std::vector<std::pair<std::string, Tensor>>;

constexpr auto kF32 = WeightFormat::kF32, kBf16 = WeightFormat::kBf16, kInt8 = WeightFormat::kInt8,
               kInt4 = WeightFormat::kInt4;
const WeightFormat kAll[] = {kF32, kBf16, kInt8, kInt4};

Tensor wide(const Tensor& t) { return t.to(torch::kFloat64); }
Tensor as_bf16(const Tensor& t) { return t.to(torch::kBFloat16); }
Tensor random_weight(int64_t N, int64_t K) { return torch::randn({N, K}) / std::sqrt(static_cast<double>(K)); }

Linear packed(const Tensor& weight, WeightFormat format) {
  WithoutWeights without;
  Linear linear(weight.size(1), weight.size(0));
  linear->pack(weight, format);
  return linear;
}

Tensor part(const Linear& linear, const std::string& name) {
  for (const auto& [key, tensor] : linear->packed_parts()) {
    if (key == name) return tensor;
  }
  return {};
}

// What the parts stand for, fp64 [N, K], by plain torch.
Tensor numbers(const Linear& linear, WeightFormat format) {
  const int64_t N = linear->weight.size(0), K = linear->weight.size(1);
  const Tensor panels = part(linear, "panels"), scales = wide(part(linear, "scales"));
  const Tensor bytes = wide(panels);        // [panels, words, 16, 4]
  const auto rows = [&](const Tensor& q) {  // [panels, K.., 16] -> [N, K]
    return q.permute({0, 2, 1}).reshape({-1, q.size(1)}).narrow(0, 0, N).narrow(1, 0, K);
  };
  if (format == kInt8) return rows((bytes - 128).permute({0, 1, 3, 2}).flatten(1, 2) * scales.unsqueeze(1));
  const Tensor upper = bytes.div(16, "floor");
  const Tensor q = torch::cat({bytes - 16 * upper, upper}, -1) - 8;  // the lower halves come first
  const Tensor by_k = q.permute({0, 1, 3, 2}).flatten(1, 2);         // [panels, 8 words, 16]
  return rows(by_k * scales.repeat_interleave(kQuantGroup, 1).narrow(1, 0, by_k.size(1)));
}

double relative_rms(const Tensor& a, const Tensor& truth) {
  return ((wide(a) - wide(truth)).norm() / wide(truth).norm()).item<double>();
}

// Runs the body with every instruction set that this machine has.
class Sets {
 public:
  Sets() {
    const char* value = ::getenv("LT2_ISA");
    before_ = value ? value : "";
  }
  ~Sets() { set(before_.c_str()); }
  template <class Body>
  void each(Body&& body) {
    for (const char* isa : {"", "avx2", "scalar"}) {
      set(isa);
      SCOPED_TRACE(kernel_isa());
      body();
    }
  }

 private:
  static void set(const char* value) {
    ::setenv("LT2_ISA", value, 1);
    apply_isa_override();
  }
  std::string before_;
};

struct PackedLinear : ::testing::Test {
  void SetUp() override { torch::manual_seed(5); }
  void TearDown() override {
    set_num_threads(allowed_cores());
    tile_unit_reset();
    byte_unit_reset();
  }
  torch::NoGradGuard no_grad;
};

struct Shape {
  int64_t N, K;
};
// Edges of panels (3, 16, 24, 48), words (8), groups (64), blocks of depth (256).
const Shape kShapes[] = {{1, 1}, {1, 300}, {16, 64}, {17, 7}, {50, 65}, {5, 130}, {97, 129}, {131, 523}};

TEST_F(PackedLinear, KeepsSizesWithoutMemory) {
  Linear linear(20, 30);
  linear->weight.normal_();
  const Tensor weight = linear->weight.clone(), x = torch::randn({2, 20}), y = linear(x);
  EXPECT_FALSE(linear->is_packed());
  EXPECT_EQ(linear->packed_weight_bytes(), 0);
  linear->pack(linear->weight, kF32);
  EXPECT_TRUE(linear->is_packed());
  EXPECT_TRUE(linear->weight.is_meta());
  EXPECT_EQ(linear->weight.sizes(), torch::IntArrayRef({30, 20}));
  EXPECT_TRUE(linear->parameters()[0].is_meta());
  EXPECT_TRUE(identical(linear(x), y));
  linear->drop_pack_cache();  // not what is packed
  EXPECT_TRUE(identical(linear(x), y));
  linear->pack(2 * weight, kF32);  // and again
  EXPECT_TRUE(identical(linear(x), 2 * y));
}

TEST_F(PackedLinear, WithoutWeightsNothingIsAllocated) {
  const auto made = [] { return Linear(3, 4)->weight.is_meta(); };
  EXPECT_FALSE(made());
  {
    WithoutWeights outer;
    { WithoutWeights inner; }
    EXPECT_TRUE(made());
    bool other = true;
    std::thread([&] { other = made(); }).join();
    EXPECT_FALSE(other);
    // More than any machine has.
    EXPECT_EQ(Linear(int64_t{1} << 30, int64_t{1} << 24)->weight.size(1), int64_t{1} << 30);
    EXPECT_THROW(Linear(3, 4)(torch::randn({2, 3})), Error);
  }
  EXPECT_FALSE(made());
}

TEST_F(PackedLinear, SameBitsAsUnpacked) {
  Sets().each([&] {
    for (const auto& [N, K] : kShapes) {
      const Tensor weight = random_weight(N, K);
      Linear plain(K, N);
      plain->weight.copy_(weight);
      for (const int64_t M : {1, 2, 7, 33, 100}) {
        const Tensor x = torch::randn({M, K}), residual = torch::randn({M, N});
        for (const bool bf16 : {false, true}) {
          const Tensor in = bf16 ? as_bf16(x) : x, gate = torch::randn({M, N}).to(in.scalar_type());
          // bf16 numbers are what they are, whether they come as such or are rounded here.
          for (const Tensor& from : {weight, bf16 ? as_bf16(weight) : weight.t().contiguous().t()}) {
            Linear linear = packed(from, bf16 ? kBf16 : kF32);
            EXPECT_TRUE(identical(linear(in), plain(in)));
            EXPECT_TRUE(identical(linear->forward_add(in, residual), plain->forward_add(in, residual)));
            EXPECT_TRUE(identical(linear->forward_gated(in, gate), plain->forward_gated(in, gate)));
          }
        }
      }
    }
  });
}

TEST_F(PackedLinear, OtherTypeOfXIsWidened) {
  Sets().each([&] {
    for (const auto& [N, K] : kShapes) {
      const Tensor weight = random_weight(N, K);
      for (const int64_t M : {1, 2, 33}) {
        const Tensor x = torch::randn({M, K});
        Linear rounded(K, N);
        rounded->weight.copy_(as_bf16(weight));
        EXPECT_TRUE(identical(packed(weight, kBf16)(x), rounded(x)));
        EXPECT_TRUE(close(packed(weight, kF32)->forward_add(as_bf16(x), torch::zeros({M, N})),
                          wide(as_bf16(x)).matmul(wide(weight).t()), 2e-6));
      }
    }
  });
}

TEST_F(PackedLinear, OnBf16Units) {
  for (const TileUnit* unit : {&kEmulatedAmx, &kEmulatedAvx512Bf16}) {
    tile_unit_force(unit);
    for (const auto& [N, K] : {Shape{1, 1}, Shape{50, 65}, Shape{97, 129}}) {
      const Tensor weight = random_weight(N, K);
      Linear plain(K, N), rounded(K, N), linear = packed(as_bf16(weight), kBf16), again(K, N);
      plain->weight.copy_(weight);
      rounded->weight.copy_(as_bf16(weight));
      again->adopt(linear->packed_parts(), kBf16);
      EXPECT_EQ(part(again, "panels").data_ptr(), part(linear, "panels").data_ptr());
      for (const int64_t M : {1, 7, 33}) {
        const Tensor x = torch::randn({M, K});
        EXPECT_TRUE(identical(linear(as_bf16(x)), plain(as_bf16(x))));
        EXPECT_TRUE(identical(linear(x), rounded(x)));
        EXPECT_TRUE(identical(again(as_bf16(x)), plain(as_bf16(x))));
      }
    }
  }
}

TEST_F(PackedLinear, QuantisedProductsAreThoseOfTheirNumbers) {
  byte_unit_force(nullptr);  // widened weights; byte_unit_test.cpp has the others
  Sets().each([&] {
    for (const auto format : {kInt8, kInt4}) {
      for (const auto& [N, K] : kShapes) {
        Linear linear = packed(random_weight(N, K), format);
        const Tensor weight = numbers(linear, format).t();
        for (const int64_t M : {1, 2, 7, 33, 100}) {
          SCOPED_TRACE(fmt::format("M {} N {} K {}", M, N, K));
          const Tensor x = torch::randn({M, K}), residual = torch::randn({M, N});
          const Tensor truth = wide(x).matmul(weight), narrow = wide(as_bf16(x)).matmul(weight);
          EXPECT_TRUE(close(linear(x), truth, 1e-5));
          EXPECT_TRUE(close(linear->forward_add(x, residual), truth + residual, 1e-5));
          EXPECT_TRUE(close(linear->forward_add(as_bf16(x), residual), narrow + residual, 1e-5));
          const Tensor y = linear(as_bf16(x)), gate = as_bf16(torch::randn({M, N}));
          EXPECT_TRUE(identical(y, as_bf16(linear(as_bf16(x).to(torch::kFloat32)))));
          EXPECT_TRUE(identical(linear->forward_gated(as_bf16(x), gate), swiglu(gate, y)));
        }
      }
    }
  });
}

TEST_F(PackedLinear, RowsDoNotDependOnTheirBatch) {
  Sets().each([&] {
    for (const auto format : kAll) {
      for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
        Linear linear = packed(random_weight(131, 523), format);
        const Tensor x = torch::randn({270, 523}).to(type), residual = torch::randn({270, 131});
        const Tensor whole = linear(x), sum = linear->forward_add(x, residual);
        for (const int64_t count : {1, 2, 3, 4, 5, 6, 7, 8, 9, 33, 100}) {
          const int64_t at = 267 - count;
          EXPECT_TRUE(identical(linear(x.narrow(0, at, count)), whole.narrow(0, at, count))) << count << " rows";
          EXPECT_TRUE(identical(linear->forward_add(x.narrow(0, at, count), residual.narrow(0, at, count)),
                                sum.narrow(0, at, count)))
              << count << " rows";
        }
      }
    }
  });
}

TEST_F(PackedLinear, ThreadsDoNotChangeABit) {
  const Tensor weight = random_weight(1201, 333);
  for (const auto format : kAll) {
    for (const int64_t M : {1, 6, 100}) {
      const Tensor x = torch::randn({M, 333});
      std::vector<Tensor> y, panels;
      for (const int threads : {1, 2, 7}) {
        set_num_threads(threads);
        Linear linear = packed(weight, format);
        y.push_back(linear(x));
        panels.push_back(part(linear, "panels"));
      }
      for (size_t i = 1; i < y.size(); ++i) {
        EXPECT_TRUE(identical(y[i], y[0]));
        EXPECT_TRUE(identical(panels[i], panels[0]));
      }
    }
  }
}

TEST_F(PackedLinear, TogetherAsAlone) {
  for (const auto format : kAll) {
    Linear a = packed(random_weight(131, 130), format), b = packed(random_weight(5, 130), format);
    Linear c = packed(random_weight(1100, 130), format), other = packed(random_weight(7, 130), kInt4), plain(130, 9);
    plain->weight.normal_();
    for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
      for (const int64_t M : {1, 3, 8, 9, 70}) {
        const Tensor x = torch::randn({M, 130}).to(type);
        const auto all = linear_all(x, {&a, &b, &c}), mixed = linear_all(x, {&a, &plain, &other});
        EXPECT_TRUE(identical(all[0], a(x)));
        EXPECT_TRUE(identical(all[1], b(x)));
        EXPECT_TRUE(identical(all[2], c(x)));
        EXPECT_TRUE(identical(mixed[0], a(x)));
        EXPECT_TRUE(identical(mixed[1], plain(x)));
        EXPECT_TRUE(identical(mixed[2], other(x)));
        EXPECT_TRUE(identical(linear_swiglu(x, a, a), swiglu(a(x), a(x))));
      }
    }
  }
}

TEST_F(PackedLinear, PartsMakeTheSameWeight) {
  const Tensor x = torch::randn({3, 130});
  for (const auto format : kAll) {
    Linear linear = packed(random_weight(97, 130), format), again(130, 97), moved(130, 97);
    Parts parts = linear->packed_parts();
    again->adopt(parts, format);
    EXPECT_TRUE(again->weight.is_meta());
    EXPECT_EQ(again->packed_weight_bytes(), linear->packed_weight_bytes());
    EXPECT_EQ(part(again, "panels").data_ptr(), parts[0].second.data_ptr());
    const Tensor y = linear(x);
    linear = Linear(nullptr);
    EXPECT_TRUE(identical(again(x), y));
    // At an address that no kernel likes.
    for (auto& [name, tensor] : parts) {
      if (name == "layout") continue;
      const Tensor bytes = torch::zeros({static_cast<int64_t>(tensor.nbytes()) + 8}, torch::kUInt8);
      std::memcpy(bytes.data_ptr<uint8_t>() + 1, tensor.data_ptr(), tensor.nbytes());
      tensor = torch::from_blob(
          bytes.data_ptr<uint8_t>() + 1, tensor.sizes(), [bytes](void*) {}, tensor.options());
    }
    moved->adopt(parts, format);
    EXPECT_TRUE(identical(moved(x), y));
  }
}

TEST_F(PackedLinear, PartsOfAnotherMachineArePackedAnew) {
  const Tensor x = torch::randn({3, 130}), weight = as_bf16(random_weight(97, 130)).to(torch::kFloat32);
  std::vector<std::pair<WeightFormat, Parts>> made;
  std::vector<Tensor> quantised;
  Sets().each([&] {
    for (const auto format : {kF32, kBf16}) made.emplace_back(format, packed(weight, format)->packed_parts());
    for (const auto format : {kInt8, kInt4}) quantised.push_back(part(packed(weight, format), "panels"));
  });
  tile_unit_force(&kEmulatedAmx);
  made.emplace_back(kBf16, packed(weight, kBf16)->packed_parts());
  tile_unit_force(nullptr);
  Sets().each([&] {
    const Tensor y = packed(weight, kF32)(x);
    for (const auto& [format, parts] : made) {
      Linear linear(130, 97);
      linear->adopt(parts, format);
      EXPECT_TRUE(identical(linear(x), y));
    }
  });
  // int8 and int4 lie alike on all machines.
  for (size_t i = 2; i < quantised.size(); ++i) EXPECT_TRUE(identical(quantised[i], quantised[i % 2]));
}

TEST_F(PackedLinear, PackedForAnotherMachineSaysSo) {
  Linear linear = packed(random_weight(9, 7), kF32), small = packed(random_weight(9, 7), kInt4);
  const Tensor x = torch::randn({2, 7}), y = small(x);
  Sets().each([&] {
    EXPECT_TRUE(close(small(x), y, 1e-6));
    if (kernel_isa() == "scalar") {
      EXPECT_THROW(linear(x), Error);
    }
  });
}

TEST_F(PackedLinear, RoundingErrors) {
  for (const int64_t K : {512, 5632}) {
    const Tensor weight = torch::randn({64, K}) * torch::rand({64, 1});
    const double int8 = relative_rms(numbers(packed(weight, kInt8), kInt8), weight);
    const double int4 = relative_rms(numbers(packed(weight, kInt4), kInt4), weight);
    RecordProperty(fmt::format("int8_{}", K), std::to_string(int8));
    RecordProperty(fmt::format("int4_{}", K), std::to_string(int4));
    EXPECT_LT(int8, 0.01);
    EXPECT_LT(int4, 0.12);
  }
  // What the formats can say exactly, they do.
  const Tensor whole8 = torch::randint(-127, 128, {20, 70}).to(torch::kFloat32) * 0.5;
  whole8.select(1, 3).fill_(63.5);
  EXPECT_TRUE(close(numbers(packed(whole8, kInt8), kInt8), whole8, 1e-7));
  const Tensor whole4 = torch::randint(-8, 8, {20, 70}).to(torch::kFloat32) * -0.25;
  whole4.select(1, 3).fill_(2);
  whole4.select(1, 69).fill_(2);
  EXPECT_TRUE(close(numbers(packed(whole4, kInt4), kInt4), whole4, 0));
}

TEST_F(PackedLinear, ExtremeWeights) {
  Sets().each([&] {
    for (const auto format : {kInt8, kInt4}) {
      for (const double size : {0.0, 1e-45, 1e-37, 1e-30, 1e37}) {
        Tensor weight = torch::full({3, 70}, size);
        weight.select(0, 1).mul_(-1);
        weight[2][5] = 0;
        EXPECT_TRUE(close(numbers(packed(weight, format), format), weight, size < 1e-34 ? 1 : 0.01)) << size;
      }
      for (const double odd : {static_cast<double>(INFINITY), -static_cast<double>(INFINITY), std::nan("")}) {
        Tensor weight = random_weight(40, 70);
        weight[33][69] = odd;
        weight[35][0] = odd;
        try {
          packed(weight, format);
          ADD_FAILURE() << "packed " << odd;
        } catch (const Error& error) {
          EXPECT_NE(std::string(error.what()).find("row 33"), std::string::npos) << error.what();
        }
      }
    }
  });
}

TEST_F(PackedLinear, NotANumberInXStaysOne) {
  for (const auto format : kAll) {
    Linear linear = packed(random_weight(50, 70), format);
    Tensor x = torch::randn({40, 70});
    x[17][69] = NAN;
    const Tensor y = linear(x);
    EXPECT_TRUE(y[17].isnan().all().item<bool>());
    EXPECT_EQ(y.isnan().sum().item<int64_t>(), 50);
    EXPECT_TRUE(linear(x.narrow(0, 17, 1)).isnan().all().item<bool>());
  }
}

TEST_F(PackedLinear, FromMemoryThatCannotBeWritten) {
  const Tensor weight = as_bf16(random_weight(33, 70)), before = weight.clone();
  for (const auto format : kAll) {
    Linear view = packed(weight.narrow(0, 1, 32), format), copy = packed(before.narrow(0, 1, 32).clone(), format);
    const Tensor x = torch::randn({2, 70});
    EXPECT_TRUE(identical(view(x), copy(x)));
    EXPECT_TRUE(identical(weight, before));
  }
}

TEST_F(PackedLinear, NoRows) {
  for (const auto format : kAll) {
    Linear linear = packed(random_weight(5, 9), format);
    EXPECT_EQ(linear(torch::empty({0, 9})).sizes(), torch::IntArrayRef({0, 5}));
    EXPECT_EQ(linear->forward_add(torch::empty({0, 9}), torch::empty({0, 5})).sizes(), torch::IntArrayRef({0, 5}));
    EXPECT_EQ(linear_all(torch::empty({0, 9}), {&linear})[0].sizes(), torch::IntArrayRef({0, 5}));
  }
}

TEST_F(PackedLinear, BytesRead) {
  const Tensor weight = random_weight(160, 640);
  EXPECT_LE(packed(weight, kInt8)->packed_weight_bytes(), 160 * 640 * 1.01);
  EXPECT_LE(packed(weight, kInt4)->packed_weight_bytes(), 160 * 640 * 0.5313);
}

TEST_F(PackedLinear, GradientsAreRefused) {
  torch::AutoGradMode grad(true);
  for (const auto format : kAll) {
    Linear linear = packed(random_weight(5, 9), format);
    EXPECT_FALSE(linear(torch::randn({2, 9})).requires_grad());
    EXPECT_THROW(linear(torch::randn({2, 9}).requires_grad_()), Error);
    EXPECT_THROW(linear->forward_add(torch::randn({2, 9}), torch::randn({2, 5}).requires_grad_()), Error);
    torch::NoGradGuard none;
    EXPECT_FALSE(linear(torch::randn({2, 9}).requires_grad_()).requires_grad());
  }
}

TEST_F(PackedLinear, WrongOperandsSaySo) {
  Linear plain(9, 5), linear = packed(random_weight(5, 9), kInt8);
  EXPECT_THROW(plain->packed_parts(), Error);
  EXPECT_THROW(plain->pack(Tensor(), kInt8), Error);
  EXPECT_THROW(plain->pack(torch::randn({9, 5}), kInt8), Error);
  EXPECT_THROW(plain->pack(torch::randn({5, 9}, torch::kFloat64), kInt8), Error);
  EXPECT_THROW(plain->pack(torch::empty({5, 9}, torch::kMeta), kInt8), Error);
  EXPECT_FALSE(plain->is_packed());
  EXPECT_THROW(linear(torch::randn({3, 8})), Error);
  EXPECT_THROW(linear(torch::randn({3, 9}, torch::kFloat64)), Error);
  EXPECT_THROW(linear_all(torch::randn({3, 8}), {&linear}), Error);
  EXPECT_THROW(linear->forward_add(torch::randn({3, 9}), torch::randn({3, 9})), Error);
  EXPECT_THROW(linear->forward_add(torch::randn({3, 9}), torch::randn({3, 5}, torch::kFloat64)), Error);
  EXPECT_THROW(linear->forward_gated(torch::randn({3, 9}), as_bf16(torch::randn({3, 5}))), Error);
}

TEST_F(PackedLinear, WrongPartsSaySo) {
  for (const auto format : kAll) {
    const Parts parts = packed(random_weight(97, 130), format)->packed_parts();
    Linear other(131, 97), right(130, 97);
    const auto refuses = [&](Linear& linear, const Parts& wrong) {
      EXPECT_THROW(linear->adopt(wrong, format), Error);
      EXPECT_FALSE(linear->is_packed());
    };
    refuses(other, parts);
    refuses(right, {});
    for (const auto wrong : kAll) {
      if (wrong != format) {
        EXPECT_THROW(right->adopt(parts, wrong), Error);
      }
    }
    for (size_t i = 0; i < parts.size(); ++i) {
      Parts missing = parts, undefined = parts, wrong_type = parts, shorter = parts, remote = parts;
      missing.erase(missing.begin() + static_cast<ptrdiff_t>(i));
      undefined[i].second = Tensor();
      wrong_type[i].second = parts[i].second.to(torch::kFloat64);
      shorter[i].second = parts[i].second.narrow(0, 0, parts[i].second.size(0) - 1);
      remote[i].second = torch::empty_like(parts[i].second, torch::kMeta);
      for (const Parts& wrong : {missing, undefined, wrong_type, shorter, remote}) refuses(right, wrong);
    }
  }
  const Parts parts = packed(random_weight(97, 130), kF32)->packed_parts();
  for (const auto& v : std::vector<std::vector<int64_t>>{{97, 130, 0, 0, 0},
                                                         {97, 131, 48, 16, 0},
                                                         {97, 130, -48, 16, 0},
                                                         {97, 130, 48, 0, 0},
                                                         {97, 130, 48, 7, 0},
                                                         {97, 130, 16, 48, 0},
                                                         {97, 130, 48, 16, 2},
                                                         {97, 130, 32, 32, 1},
                                                         {97, 130, int64_t{1} << 62, int64_t{1} << 62, 0}}) {
    Linear linear(130, 97);
    EXPECT_THROW(linear->adopt({parts[0], {"layout", torch::tensor(v, torch::kInt64)}}, kF32), Error);
  }
  Parts odd = packed(random_weight(97, 130), kInt4)->packed_parts();
  odd[2].second = odd[2].second.clone();
  odd[2].second[0][0][0] = INFINITY;
  Linear linear(130, 97);
  EXPECT_THROW(linear->adopt(odd, kInt4), Error);
}

}  // namespace
}  // namespace lt2
