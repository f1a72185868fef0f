#pragma once
// What the pickle reader and writer share: the operations of the stack machine and the names that mean something.
#include <array>
#include <cstdint>

namespace lt2 {

struct StorageType {
  const char *name, *dtype;
  uint64_t bytes;
};
inline constexpr std::array kStorageTypes = {
    StorageType{"torch DoubleStorage", "F64", 8}, StorageType{"torch FloatStorage", "F32", 4},
    StorageType{"torch HalfStorage", "F16", 2},   StorageType{"torch BFloat16Storage", "BF16", 2},
    StorageType{"torch LongStorage", "I64", 8},   StorageType{"torch IntStorage", "I32", 4},
    StorageType{"torch ShortStorage", "I16", 2},  StorageType{"torch CharStorage", "I8", 1},
    StorageType{"torch ByteStorage", "U8", 1},    StorageType{"torch BoolStorage", "BOOL", 1}};

inline constexpr const char* kOrderedDict = "collections OrderedDict";
inline constexpr const char* kRebuildTensor = "torch._utils _rebuild_tensor_v2";
inline constexpr const char* kRebuildParameter = "torch._utils _rebuild_parameter";

enum PickleOp : uint8_t {
  kMark = '(',
  kStop = '.',
  kPop = '0',
  kPopMark = '1',
  kDup = '2',
  kBinFloat = 'G',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kNoneOp = 'N',
  kBinPersId = 'Q',
  kReduce = 'R',
  kBinString = 'T',
  kShortBinString = 'U',
  kBinUnicode = 'X',
  kAppend = 'a',
  kBuild = 'b',
  kGlobal = 'c',
  kDictOp = 'd',
  kAppends = 'e',
  kBinGet = 'h',
  kLongBinGet = 'j',
  kListOp = 'l',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kSetItem = 's',
  kTupleOp = 't',
  kSetItems = 'u',
  kEmptyDict = '}',
  kEmptyTuple = ')',
  kEmptyList = ']',
  kBinBytes = 'B',
  kShortBinBytes = 'C',
  kProto = 0x80,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kLong1 = 0x8a,
  kLong4 = 0x8b,
  kShortBinUnicode = 0x8c,
  kBinUnicode8 = 0x8d,
  kBinBytes8 = 0x8e,
  kStackGlobal = 0x93,
  kMemoize = 0x94,
  kFrame = 0x95,
  kByteArray8 = 0x96,
};

}  // namespace lt2
