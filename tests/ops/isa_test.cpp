#include "ops/simd/isa.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include "base/cpu.h"
#include "base/error.h"

namespace lt2 {
namespace {

class Isa : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* value = ::getenv("LT2_ISA");
    before_ = value ? value : "";
  }
  void TearDown() override { set(before_.c_str()); }
  static void set(const char* value) {
    ::setenv("LT2_ISA", value, 1);
    apply_isa_override();
  }
  std::string before_;
};

TEST_F(Isa, BestUnlessLowered) {
  const CpuInfo& cpu = cpu_info();
  set("");
  EXPECT_EQ(kernel_isa(), cpu.avx512 ? "AVX-512" : cpu.avx2 ? "AVX2" : "scalar");
  set("avx2");
  EXPECT_EQ(kernel_isa(), cpu.avx2 ? "AVX2" : "scalar");
  set("scalar");
  EXPECT_EQ(kernel_isa(), "scalar");
}

TEST_F(Isa, RefusesOtherValues) {
  for (const char* value : {"avx512", "AVX2", "sse"}) EXPECT_THROW(set(value), Error) << value;
}

}  // namespace
}  // namespace lt2
