#include "base/cpu.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace lt2 {
namespace {

// "48K" -> 49152; 0 where the file is missing.
int64_t read_size(const std::filesystem::path& path) {
  std::ifstream file(path);
  int64_t size = 0;
  char unit = ' ';
  if (!(file >> size)) return 0;
  file >> unit;
  return size << (unit == 'K' ? 10 : unit == 'M' ? 20 : unit == 'G' ? 30 : 0);
}

void read_cache_sizes(CpuInfo& info) {
  for (int index = 0; index < 8; ++index) {
    const auto folder = std::filesystem::path("/sys/devices/system/cpu/cpu0/cache") / ("index" + std::to_string(index));
    std::string type;
    int level = 0;
    std::ifstream(folder / "type") >> type;
    std::ifstream(folder / "level") >> level;
    if (type == "Instruction") continue;
    const int64_t size = read_size(folder / "size");
    if (level == 1) info.l1_bytes = size;
    if (level == 2) info.l2_bytes = size;
    if (level == 3) info.l3_bytes = size;
  }
  // Containers may hide /sys; some C libraries know.
  const auto fill_in = [](int64_t& size, int name) {
    if (size == 0) size = std::max<int64_t>(0, ::sysconf(name));
  };
  fill_in(info.l1_bytes, _SC_LEVEL1_DCACHE_SIZE);
  fill_in(info.l2_bytes, _SC_LEVEL2_CACHE_SIZE);
  fill_in(info.l3_bytes, _SC_LEVEL3_CACHE_SIZE);
}

#if defined(__x86_64__)

struct Registers {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(unsigned leaf, unsigned subleaf = 0) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);
  return r;
}

bool bit(uint64_t word, int index) { return word >> index & 1; }
bool all_bits(uint64_t word, uint64_t mask) { return (word & mask) == mask; }

// Which registers the operating system saves when it switches threads.
uint64_t saved_registers() {
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<uint64_t>(high) << 32 | low;
}

// Linux gives tile registers (8 KiB a thread) only to processes that ask.
bool permit_amx() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

std::string brand() {
  if (cpuid(0x80000000).eax < 0x80000004) return "unknown x86-64 processor";
  char text[49] = {};
  for (unsigned i = 0; i < 3; ++i) {
    const Registers r = cpuid(0x80000002 + i);
    std::memcpy(text + 16 * i, &r, 16);
  }
  const std::string name = text;
  const size_t first = name.find_first_not_of(' ');
  return first == std::string::npos ? "unknown x86-64 processor"
                                    : name.substr(first, name.find_last_not_of(' ') - first + 1);
}

void read_instruction_sets(CpuInfo& info) {
  info.name = brand();
  const Registers one = cpuid(1), seven = cpuid(7), seven_one = seven.eax >= 1 ? cpuid(7, 1) : Registers{};
  constexpr int kFma = 12, kXsaveInUse = 27, kAvx = 28, kF16c = 29;  // ecx of leaf 1
  if (!bit(one.ecx, kXsaveInUse)) return;
  constexpr uint64_t kYmm = 0x6, kZmm = 0xe0, kTiles = 0x60000;
  const uint64_t saved = saved_registers();
  const bool avx = all_bits(saved, kYmm) && bit(one.ecx, kAvx);
  info.avx2 = avx && bit(seven.ebx, 5) && bit(one.ecx, kFma) && bit(one.ecx, kF16c);
  constexpr uint64_t kAvx512 = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31;  // F, DQ, CD, BW, VL
  info.avx512 = info.avx2 && all_bits(saved, kZmm) && all_bits(seven.ebx, kAvx512);
  info.avx512_vnni = info.avx512 && bit(seven.ecx, 11);
  info.avx512_bf16 = info.avx512 && bit(seven_one.eax, 5);
  if (info.avx512 && all_bits(saved, kTiles) && bit(seven.edx, 24) && permit_amx()) {
    info.amx_bf16 = bit(seven.edx, 22);
    info.amx_int8 = bit(seven.edx, 25);
  }
}

#else

void read_instruction_sets(CpuInfo& info) { info.name = "not an x86-64 processor"; }

#endif

CpuInfo read_cpu_info() {
  CpuInfo info;
  read_instruction_sets(info);
  read_cache_sizes(info);
  return info;
}

}  // namespace

const CpuInfo& cpu_info() {
  static const CpuInfo info = read_cpu_info();
  return info;
}

}  // namespace lt2
