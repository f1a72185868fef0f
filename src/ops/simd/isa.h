#pragma once
// Which of the instruction sets that every kernel is compiled for is in use.
#include <string>

namespace lt2 {

/// The set kernels run with: "AVX-512", "AVX2" or "scalar" (plain x86-64), the best that the processor has unless
/// lowered.
std::string kernel_isa();

/// Lowers the set to what LT2_ISA in the environment says ("avx2" or "scalar"); unset or empty: back to the best. It
/// never raises it above what the processor has. For tests and comparisons. Call before other threads run kernels.
/// Throws lt2::Error on any other value.
void apply_isa_override();

}  // namespace lt2
