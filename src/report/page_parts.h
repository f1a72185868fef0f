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

}  // namespace lt2
