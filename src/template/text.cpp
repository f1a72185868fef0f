#include "template/text.h"

#include <algorithm>
#include <cstring>

#include "base/characters.h"
#include "base/error.h"

namespace lt2::jinja {
namespace {

// Line ends of str.splitlines().
bool ends_line(uint32_t code) {
  return (code >= 0xa && code <= 0xd) || (code >= 0x1c && code <= 0x1e) || code == 0x85 || code == 0x2028 ||
         code == 0x2029;
}

size_t end_of_spaces(std::string_view text, size_t at) {
  while (at < text.size()) {
    const Character c = character_at(text, at);
    if (!is_space(c.code)) break;
    at += c.bytes;
  }
  return at;
}

size_t end_of_word(std::string_view text, size_t at) {
  while (at < text.size()) {
    const Character c = character_at(text, at);
    if (is_space(c.code)) break;
    at += c.bytes;
  }
  return at;
}

std::vector<std::string> split_at_spaces(std::string_view text, int64_t most) {
  std::vector<std::string> parts;
  size_t at = end_of_spaces(text, 0);
  while (at < text.size()) {
    if (most >= 0 && static_cast<int64_t>(parts.size()) == most) {
      parts.emplace_back(strip(text.substr(at), Side::kRight));
      break;
    }
    const size_t end = end_of_word(text, at);
    parts.emplace_back(text.substr(at, end - at));
    at = end_of_spaces(text, end);
  }
  return parts;
}

std::vector<std::string> split_at_spaces_from_right(std::string_view text, int64_t most) {
  std::vector<std::string> parts;
  text = strip(text, Side::kRight);
  while (!text.empty()) {
    if (most >= 0 && static_cast<int64_t>(parts.size()) == most) {
      parts.emplace_back(strip(text, Side::kLeft));
      break;
    }
    size_t start = text.size();
    while (start > 0) {
      const size_t before = character_before(text, start);
      if (is_space(character_at(text, before).code)) break;
      start = before;
    }
    parts.emplace_back(text.substr(start));
    text = strip(text.substr(0, start), Side::kRight);
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

}  // namespace

bool is_space(uint32_t code) {
  return (code >= 0x9 && code <= 0xd) || (code >= 0x1c && code <= 0x20) || code == 0x85 || code == 0xa0 ||
         code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 || code == 0x202f ||
         code == 0x205f || code == 0x3000;
}

size_t byte_of(const Text& text, int64_t index) {
  if (text.ascii()) return static_cast<size_t>(index);
  size_t at = 0;
  for (; index > 0; --index) at += character_at(text.bytes, at).bytes;
  return at;
}

std::string slice_of(const Text& text, int64_t start, int64_t step, int64_t count) {
  if (count <= 0) return {};
  if (step == 1) {
    const size_t begin = byte_of(text, start);
    if (text.ascii()) return text.bytes.substr(begin, static_cast<size_t>(count));
    size_t end = begin;
    for (int64_t i = 0; i < count; ++i) end += character_at(text.bytes, end).bytes;
    return text.bytes.substr(begin, end - begin);
  }
  std::string out;
  if (text.ascii()) {
    for (int64_t i = 0; i < count; ++i) out += text.bytes[static_cast<size_t>(start + i * step)];
    return out;
  }
  const auto characters = characters_of(text.bytes);
  for (int64_t i = 0; i < count; ++i) out += characters[static_cast<size_t>(start + i * step)];
  return out;
}

std::vector<std::string> characters_of(std::string_view text) {
  std::vector<std::string> out;
  for (size_t at = 0; at < text.size();) {
    const size_t bytes = character_at(text, at).bytes;
    out.emplace_back(text.substr(at, bytes));
    at += bytes;
  }
  return out;
}

std::string_view strip(std::string_view text, Side side, const std::optional<std::string>& chars) {
  std::vector<uint32_t> set;
  if (chars)
    for (size_t at = 0; at < chars->size();) {
      const Character c = character_at(*chars, at);
      set.push_back(c.code);
      at += c.bytes;
    }
  std::sort(set.begin(), set.end());
  const auto goes = [&](size_t at) {
    const uint32_t code = character_at(text, at).code;
    return chars ? std::binary_search(set.begin(), set.end(), code) : is_space(code);
  };
  size_t begin = 0, end = text.size();
  if (side != Side::kRight)
    while (begin < end && goes(begin)) begin += character_at(text, begin).bytes;
  if (side != Side::kLeft)
    while (end > begin) {
      const size_t last = character_before(text, end);
      if (!goes(last)) break;
      end = last;
    }
  return text.substr(begin, end - begin);
}

std::vector<std::string> split(std::string_view text, const std::optional<std::string>& separator, int64_t most,
                               bool from_right) {
  if (!separator) return from_right ? split_at_spaces_from_right(text, most) : split_at_spaces(text, most);
  LT2_CHECK(!separator->empty(), "empty separator");
  std::vector<std::string> parts;
  const auto more = [&] { return most < 0 || static_cast<int64_t>(parts.size()) < most; };
  if (from_right) {
    size_t end = text.size();
    while (more() && end >= separator->size()) {
      const size_t found = rfind_text(text.substr(0, end), *separator);
      if (found == std::string_view::npos) break;
      parts.emplace_back(text.substr(found + separator->size(), end - found - separator->size()));
      end = found;
    }
    parts.emplace_back(text.substr(0, end));
    std::reverse(parts.begin(), parts.end());
    return parts;
  }
  size_t at = 0;
  while (more()) {
    const size_t found = find_text(text, *separator, at);
    if (found == std::string_view::npos) break;
    parts.emplace_back(text.substr(at, found - at));
    at = found + separator->size();
  }
  parts.emplace_back(text.substr(at));
  return parts;
}

std::vector<std::string> splitlines(std::string_view text, bool keep_ends) {
  std::vector<std::string> lines;
  size_t start = 0;
  for (size_t at = 0; at < text.size();) {
    const Character c = character_at(text, at);
    size_t next = at + c.bytes;
    if (!ends_line(c.code)) {
      at = next;
      continue;
    }
    if (c.code == '\r' && next < text.size() && text[next] == '\n') ++next;
    lines.emplace_back(text.substr(start, (keep_ends ? next : at) - start));
    start = at = next;
  }
  if (start < text.size()) lines.emplace_back(text.substr(start));
  return lines;
}

size_t find_text(std::string_view text, std::string_view what, size_t from) {
  if (from > text.size()) return std::string_view::npos;
  if (what.size() < 2) return text.find(what, from);
  const void* there = memmem(text.data() + from, text.size() - from, what.data(), what.size());
  return there ? static_cast<size_t>(static_cast<const char*>(there) - text.data()) : std::string_view::npos;
}

size_t rfind_text(std::string_view text, std::string_view what) {
  constexpr size_t kShort = 32;  // so short that a look at every place costs no more
  if (what.size() <= kShort) return text.rfind(what);
  // Knuth, Morris, Pratt: border[i] is the length of the longest proper start of `what` that ends at i.
  std::vector<size_t> border(what.size(), 0);
  const auto longer = [&](size_t matched, char next) {
    while (matched > 0 && (matched == what.size() || what[matched] != next)) matched = border[matched - 1];
    return matched + (what[matched] == next);
  };
  for (size_t i = 1, matched = 0; i < what.size(); ++i) border[i] = matched = longer(matched, what[i]);
  size_t last = std::string_view::npos;
  for (size_t i = 0, matched = 0; i < text.size(); ++i) {
    matched = longer(matched, text[i]);
    if (matched == what.size()) last = i + 1 - what.size();
  }
  return last;
}

std::string replace(std::string_view text, std::string_view old, std::string_view with, int64_t most, size_t limit) {
  std::string out;
  const auto check = [&] { LT2_CHECK(out.size() <= limit, "a text of more than {} bytes", limit); };
  if (old.empty()) {  // between all characters, and at both ends
    size_t at = 0;
    for (; most != 0; --most) {
      out += with;
      check();
      if (at == text.size()) return out;
      const size_t bytes = character_at(text, at).bytes;
      out += text.substr(at, bytes);
      at += bytes;
    }
    return out.append(text.substr(at));
  }
  size_t at = 0;
  for (; most != 0; --most) {
    const size_t found = find_text(text, old, at);
    if (found == std::string_view::npos) break;
    out.append(text.substr(at, found - at)).append(with);
    check();
    at = found + old.size();
  }
  return out.append(text.substr(at));
}

void append_character(std::string& text, uint32_t code) {
  const auto continuation = [&](int shift) { text += static_cast<char>(0x80 | (code >> shift & 0x3f)); };
  if (code < 0x80) {
    text += static_cast<char>(code);
    return;
  }
  const int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  constexpr uint32_t kLead[] = {0, 0xc0, 0xe0, 0xf0};
  text += static_cast<char>(kLead[more] | code >> (6 * more));
  for (int i = more - 1; i >= 0; --i) continuation(6 * i);
}

}  // namespace lt2::jinja
