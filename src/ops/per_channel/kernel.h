#pragma once
// Row kernels of per_channel: y = base + weight x + bias, one weight and one bias a channel.
#include <cstdint>

#include "ops/element.h"

namespace lt2 {

struct PerChannelShape {
  int64_t rows, n;
  Element x_element, y_element;  // base and dy have y's type, dx has x's
  const float *weight, *bias;    // [n] or null: ones, none
};

/// base [rows, n] or null.
void per_channel_forward(const PerChannelShape& shape, const void* x, const void* base, void* y);
/// dx = weight dy, dweight = sum over rows of dy x, dbias = sum over rows of dy; each unless null. dbase is dy.
void per_channel_backward(const PerChannelShape& shape, const void* x, const void* dy, void* dx, float* dweight,
                          float* dbias);

}  // namespace lt2
