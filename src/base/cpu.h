#pragma once
// What the processor can do and the system lets it do. Which kernels run is the choice of ops/simd/isa.h.
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

}  // namespace lt2
