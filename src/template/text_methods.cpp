#include "template/text_methods.h"

#include <algorithm>
#include <unordered_map>

#include "template/format.h"
#include "template/format_spec.h"
#include "template/operators.h"
#include "template/parameters.h"
#include "template/text.h"

namespace lt2::jinja {
namespace {

std::optional<std::string> text_or_none(const Parameters& given, size_t i) {
  if (given[i].is_none()) return {};
  return given.text(i);
}

Value list_of(Runtime& run, std::vector<std::string> parts) {
  run.spend(static_cast<int64_t>(parts.size()));
  std::vector<Value> items;
  items.reserve(parts.size());
  for (auto& part : parts) items.push_back(Value::text(std::move(part)));
  return Value::list(std::move(items));
}

template <Side side>
Value strip_method(Runtime& run, const Value& self, const Arguments& arguments) {
  const Parameters given("strip()", arguments, {"chars"});
  run.spend_bytes(self.bytes().size());
  if (given[0].is_text()) run.spend_bytes(given[0].bytes().size() * 8);  // they are sorted
  return Value::text(std::string(strip(self.bytes(), side, text_or_none(given, 0))));
}

template <bool from_right>
Value split_method(Runtime& run, const Value& self, const Arguments& arguments) {
  const Parameters given("split()", arguments, {"sep", "maxsplit"});
  run.spend_bytes(self.bytes().size());
  return list_of(run, split(self.bytes(), text_or_none(given, 0), given.integer(1, -1), from_right));
}

template <std::string (*change)(std::string_view)>
Value change_method(Runtime& run, const Value& self, const Arguments& arguments) {
  const Parameters given("a method", arguments, {});
  return run.text(change(self.bytes()));
}

// The part of the text between the two indices that a search may be limited to.
struct Window {
  Window(const Text& text, const Parameters& given) {
    const auto placed = [&](size_t i, int64_t otherwise) {
      if (given[i].is_none()) return otherwise;
      const int64_t at = given.integer(i);
      return std::max<int64_t>(at < 0 ? at + text.length : at, 0);
    };
    start = placed(1, 0);
    stop = std::min(placed(2, text.length), text.length);
    empty = start > stop;
    if (empty) return;
    first = byte_of(text, start);
    part = std::string_view(text.bytes).substr(first, byte_of(text, stop) - first);
  }
  int64_t start = 0, stop = 0;
  bool empty = false;
  size_t first = 0;
  std::string_view part;
};

template <bool from_right, bool must_be_there>
Value find_method_of(Runtime& run, const Value& self, const Arguments& arguments) {
  const Parameters given("find()", arguments, {"sub", "start", "end"}, 1);
  run.spend_bytes(self.bytes().size());
  const Window window(self.text(), given);
  const size_t at = window.empty
                        ? std::string_view::npos
                        : (from_right ? rfind_text(window.part, given.text(0)) : find_text(window.part, given.text(0)));
  LT2_CHECK(!must_be_there || at != std::string_view::npos, "substring not found");
  if (at == std::string_view::npos) return Value::integer(-1);
  return Value::integer(window.start + Text(std::string(window.part.substr(0, at))).length);
}

Value count_method(Runtime& run, const Value& self, const Arguments& arguments) {
  const Parameters given("count()", arguments, {"sub", "start", "end"}, 1);
  run.spend_bytes(self.bytes().size());
  const Window window(self.text(), given);
  const std::string& part = given.text(0);
  if (window.empty) return Value::integer(0);
  if (part.empty()) return Value::integer(window.stop - window.start + 1);
  int64_t count = 0;
  for (size_t at = find_text(window.part, part); at != std::string_view::npos;
       at = find_text(window.part, part, at + part.size()))
    ++count;
  return Value::integer(count);
}

template <bool at_end>
Value ends_method(Runtime& run, const Value& self, const Arguments& arguments) {
  const Parameters given(at_end ? "endswith()" : "startswith()", arguments, {"prefix", "start", "end"}, 1);
  run.spend_bytes(self.bytes().size());
  const Window window(self.text(), given);
  const auto holds = [&](const Value& part) {
    LT2_CHECK(part.is_text(), "startswith() and endswith() want a text or a tuple of texts, found {}",
              part.type_name());
    return !window.empty && (at_end ? window.part.ends_with(part.bytes()) : window.part.starts_with(part.bytes()));
  };
  if (!given[0].is_sequence(SequenceKind::kTuple)) return Value::boolean(holds(given[0]));
  const auto& parts = given[0].sequence().items;
  return Value::boolean(std::any_of(parts.begin(), parts.end(), holds));
}

Value replace_method(Runtime& run, const Value& self, const Arguments& arguments) {
  const Parameters given("replace()", arguments, {"old", "new", "count"}, 2);
  return run.text(
      replace(self.bytes(), given.text(0), given.text(1), given.integer(2, -1), run.options.limits.output_bytes));
}

Value join_method(Runtime& run, const Value& self, const Arguments& arguments) {
  const Parameters given("join()", arguments, {"iterable"}, 1);
  std::string out;
  bool first = true;
  for (const auto& item : items_of(run, given[0])) {
    LT2_CHECK(item.is_text(), "join() wants texts, found {}", item.type_name());
    if (!first) out += self.bytes();
    first = false;
    out += item.bytes();
    run.check_room(out.size());
  }
  return run.text(std::move(out));
}

Value splitlines_method(Runtime& run, const Value& self, const Arguments& arguments) {
  const Parameters given("splitlines()", arguments, {"keepends"});
  run.spend_bytes(self.bytes().size());
  return list_of(run, splitlines(self.bytes(), given.truth(run, 0, false)));
}

template <bool from_right>
Value partition_method(Runtime& run, const Value& self, const Arguments& arguments) {
  const Parameters given("partition()", arguments, {"sep"}, 1);
  run.spend_bytes(self.bytes().size());
  const std::string &text = self.bytes(), &part = given.text(0);
  LT2_CHECK(!part.empty(), "empty separator");
  const size_t at = from_right ? rfind_text(text, part) : find_text(text, part);
  if (at == std::string::npos) {
    const Value nothing = Value::text("");
    return from_right ? Value::tuple({nothing, nothing, self}) : Value::tuple({self, nothing, nothing});
  }
  return Value::tuple({Value::text(text.substr(0, at)), given[0], Value::text(text.substr(at + part.size()))});
}

template <char align>
Value justify_method(Runtime& run, const Value& self, const Arguments& arguments) {
  const Parameters given("a method that pads", arguments, {"width", "fillchar"}, 1);
  FormatSpec spec;
  spec.width = given.integer(0);
  spec.fill = given.text(1, " ");
  LT2_CHECK(Text(spec.fill).length == 1, "The fill character must be exactly one character long");
  if (align != '^') return Value::text(padded(run, self.bytes(), spec, align));
  // Python's center() puts an odd space to the left if the width is odd, where a format puts it to the right.
  const int64_t missing = std::max<int64_t>(spec.width - self.text().length, 0);
  const int64_t left = missing / 2 + (missing & spec.width & 1);
  spec.width = self.text().length + left;
  std::string out = padded(run, self.bytes(), spec, '>');
  spec.width = self.text().length + missing;
  return Value::text(padded(run, std::move(out), spec, '<'));
}

Value zfill_method(Runtime& run, const Value& self, const Arguments& arguments) {
  const Parameters given("zfill()", arguments, {"width"}, 1);
  FormatSpec spec;
  spec.width = given.integer(0);
  spec.fill = std::string(1, '0');
  const bool space = self.bytes().starts_with(' ');  // no sign here
  return Value::text(padded(run, self.bytes(), spec, space ? '>' : '='));
}

template <bool at_end>
Value remove_method(Runtime& run, const Value& self, const Arguments& arguments) {
  const Parameters given(at_end ? "removesuffix()" : "removeprefix()", arguments, {"affix"}, 1);
  std::string_view text = self.bytes();
  run.spend_bytes(text.size());
  const std::string& affix = given.text(0);
  if (at_end ? text.ends_with(affix) : text.starts_with(affix)) {
    at_end ? text.remove_suffix(affix.size()) : text.remove_prefix(affix.size());
  }
  return Value::text(std::string(text));
}

Value format_method(Runtime& run, const Value& self, const Arguments& arguments) {
  return format_braces(run, self.bytes(), arguments);
}

Value format_map_method(Runtime& run, const Value& self, const Arguments& arguments) {
  const Parameters given("format_map()", arguments, {"mapping"}, 1);
  LT2_CHECK(given[0].is_dict(), "format_map() wants a dict, found {}", given[0].type_name());
  Arguments members;
  for (const auto& [key, value] : given[0].dict().items())
    if (key.is_text()) members.named.emplace_back(key.bytes(), value);
  return format_braces(run, self.bytes(), members);
}

Value expandtabs_method(Runtime& run, const Value& self, const Arguments& arguments) {
  const Parameters given("expandtabs()", arguments, {"tabsize"});
  const int64_t size = given.integer(0, 8);
  std::string out;
  int64_t column = 0;
  for (const auto& character : characters_of(self.bytes())) {
    if (character == "\t") {
      const int64_t spaces = size > 0 ? size - column % size : 0;
      run.check_size(out.size() + static_cast<size_t>(spaces));
      out.append(static_cast<size_t>(spaces), ' ');
      column += spaces;
    } else {
      out += character;
      column = character == "\n" || character == "\r" ? 0 : column + 1;
    }
  }
  return run.text(std::move(out));
}

// By the method's own name, so that one body serves all of them.
#define LT2_CHARACTER_TEST(NAME)                                                         \
  {                                                                                      \
#NAME, [](Runtime& run, const Value& self, const Arguments& arguments) -> Value {      \
     const Parameters given(#NAME "()", arguments, {});                                   \
     run.spend_bytes(self.bytes().size());                                                \
     bool holds = false;                                                                  \
     character_test(#NAME, self.bytes(), holds);                                          \
     return Value::boolean(holds);                                                        \
   } \
  }

const std::unordered_map<std::string, Method>& methods() {
  static const std::unordered_map<std::string, Method> all = {
      {"strip", strip_method<Side::kBoth>},
      {"lstrip", strip_method<Side::kLeft>},
      {"rstrip", strip_method<Side::kRight>},
      {"split", split_method<false>},
      {"rsplit", split_method<true>},
      {"splitlines", splitlines_method},
      {"upper", change_method<upper>},
      {"lower", change_method<lower>},
      {"casefold", change_method<casefold>},
      {"capitalize", change_method<capitalize>},
      {"title", change_method<title>},
      {"swapcase", change_method<swapcase>},
      {"find", find_method_of<false, false>},
      {"rfind", find_method_of<true, false>},
      {"index", find_method_of<false, true>},
      {"rindex", find_method_of<true, true>},
      {"count", count_method},
      {"startswith", ends_method<false>},
      {"endswith", ends_method<true>},
      {"replace", replace_method},
      {"join", join_method},
      {"partition", partition_method<false>},
      {"rpartition", partition_method<true>},
      {"ljust", justify_method<'<'>},
      {"rjust", justify_method<'>'>},
      {"center", justify_method<'^'>},
      {"zfill", zfill_method},
      {"removeprefix", remove_method<false>},
      {"removesuffix", remove_method<true>},
      {"expandtabs", expandtabs_method},
      {"format", format_method},
      {"format_map", format_map_method},
      LT2_CHARACTER_TEST(isalpha),
      LT2_CHARACTER_TEST(isdigit),
      LT2_CHARACTER_TEST(isdecimal),
      LT2_CHARACTER_TEST(isnumeric),
      LT2_CHARACTER_TEST(isalnum),
      LT2_CHARACTER_TEST(isspace),
      LT2_CHARACTER_TEST(isprintable),
      LT2_CHARACTER_TEST(isascii),
      LT2_CHARACTER_TEST(islower),
      LT2_CHARACTER_TEST(isupper),
      LT2_CHARACTER_TEST(istitle),
  };
  return all;
}

#undef LT2_CHARACTER_TEST

}  // namespace

Method text_method(const std::string& name) {
  const auto there = methods().find(name);
  return there == methods().end() ? nullptr : there->second;
}

}  // namespace lt2::jinja
