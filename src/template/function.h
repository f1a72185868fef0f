#pragma once
// What a template can call that is written here.
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "template/value.h"

namespace lt2::jinja {

class Function : public Object {
 public:
  using Body = std::function<Value(Runtime&, const Arguments&)>;
  /// `depth`: of the values that the body holds.
  Function(std::string name, Body body, int depth = 0)
      : name_(std::move(name)), body_(std::move(body)), depth_(depth) {}
  std::string type_name() const override { return "function"; }
  bool callable() const override { return true; }
  Value call(Runtime& run, Arguments& arguments) override { return body_(run, arguments); }
  int depth() const override { return depth_; }

  static Value make(std::string name, Body body, int depth = 0) {
    return Value::of(
        std::static_pointer_cast<Object>(std::make_shared<Function>(std::move(name), std::move(body), depth)));
  }

 private:
  std::string name_;
  Body body_;
  int depth_;
};

}  // namespace lt2::jinja
