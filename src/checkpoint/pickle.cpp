#include "checkpoint/pickle.h"

#include "checkpoint/pickle_format.h"

namespace lt2 {

using Kind = PickleValue::Kind;

uint64_t dtype_bytes(std::string_view dtype) {
  for (const auto& type : kStorageTypes)
    if (dtype == type.dtype) return type.bytes;
  return 0;
}

PickleRef PickleValue::find(std::string_view key) const {
  PickleRef found = nullptr;
  for (size_t i = 0; kind == Kind::kDict && i < items.size(); i += 2)
    if (items[i]->is(Kind::kText) && items[i]->text == key) found = items[i + 1];
  return found;
}

const char* PickleValue::kind_name() const {
  switch (kind) {
    case Kind::kNone:
      return "None";
    case Kind::kBool:
      return "a bool";
    case Kind::kInt:
      return "an int";
    case Kind::kFloat:
      return "a float";
    case Kind::kText:
      return "a str";
    case Kind::kBytes:
      return "bytes";
    case Kind::kTuple:
      return "a tuple";
    case Kind::kList:
      return "a list";
    case Kind::kDict:
      return "a dict";
    case Kind::kTensor:
      return "a tensor";
    case Kind::kStorage:
      return "a storage";
    case Kind::kName:
      return "a Python name";
  }
  return "";
}

PickleRef Pickle::dict(const std::vector<std::pair<std::string, PickleRef>>& items) {
  PickleValue value{.kind = Kind::kDict};
  for (const auto& [key, item] : items) {
    value.items.push_back(text(key));
    value.items.push_back(item);
  }
  return add(std::move(value));
}

PickleRef Pickle::tensor(TensorView view) {
  return add({.kind = Kind::kTensor, .tensor = std::make_shared<TensorView>(std::move(view))});
}

}  // namespace lt2
