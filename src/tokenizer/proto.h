#pragma once
// Protocol buffers as they lie in a file: enough to read the few messages that this room needs.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

namespace lt2 {

// One field of a protocol buffer.
struct ProtoField {
  uint64_t number = 0, value = 0;
  std::string_view bytes;
};

// Calls visit(field) for each field of a message.
template <class Visit>
void each_field(std::string_view message, const std::string& where, Visit&& visit) {
  const auto refuse = [&](const char* what) { fail("{}: no SentencePiece model: {}", where, what); };
  size_t at = 0;
  const auto varint = [&] {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (at == message.size()) refuse("a number is cut off");
      const auto byte = static_cast<uint8_t>(message[at++]);
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    refuse("a number of more than 64 bits");
    return value;
  };
  const auto take = [&](uint64_t count) {
    if (count > message.size() - at) refuse("a field is cut off");
    at += count;
    return message.substr(at - count, count);
  };
  while (at < message.size()) {
    const uint64_t key = varint();
    ProtoField field{key >> 3, 0, {}};
    switch (key & 7) {
      case 0:
        field.value = varint();
        break;
      case 1:
        field.bytes = take(8);
        break;
      case 2:
        field.bytes = take(varint());
        break;
      case 5:
        field.bytes = take(4);
        break;
      default:
        refuse("a field of unknown kind");
    }
    visit(field);
  }
}

}  // namespace lt2
