#pragma once
// What the processor can do. Kernels are compiled once per instruction set (Highway) and chosen at run time.
#include <cstdint>
#include <string>

namespace lt2 {

struct CpuInfo {
  std::string name;          // as the processor calls itself
  bool avx2 = false;         // with FMA and F16C
  bool avx512 = false;       // F, BW, DQ, VL, CD
  bool avx512_vnni = false;  // int8 dot products
  bool avx512_bf16 = false;  // bf16 dot products
  bool amx_bf16 = false;     // bf16 tiles, and the kernel lets this process use them
  bool amx_int8 = false;
  int64_t l1_bytes = 0, l2_bytes = 0, l3_bytes = 0;  // data caches, per core, per core, shared
};

/// Read once, at the first call.
const CpuInfo& cpu_info();

/// The kernels' instruction set in use: "AVX-512", "AVX2", "SSE4", ... LT2_ISA=avx2 in the environment lowers it (for
/// tests and comparisons); it never raises it above what the processor has.
std::string kernel_isa();

}  // namespace lt2
