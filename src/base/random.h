#pragma once
// The two generators that other programs' results depend on, reproduced exactly.
#include <array>
#include <cstdint>
#include <initializer_list>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

namespace lt2 {

/// numpy's default_rng(seed tuple): SeedSequence and PCG64 (XSL-RR 128/64).
class Pcg64 {
 public:
  using uint128 = unsigned __int128;
  explicit Pcg64(std::initializer_list<uint64_t> seed);
  uint64_t next64();
  uint32_t next32();               // one half of a 64-bit draw; the other half is kept for the next call
  double uniform();                // [0, 1), 53 bits
  uint64_t bounded(uint64_t max);  // uniform in [0, max], masked rejection as numpy's shuffle
  template <typename T>
  void shuffle(std::vector<T>& items) {
    for (size_t i = items.size(); i-- > 1;) std::swap(items[i], items[bounded(i)]);
  }

  /// State in numpy's JSON form. state and inc are 128-bit decimal numbers, which JSON readers must not take for
  /// doubles.
  struct State {
    uint128 state = 0, inc = 0;
    bool has_uint32 = false;
    uint32_t uinteger = 0;
    bool operator==(const State&) const = default;
  };
  State state() const { return state_; }
  void set_state(const State& state) { state_ = state; }

 private:
  State state_;
};

std::string to_decimal(unsigned __int128 value);
/// Throws lt2::Error unless `text` is a decimal number below 2^128.
unsigned __int128 uint128_from_decimal(const std::string& text);

/// CPython's random.Random(seed): MT19937 seeded by init_by_array.
class PythonRandom {
 public:
  explicit PythonRandom(uint64_t seed);
  uint32_t next32();
  uint32_t below(uint32_t count);  // uniform in [0, count): leading bits, rejected until they fit
  template <typename T>
  void shuffle(std::vector<T>& items) {
    for (size_t i = items.size(); i-- > 1;) std::swap(items[i], items[below(static_cast<uint32_t>(i + 1))]);
  }

 private:
  std::array<uint32_t, 624> words_;
  int index_ = 624;
};

}  // namespace lt2
