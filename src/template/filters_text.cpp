// Filters that make texts, and tojson.
#include <algorithm>
#include <unordered_map>

#include "base/characters.h"
#include "template/filters.h"
#include "template/format.h"
#include "template/json_text.h"
#include "template/operators.h"
#include "template/parameters.h"
#include "template/text.h"
#include "template/text_methods.h"

namespace lt2::jinja {
namespace {

template <std::string (*change)(std::string_view)>
Value change_filter(Runtime& run, const Value& value, const Arguments& arguments) {
  const Parameters given("a filter", arguments, {});
  return run.text(change(text_of(run, value)));
}

// Words begin after spaces, hyphens and opening brackets, but not after apostrophes as with str.title().
std::string title_of_words(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    size_t end = at;
    const auto separates = [&](size_t i) {
      const uint32_t code = character_at(text, i).code;
      return is_space(code) || code == '-' || code == '(' || code == '{' || code == '[' || code == '<';
    };
    while (end < text.size() && separates(end)) end += character_at(text, end).bytes;
    out += text.substr(at, end - at);
    if (end == text.size()) break;
    at = end;
    while (end < text.size() && !separates(end)) end += character_at(text, end).bytes;
    const size_t first = character_at(text, at).bytes;
    out += upper(text.substr(at, first)) + lower(text.substr(at + first, end - at - first));
    at = end;
  }
  return out;
}

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

Value trim(Runtime& run, const Value& value, const Arguments& arguments) {
  const Parameters given("trim", arguments, {"chars"});
  const std::string text = text_of(run, value);
  if (given[0].is_text()) run.spend_bytes(given[0].bytes().size() * 8);  // they are sorted
  const auto chars = given[0].is_none() ? std::optional<std::string>() : given.text(0);
  return run.text(std::string(strip(text, Side::kBoth, chars)));
}

Value replace_filter(Runtime& run, const Value& value, const Arguments& arguments) {
  const Parameters given("replace", arguments, {"old", "new", "count"}, 2);
  const int64_t most = given[2].is_none() ? -1 : given.integer(2);
  return run.text(replace(text_of(run, value), text_of(run, given[0]), text_of(run, given[1]), most,
                          run.options.limits.output_bytes));
}

Value string_filter(Runtime& run, const Value& value, const Arguments& arguments) {
  const Parameters given("string", arguments, {});
  return run.text(text_of(run, value));
}

Value center(Runtime& run, const Value& value, const Arguments& arguments) {
  const Parameters given("center", arguments, {"width"});
  Arguments width;
  width.positional.push_back(Value::integer(given.integer(0, 80)));
  return text_method("center")(run, Value::text(text_of(run, value)), width);
}

Value indent(Runtime& run, const Value& value, const Arguments& arguments) {
  const Parameters given("indent", arguments, {"width", "first", "blank"});
  if (value.is_undefined()) refuse_undefined(value);
  LT2_CHECK(value.is_text(), "indent wants a text, found {}", value.type_name());
  std::string by;
  if (given[0].is_text()) {
    by = given[0].bytes();
  } else {
    const int64_t width = std::max<int64_t>(given.integer(0, 4), 0);
    run.check_size(static_cast<size_t>(width));
    by.assign(static_cast<size_t>(width), ' ');
  }
  const bool first = given.truth(run, 1, false), blank = given.truth(run, 2, false);
  std::string out = first ? by : "";
  bool begins = true;
  for (const auto& line : splitlines(value.bytes() + "\n", false)) {
    if (!begins) out += '\n';
    if (!begins && (blank || !line.empty())) out += by;
    begins = false;
    out += line;
    run.check_room(out.size());
  }
  return run.text(std::move(out));
}

Value truncate(Runtime& run, const Value& value, const Arguments& arguments) {
  const Parameters given("truncate", arguments, {"length", "killwords", "end", "leeway"});
  const std::string end = given.text(2, "...");
  const int64_t length = given.integer(0, 255), end_length = Text(end).length;
  const int64_t leeway = given[3].is_none() ? 5 : given.integer(3);
  LT2_CHECK(length >= end_length && leeway >= 0,
            "truncate wants a length of at least {} and no negative leeway, found {} and {}", end_length, length,
            leeway);
  const int64_t size = length_of(run, value);
  if (size >= 0 && size - length <= leeway) return value;
  LT2_CHECK(value.is_text(), "truncate wants a text, found {}", value.type_name());
  const Text& text = value.text();
  std::string cut = slice_of(text, 0, 1, std::min(length - end_length, text.length));
  if (!given.truth(run, 1, false)) cut = cut.substr(0, cut.rfind(' '));
  return run.text(cut + end);
}

Value wordcount(Runtime& run, const Value& value, const Arguments& arguments) {
  const Parameters given("wordcount", arguments, {});
  const std::string text = text_of(run, value);
  run.spend_bytes(text.size());
  int64_t count = 0;
  bool inside = false;
  for (const auto& character : characters_of(text)) {
    bool word = character == "_";
    if (!word) character_test("isalnum", character, word);
    count += word && !inside;
    inside = word;
  }
  return Value::integer(count);
}

Value format_filter(Runtime& run, const Value& value, const Arguments& arguments) {
  LT2_CHECK(arguments.positional.empty() || arguments.named.empty(),
            "format cannot handle positional and keyword arguments at the same time");
  if (arguments.named.empty()) return format_percent(run, text_of(run, value), Value::tuple(arguments.positional));
  Dict members;
  for (const auto& [name, member] : arguments.named) members.set(Value::text(name), member);
  return format_percent(run, text_of(run, value), Value::of(std::move(members)));
}

// What is not a letter, a digit or one of "_.-~" becomes %XX; a path keeps its slashes.
std::string url_quoted(std::string_view text, bool query) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("_.-~").find(c) != std::string_view::npos || (c == '/' && !query);
    if (plain) {
      out += c;
    } else if (c == ' ' && query) {
      out += '+';
    } else {
      out += fmt::format("%{:02X}", static_cast<uint8_t>(c));
    }
  }
  return out;
}

Value urlencode(Runtime& run, const Value& value, const Arguments& arguments) {
  const Parameters given("urlencode", arguments, {});
  if (value.is_text() || !iterable(value)) return run.text(url_quoted(text_of(run, value), false));
  std::string out;
  const auto add = [&](const Value& key, const Value& of) {
    if (!out.empty()) out += '&';
    out += url_quoted(text_of(run, key), true) + "=" + url_quoted(text_of(run, of), true);
    run.check_room(out.size());
  };
  if (value.is_dict()) {
    for (const auto& [key, of] : value.dict().items()) add(key, of);
    return run.text(std::move(out));
  }
  for (const auto& pair : items_of(run, value)) {
    const auto both = items_of(run, pair);
    LT2_CHECK(both.size() == 2, "urlencode wants pairs, found {} items", both.size());
    add(both[0], both[1]);
  }
  return run.text(std::move(out));
}

Value tojson(Runtime& run, const Value& value, const Arguments& arguments) {
  // As the chat templates of Hugging Face models have it, in this order.
  const Parameters given("tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ascii = given.truth(run, 0, false);
  style.sort_keys = given.truth(run, 3, false);
  if (given[1].is_text()) {
    style.indent = given[1].bytes();
  } else if (!given[1].is_none()) {
    const int64_t width = std::max<int64_t>(given.integer(1), 0);
    run.check_size(static_cast<size_t>(width));
    style.indent = std::string(static_cast<size_t>(width), ' ');
  }
  if (style.indent) style.item = ",";
  if (!given[2].is_none()) {
    const auto both = items_of(run, given[2]);
    LT2_CHECK(both.size() == 2 && both[0].is_text() && both[1].is_text(), "separators must be a pair of texts");
    style.item = both[0].bytes();
    style.key = both[1].bytes();
  }
  return Value::text(json_of(run, value, style));
}

const std::unordered_map<std::string, Filter>& filters() {
  static const std::unordered_map<std::string, Filter> all = {
      {"upper", change_filter<upper>},
      {"lower", change_filter<lower>},
      {"capitalize", change_filter<capitalize>},
      {"title", change_filter<title_of_words>},
      {"escape", change_filter<escaped>},
      {"e", change_filter<escaped>},
      {"forceescape", change_filter<escaped>},
      {"trim", trim},
      {"replace", replace_filter},
      {"string", string_filter},
      {"safe", string_filter},
      {"center", center},
      {"indent", indent},
      {"truncate", truncate},
      {"wordcount", wordcount},
      {"format", format_filter},
      {"urlencode", urlencode},
      {"tojson", tojson},
  };
  return all;
}

}  // namespace

Filter text_filter(const std::string& name) {
  const auto there = filters().find(name);
  return there == filters().end() ? nullptr : there->second;
}

}  // namespace lt2::jinja
