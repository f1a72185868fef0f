#include "template/json_text.h"

#include <algorithm>
#include <cmath>

#include "base/characters.h"
#include "template/operators.h"
#include "template/text.h"

namespace lt2::jinja {
namespace {

class Writer {
 public:
  Writer(Runtime& run, const JsonStyle& style) : run_(run), style_(style) {}

  std::string text(const Value& value) {
    write(value);
    run_.spend_bytes(out_.size());
    return std::move(out_);
  }

 private:
  void write(const Value& value) {
    run_.spend(1);
    run_.check_room(out_.size());
    if (value.is_text()) return quoted(value.bytes());
    if (value.is_dict()) return members(value.dict());
    const bool list = value.is_sequence(SequenceKind::kList) || value.is_sequence(SequenceKind::kTuple);
    if (list) return items(value.sequence().items);
    out_ += scalar(value);
  }

  std::string scalar(const Value& value) const {
    if (value.is_none()) return "null";
    if (value.is_boolean()) return value.boolean() ? "true" : "false";
    if (value.is_integer()) return std::to_string(value.integer());
    check_defined(run_, value);
    LT2_CHECK(value.is_real(), "a value of type {} cannot be written as JSON{}", value.type_name(),
              value.is_undefined() ? ": " + value.undefined().message : "");
    if (std::isnan(value.real())) return "NaN";
    if (std::isinf(value.real())) return value.real() < 0 ? "-Infinity" : "Infinity";
    return repr_of(value.real());
  }

  void new_line() {
    if (!style_.indent) return;
    out_ += '\n';
    for (int i = 0; i < level_; ++i) out_ += *style_.indent;
    run_.check_room(out_.size());
  }

  template <typename Each>
  void inside(char open, char close, size_t count, Each&& each) {
    out_ += open;
    if (count > 0) {
      ++level_;
      for (size_t i = 0; i < count; ++i) {
        if (i > 0) out_ += style_.item;
        new_line();
        each(i);
      }
      --level_;
      new_line();
    }
    out_ += close;
  }

  void items(const std::vector<Value>& items) {
    inside('[', ']', items.size(), [&](size_t i) { write(items[i]); });
  }

  void members(const Dict& dict) {
    std::vector<const std::pair<Value, Value>*> order;
    for (const auto& member : dict.items()) order.push_back(&member);
    if (style_.sort_keys)
      std::stable_sort(order.begin(), order.end(), [&](auto* a, auto* b) { return less(run_, a->first, b->first); });
    inside('{', '}', order.size(), [&](size_t i) {
      const auto& [key, value] = *order[i];
      LT2_CHECK(key.is_text() || key.is_number() || key.is_none(),
                "keys of JSON must be str, int, float, bool or None, not {}", key.type_name());
      quoted(key.is_text() ? key.bytes() : scalar(key));
      out_ += style_.key;
      write(value);
    });
  }

  void quoted(const std::string& text) {
    out_ += '"';
    for (size_t at = 0; at < text.size();) {
      const Character c = character_at(text, at);
      escaped(c.code, std::string_view(text).substr(at, c.bytes));
      at += c.bytes;
    }
    out_ += '"';
    run_.check_room(out_.size());
  }

  void escaped(uint32_t code, std::string_view bytes) {
    constexpr std::string_view kShort = "\"\\\n\r\t\f\b", kLetters = "\"\\nrtfb";
    const size_t i = code < 0x80 ? kShort.find(static_cast<char>(code)) : std::string_view::npos;
    if (i != std::string_view::npos) {
      out_ += '\\';
      out_ += kLetters[i];
    } else if (code >= 0x20 && (code < 0x7f || !style_.ascii)) {
      out_ += bytes;
    } else if (code < 0x10000) {
      out_ += fmt::format("\\u{:04x}", code);
    } else {
      out_ += fmt::format("\\u{:04x}\\u{:04x}", 0xd800 + ((code - 0x10000) >> 10), 0xdc00 + ((code - 0x10000) & 0x3ff));
    }
  }

  Runtime& run_;
  const JsonStyle& style_;
  std::string out_;
  int level_ = 0;
};

}  // namespace

std::string json_of(Runtime& run, const Value& value, const JsonStyle& style) { return Writer(run, style).text(value); }

}  // namespace lt2::jinja
