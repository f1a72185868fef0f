#include "template/format.h"

#include <cmath>
#include <ctime>

#include "base/characters.h"
#include "template/format_spec.h"
#include "template/literal.h"
#include "template/operators.h"
#include "template/text.h"

namespace lt2::jinja {
namespace {

// One run over "... %(name)-8.2f ...".
class Percent {
 public:
  Percent(Runtime& run, const std::string& format, const Value& arguments)
      : run_(run), left_(format), arguments_(arguments), tuple_(arguments.is_sequence(SequenceKind::kTuple)) {}

  Value text() {
    std::string out;
    while (!left_.empty()) {
      const size_t percent = std::min(left_.find('%'), left_.size());
      out += left_.substr(0, percent);
      left_.remove_prefix(percent);
      if (left_.empty()) break;
      left_.remove_prefix(1);
      out += one();
      run_.check_room(out.size());
    }
    const bool mapping = arguments_.is_dict() || (arguments_.is_sequence() && !tuple_);
    const size_t given = tuple_ ? arguments_.sequence().items.size() : 1;
    LT2_CHECK(mapping || used_ >= given, "not all arguments converted during string formatting");
    return run_.text(std::move(out));
  }

 private:
  const Value& next() {
    if (!tuple_) {
      LT2_CHECK(used_++ == 0, "not enough arguments for format string");
      return arguments_;
    }
    LT2_CHECK(used_ < arguments_.sequence().items.size(), "not enough arguments for format string");
    return arguments_.sequence().items[used_++];
  }

  int64_t number(int64_t otherwise) {
    if (!left_.starts_with('*')) return take_number(left_, otherwise);
    left_.remove_prefix(1);
    const Value& value = next();
    LT2_CHECK(value.is_integer() && std::abs(value.integer()) <= INT32_MAX, "* wants an int");
    return value.integer();
  }

  const Value* named() {
    if (!left_.starts_with('(')) return nullptr;
    int open = 0;
    size_t end = 0;
    do {
      LT2_CHECK(end < left_.size(), "incomplete format key");
      open += left_[end] == '(' ? 1 : left_[end] == ')' ? -1 : 0;
      ++end;
    } while (open > 0);
    const std::string_view name = left_.substr(1, end - 2);
    LT2_CHECK(arguments_.is_dict(), "format requires a mapping");
    const Value* value = arguments_.dict().find(name);
    LT2_CHECK(value, "no member {} for the format", repr_of(name));
    left_.remove_prefix(end);
    return value;
  }

  std::string one() {
    const Value* value = named();
    FormatSpec spec;
    bool zeros = false, left = false;
    for (; !left_.empty() && std::string_view("-+ #0").find(left_[0]) != std::string_view::npos;
         left_.remove_prefix(1)) {
      zeros = zeros || left_[0] == '0';
      left = left || left_[0] == '-';
      spec.alternate = spec.alternate || left_[0] == '#';
      if (left_[0] == '+' || (left_[0] == ' ' && spec.sign != '+')) spec.sign = left_[0];
    }
    spec.width = number(0);
    if (spec.width < 0) {
      left = true;
      spec.width = -spec.width;
    }
    if (left_.starts_with('.')) {
      left_.remove_prefix(1);
      spec.precision = std::max<int64_t>(number(0), 0);
    }
    while (!left_.empty() && (left_[0] == 'h' || left_[0] == 'l' || left_[0] == 'L')) left_.remove_prefix(1);
    LT2_CHECK(!left_.empty(), "incomplete format");
    spec.type = left_[0];
    left_.remove_prefix(1);
    if (spec.type == '%') return "%";
    if (!value) value = &next();
    const bool number_like = std::string_view("diuoxXeEfFgG").find(spec.type) != std::string_view::npos;
    if (zeros && !left && number_like) spec.fill = "0";
    return padded(run_, converted(*value, spec), spec, left ? '<' : zeros && number_like ? '=' : '>');
  }

  std::string converted(const Value& value, FormatSpec& spec) {
    switch (spec.type) {
      case 's':
      case 'r':
      case 'a': {
        const std::string text = spec.type == 's' ? text_of(run_, value) : repr_of(run_, value);
        const Text whole(text);
        return spec.precision >= 0 && spec.precision < whole.length ? slice_of(whole, 0, 1, spec.precision) : text;
      }
      case 'c': {
        if (value.is_text() && value.text().length == 1) return value.bytes();
        const bool character = value.is_integer() && value.integer() >= 0 && value.integer() <= 0x10ffff &&
                               (value.integer() < 0xd800 || value.integer() > 0xdfff);
        LT2_CHECK(character, "%c requires int or char");
        std::string out;
        append_character(out, static_cast<uint32_t>(value.integer()));
        return out;
      }
      case 'd':
      case 'i':
      case 'u':
      case 'x':
      case 'X':
      case 'o': {
        if (value.is_undefined()) refuse_undefined(value);
        const bool decimal = spec.type != 'x' && spec.type != 'X' && spec.type != 'o';
        LT2_CHECK(value.is_integer() || (decimal && value.is_real()), "%{} format: a number is required, not {}",
                  spec.type, value.type_name());
        if (decimal) spec.type = 'd';
        return digits(value.is_real() ? Value::integer(whole(value.real())) : value, spec);
      }
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G':
        if (value.is_undefined()) refuse_undefined(value);
        LT2_CHECK(value.is_number(), "must be real number, not {}", value.type_name());
        return number_text(run_, Value::real(value.real()), spec);
      default:
        fail("unsupported format character '{}'", spec.type);
    }
  }

  static int64_t whole(double value) {
    LT2_CHECK(value > -9.2e18 && value < 9.2e18, "{} does not fit an integer of 64 bits", value);
    return static_cast<int64_t>(value);
  }

  // The precision of an integer is its least number of digits.
  std::string digits(const Value& value, FormatSpec spec) {
    const int64_t least = std::exchange(spec.precision, -1);
    std::string text = number_text(run_, value, spec);
    if (least <= 0) return text;
    FormatSpec zeros;
    zeros.fill = "0";
    zeros.alternate = spec.alternate;
    zeros.width = least + (text[0] == '-' || text[0] == '+' || text[0] == ' ');
    return padded(run_, std::move(text), zeros, '=');
  }

  Runtime& run_;
  std::string_view left_;
  const Value& arguments_;
  const bool tuple_;
  size_t used_ = 0;
};

// One run over "... {name.attribute[0]!r:>8} ...".
class Braces {
 public:
  Braces(Runtime& run, const Arguments& arguments) : run_(run), arguments_(arguments) {}

  std::string text(std::string_view format, int depth) {
    LT2_CHECK(depth < 2, "Max string recursion exceeded");
    std::string out;
    for (size_t at = 0; at < format.size();) {
      const char c = format[at];
      if (c != '{' && c != '}') {
        const size_t end = std::min(format.find_first_of("{}", at), format.size());
        out += format.substr(at, end - at);
        at = end;
      } else if (at + 1 < format.size() && format[at + 1] == c) {
        out += c;
        at += 2;
      } else {
        LT2_CHECK(c == '{', "Single '}}' encountered in format string");
        const size_t end = end_of_field(format, at);
        out += field(format.substr(at + 1, end - at - 1), depth);
        at = end + 1;
      }
      run_.check_room(out.size());
    }
    return out;
  }

 private:
  static size_t end_of_field(std::string_view format, size_t open) {
    int depth = 0;
    for (size_t at = open; at < format.size(); ++at) {
      depth += format[at] == '{' ? 1 : format[at] == '}' ? -1 : 0;
      if (depth == 0) return at;
    }
    fail("expected '}}' before end of string");
  }

  std::string field(std::string_view field, int depth) {
    const size_t end = std::min(field.find_first_of("!:"), field.size());
    const Value value = value_of(field.substr(0, end));
    field.remove_prefix(end);
    char conversion = '\0';
    if (field.starts_with('!')) {
      LT2_CHECK(field.size() >= 2 && (field.size() == 2 || field[2] == ':'), "expected ':' after conversion specifier");
      conversion = field[1];
      field.remove_prefix(2);
      LT2_CHECK(conversion == 's' || conversion == 'r', "unknown conversion specifier '{}'", conversion);
    }
    const std::string spec = field.empty() ? std::string() : text(field.substr(1), depth + 1);
    if (conversion == 's') return format_value(run_, Value::text(text_of(run_, value)), spec);
    if (conversion == 'r') return format_value(run_, Value::text(repr_of(run_, value)), spec);
    return format_value(run_, value, spec);
  }

  Value value_of(std::string_view path) {
    const size_t end = std::min(path.find_first_of(".["), path.size());
    Value value = first(std::string(path.substr(0, end)));
    path.remove_prefix(end);
    while (!path.empty()) {
      if (path[0] == '.') {
        const size_t stop = std::min(path.find_first_of(".[", 1), path.size());
        value = attribute(run_, value, std::string(path.substr(1, stop - 1)));
        path.remove_prefix(stop);
        continue;
      }
      const size_t close = path.find(']');
      LT2_CHECK(path[0] == '[' && close != std::string_view::npos, "Missing ']' in format string");
      const std::string key(path.substr(1, close - 1));
      const auto index = key.find_first_not_of("0123456789") == std::string::npos ? integer_of(key, 10) : std::nullopt;
      value = item(run_, value, index ? Value::integer(*index) : Value::text(key));
      path.remove_prefix(close + 1);
    }
    return value;
  }

  Value first(const std::string& name) {
    if (name.empty() || name.find_first_not_of("0123456789") == std::string::npos) {
      const auto given = name.empty() ? std::optional<int64_t>(next_++) : integer_of(name, 10);
      LT2_CHECK(given && static_cast<size_t>(*given) < arguments_.positional.size(),
                "Replacement index {} out of range for positional args tuple",
                name.empty() ? std::to_string(*given) : name);
      return arguments_.positional[static_cast<size_t>(*given)];
    }
    for (const auto& [known, value] : arguments_.named)
      if (known == name) return value;
    fail("no argument {} for the format", repr_of(name));
  }

  Runtime& run_;
  const Arguments& arguments_;
  int64_t next_ = 0;
};

FormatSpec parsed(std::string_view text) {
  FormatSpec spec;
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
  const auto take = [&](char c) {
    const bool there = text.starts_with(c);
    if (there) text.remove_prefix(1);
    return there;
  };
  const size_t first = text.empty() ? 0 : character_at(text, 0).bytes;
  if (first > 0 && text.size() > first && is_align(text[first])) {
    spec.fill = text.substr(0, first);
    spec.align = text[first];
    text.remove_prefix(first + 1);
  } else if (!text.empty() && is_align(text[0])) {
    spec.align = text[0];
    text.remove_prefix(1);
  }
  if (!text.empty() && (text[0] == '+' || text[0] == '-' || text[0] == ' ')) {
    spec.sign = text[0];
    text.remove_prefix(1);
  }
  spec.alternate = take('#');
  if (take('0') && !spec.align) {
    spec.fill = "0";
    spec.align = '=';
  }
  spec.width = take_number(text, 0);
  if (!text.empty() && (text[0] == ',' || text[0] == '_')) {
    spec.group = text[0];
    text.remove_prefix(1);
  }
  if (take('.')) {
    spec.precision = take_number(text, -1);
    LT2_CHECK(spec.precision >= 0, "Format specifier missing precision");
  }
  if (!text.empty()) {
    spec.type = text[0];
    text.remove_prefix(1);
  }
  LT2_CHECK(text.empty(), "Invalid format specifier");
  return spec;
}

}  // namespace

Value format_percent(Runtime& run, const std::string& format, const Value& arguments) {
  return Percent(run, format, arguments).text();
}

Value format_braces(Runtime& run, const std::string& format, const Arguments& arguments) {
  return run.text(Braces(run, arguments).text(format, 0));
}

std::string format_value(Runtime& run, const Value& value, std::string_view text) {
  if (text.empty()) return text_of(run, value);
  if (value.is_undefined()) refuse_undefined(value);
  FormatSpec spec = parsed(text);
  if (value.is_number()) return padded(run, number_text(run, value, spec), spec, spec.align ? spec.align : '>');
  LT2_CHECK(value.is_text(), "a format for a value of type '{}'", value.type_name());
  LT2_CHECK((spec.type == '\0' || spec.type == 's') && spec.align != '=' && !spec.group && spec.sign == '-',
            "'{}' is no format for a text", text);
  const auto& whole = value.text();
  const bool cut = spec.precision >= 0 && spec.precision < whole.length;
  return padded(run, cut ? slice_of(whole, 0, 1, spec.precision) : whole.bytes, spec, spec.align ? spec.align : '<');
}

std::string format_time(Runtime& run, const std::string& format) {
  run.check_size(format.size());
  std::tm now{};
  if (run.options.now) {
    now = *run.options.now;
  } else {
    const std::time_t seconds = std::time(nullptr);
    localtime_r(&seconds, &now);
  }
  std::string out;
  for (size_t at = 0; at < format.size();) {
    if (format[at] != '%' || at + 1 == format.size()) {
      out += format[at++];
      continue;
    }
    size_t end = at + 1;
    while (end + 1 < format.size() && std::string_view("-_0^#").find(format[end]) != std::string_view::npos) ++end;
    const char kind = format[end];
    const std::string directive = format.substr(at, end + 1 - at);
    at = end + 1;
    // Python's time here has no zone and its own microseconds.
    if (kind == 'z' || kind == 'Z') continue;
    if (kind == 'f') {
      out += "000000";
      continue;
    }
    char buffer[256];
    out.append(buffer, std::strftime(buffer, sizeof buffer, directive.c_str(), &now));
    run.check_room(out.size());
  }
  return out;
}

}  // namespace lt2::jinja
