#pragma once
// Process-wide settings that every program of this library wants before its first tensor.
namespace lt2 {

/// Threads of our kernels (0: the cores this process may use, see allowed_cores), one for torch, denormals flushed to
/// zero in all of them, tensor memory from the pool (a fresh page costs more than the arithmetic on it), LT2_ISA
/// obeyed.
void init_runtime(int threads = 0);

}  // namespace lt2
