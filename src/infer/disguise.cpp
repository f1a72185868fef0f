#include "infer/disguise.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <optional>

#include "base/characters.h"
#include "base/error.h"
#include "base/utf8.h"

namespace lt2 {
namespace {

// Characters outside ASCII that a change of case turns into ASCII letters.
const char* ascii_of(uint32_t code) {
  switch (code) {
    case 0xdf:
    case 0x1e9e:
      return "ss";
    case 0x130:
    case 0x131:
      return "i";
    case 0x17f:
      return "s";
    case 0x212a:
      return "k";
    case 0xfb00:
      return "ff";
    case 0xfb01:
      return "fi";
    case 0xfb02:
      return "fl";
    case 0xfb03:
      return "ffi";
    case 0xfb04:
      return "ffl";
    case 0xfb05:
    case 0xfb06:
      return "st";
    default:
      return nullptr;
  }
}

// A text in lower case, and the offset of the character that each byte comes from.
struct Folded {
  std::string text;
  std::vector<size_t> at;
};

Folded folded(std::string_view text) {
  Folded out;
  for (size_t at = 0; at < text.size();) {
    const auto c = character_at(text, at);
    std::string bytes(text.substr(at, c.bytes));
    if (const char* letters = ascii_of(c.code)) bytes = letters;
    if (c.code < 0x80 && c.code >= 'A' && c.code <= 'Z') bytes[0] = static_cast<char>(c.code - 'A' + 'a');
    out.text += bytes;
    out.at.insert(out.at.end(), bytes.size(), at);
    at += c.bytes;
  }
  return out;
}

// Templates test for spaces at the ends of texts, so spaces are not covered.
bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// The character of an escape \uXXXX at `at`, as json and repr() write characters outside ASCII.
std::optional<uint32_t> escaped_at(std::string_view text, size_t at) {
  constexpr size_t kBytes = 6;
  if (text.size() - at < kBytes || text[at] != '\\' || text[at + 1] != 'u') return std::nullopt;
  uint32_t code = 0;
  const auto [end, error] = std::from_chars(text.data() + at + 2, text.data() + at + kBytes, code, 16);
  if (error != std::errc() || end != text.data() + at + kBytes) return std::nullopt;
  return code;
}

std::string escape_of(uint32_t code) {
  if (code < 0x80) return std::string(1, static_cast<char>(code));
  if (code < 0x10000) return fmt::format("\\u{:04x}", code);
  return fmt::format("\\u{:04x}\\u{:04x}", 0xd7c0 + (code >> 10), 0xdc00 + (code & 0x3ff));
}

}  // namespace

MarkNames::MarkNames(Marks marks) : marks_(std::move(marks)) {
  for (const auto& [name, id] : marks_) {
    finder_.add(name, id);
    folded_.push_back(folded(name).text);
    folded_finder_.add(folded_.back(), id);
    for (size_t at = 0; at < name.size();) {
      const auto c = character_at(name, at);
      if (c.code >= 0x80 || !is_space(name[at])) characters_.insert(c.code);
      at += c.bytes;
    }
    size_t guard = 0;
    while (guard < name.size() && std::ispunct(static_cast<uint8_t>(name[guard])) == 0) ++guard;
    if (guard == name.size()) guard = std::min(name.find_first_not_of(" \t\n\v\f\r"), name.size());
    if (guard < name.size()) guards_.insert(character_at(name, guard).code);
  }
}

std::vector<int32_t> MarkNames::begun_in(std::string_view source) const {
  const auto ends_at = [&](size_t end) {  // a text of the template ends, or goes on with an escape
    return end < source.size() && std::string_view("'\"{\\").find(source[end]) != std::string_view::npos;
  };
  const auto ends_within = [&](const std::string& name) {
    if (!name.empty() && std::ispunct(static_cast<uint8_t>(name[0])) == 0) return true;  // its guard is not its begin
    for (size_t size = 1; size < name.size(); ++size) {
      const auto part = std::string_view(name).substr(0, size);
      size_t at = source.find(part);
      if (at == source.npos) return false;
      for (; at != source.npos; at = source.find(part, at + 1))
        if (ends_at(at + size)) return true;
    }
    return false;
  };
  std::vector<int32_t> ids;
  for (const auto& [name, id] : marks_)
    if (ends_within(name)) ids.push_back(id);
  return ids;
}

std::vector<size_t> MarkNames::weak_points(std::string_view text, bool edges) const {
  const auto small = folded(text);
  std::vector<size_t> points;
  const auto first_in = [&](size_t begin, size_t end) {
    while (begin < end && is_space(small.text[begin])) ++begin;
    if (begin < end) points.push_back(small.at[begin]);
  };
  for (size_t from = 0; from < small.text.size();) {
    const auto match = folded_finder_.find(small.text, from);
    if (match.number < 0) break;
    first_in(match.begin, match.end);
    from = match.begin + 1;
  }
  const size_t size = small.text.size();
  for (size_t i = 0; edges && i < folded_.size(); ++i) {
    const std::string_view name = folded_[i];
    if (name.find(small.text) != name.npos) first_in(0, size);
    for (size_t part = 1; part < name.size() && part < size; ++part) {
      if (small.text.compare(0, part, name.substr(name.size() - part)) == 0) first_in(0, part);
      if (small.text.compare(size - part, part, name.substr(0, part)) != 0) continue;
      size_t last = size - 1;
      while (last > size - part && is_space(small.text[last])) --last;
      first_in(last, size);
    }
  }
  std::sort(points.begin(), points.end());
  points.erase(std::unique(points.begin(), points.end()), points.end());
  return points;
}

void Disguise::avoid(std::string_view text) {
  const auto note = [&](uint32_t code) {
    if (code >= kFirst && code <= kLast) used_[code - kFirst] = true;
  };
  for (size_t at = 0; at < text.size();) {
    const auto c = character_at(text, at);
    note(c.code);
    if (c.code == '\\') note(escaped_at(text, at).value_or(0));
    at += c.bytes;
  }
}

uint32_t Disguise::cover_of(uint32_t code) {
  if (const auto found = covers_.find(code); found != covers_.end()) return found->second;
  while (next_ <= kLast && used_[next_ - kFirst]) ++next_;
  LT2_CHECK(next_ <= kLast, "chat: the messages use all {} private-use characters; leave some of them out",
            kLast - kFirst + 1);
  covers_[code] = next_;
  covered_[next_] = code;
  return next_++;
}

std::string Disguise::covered(std::string_view text, bool edges) {
  std::string out;
  size_t done = 0;
  for (const size_t at : names_.weak_points(text, edges)) {
    const auto c = character_at(text, at);
    out += text.substr(done, at - done);
    append_utf8(out, cover_of(c.code));
    done = at + c.bytes;
  }
  return out.append(text.substr(done));
}

template <class Covers>
std::string Disguise::covered_where(std::string_view text, const Covers& covers) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const auto c = character_at(text, at);
    append_utf8(out, covers(c.code) ? cover_of(c.code) : c.code);
    at += c.bytes;
  }
  return out;
}

std::string Disguise::covered_with_guards(std::string_view text, bool edges) {
  return covered_where(covered(text, edges), [this](uint32_t code) { return names_.guards(code); });
}

std::string Disguise::covered_whole(std::string_view text) {
  return covered_where(text, [this](uint32_t code) { return names_.holds_character(code); });
}

void Disguise::append_uncovered(std::string_view part, std::string& out) const {
  for (size_t at = 0; at < part.size();) {
    const auto c = character_at(part, at);
    const auto escaped = c.code == '\\' ? escaped_at(part, at) : std::nullopt;
    if (const auto found = covered_.find(escaped.value_or(c.code)); found == covered_.end()) {
      out += part.substr(at, c.bytes);
    } else if (escaped) {
      out += escape_of(found->second);
      at += 5;
    } else {
      append_utf8(out, found->second);
    }
    at += c.bytes;
  }
}

MarkedText Disguise::uncovered(std::string_view rendered) const {
  MarkedText out;
  for (size_t at = 0; at < rendered.size();) {
    const auto match = names_.finder().find(rendered, at);
    append_uncovered(rendered.substr(at, match.number < 0 ? rendered.npos : match.begin - at), out.text);
    if (match.number < 0) break;
    out.marks.push_back({out.text.size(), out.text.size() + match.end - match.begin, match.number});
    out.text += rendered.substr(match.begin, match.end - match.begin);
    at = match.end;
  }
  return out;
}

}  // namespace lt2
