#include "config/tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

#include "base/error.h"
#include "base/text.h"

namespace lt2 {
namespace {

constexpr int kMaxDepth = 64;
constexpr int kMaxValues = 100000;  // aliases can multiply a short text without bounds

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string lower(std::string text) {
  for (auto& c : text) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return text;
}

std::string trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

// ---- Numbers as YAML 1.1 spells them (with OmegaConf's correction that 1e5 is a float) ----

// Digits of `base` with underscores between them; nullopt if there is another character, no digit, or more than 64
// bits.
std::optional<int64_t> digits(const std::string& text, int base, bool negative) {
  uint64_t value = 0;
  bool any = false;
  for (const char c : text) {
    if (c == '_') continue;
    const int digit = is_digit(c)            ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : 99;
    if (digit >= base) return std::nullopt;
    if (value > (std::numeric_limits<uint64_t>::max() - static_cast<uint64_t>(digit)) / static_cast<uint64_t>(base))
      return std::nullopt;
    value = value * static_cast<uint64_t>(base) + static_cast<uint64_t>(digit);
    any = true;
  }
  const uint64_t limit = static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) + (negative ? 1 : 0);
  if (!any || value > limit) return std::nullopt;
  return negative ? static_cast<int64_t>(0 - value) : static_cast<int64_t>(value);
}

// The value of a plain scalar that YAML 1.1 resolves to an integer.
std::optional<int64_t> yaml_int(const std::string& text) {
  size_t at = 0;
  const bool negative = !text.empty() && text[0] == '-';
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) ++at;
  const std::string body = text.substr(at);
  if (body.empty() || !is_digit(body[0])) return std::nullopt;
  if (body.size() > 2 && body[0] == '0' && body[1] == 'b') return digits(body.substr(2), 2, negative);
  if (body.size() > 2 && body[0] == '0' && body[1] == 'x') return digits(body.substr(2), 16, negative);
  if (body.size() > 1 && body[0] == '0') return digits(body.substr(1), 8, negative);
  if (body.find(':') == std::string::npos) return digits(body, 10, negative);
  // Base 60: groups of at most two digits below 60 after the first one.
  int64_t value = 0;
  for (size_t begin = 0; begin <= body.size();) {
    const size_t end = std::min(body.find(':', begin), body.size());
    const std::string group = body.substr(begin, end - begin);
    const auto part = digits(group, 10, false);
    if (!part || (begin > 0 && (*part > 59 || group.size() > 2))) return std::nullopt;
    if (value > (std::numeric_limits<int64_t>::max() - *part) / 60) return std::nullopt;
    value = value * 60 + *part;
    begin = end + 1;
  }
  return negative ? -value : value;
}

// Python's float(): decimal digits with single underscores between them, an exponent, inf, infinity, nan.
std::optional<double> python_float(const std::string& text) {
  std::string body = lower(trimmed(text));
  const std::string unsigned_body = body.substr(!body.empty() && (body[0] == '-' || body[0] == '+') ? 1 : 0);
  const double sign = !body.empty() && body[0] == '-' ? -1.0 : 1.0;
  if (unsigned_body == "inf" || unsigned_body == "infinity") return sign * std::numeric_limits<double>::infinity();
  if (unsigned_body == "nan") return std::numeric_limits<double>::quiet_NaN();
  std::string clean;
  bool digit_seen = false, dot = false, exponent = false;
  for (size_t i = 0; i < unsigned_body.size(); ++i) {
    const char c = unsigned_body[i];
    if (is_digit(c)) {
      digit_seen = true;
    } else if (c == '_') {
      if (i == 0 || !is_digit(unsigned_body[i - 1]) || i + 1 == unsigned_body.size() || !is_digit(unsigned_body[i + 1]))
        return std::nullopt;
      continue;
    } else if (c == '.') {
      if (dot || exponent) return std::nullopt;
      dot = true;
    } else if (c == 'e') {
      if (exponent || !digit_seen) return std::nullopt;
      exponent = true;
      digit_seen = false;
    } else if (!((c == '-' || c == '+') && i > 0 && unsigned_body[i - 1] == 'e')) {
      return std::nullopt;
    }
    clean += c;
  }
  if (!digit_seen) return std::nullopt;
  return sign * std::strtod(clean.c_str(), nullptr);  // the program never leaves the "C" locale
}

// The value of a plain scalar that YAML resolves to a float: it has a dot or an exponent, or is .inf or .nan.
std::optional<double> yaml_float(const std::string& text) {
  const std::string body = lower(text.substr(!text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0));
  if (body == ".inf") return python_float((text[0] == '-' ? "-" : "") + std::string("inf"));
  if (body == ".nan") return std::numeric_limits<double>::quiet_NaN();
  if (body.empty() || !(is_digit(body[0]) || body[0] == '.')) return std::nullopt;
  if (body.find_first_of(".e") == std::string::npos) return std::nullopt;
  return python_float(text);
}

std::optional<bool> yaml_bool(const std::string& text) {
  // YAML 1.1 knows three spellings of each word: yes, Yes, YES.
  const std::string word = lower(text);
  std::string title = word;
  if (!title.empty()) title[0] = static_cast<char>(title[0] - 'a' + 'A');
  const bool upper = std::all_of(text.begin(), text.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
  if (text != word && text != title && !upper) return std::nullopt;
  if (word == "true" || word == "yes" || word == "on") return true;
  if (word == "false" || word == "no" || word == "off") return false;
  return std::nullopt;
}

bool is_null_word(const std::string& text) {
  return text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL";
}

bool resolves_to_text(const std::string& text) {
  return !is_null_word(text) && !yaml_bool(text) && !yaml_int(text) && !yaml_float(text);
}

// ---- Reading ----

ConfigTree convert(const YAML::Node& node, const std::string& name, bool lines, const std::string& origin, int depth,
                   int& values) {
  LT2_CHECK(depth < kMaxDepth, "{}: nested more than {} levels deep", origin, kMaxDepth);
  LT2_CHECK(++values <= kMaxValues, "{}: more than {} values; does an alias contain itself?", origin, kMaxValues);
  ConfigTree tree;
  tree.origin = origin;
  const auto here = [&](const YAML::Node& child) {
    const auto mark = child.Mark();
    return lines && !mark.is_null() ? fmt::format("{}:{}", name, mark.line + 1) : name;
  };
  if (node.IsScalar()) {
    const std::string& tag = node.Tag();
    const bool quoted = tag == "!" || tag == "tag:yaml.org,2002:str";
    tree.kind = quoted || !is_null_word(node.Scalar()) ? (quoted ? ConfigTree::Kind::kQuoted : ConfigTree::Kind::kPlain)
                                                       : ConfigTree::Kind::kNull;
    tree.text = tree.is_null() ? "" : node.Scalar();
  } else if (node.IsSequence()) {
    tree.kind = ConfigTree::Kind::kList;
    for (const auto& item : node) tree.items.push_back(convert(item, name, lines, here(item), depth + 1, values));
  } else if (node.IsMap()) {
    tree.kind = ConfigTree::Kind::kMap;
    std::vector<ConfigTree> merged;  // "<<: *anchor": defaults for the keys that the map does not name itself
    for (const auto& entry : node) {
      const std::string place = here(entry.first);
      LT2_CHECK(entry.first.IsScalar(), "{}: a key must be plain text", place);
      const std::string& key = entry.first.Scalar();
      LT2_CHECK(printable(key) == key, "{}: a key must not hold control characters; found \"{}\"", place,
                printable(key));
      auto value = convert(entry.second, name, lines, place, depth + 1, values);
      if (key == "<<" && entry.first.Tag() != "!") {
        if (value.is_map()) value.items = {value};
        for (const auto& item : value.items) {
          LT2_CHECK(item.is_map(), "{}: << takes a map or a list of maps", place);
          merged.push_back(item);
        }
        continue;
      }
      const auto* twin = tree.find(key);
      LT2_CHECK(!twin, "{}: key {} appears twice; first at {}", place, key, twin->origin);
      tree.entries.emplace_back(key, std::move(value));
    }
    for (const auto& defaults : merged) {
      for (const auto& [key, value] : defaults.entries) {
        if (!tree.find(key)) tree.entries.emplace_back(key, value);
      }
    }
  }
  return tree;
}

// Text after the first document, which YAML::Load would drop: a second document, or characters that begin no value.
// (YAML::LoadAll reports the latter as documents without end.)
struct LeftOver : YAML::EventHandler {
  int documents = 0;
  YAML::Mark mark;
  void OnDocumentStart(const YAML::Mark& at) override {
    ++documents;
    mark = at;
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}
};

// ---- References ----

// "a.b", "a[b]" or "a[0].c" -> components.
std::vector<std::string> components(const std::string& path) {
  std::vector<std::string> parts(1);
  for (const char c : path) {
    if (c == '.' || c == '[') {
      if (!parts.back().empty()) parts.emplace_back();
    } else if (c != ']') {
      parts.back() += c;
    }
  }
  if (parts.back().empty()) parts.pop_back();
  return parts;
}

class References {
 public:
  explicit References(const ConfigTree& root) : root_(root) {}

  ConfigTree resolve(const ConfigTree& value, const std::vector<std::string>& path, int depth = 0) const {
    LT2_CHECK(depth < kMaxDepth, "{}: ${{...}} references form a circle", value.origin);
    ConfigTree result = value;
    auto below = path;
    below.emplace_back();
    for (size_t i = 0; i < result.items.size(); ++i) {
      below.back() = std::to_string(i);
      result.items[i] = resolve(result.items[i], below, depth + 1);
    }
    for (auto& [key, entry] : result.entries) {
      below.back() = key;
      entry = resolve(entry, below, depth + 1);
    }
    return value.is_scalar() && value.text.find("${") != std::string::npos ? scalar(value, path, depth) : result;
  }

 private:
  ConfigTree scalar(const ConfigTree& value, const std::vector<std::string>& path, int depth) const {
    std::string text;
    for (size_t at = 0; at < value.text.size();) {
      const size_t open = value.text.find("${", at);
      if (open == std::string::npos) {
        text += value.text.substr(at);
        break;
      }
      if (open > at && value.text[open - 1] == '\\') {  // \${ is a literal
        text += value.text.substr(at, open - 1 - at) + "${";
        at = open + 2;
        continue;
      }
      const size_t close = value.text.find('}', open);
      LT2_CHECK(close != std::string::npos, "{}: {} lacks a closing brace", value.origin, value.text);
      const auto target = look_up(value, value.text.substr(open + 2, close - open - 2), path, depth);
      if (open == 0 && close + 1 == value.text.size()) return target;
      const auto piece = as_text(target);
      LT2_CHECK(piece, "{}: {} puts {} into a text", value.origin, value.text, display(target));
      text += value.text.substr(at, open - at) + *piece;
      at = close + 1;
    }
    auto result = ConfigTree::quoted(text);
    result.origin = value.origin;
    return result;
  }

  ConfigTree look_up(const ConfigTree& value, const std::string& reference, const std::vector<std::string>& path,
                     int depth) const {
    LT2_CHECK(reference.find(':') == std::string::npos,
              "{}: ${{{}}} calls a resolver; only the names of other keys are known here", value.origin, reference);
    const size_t dots = std::min(reference.find_first_not_of('.'), reference.size());
    // One leading dot names a sibling, each further one climbs a level.
    std::vector<std::string> target;
    if (dots > 0) {
      LT2_CHECK(dots <= path.size(), "{}: ${{{}}} climbs above the root", value.origin, reference);
      target.assign(path.begin(), path.end() - static_cast<std::ptrdiff_t>(dots));
    }
    for (auto& part : components(reference.substr(dots))) target.push_back(std::move(part));
    const ConfigTree* node = &root_;
    for (const auto& part : target) {
      const ConfigTree* next = node->find(part);
      if (!next && node->kind == ConfigTree::Kind::kList) {
        const auto index = digits(part, 10, false);
        if (index && static_cast<size_t>(*index) < node->items.size()) next = &node->items[static_cast<size_t>(*index)];
      }
      LT2_CHECK(next, "{}: ${{{}}} names no key", value.origin, reference);
      node = next;
    }
    auto result = resolve(*node, target, depth + 1);
    result.origin = value.origin;
    return result;
  }

  const ConfigTree& root_;
};

// ---- Writing ----

std::string yaml_string(const std::string& text) {
  // PyYAML also resolves = and dates; beginning plain texts with a letter, / or _ excludes both.
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  const auto inner = [&](char c) {
    return letter(c) || is_digit(c) || std::string("_./+-:>").find(c) != std::string::npos;
  };
  const bool plain = !text.empty() && (letter(text[0]) || text[0] == '/' || text[0] == '_') &&
                     std::all_of(text.begin(), text.end(), inner) && text.back() != ':' && resolves_to_text(text) &&
                     lower(text) != "y" && lower(text) != "n";
  if (plain) return text;
  const bool control =
      std::any_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
  std::string out;
  if (!control) {
    for (const char c : text) out += c == '\'' ? "''" : std::string(1, c);
    return "'" + out + "'";
  }
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += std::string("\\") + c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  return "\"" + out + "\"";
}

std::string json_string(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += std::string("\\") + c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  return "\"" + out + "\"";
}

// Plain YAML 1.1 readers need the dot in 1.0e-05, and the dot before inf.
std::string yaml_plain(const std::string& text) {
  if (text == "inf" || text == "nan") return "." + text;
  if (text == "-inf") return "-.inf";
  const size_t e = text.find('e');
  if (yaml_float(text) && e != std::string::npos && text.find('.') == std::string::npos)
    return text.substr(0, e) + ".0" + text.substr(e);
  return text;
}

std::string yaml_leaf(const ConfigTree& value) {
  switch (value.kind) {
    case ConfigTree::Kind::kPlain:
      return yaml_plain(value.text);
    case ConfigTree::Kind::kQuoted:
      return yaml_string(value.text);
    case ConfigTree::Kind::kList:
      return "[]";
    case ConfigTree::Kind::kMap:
      return "{}";
    default:
      return "null";
  }
}

void write_yaml_lines(const ConfigTree& value, const std::string& indent, std::string& out) {
  for (const auto& [key, entry] : value.entries) {
    const bool leaf = entry.items.empty() && entry.entries.empty();
    out += indent + yaml_string(key) + (leaf ? ": " + yaml_leaf(entry) : ":") + "\n";
    write_yaml_lines(entry, indent + "  ", out);
  }
  for (const auto& item : value.items) {
    std::string block;  // its first line stands next to the dash
    if (item.items.empty() && item.entries.empty()) {
      block = yaml_leaf(item) + "\n";
    } else {
      write_yaml_lines(item, indent + "  ", block);
      block.erase(0, indent.size() + 2);
    }
    out += indent + "- " + block;
  }
}

void write_json_value(const ConfigTree& value, const std::string& indent, std::string& out) {
  const auto block = [&](char open, char close, size_t count, const auto& write) {
    out += open;
    for (size_t i = 0; i < count; ++i) {
      out += (i ? ",\n" : "\n") + indent + "  ";
      write(i);
    }
    out += (count ? "\n" + indent : "") + close;
  };
  switch (value.kind) {
    case ConfigTree::Kind::kNull:
      out += "null";
      break;
    case ConfigTree::Kind::kQuoted:
      out += json_string(value.text);
      break;
    case ConfigTree::Kind::kPlain:  // Python's json module reads and writes these three words
      out += value.text == "inf"    ? "Infinity"
             : value.text == "-inf" ? "-Infinity"
             : value.text == "nan"  ? "NaN"
                                    : value.text;
      break;
    case ConfigTree::Kind::kList:
      block('[', ']', value.items.size(), [&](size_t i) { write_json_value(value.items[i], indent + "  ", out); });
      break;
    case ConfigTree::Kind::kMap:
      block('{', '}', value.entries.size(), [&](size_t i) {
        out += json_string(value.entries[i].first) + ": ";
        write_json_value(value.entries[i].second, indent + "  ", out);
      });
      break;
  }
}

}  // namespace

ConfigTree ConfigTree::plain(std::string text) {
  ConfigTree tree;
  tree.kind = Kind::kPlain;
  tree.text = std::move(text);
  return tree;
}

ConfigTree ConfigTree::quoted(std::string text) {
  auto tree = plain(std::move(text));
  tree.kind = Kind::kQuoted;
  return tree;
}

ConfigTree ConfigTree::map() {
  ConfigTree tree;
  tree.kind = Kind::kMap;
  return tree;
}

const ConfigTree* ConfigTree::find(const std::string& key) const {
  for (const auto& entry : entries) {
    if (entry.first == key) return &entry.second;
  }
  return nullptr;
}

ConfigTree* ConfigTree::find(const std::string& key) { return const_cast<ConfigTree*>(std::as_const(*this).find(key)); }

ConfigTree& ConfigTree::at(const std::string& key) {
  if (auto* value = find(key)) return *value;
  return entries.emplace_back(key, ConfigTree()).second;
}

void ConfigTree::erase(const std::string& key) {
  std::erase_if(entries, [&](const auto& entry) { return entry.first == key; });
}

bool ConfigTree::operator==(const ConfigTree& other) const {
  return kind == other.kind && text == other.text && items == other.items && entries == other.entries;
}

ConfigTree parse_yaml(const std::string& text, const std::string& name, bool line_numbers) {
  try {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    LeftOver left;
    for (int i = 0; i < 2 && parser.HandleNextDocument(left); ++i) continue;
    LT2_CHECK(left.documents < 2, "{}{}: not valid YAML: text after the end of the value", name,
              line_numbers ? fmt::format(":{}", left.mark.line + 1) : "");
    const auto root = YAML::Load(text);
    int values = 0;
    return convert(root, name, line_numbers, name, 0, values);
  } catch (const YAML::Exception& e) {
    const bool placed = line_numbers && !e.mark.is_null();
    throw Error(
        fmt::format("{}{}: not valid YAML: {}", name, placed ? fmt::format(":{}", e.mark.line + 1) : "", e.msg));
  }
}

void merge(ConfigTree& base, const ConfigTree& over) {
  if (!base.is_map() || !over.is_map()) {
    base = over;
    return;
  }
  base.origin = over.origin;
  for (const auto& [key, value] : over.entries) merge(base.at(key), value);
}

void resolve_references(ConfigTree& root) { root = References(ConfigTree(root)).resolve(root, {}); }

ConfigTree escape_references(ConfigTree value) {
  for (size_t at = 0; (at = value.text.find("${", at)) != std::string::npos; at += 3) value.text.insert(at, "\\");
  for (auto& item : value.items) item = escape_references(std::move(item));
  for (auto& [key, entry] : value.entries) entry = escape_references(std::move(entry));
  return value;
}

std::optional<int64_t> as_int(const ConfigTree& value) {
  if (value.kind == ConfigTree::Kind::kPlain) return yaml_int(value.text);
  if (value.kind != ConfigTree::Kind::kQuoted) return std::nullopt;
  const std::string text = trimmed(value.text);
  const bool sign = !text.empty() && (text[0] == '-' || text[0] == '+');
  const std::string body = text.substr(sign ? 1 : 0);
  return body.empty() || body[0] == '_' ? std::nullopt : digits(body, 10, text[0] == '-');
}

std::optional<double> as_float(const ConfigTree& value) {
  if (value.kind == ConfigTree::Kind::kPlain) {
    if (const auto whole = yaml_int(value.text)) return static_cast<double>(*whole);
    if (const auto real = yaml_float(value.text)) return real;
  }
  return value.is_scalar() ? python_float(value.text) : std::nullopt;
}

std::optional<bool> as_bool(const ConfigTree& value) {
  if (!value.is_scalar()) return std::nullopt;
  if (value.kind == ConfigTree::Kind::kPlain) {
    if (const auto word = yaml_bool(value.text)) return word;
  }
  if (const auto number = as_int(value)) return *number != 0;
  const std::string word = lower(value.text);
  if (word == "yes" || word == "y" || word == "on" || word == "true") return true;
  if (word == "no" || word == "n" || word == "off" || word == "false") return false;
  return std::nullopt;
}

std::optional<std::string> as_text(const ConfigTree& value) {
  if (!value.is_scalar()) return std::nullopt;
  if (value.kind == ConfigTree::Kind::kQuoted || looks_like_ratio(value.text)) return value.text;
  const auto typed = canonical(value);
  if (typed.kind == ConfigTree::Kind::kPlain && (typed.text == "true" || typed.text == "false")) {
    return typed.text == "true" ? "True" : "False";  // as Python spells them
  }
  return typed.text;
}

ConfigTree canonical(const ConfigTree& value) {
  ConfigTree result = value;
  for (auto& item : result.items) item = canonical(item);
  for (auto& [key, entry] : result.entries) entry = canonical(entry);
  if (value.kind != ConfigTree::Kind::kPlain) return result;
  if (const auto word = yaml_bool(value.text)) {
    result.text = *word ? "true" : "false";
  } else if (looks_like_ratio(value.text)) {
    result.kind = ConfigTree::Kind::kQuoted;
  } else if (const auto whole = yaml_int(value.text)) {
    result.text = std::to_string(*whole);
  } else if (const auto real = yaml_float(value.text)) {
    result.text = float_text(*real);
  } else {
    result.kind = ConfigTree::Kind::kQuoted;
  }
  return result;
}

std::string float_text(double value) {
  if (!std::isfinite(value)) return fmt::format("{}", value);
  const std::string text = fmt::format("{}", value);
  return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
}

std::string display(const ConfigTree& value) {
  switch (value.kind) {
    case ConfigTree::Kind::kNull:
      return "null";
    case ConfigTree::Kind::kList:
      return "a list";
    case ConfigTree::Kind::kMap:
      return "a map";
    case ConfigTree::Kind::kPlain:
      if (!resolves_to_text(value.text)) return printable(value.text);
      [[fallthrough]];
    default:
      return "\"" + printable(value.text) + "\"";
  }
}

bool looks_like_ratio(const std::string& text) {
  bool colon = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == ':') {
      if (i == 0 || text[i - 1] == ':' || i + 1 == text.size()) return false;
      colon = true;
    } else if (!is_digit(text[i])) {
      return false;
    }
  }
  return colon;
}

std::string write_yaml(const ConfigTree& value) {
  if (value.items.empty() && value.entries.empty()) return yaml_leaf(value) + "\n";
  std::string out;
  write_yaml_lines(value, "", out);
  return out;
}

std::string write_json(const ConfigTree& value) {
  std::string out;
  write_json_value(value, "", out);
  return out + "\n";
}

}  // namespace lt2
