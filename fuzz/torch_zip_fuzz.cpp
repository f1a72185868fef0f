// Files of torch.save from anywhere. The first byte says what the rest is: a whole file; a pickle; or a pickle in an
// archive with storages of zeros, so that damaged pickles are not all stopped by their checksum.
//
//   clang++ -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -Isrc fuzz/torch_zip_fuzz.cpp
//       src/checkpoint/pickle.cpp src/checkpoint/pickle_reader.cpp src/checkpoint/torch_zip.cpp src/base/files.cpp
//       src/base/units.cpp -lfmt -lz
#include <cstdint>
#include <cstring>
#include <set>
#include <string>

#include "base/error.h"
#include "checkpoint/torch_zip.h"

namespace {

using namespace lt2;

SharedBytes copy_of(const std::string& bytes) {
  std::shared_ptr<uint8_t> copy(new uint8_t[bytes.size()], std::default_delete<uint8_t[]>());
  std::memcpy(copy.get(), bytes.data(), bytes.size());
  return {copy, bytes.size()};
}

// Each value once: shared ones have more paths than there is time.
std::set<PickleRef> values_of(PickleRef root) {
  std::set<PickleRef> seen{root};
  std::vector<PickleRef> todo{root};
  while (!todo.empty()) {
    const PickleRef value = todo.back();
    todo.pop_back();
    value->find("model");
    for (const PickleRef item : value->items)
      if (seen.insert(item).second) todo.push_back(item);
  }
  return seen;
}

// What a tensor of this view would read: the first and the last element.
void read_corners(const SharedBytes& storage, const TensorView& view) {
  const uint64_t bytes = dtype_bytes(view.storage.dtype);
  uint64_t last = view.offset;
  for (size_t i = 0; i < view.shape.size(); ++i) {
    if (view.shape[i] == 0) return;
    last += static_cast<uint64_t>((view.shape[i] - 1) * view.stride[i]);
  }
  volatile uint8_t sink = storage.data.get()[view.offset * bytes];
  sink = storage.data.get()[last * bytes + bytes - 1];
  (void)sink;
}

void read_file_of_torch(const std::string& bytes) {
  const TorchArchive file(copy_of(bytes), "file");
  for (const PickleRef value : values_of(file.root()))
    if (value->is(PickleValue::Kind::kTensor)) read_corners(file.storage(value->tensor->storage), *value->tensor);
}

std::string in_archive(const std::string& pickle) {
  std::string out;
  TorchArchiveWriter file([&](const void* data, size_t bytes) { out.append(static_cast<const char*>(data), bytes); },
                          pickle);
  for (const size_t bytes : {16, 48, 0}) file.add_storage(std::string(bytes, '\0').data(), bytes);
  file.finish();
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    switch (data[0] % 3) {
      case 0: {
        const ZipArchive zip(copy_of(rest), "file");
        for (const auto& entry : zip.entries()) {
          try {
            zip.read(entry);
          } catch (const Error&) {
          }
        }
        read_file_of_torch(rest);
        break;
      }
      case 1:
        values_of(Pickle::read(rest, "file").root());
        break;
      default:
        read_file_of_torch(in_archive(rest));
    }
  } catch (const Error&) {
  }
  return 0;
}
