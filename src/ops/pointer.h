#pragma once
// How a tensor's memory reaches a kernel: these functions and no others take raw pointers in ops/ and mixers/.
//
// A kernel reads the numbers that it believes to be there. So what it believes is said where the pointer is taken, and
// checked: the device is the CPU, the type, how many numbers, and that they lie side by side. A check costs some
// nanoseconds. One that fails is lt2::Error with the names of op and argument.
#include "base/torch.h"

namespace lt2 {

/// For what a pointer is taken: {"rms_norm", "weight"}.
struct Argument {
  const char* op;
  const char* name;
};

/// All of `t`: `count` numbers of `type` side by side, whatever its sizes. May be null if count is 0.
void* dense_data(const torch::Tensor& t, torch::ScalarType type, int64_t count, Argument who);

/// `t` of exactly `sizes`, whose last `dense` axes lie side by side; those before them may have any strides, 0 too.
/// Numbers to be written must not share memory: `t` is new then, or was checked.
void* strided_data(const torch::Tensor& t, torch::ScalarType type, torch::IntArrayRef sizes, int64_t dense,
                   Argument who);

/// Where t's first number lies, to tell one tensor's memory from another's. Never read through it.
const void* address_of(const torch::Tensor& t);

template <typename T>
T* dense_data(const torch::Tensor& t, int64_t count, Argument who) {
  return static_cast<T*>(dense_data(t, c10::CppTypeToScalarType<T>::value, count, who));
}

/// Null for an undefined tensor.
template <typename T>
T* dense_data_or_null(const torch::Tensor& t, int64_t count, Argument who) {
  return t.defined() ? dense_data<T>(t, count, who) : nullptr;
}

/// The view {data, stride, stride, stride} that kernels take of t [a, b, c, n]: rows of n numbers side by side, at any
/// distance from each other. `sizes` may leave n out: rows of one number.
template <typename View>
View rows_data(const torch::Tensor& t, torch::ScalarType type, torch::IntArrayRef sizes, Argument who) {
  void* data = strided_data(t, type, sizes, sizes.size() == 4 ? 1 : 0, who);
  return {static_cast<decltype(View::data)>(data), t.stride(0), t.stride(1), t.stride(2)};
}

/// t, copied unless the numbers of its last axis lie side by side: what rows_data needs.
inline torch::Tensor dense_rows(const torch::Tensor& t) {
  return t.size(-1) == 1 || t.stride(-1) == 1 ? t : t.contiguous();
}

}  // namespace lt2
