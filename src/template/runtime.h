#pragma once
// What one rendering may still use up, and what it must release at its end.
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "template/template.h"
#include "template/value.h"

namespace lt2::jinja {

/// Errors thrown here and by functions that get a Runtime say what is wrong; the evaluator puts the place in front.
class Runtime {
 public:
  explicit Runtime(const TemplateOptions& with) : options(with), left_(with.limits.steps) {}
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  void spend(int64_t steps) {
    left_ -= steps;
    if (left_ < 0) fail("the template takes more than the {} steps it may", options.limits.steps);
  }
  /// For work on that many bytes or characters.
  void spend_bytes(size_t bytes) { spend(1 + static_cast<int64_t>(bytes / 64)); }
  /// While a text grows, whose bytes are paid for at its end.
  void check_room(size_t bytes) const {
    LT2_CHECK(bytes <= options.limits.output_bytes, "a text of {} bytes: the limit is {}", bytes,
              options.limits.output_bytes);
  }
  /// Before a text of that many bytes is made.
  void check_size(size_t bytes) {
    check_room(bytes);
    spend_bytes(bytes);
  }
  Value text(std::string utf8) {
    check_size(utf8.size());
    return Value::text(std::move(utf8));
  }

  /// A namespace, or another value that may come to hold itself: release() is called at the end of the rendering.
  void keep(std::shared_ptr<Object> object) { kept_.push_back(std::move(object)); }

  const TemplateOptions& options;

 protected:
  ~Runtime() {
    for (const auto& object : kept_) object->release();
  }

 private:
  int64_t left_;
  std::vector<std::shared_ptr<Object>> kept_;
};

/// Counts how deep something recurses, and refuses more than `most` levels.
class Level {
 public:
  Level(int& depth, int most, const char* what) : depth_(depth) {
    if (++depth_ <= most) return;
    --depth_;
    fail("{} deeper than {} levels", what, most);
  }
  ~Level() { --depth_; }
  Level(const Level&) = delete;
  Level& operator=(const Level&) = delete;

 private:
  int& depth_;
};

}  // namespace lt2::jinja
