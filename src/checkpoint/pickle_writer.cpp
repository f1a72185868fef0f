#include <algorithm>
#include <bit>

#include "base/error.h"
#include "checkpoint/pickle.h"
#include "checkpoint/pickle_format.h"

namespace lt2 {
namespace {

using Kind = PickleValue::Kind;

class PickleWriter {
 public:
  std::string run(PickleRef root) {
    op(kProto);
    out_ += '\2';
    value(*root);
    op(kStop);
    return std::move(out_);
  }

 private:
  void op(uint8_t code) { out_ += static_cast<char>(code); }
  template <class T>
  void number(T value) {
    out_.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  void integer(int64_t value) {
    if (value >= INT32_MIN && value <= INT32_MAX) {
      op(kBinInt);
      number(static_cast<int32_t>(value));
      return;
    }
    op(kLong1);
    out_ += '\10';
    number(value);
  }
  void text(std::string_view value) {
    op(kBinUnicode);
    number(static_cast<uint32_t>(value.size()));
    out_ += value;
  }
  void name(std::string_view full) {
    op(kGlobal);
    const auto space = full.find(' ');
    out_.append(full.substr(0, space)).append("\n").append(full.substr(space + 1)).append("\n");
  }
  void integers(const std::vector<int64_t>& values) {
    op(kMark);
    for (const int64_t value : values) integer(value);
    op(kTupleOp);
  }
  void tensor(const TensorView& view) {
    const auto type = std::find_if(kStorageTypes.begin(), kStorageTypes.end(),
                                   [&](const auto& candidate) { return view.storage.dtype == candidate.dtype; });
    LT2_CHECK(type != kStorageTypes.end(), "a tensor of type {} cannot be pickled", view.storage.dtype);
    name(kRebuildTensor);
    op(kMark);
    op(kMark);
    text("storage");
    name(type->name);
    text(view.storage.key);
    text("cpu");
    integer(static_cast<int64_t>(view.storage.elements));
    op(kTupleOp);
    op(kBinPersId);
    integer(static_cast<int64_t>(view.offset));
    integers(view.shape);
    integers(view.stride);
    op(kNewFalse);
    name(kOrderedDict);
    op(kEmptyTuple);
    op(kReduce);
    op(kTupleOp);
    op(kReduce);
  }
  void items(const PickleValue& value, uint8_t empty, uint8_t fill) {
    op(empty);
    op(kMark);
    for (const PickleRef item : value.items) this->value(*item);
    op(fill);
  }
  void value(const PickleValue& value) {
    switch (value.kind) {
      case Kind::kNone:
        return op(kNoneOp);
      case Kind::kBool:
        return op(value.integer ? kNewTrue : kNewFalse);
      case Kind::kInt:
        return integer(value.integer);
      case Kind::kFloat: {
        op(kBinFloat);
        const auto bits = std::bit_cast<uint64_t>(value.real);
        for (int shift = 56; shift >= 0; shift -= 8) out_ += static_cast<char>(bits >> shift & 0xff);
        return;
      }
      case Kind::kText:
        return text(value.text);
      case Kind::kList:
        return items(value, kEmptyList, kAppends);
      case Kind::kDict:
        return items(value, kEmptyDict, kSetItems);
      case Kind::kTensor:
        return tensor(*value.tensor);
      case Kind::kTuple:
        op(kMark);
        for (const PickleRef item : value.items) this->value(*item);
        return op(kTupleOp);
      case Kind::kBytes:
      case Kind::kStorage:
      case Kind::kName:
        break;
    }
    fail("{} cannot be pickled", value.kind_name());
  }

  std::string out_;
};

}  // namespace

std::string Pickle::write(PickleRef root) const { return PickleWriter().run(root); }

}  // namespace lt2
