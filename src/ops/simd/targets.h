#pragma once
// Which instruction sets Highway compiles every kernel for: plain x86-64 (one lane at a time), AVX2 with FMA, AVX-512.
// The sets left out lie between these and would only add compile time. Include before any Highway header.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
