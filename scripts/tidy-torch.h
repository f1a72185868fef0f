// What scripts/tidy.py precompiles: torch's headers as clang reads them. libstdc++ 12 makes std::vector constexpr, and
// clang then wants c10::IValue complete where List.h has it only declared (GCC waits to the end of the file).
// A vector without constexpr members is the same to every check. __fill_a1 was declared constexpr before it.
#include <bits/stl_algo.h>

#include <string>
#undef _GLIBCXX20_CONSTEXPR
#define _GLIBCXX20_CONSTEXPR
#define __fill_a1 __fill_a1_of_bits
#include <vector>
#undef __fill_a1
#undef _GLIBCXX20_CONSTEXPR
#define _GLIBCXX20_CONSTEXPR constexpr

#include "base/torch.h"
