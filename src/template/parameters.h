#pragma once
// The arguments of a filter, a method or a function, put in the order in which its parameters are named.
#include <initializer_list>
#include <string>
#include <vector>

#include "template/runtime.h"
#include "template/value.h"

namespace lt2::jinja {

class Parameters {
 public:
  /// Throws if `arguments` has too many, unknown or doubled ones, or fewer than `required`. `what` names the callee.
  Parameters(std::string what, const Arguments& arguments, std::initializer_list<const char*> names,
             size_t required = 0);

  bool has(size_t i) const { return given_[i]; }
  /// None if it was not given.
  const Value& operator[](size_t i) const { return values_[i]; }
  const std::string& text(size_t i) const;
  std::string text(size_t i, const std::string& otherwise) const { return has(i) ? text(i) : otherwise; }
  int64_t integer(size_t i) const;
  int64_t integer(size_t i, int64_t otherwise) const { return has(i) ? integer(i) : otherwise; }
  bool truth(Runtime& run, size_t i, bool otherwise) const;

 private:
  const Value& checked(size_t i, bool holds, const char* expected) const;
  std::string what_;
  std::vector<const char*> names_;
  std::vector<Value> values_;
  std::vector<bool> given_;
};

}  // namespace lt2::jinja
