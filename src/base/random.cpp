#include "base/random.h"

#include <algorithm>
#include <bit>

#include "base/error.h"

namespace lt2 {
namespace {

using uint128 = unsigned __int128;

constexpr uint128 make128(uint64_t high, uint64_t low) { return static_cast<uint128>(high) << 64 | low; }
constexpr uint128 kMultiplier = make128(0x2360ED051FC65DA4, 0x4385DF649FCCF645);

// numpy's SeedSequence: hashes any number of 32-bit words into a pool of four, and the pool into as many as wanted.
class SeedSequence {
 public:
  explicit SeedSequence(const std::vector<uint32_t>& entropy) {
    for (size_t i = 0; i < pool_.size(); ++i) pool_[i] = hash(i < entropy.size() ? entropy[i] : 0);
    for (size_t from = 0; from < pool_.size(); ++from)
      for (size_t to = 0; to < pool_.size(); ++to)
        if (from != to) pool_[to] = mix(pool_[to], hash(pool_[from]));
    for (size_t i = pool_.size(); i < entropy.size(); ++i)
      for (uint32_t& word : pool_) word = mix(word, hash(entropy[i]));
  }

  std::array<uint64_t, 4> words64() const {
    std::array<uint64_t, 4> words{};
    uint32_t constant = 0x8b51f9dd;
    for (size_t i = 0; i < 8; ++i) {
      uint32_t value = pool_[i % 4] ^ constant;
      constant *= 0x58f38ded;
      value *= constant;
      value ^= value >> 16;
      words[i / 2] |= static_cast<uint64_t>(value) << (32 * (i % 2));
    }
    return words;
  }

 private:
  uint32_t hash(uint32_t value) {
    value ^= constant_;
    constant_ *= 0x931e8875;
    value *= constant_;
    return value ^ value >> 16;
  }
  static uint32_t mix(uint32_t x, uint32_t y) {
    const uint32_t mixed = 0xca01f9dd * x - 0x4973f715 * y;
    return mixed ^ mixed >> 16;
  }

  std::array<uint32_t, 4> pool_{};
  uint32_t constant_ = 0x43b0d7e5;
};

// Little-endian 32-bit words without leading zeros; 0 is one word.
void append_words(uint64_t value, std::vector<uint32_t>& words) {
  words.push_back(static_cast<uint32_t>(value));
  if (value >> 32) words.push_back(static_cast<uint32_t>(value >> 32));
}

}  // namespace

Pcg64::Pcg64(std::initializer_list<uint64_t> seed) {
  std::vector<uint32_t> entropy;
  for (const uint64_t value : seed) append_words(value, entropy);
  const auto q = SeedSequence(entropy).words64();
  state_.inc = make128(q[2], q[3]) << 1 | 1;
  // One step from zero leaves inc; the seed is added and stepped over.
  state_.state = (state_.inc + make128(q[0], q[1])) * kMultiplier + state_.inc;
}

uint64_t Pcg64::next64() {
  state_.state = state_.state * kMultiplier + state_.inc;
  const auto high = static_cast<uint64_t>(state_.state >> 64), low = static_cast<uint64_t>(state_.state);
  return std::rotr(high ^ low, static_cast<int>(state_.state >> 122));
}

uint32_t Pcg64::next32() {
  if (state_.has_uint32) {
    state_.has_uint32 = false;
    return state_.uinteger;
  }
  const uint64_t word = next64();
  state_.has_uint32 = true;
  state_.uinteger = static_cast<uint32_t>(word >> 32);
  return static_cast<uint32_t>(word);
}

double Pcg64::uniform() { return static_cast<double>(next64() >> 11) * 0x1p-53; }

uint64_t Pcg64::bounded(uint64_t max) {
  if (max == 0) return 0;
  const uint64_t mask = ~uint64_t{0} >> std::countl_zero(max);
  for (;;) {
    const uint64_t value = (max > 0xffffffff ? next64() : next32()) & mask;
    if (value <= max) return value;
  }
}

std::string to_decimal(unsigned __int128 value) {
  std::string digits;
  do digits.push_back(static_cast<char>('0' + static_cast<int>(value % 10)));
  while (value /= 10);
  std::reverse(digits.begin(), digits.end());
  return digits;
}

unsigned __int128 uint128_from_decimal(const std::string& text) {
  uint128 value = 0;
  bool valid = !text.empty();
  for (const char c : text) {
    const unsigned digit = static_cast<unsigned char>(c) - unsigned{'0'};
    valid = valid && digit <= 9 && value <= (~uint128{0} - digit) / 10;
    if (!valid) break;
    value = value * 10 + digit;
  }
  LT2_CHECK(valid, "random generator state: expected a decimal number below 2^128, found \"{}\"", text);
  return value;
}

PythonRandom::PythonRandom(uint64_t seed) {
  std::vector<uint32_t> key;
  append_words(seed, key);
  words_[0] = 19650218;
  for (uint32_t i = 1; i < 624; ++i) words_[i] = 1812433253 * (words_[i - 1] ^ words_[i - 1] >> 30) + i;
  // Two passes over all words but the first; its place is taken by the last one whenever the index wraps.
  uint32_t i = 1;
  const auto advance = [&] {
    if (++i == 624) {
      words_[0] = words_[623];
      i = 1;
    }
  };
  for (uint32_t n = 0, j = 0; n < 624; ++n, j = (j + 1) % key.size()) {
    words_[i] = (words_[i] ^ (words_[i - 1] ^ words_[i - 1] >> 30) * 1664525) + key[j] + j;
    advance();
  }
  for (uint32_t n = 0; n < 623; ++n) {
    words_[i] = (words_[i] ^ (words_[i - 1] ^ words_[i - 1] >> 30) * 1566083941) - i;
    advance();
  }
  words_[0] = 0x80000000;
}

uint32_t PythonRandom::next32() {
  if (index_ == 624) {
    for (size_t i = 0; i < 624; ++i) {
      const uint32_t y = (words_[i] & 0x80000000) | (words_[(i + 1) % 624] & 0x7fffffff);
      words_[i] = words_[(i + 397) % 624] ^ y >> 1 ^ (y & 1 ? 0x9908b0df : 0);
    }
    index_ = 0;
  }
  uint32_t y = words_[index_++];
  y ^= y >> 11;
  y ^= y << 7 & 0x9d2c5680;
  y ^= y << 15 & 0xefc60000;
  return y ^ y >> 18;
}

uint32_t PythonRandom::below(uint32_t count) {
  if (count == 0) return 0;
  for (;;) {
    const uint32_t value = next32() >> std::countl_zero(count);
    if (value < count) return value;
  }
}

}  // namespace lt2
