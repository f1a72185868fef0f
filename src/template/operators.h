#pragma once
// Python's operators on values. What has no meaning there throws lt2::Error with Python's words.
#include <string>
#include <vector>

#include "template/runtime.h"
#include "template/value.h"

namespace lt2::jinja {

bool truth(Runtime& run, const Value& value);
bool equal(Runtime& run, const Value& a, const Value& b);
/// a < b; for >, <= and >= the caller turns it around, with `sign` for the message.
bool less(Runtime& run, const Value& a, const Value& b, const char* sign = "<");
/// ==, !=, <, <=, >, >=, in, not in.
bool compare(Runtime& run, const std::string& sign, const Value& a, const Value& b);
bool contains(Runtime& run, const Value& container, const Value& item);

/// +, -, *, /, //, %, **.
Value arithmetic(Runtime& run, const std::string& sign, const Value& a, const Value& b);
Value negative(const Value& value);
Value positive(const Value& value);

/// The items of what can be iterated: characters, keys, items. Takes them out of an iterator.
std::vector<Value> items_of(Runtime& run, const Value& value);
bool iterable(const Value& value);
/// len(); -1 if the value has none.
int64_t length_of(Runtime& run, const Value& value);

/// value.name: a method, or else what lies in a dict under that name. Undefined if there is neither.
Value attribute(Runtime& run, const Value& value, const std::string& name);
/// value[key], or else an attribute. Undefined if there is neither.
Value item(Runtime& run, const Value& value, const Value& key);
/// value[start:stop:step], each an integer or None.
Value slice(Runtime& run, const Value& value, const Value& start, const Value& stop, const Value& step);

/// str() and repr(). Throws for what Python would show with its place in memory.
std::string text_of(Runtime& run, const Value& value);
std::string repr_of(Runtime& run, const Value& value, int depth = 0);

/// Before a key is looked for.
void spend_lookup(Runtime& run, const Dict& dict, const Value& key);

/// The error of an undefined value: always thrown.
[[noreturn]] void refuse_undefined(const Value& value);
/// Thrown where only a strict Jinja refuses an undefined value.
void check_defined(Runtime& run, const Value& value);

}  // namespace lt2::jinja
