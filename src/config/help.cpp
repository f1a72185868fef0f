#include "config/help.h"

#include <fmt/format.h>

#include <algorithm>

namespace lt2 {
namespace {

constexpr const char* kIgnored = "official keys without effect here";
const std::string kOurs = "ours: ";

bool is_ignored(const Field& field) { return !field.check.ignored.empty(); }

/// What the default does not show: the type if the default is null, and the values.
std::string bracket(const Field& field) {
  std::vector<std::string> parts;
  const auto type = type_text(field), range = range_text(field);
  if (type == "int or null") parts.emplace_back("int");
  if (type == "float or null") parts.emplace_back("number");
  if (type == "amounts" || (type == "words" && range.empty())) parts.emplace_back("several with commas");
  if (!range.empty()) parts.push_back(type == "words" ? "some of " + range : range);
  return parts.empty() ? "" : fmt::format(" [{}]", fmt::join(parts, ", "));
}

std::string meaning(const Field& field) {
  if (is_ignored(field)) return fmt::format("{}: {}", field.help, field.check.ignored);
  return field.help + bracket(field);
}

/// Calls visit(heading, fields) for each section that has fields with an effect, then for those without one.
template <class Visit>
void by_section(const std::vector<Field>& fields, const Visit& visit) {
  std::vector<std::string> sections;
  for (const auto& field : fields) {
    if (std::find(sections.begin(), sections.end(), field.section) == sections.end()) sections.push_back(field.section);
  }
  const auto some = [&](const std::string& heading, const auto& wanted) {
    std::vector<Field> rows;
    std::copy_if(fields.begin(), fields.end(), std::back_inserter(rows), wanted);
    if (!rows.empty()) visit(heading, rows);
  };
  for (const auto& section : sections) {
    some(section, [&](const Field& field) { return field.section == section && !is_ignored(field); });
  }
  some(kIgnored, is_ignored);
}

std::string cell(std::string text) {
  for (size_t at = 0; (at = text.find('|', at)) != std::string::npos; at += 2) text.insert(at, "\\");
  return text;
}

std::string code(const std::string& text) { return text.empty() ? "" : "`" + cell(text) + "`"; }

}  // namespace

std::string wrapped(const std::string& text, size_t width, size_t indent, size_t column) {
  std::string out;
  size_t used = column;
  bool begun = false;  // a word stands on this line
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(' ', at), text.size());
    const auto word = text.substr(at, end - at);
    at = end + 1;
    if (word.empty()) continue;
    if (begun && used + 1 + word.size() > width) {
      out += '\n' + std::string(indent, ' ');
      used = indent;
      begun = false;
    }
    out += (begun ? " " : "") + word;
    used += word.size() + (begun ? 1 : 0);
    begun = true;
  }
  return out;
}

std::string field_list(const std::vector<Field>& fields, size_t width) {
  const auto name = [](const Field& field) { return fmt::format("  {}={}", field.key, value_text(field)); };
  // A third of the line, or less if that is enough; longer names have a line of their own.
  size_t column = 0;
  for (const auto& field : fields) {
    const size_t needed = name(field).size() + 2;
    if (needed <= std::min<size_t>(width / 3, 36)) column = std::max(column, needed);
  }
  column = std::max<size_t>(column, 8);
  std::string out;
  by_section(fields, [&](const std::string& heading, const std::vector<Field>& rows) {
    if (!heading.empty()) out += (out.empty() ? "" : "\n") + heading + "\n";
    for (const auto& field : rows) {
      const auto left = name(field);
      const bool fits = left.size() + 2 <= column;
      out += left + (fits ? std::string(column - left.size(), ' ') : "\n" + std::string(column, ' '));
      out += wrapped(meaning(field), width, column, column) + "\n";
    }
  });
  return out;
}

std::string field_tables(const std::vector<Field>& fields, size_t level) {
  std::string out;
  const bool official =
      std::any_of(fields.begin(), fields.end(), [](const Field& field) { return field.help.starts_with(kOurs); });
  by_section(fields, [&](const std::string& heading, const std::vector<Field>& rows) {
    if (!heading.empty()) out += fmt::format("\n{} {}\n", std::string(level, '#'), heading);
    const bool ignored = heading == kIgnored;
    out += ignored ? "\n| key | type | default | meaning | why it has no effect |\n|---|---|---|---|---|\n"
                   : fmt::format("\n| key | type | default | values | meaning |{}\n|---|---|---|---|---|{}\n",
                                 official ? " from |" : "", official ? "---|" : "");
    for (const auto& field : rows) {
      const bool ours = field.help.starts_with(kOurs);
      const auto help = cell(ours ? field.help.substr(kOurs.size()) : field.help);
      out += fmt::format("| `{}` | {} | {} |", field.key, type_text(field), code(value_text(field)));
      if (ignored) {
        out += fmt::format(" {} | {} |\n", help, cell(field.check.ignored));
      } else {
        out += fmt::format(" {} | {} |{}\n", cell(range_text(field)), help,
                           official ? ours ? " ours |" : " official |" : "");
      }
    }
  });
  return out;
}

}  // namespace lt2
