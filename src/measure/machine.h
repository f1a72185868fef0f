#pragma once
// The peak rates of this machine: the floors that times are compared with.
//
// One long burst may fall into one noisy moment. So every rate takes some 30 bursts of about a millisecond, and the
// rates take turns; all threads start a burst together. The rate of a core's units is the sum of each thread's best
// burst; the rate of the memory, which threads share, is the best burst of all threads together.
namespace lt2 {

struct MachineRates {
  double fma_gflops = 0;  // fp32 multiply-adds that never leave the registers; a multiply-add counts as two
  // bf16 products on the processor's unit for them (ops/simd/tile_unit.h), on numbers from the first-level cache: the
  // most that a product can reach. 0: the processor has no such unit.
  double bf16_gflops = 0;
  double bf16_register_gflops = 0;  // likewise, on zeros or few numbers that never leave the registers
  double byte_gflops = 0;           // int8 or int4 weights times bf16 on the unit for bytes (ops/simd/byte_unit.h)
  double byte_register_gflops = 0;
  double read_gbps = 0;        // reading memory that no cache holds, in 10^9 bytes a second
  double read_write_gbps = 0;  // reading it and writing it back in place, both directions counted
};

/// The rates to measure; the others stay 0.
struct WantedRates {
  bool fma = false, bf16 = false, bytes = false, read = false, read_write = false;
};

/// Measures on as many threads as base/threads.h says. Each rate of the processor takes about 0.04 s; a rate of the
/// memory takes 0.1 s, and 0.3 s more to fill the 512 MiB that are read.
MachineRates measure_rates(const WantedRates& wanted);

}  // namespace lt2
