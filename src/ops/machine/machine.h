#pragma once
// What this machine can do at best: the floors that times are compared with. Every function runs on the threads of
// base/threads.h and returns the best of several tries, because a disturbed try says nothing about the machine.
namespace lt2 {

/// fp32 multiply-adds that never leave the registers, in GFLOP/s (a multiply-add counts as two). About 0.2 s.
double measure_fma_gflops();

/// bf16 products that never leave the registers of the processor's bf16 unit (ops/simd/tile_unit.h), in GFLOP/s; 0
/// where it has none. About 0.2 s.
double measure_bf16_gflops();

/// Products of int8 or int4 weights with bf16 on the processor's unit for bytes (ops/simd/byte_unit.h), likewise.
double measure_byte_gflops();

/// Reading 512 MiB, far more than the caches hold, once from front to back, in GB/s (10^9 bytes). About 0.5 s.
double measure_read_gbps();

/// Reading and writing back 512 MiB in place, both directions counted, in GB/s. About 0.5 s.
double measure_read_write_gbps();

}  // namespace lt2
