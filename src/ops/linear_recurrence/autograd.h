#pragma once
// linear_recurrence on the CPU kernels as one differentiable function.
#include "ops/linear_recurrence/kernel.h"
#include "ops/linear_recurrence/op.h"

namespace lt2 {

/// Segments of fewer tokens between two chunk borders go token by token.
inline constexpr int64_t kRecurrenceMinChunkTokens = 8;

/// True for what the kernels take: fp32 or bf16 on the CPU.
bool recurrence_kernel_takes(const LinearRecurrenceInput& in);

/// Forward on the kernels, without a graph.
LinearRecurrenceOutput recurrence_run(const LinearRecurrenceInput& in, int64_t min_chunk_tokens);

/// The same with a graph: gradients recompute the forward pass from the inputs.
LinearRecurrenceOutput recurrence_with_graph(const LinearRecurrenceInput& in);

}  // namespace lt2
