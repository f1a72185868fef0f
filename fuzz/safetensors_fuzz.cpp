// Safetensors files from anywhere: every tensor can be read, or there is an error.
//
//   clang++ -std=c++17 -g -O1 -fsanitize=fuzzer,address,undefined -Isrc -isystem TORCH/include
//   fuzz/safetensors_fuzz.cpp
//       src/checkpoint/safetensors.cpp src/base/files.cpp src/base/units.cpp -lfmt -ltorch -ltorch_cpu -lc10
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "checkpoint/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // A file that is only in memory: the reader maps files.
  const int file = ::memfd_create("fuzz", 0);
  if (file < 0 || ::write(file, data, size) != static_cast<ssize_t>(size)) std::abort();
  try {
    const lt2::SafetensorsFile tensors("/proc/self/fd/" + std::to_string(file));
    for (const auto& name : tensors.names()) {
      const auto copy = tensors.tensor(name), view = tensors.view(name);
      if (copy.sizes().vec() != tensors.info(name).shape || copy.sizes() != view.sizes()) std::abort();
      if (copy.nbytes() != tensors.info(name).end - tensors.info(name).begin) std::abort();
    }
  } catch (const lt2::Error&) {
  }
  ::close(file);
  return 0;
}
