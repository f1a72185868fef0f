#include "base/cpu.h"

#include <gtest/gtest.h>

#include "base/files.h"

namespace lt2 {
namespace {

TEST(Cpu, FlagsImplyEachOther) {
  const CpuInfo& cpu = cpu_info();
  EXPECT_FALSE(cpu.name.empty());
  EXPECT_TRUE(cpu.avx2 || !cpu.avx512);
  EXPECT_TRUE(cpu.avx512 || !(cpu.avx512_vnni || cpu.avx512_bf16 || cpu.amx_bf16 || cpu.amx_int8));
}

TEST(Cpu, CachesGrow) {
  const CpuInfo& cpu = cpu_info();
  if (cpu.l1_bytes == 0 || cpu.l2_bytes == 0) GTEST_SKIP() << "this system tells no cache sizes";
  EXPECT_GE(cpu.l1_bytes, 8 << 10);
  EXPECT_GE(cpu.l2_bytes, cpu.l1_bytes);
}

#if defined(__x86_64__)
TEST(Cpu, AgreesWithTheKernel) {
  const std::string text = read_file("/proc/cpuinfo");
  const auto begin = text.find("flags");
  if (begin == std::string::npos) GTEST_SKIP() << "/proc/cpuinfo lists no flags";
  const std::string flags = text.substr(begin, text.find('\n', begin) - begin) + " ";
  const auto listed = [&](const char* flag) { return flags.find(" " + std::string(flag) + " ") != std::string::npos; };
  EXPECT_EQ(cpu_info().avx2, listed("avx2") && listed("fma") && listed("f16c"));
  EXPECT_EQ(cpu_info().avx512, listed("avx512f") && listed("avx512bw") && listed("avx512dq") && listed("avx512vl"));
  EXPECT_EQ(cpu_info().avx512_vnni, listed("avx512_vnni"));
  EXPECT_EQ(cpu_info().avx512_bf16, listed("avx512_bf16"));
  EXPECT_EQ(cpu_info().amx_bf16, listed("amx_bf16"));
}
#endif

}  // namespace
}  // namespace lt2
