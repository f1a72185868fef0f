#pragma once
// The efficiency figure: speed and memory against context, layout by layout, from the rows of `lt2 bench`.
#include <string>
#include <vector>

#include "report/run_record.h"

namespace lt2 {

/// For every shape among `rows` a section: decoding, prefill and memory as panels under one legend (limits dashed, the
/// frontiers marked), and the numbers.
std::string efficiency_sections(const std::vector<BenchRow>& rows);

/// A note for each time that the machine's limits moved while rows were measured.
std::string moved_notes(const std::vector<BenchRow>& rows);

/// The sections as a separate page that loads nothing. `machine`: one line about what was measured on.
std::string render_efficiency_page(const std::vector<BenchRow>& rows, const std::string& machine);

}  // namespace lt2
