#include "checkpoint/torch_file.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/error.h"

namespace lt2 {
namespace {

struct Dtype {
  const char* name;
  torch::ScalarType type;
};
constexpr std::array kDtypes = {Dtype{"F64", torch::kFloat64}, Dtype{"F32", torch::kFloat32},
                                Dtype{"F16", torch::kFloat16}, Dtype{"BF16", torch::kBFloat16},
                                Dtype{"I64", torch::kInt64},   Dtype{"I32", torch::kInt32},
                                Dtype{"I16", torch::kInt16},   Dtype{"I8", torch::kInt8},
                                Dtype{"U8", torch::kUInt8},    Dtype{"BOOL", torch::kBool}};

torch::ScalarType type_of(const std::string& dtype) {
  for (const auto& known : kDtypes)
    if (dtype == known.name) return known.type;
  fail("no tensor type {}", dtype);
}

std::string name_of(torch::ScalarType type) {
  for (const auto& known : kDtypes)
    if (type == known.type) return known.name;
  fail("a tensor of type {} cannot be saved in PyTorch's format", torch::toString(type));
}

}  // namespace

torch::Tensor tensor_of(const TorchArchive& file, const PickleValue& value) {
  LT2_CHECK(value.is(PickleValue::Kind::kTensor), "{}: expected a tensor, found {}", file.where(), value.kind_name());
  const TensorView& view = *value.tensor;
  const auto type = type_of(view.storage.dtype);
  const SharedBytes bytes = file.storage(view.storage);
  if (view.storage.dtype == "BOOL") {
    const bool valid = std::all_of(bytes.data.get(), bytes.data.get() + bytes.size, [](uint8_t b) { return b <= 1; });
    LT2_CHECK(valid, "{}: storage {}: BOOL elements must be 0 or 1", file.where(), view.storage.key);
  }
  const auto elements = static_cast<int64_t>(view.storage.elements);
  torch::Tensor storage;
  if (elements == 0 || reinterpret_cast<uintptr_t>(bytes.data.get()) % dtype_bytes(view.storage.dtype) != 0) {
    storage = torch::empty({elements}, type);
    if (elements > 0) std::memcpy(storage.data_ptr(), bytes.data.get(), bytes.size);
  } else {
    storage = torch::from_blob(
        const_cast<uint8_t*>(bytes.data.get()), {elements}, [keep = bytes.data](void*) {}, type);
  }
  return storage.as_strided(view.shape, view.stride, static_cast<int64_t>(view.offset));
}

PickleRef TorchFileBuilder::tensor(const torch::Tensor& tensor) {
  LT2_CHECK(tensor.defined() && tensor.layout() == torch::kStrided, "only dense tensors can be saved");
  const auto shape = tensor.sizes().vec();
  TensorView view{.storage = {.dtype = name_of(tensor.scalar_type()),
                              .key = std::to_string(tensors_.size()),
                              .elements = static_cast<uint64_t>(tensor.numel())},
                  .shape = shape,
                  .stride = std::vector<int64_t>(shape.size(), 1)};
  for (size_t i = shape.size(); i-- > 1;) view.stride[i - 1] = view.stride[i] * std::max<int64_t>(shape[i], 1);
  tensors_.push_back(tensor);
  return values.tensor(std::move(view));
}

void TorchFileBuilder::write(const std::filesystem::path& path, PickleRef root) const {
  AtomicFile file(path);
  TorchArchiveWriter archive([&](const void* data, size_t bytes) { file.write(data, bytes); }, values.write(root));
  for (const auto& tensor : tensors_) {
    const auto plain = tensor.detach().cpu().resolve_neg().contiguous();
    archive.add_storage(plain.data_ptr(), plain.nbytes());
  }
  archive.finish();
  file.commit();
}

}  // namespace lt2
