#pragma once
// The pieces that sections of a page are put together from. Text given is escaped.
#include <string>
#include <utility>
#include <vector>

namespace lt2 {

/// `body` is HTML.
std::string section(const std::string& title, const std::string& body);
std::string paragraph(const std::string& text);
std::string soft_paragraph(const std::string& text);
/// "Left out: ..."
std::string missing(const std::string& text);
std::string tile(const std::string& number, const std::string& unit, const std::string& text);

using Facts = std::vector<std::pair<std::string, std::string>>;
std::string facts_list(const Facts& facts);

/// A count with commas, rounded.
std::string integer(double value);
/// human_bytes without the idle decimal: "256 MiB".
std::string bytes_text(double value);

/// format_number with what marks a noisy figure: "~4.20".
std::string marked(double value, bool noisy);
/// Where the middle half of several runs lies: "190 – 204"; "one run"; "–" where that was not kept.
std::string half_text(double low, double high, double repeats);
/// What the mark means, for under a table that has one.
std::string mark_explained();

}  // namespace lt2
