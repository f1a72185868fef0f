#pragma once
// Python's pickle format as far as PyTorch's checkpoints use it, read without executing anything.
//
// A pickle is a program for a stack machine that may call any Python function. This reader knows plain values and the
// few names that mean a tensor or an ordered dict; every other name is an error that says it. Tensors are
// described, not made: their bytes lie elsewhere (checkpoint/torch_zip.h).
//
//   {"model": {"tok_embeddings.weight": tensor F32 [256, 64] of storage "0"}, "optim": {...}}
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lt2 {

/// Elements that share memory: one file of the archive.
struct StorageInfo {
  std::string dtype;  // F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL, as in safetensors
  std::string key;    // its name below archive/data/
  uint64_t elements = 0;
};

/// A view of a storage. When read it lies inside its storage, whatever the file says.
struct TensorView {
  StorageInfo storage;
  uint64_t offset = 0;          // in elements, as are the strides
  std::vector<int64_t> shape;   // empty: a scalar
  std::vector<int64_t> stride;  // as many as sizes, none negative
};

class PickleReader;
class PickleValue;
using PickleRef = const PickleValue*;

/// One value. References stay valid as long as the Pickle that owns them.
class PickleValue {
 public:
  enum class Kind { kNone, kBool, kInt, kFloat, kText, kBytes, kTuple, kList, kDict, kTensor, kStorage, kName };

  Kind kind = Kind::kNone;
  int64_t integer = 0;                       // kBool, kInt
  double real = 0;                           // kFloat
  std::string text;                          // kText (UTF-8), kBytes, kName ("module name")
  std::vector<PickleRef> items;              // kTuple, kList; kDict: key, value, key, value, ...
  std::shared_ptr<const TensorView> tensor;  // kTensor; kStorage: only its storage

  bool is(Kind other) const { return kind == other; }
  /// The value of the text key, or nullptr. Of equal keys the last counts, as in Python.
  PickleRef find(std::string_view key) const;
  /// "a dict", "a tensor", ...: for messages.
  const char* kind_name() const;
};

constexpr uint64_t kMaxPickleBytes = uint64_t{1} << 28;

/// A tree of values, read or built.
class Pickle {
 public:
  Pickle() = default;
  Pickle(Pickle&&) = default;
  Pickle& operator=(Pickle&&) = default;

  /// Reads protocols 2 to 5. Throws lt2::Error "WHERE: byte N: ..." for anything but a whole, finite tree of known
  /// values; needs memory in proportion to the bytes.
  static Pickle read(std::string_view bytes, const std::string& where);
  PickleRef root() const { return root_; }

  PickleRef none() { return add({}); }
  PickleRef boolean(bool value) { return add({.kind = PickleValue::Kind::kBool, .integer = value}); }
  PickleRef integer(int64_t value) { return add({.kind = PickleValue::Kind::kInt, .integer = value}); }
  PickleRef real(double value) { return add({.kind = PickleValue::Kind::kFloat, .real = value}); }
  PickleRef text(std::string value) { return add({.kind = PickleValue::Kind::kText, .text = std::move(value)}); }
  PickleRef tuple(std::vector<PickleRef> items) {
    return add({.kind = PickleValue::Kind::kTuple, .items = std::move(items)});
  }
  PickleRef list(std::vector<PickleRef> items) {
    return add({.kind = PickleValue::Kind::kList, .items = std::move(items)});
  }
  PickleRef dict(const std::vector<std::pair<std::string, PickleRef>>& items);
  PickleRef tensor(TensorView view);

  /// Protocol 2, as torch.save writes it, of values made by the functions above.
  std::string write(PickleRef root) const;

 private:
  friend class PickleReader;
  PickleValue* add(PickleValue value) { return &values_.emplace_back(std::move(value)); }

  std::deque<PickleValue> values_;
  PickleRef root_ = nullptr;
};

/// Bytes of one element of a dtype such as "F32"; 0 if there is no such type.
uint64_t dtype_bytes(std::string_view dtype);

}  // namespace lt2
