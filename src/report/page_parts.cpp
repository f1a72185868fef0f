#include "report/page_parts.h"

#include <fmt/format.h>

#include <cmath>

#include "base/units.h"
#include "report/html.h"

namespace lt2 {

std::string section(const std::string& title, const std::string& body) {
  return fmt::format("<section>\n<h2>{}</h2>\n{}</section>\n", escape_html(title), body);
}

std::string paragraph(const std::string& text) { return fmt::format("<p>{}</p>\n", escape_html(text)); }

std::string soft_paragraph(const std::string& text) {
  return fmt::format("<p class=\"soft\">{}</p>\n", escape_html(text));
}

std::string missing(const std::string& text) {
  return fmt::format("<p class=\"missing\">Left out: {}</p>\n", escape_html(text));
}

std::string tile(const std::string& number, const std::string& unit, const std::string& text) {
  return fmt::format("<div class=\"tile\"><b>{} <small>{}</small></b><span>{}</span></div>\n", escape_html(number),
                     escape_html(unit), escape_html(text));
}

std::string facts_list(const Facts& facts) {
  std::string out = "<dl class=\"facts\">\n";
  for (const auto& [name, value] : facts) {
    out += fmt::format("<dt>{}</dt><dd>{}</dd>\n", escape_html(name), escape_html(value));
  }
  return out + "</dl>\n";
}

std::string bytes_text(double value) {
  if (!std::isfinite(value)) return "–";
  std::string text = human_bytes(value);
  if (const size_t idle = text.find(".0 "); idle != std::string::npos) text.erase(idle, 2);
  return text;
}

std::string marked(double value, bool noisy) {
  return (noisy && std::isfinite(value) ? "~" : "") + format_number(value);
}

std::string half_text(double low, double high, double repeats) {
  if (repeats == 1) return "one run";
  return std::isfinite(low) && std::isfinite(high) ? format_number(low) + " – " + format_number(high) : "–";
}

std::string mark_explained() {
  return soft_paragraph(
      "~ marks noisy figures: the middle half of their runs is wider than 10 % of the median, or there were fewer than "
      "three. Other work on the machine does that; they say little.");
}

std::string integer(double value) { return std::isfinite(value) ? format_tick(std::round(value)) : "–"; }

}  // namespace lt2
