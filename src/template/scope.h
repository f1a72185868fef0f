#pragma once
// Names and their values at one place of a template.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "template/runtime.h"
#include "template/value.h"

namespace lt2::jinja {

/// Scopes lie in each other: a loop's body sees the names around it, but what it sets is gone after the iteration.
class Scope : public Object {
 public:
  explicit Scope(std::shared_ptr<Scope> parent) : parent_(std::move(parent)) {}

  /// Null if neither this scope nor one around it has the name.
  const Value* find(Runtime& run, const std::string& name) const {
    for (const Scope* scope = this; scope; scope = scope->parent_.get()) {
      run.spend(1 + static_cast<int64_t>(scope->names_.size() / 8));
      for (const auto& [known, value] : scope->names_)
        if (known == name) return &value;
    }
    return nullptr;
  }

  void set(const std::string& name, Value value) {
    for (auto& [known, old] : names_)
      if (known == name) {
        old = std::move(value);
        return;
      }
    names_.emplace_back(name, std::move(value));
  }

  /// True once: the caller must keep the scope until its names are released.
  bool keeps() { return !std::exchange(kept_, true); }

  std::string type_name() const override { return "scope"; }
  void release() override { std::exchange(names_, {}); }

 private:
  std::vector<std::pair<std::string, Value>> names_;
  std::shared_ptr<Scope> parent_;
  bool kept_ = false;
};

}  // namespace lt2::jinja
