#include "report/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <tuple>
#include <utility>

#include "base/files.h"
#include "base/units.h"
#include "report/chart.h"
#include "report/efficiency.h"
#include "report/heat_map.h"
#include "report/html.h"
#include "report/page_parts.h"
#include "report/page_style.h"
#include "report/training_section.h"

namespace lt2 {
namespace {

using Json = nlohmann::ordered_json;

// --- decoding ---

/// What of the conditions differs between rows has to be named in each of them.
struct Conditions {
  bool dtype = false, batch = false, kind = false;

  explicit Conditions(const std::vector<BenchRow>& rows) {
    for (const auto& row : rows) {
      dtype |= row.dtype != rows.front().dtype;
      batch |= row.batch != rows.front().batch;
      kind |= row.kind != rows.front().kind;
    }
  }
  std::string series_name(const BenchRow& row) const {
    std::string name = display_name(row.model);
    if (dtype) name += ", " + (row.dtype.empty() ? "dtype unknown" : row.dtype);
    if (batch) name += ", batch " + integer(row.batch);
    return name;
  }
  /// The conditions that all rows share, for the caption.
  std::string shared(const BenchRow& row) const {
    std::string text;
    if (!dtype && !row.dtype.empty()) text += row.dtype;
    if (!batch) text += (text.empty() ? "" : ", ") + std::string("batch ") + integer(row.batch);
    return text;
  }
};

std::vector<ChartSeries> bench_series(const std::vector<BenchRow>& rows, double BenchRow::*field) {
  const Conditions conditions(rows);
  std::vector<ChartSeries> all;
  for (const auto& row : rows) {
    const std::string name = conditions.series_name(row);
    auto at = std::find_if(all.begin(), all.end(), [&](const ChartSeries& series) { return series.name == name; });
    if (at == all.end()) at = all.insert(all.end(), ChartSeries{.name = name, .markers = true});
    at->points.push_back({row.context, row.*field});
    if (field == &BenchRow::tokens_per_s) {
      at->band.push_back({row.context, row.tokens_per_s_low, row.tokens_per_s_high});
    }
  }
  for (auto& series : all) {
    std::stable_sort(series.points.begin(), series.points.end(),
                     [](const auto& a, const auto& b) { return a.x < b.x; });
    std::stable_sort(series.band.begin(), series.band.end(), [](const auto& a, const auto& b) { return a.x < b.x; });
  }
  return all;
}

ChartAxis context_axis() {
  return {.title = "context (tokens, 1k = 1,024)",
          .scale = AxisScale::kLog2,
          .snug = true,
          .tick_label = format_context,
          .value_label = [](double tokens) { return integer(tokens) + " tokens of context"; }};
}

std::string speed_section(const std::vector<BenchRow>& rows) {
  const char* title = "Decoding speed";
  if (rows.empty()) return section(title, missing("there is no bench.jsonl with decode measurements."));
  Chart chart;
  chart.description = "Decoded tokens per second against context length. " + efficiency_summary(rows);
  chart.x = context_axis();
  chart.y = {.title = "tokens per second", .from_zero = true, .value_label = [](double value) {
               return format_number(value) + " tokens/s";
             }};
  chart.series = bench_series(rows, &BenchRow::tokens_per_s);
  return section(title, paragraph("Tokens the model writes per second once it has read a context of the given length; "
                                  "higher is better. Full attention looks back at every earlier token and so slows "
                                  "down as the context grows; a linear layer looks at a state of fixed size. A pale "
                                  "area is where the middle half of the runs lies.") +
                            render_chart(chart));
}

std::string state_section(const std::vector<BenchRow>& rows) {
  const char* title = "Memory of the state";
  const bool any =
      std::any_of(rows.begin(), rows.end(), [](const auto& row) { return std::isfinite(row.state_bytes); });
  if (!any) return section(title, missing("no decode line of bench.jsonl has state_bytes."));
  Chart chart;
  chart.description = "Bytes of state against context length, both axes logarithmic. " + efficiency_summary(rows);
  chart.x = context_axis();
  chart.y = {
      .title = "state in memory", .scale = AxisScale::kLog2, .tick_label = bytes_text, .value_label = bytes_text};
  chart.series = bench_series(rows, &BenchRow::state_bytes);
  return section(title,
                 paragraph("What the model has to keep in memory to go on writing: keys and values of all earlier "
                           "tokens for full attention, a fixed matrix per head for a linear layer; lower is "
                           "better. Both axes grow by doubling.") +
                     render_chart(chart));
}

std::string times(double ratio, bool noisy = false) { return std::isfinite(ratio) ? marked(ratio, noisy) + "×" : "–"; }

std::string numbers_section(std::vector<BenchRow> rows) {
  const char* title = "The measurements";
  if (rows.empty()) return section(title, missing("there is no bench.jsonl, or it is empty."));
  std::vector<std::string> models;
  for (const auto& row : rows) {
    if (std::find(models.begin(), models.end(), row.model) == models.end()) models.push_back(row.model);
  }
  const auto rank = [&](const BenchRow& row) {
    return std::tuple(row.kind != "decode", row.kind, row.context, row.batch, row.dtype,
                      std::find(models.begin(), models.end(), row.model) - models.begin());
  };
  std::stable_sort(rows.begin(), rows.end(), [&](const auto& a, const auto& b) { return rank(a) < rank(b); });
  const Conditions conditions(rows);
  const bool ratios = models.size() > 1 && std::find(models.begin(), models.end(), "full") != models.end();

  std::string body = paragraph(
      "Speeds are medians of several runs. Limit is the speed this machine could reach at best if only its measured "
      "memory bandwidth and arithmetic rate "
      "counted; share is how much of it was reached.");
  if (ratios) {
    body += paragraph(
        "The last two columns compare with full attention at the same context: above 1× in speed is faster, below 1× "
        "in "
        "state is smaller. A speed ratio is the median of pairs: the models took turns.");
  }
  body += "<div class=\"scroll\"><table><thead><tr><th>Context</th><th class=\"text\">Model</th>";
  if (conditions.kind) body += "<th>Kind</th>";
  if (conditions.dtype) body += "<th>Type</th>";
  if (conditions.batch) body += "<th>Batch</th>";
  body += "<th>Tokens/s</th><th>Half of the runs</th><th>Limit</th><th>Share</th><th>State</th>";
  if (ratios) body += "<th>Speed ratio</th><th>State ratio</th>";
  body += "</tr></thead><tbody>\n";
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto& row = rows[i];
    const bool group = i > 0 && (row.context != rows[i - 1].context || row.kind != rows[i - 1].kind);
    body += fmt::format("<tr{}><td>{}</td><td class=\"text\">{}</td>", group ? " class=\"group\"" : "",
                        integer(row.context), escape_html(display_name(row.model)));
    if (conditions.kind) body += fmt::format("<td>{}</td>", escape_html(row.kind));
    if (conditions.dtype) body += fmt::format("<td>{}</td>", escape_html(row.dtype));
    if (conditions.batch) body += fmt::format("<td>{}</td>", integer(row.batch));
    body += fmt::format("<td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>", marked(row.tokens_per_s, row.noisy),
                        half_text(row.tokens_per_s_low, row.tokens_per_s_high, row.repeats),
                        format_number(row.floor_tokens_per_s), format_share(row.share),
                        escape_html(bytes_text(row.state_bytes)));
    if (ratios) {
      const BenchRow* full = row.model == "full" ? nullptr : find_row(rows, row, "full");
      const double speed = row.baseline == "full" ? row.speed_ratio : kAbsent;
      body += full ? fmt::format("<td>{}</td><td>{}</td>", times(speed, row.speed_ratio_noisy),
                                 times(row.state_bytes / full->state_bytes))
                   : "<td></td><td></td>";
    }
    body += "</tr>\n";
  }
  body += "</tbody></table></div>\n";
  const auto noise = [](const BenchRow& row) { return row.noisy || row.speed_ratio_noisy; };
  if (std::any_of(rows.begin(), rows.end(), noise)) body += mark_explained();
  if (const auto shared = conditions.shared(rows.front()); !shared.empty()) {
    body += soft_paragraph("All rows: " + shared + ".");
  }
  return section(title, body);
}

// --- samples, machine, commands, configuration ---

std::string samples_section(const RunRecord& run) {
  const char* title = "What it writes";
  if (run.samples.empty()) {
    return section(title, missing("there is no samples.json (text generated before and after training)."));
  }
  std::vector<std::string> prompts;
  for (const auto& sample : run.samples) {
    if (std::find(prompts.begin(), prompts.end(), sample.prompt) == prompts.end()) prompts.push_back(sample.prompt);
  }
  std::string body = paragraph("Text generated by the model. The prompt it was given is set in bold, if it had one.");
  for (const auto& prompt : prompts) {
    body += "<div class=\"samples\">\n";
    for (const auto& sample : run.samples) {
      if (sample.prompt != prompt) continue;
      std::string_view text = sample.text;
      if (text.starts_with(prompt)) text.remove_prefix(prompt.size());
      std::string head = sample.when.empty() ? "sample" : sample.when;
      head[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(head[0])));
      body += fmt::format("<div><h3>{}{}</h3>\n<pre class=\"wrap\"><span class=\"prompt\">{}</span>{}</pre></div>\n",
                          escape_html(head),
                          std::isfinite(sample.step) ? " <small>step " + integer(sample.step) + "</small>" : "",
                          escape_html(prompt), escape_html(text));
    }
    body += "</div>\n";
  }
  return section(title, body);
}

std::string plain(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number()) return format_tick(value.get<double>());
  return value.dump();
}

/// "4 × gdn, full": equal neighbours are counted.
std::string layer_list(const Json& layers) {
  if (!layers.is_array()) return plain(layers);
  std::string out;
  for (size_t begin = 0, end = 0; begin < layers.size(); begin = end) {
    while (end < layers.size() && layers[end] == layers[begin]) ++end;
    if (begin > 0) out += ", ";
    if (end - begin > 1) out += fmt::format("{} × ", end - begin);
    out += plain(layers[begin]);
  }
  return out;
}

std::string model_section(const RunRecord& run) {
  const char* title = "The model";
  if (run.model.empty()) return section(title, missing("there is no model.json."));
  Facts facts;
  for (const auto& [key, value] : run.model.items()) {
    if (key == "parameters") {
      facts.emplace_back("Parameters", plain(value));
    } else if (key == "effective_depth") {
      facts.emplace_back("Effective depth", plain(value) + " layers (layers × loops)");
    } else if (key == "layers") {
      facts.emplace_back("Layers", layer_list(value));
    } else {
      facts.emplace_back(key, plain(value));
    }
  }
  return section(title, facts_list(facts));
}

std::string machine_section(const RunRecord& run) {
  const char* title = "The machine";
  if (run.machine.empty()) return section(title, missing("there is no machine.json."));
  Facts facts;
  for (const auto& [key, value] : run.machine.items()) {
    const double number = value.is_number() ? value.get<double>() : kAbsent;
    if (key == "cpu") {
      facts.emplace_back("Processor", plain(value));
    } else if (key == "cores") {
      facts.emplace_back("Cores used", plain(value));
    } else if (key == "isa") {
      facts.emplace_back("Instructions", plain(value) + " (the kernels' instruction set)");
    } else if (key == "memory_bytes" && std::isfinite(number)) {
      facts.emplace_back("Memory", bytes_text(number));
    } else if (key == "fma_gflops" && std::isfinite(number)) {
      facts.emplace_back("Arithmetic rate", format_number(number) + " GFLOP/s (measured peak of multiply-adds)");
    } else if (key.ends_with("_gflops") && number == 0) {
      continue;  // a unit that is not there
    } else if (key == "bf16_gflops" && std::isfinite(number)) {
      facts.emplace_back("bf16 unit", format_number(number) + " GFLOP/s (measured peak from its first cache)");
    } else if (key == "bf16_register_gflops" && std::isfinite(number)) {
      facts.emplace_back("bf16 unit, registers", format_number(number) + " GFLOP/s (no memory touched)");
    } else if (key == "byte_gflops" && std::isfinite(number)) {
      facts.emplace_back("byte unit", format_number(number) + " GFLOP/s (int8 × bf16, measured peak)");
    } else if (key == "byte_register_gflops" && std::isfinite(number)) {
      facts.emplace_back("byte unit, registers", format_number(number) + " GFLOP/s (no memory touched)");
    } else if (key == "read_gbps" && std::isfinite(number)) {
      facts.emplace_back("Memory bandwidth", format_number(number) + " GB/s (measured, reading)");
    } else {
      facts.emplace_back(key, plain(value));
    }
  }
  return section(title, facts_list(facts));
}

std::string commands_section(const RunRecord& run) {
  const char* title = "The commands";
  if (!run.commands) return section(title, missing("there is no commands.txt."));
  return section(title, paragraph("What was run, exactly; the same lines make this page again.") +
                            "<pre class=\"wrap\">" + escape_html(*run.commands) + "</pre>\n");
}

std::string config_section(const RunRecord& run) {
  const char* title = "The configuration";
  if (!run.config) return section(title, missing("there is no config.yaml."));
  return section(title, "<details><summary>Show config.yaml, every setting of the run</summary><pre>" +
                            escape_html(*run.config) + "</pre></details>\n");
}

// --- the head of the page ---

std::string key_numbers(const RunRecord& run) {
  std::string out;
  if (const auto losses = summarise_losses(run); std::isfinite(losses.last)) {
    out += tile(
        format_number(losses.last), "nats/token",
        fmt::format("{}training loss (step {}; {} at step {})", run.train.rbegin()->first < run.steps ? "" : "final ",
                    integer(losses.last_step), format_number(losses.first), integer(losses.first_step)));
  }
  if (const auto last = last_validation(run); std::isfinite(last.bits_per_byte)) {
    out += tile(
        format_number(last.bits_per_byte), "bits/byte",
        run.validation.size() == 1
            ? "for text it never saw; 8 is knowing nothing"
            : fmt::format("for text it never saw, mean of {} sources; 8 is knowing nothing", run.validation.size()));
  }
  if (const double mfu = median_of(run, &TrainPoint::mfu); std::isfinite(mfu)) {
    out += tile(format_share(mfu), "of the peak", "arithmetic rate while training (MFU, every loop counted; median)");
  }
  if (const auto pair = compare_decode(run.bench)) {
    const std::string context = format_context(pair->context);
    if (std::isfinite(pair->speed_ratio)) {
      const auto sure = pair->noisy ? "noisy: half of the pairs between " + times(pair->speed_ratio_low) + " and " +
                                          times(pair->speed_ratio_high)
                                    : "median of " + integer(pair->pairs) + " pairs of runs";
      out += tile(times(pair->speed_ratio, pair->noisy), "as fast",
                  fmt::format("decoding, {} against {} at {} context; {}", display_name(pair->model),
                              display_name(pair->baseline), context, sure));
    }
    if (std::isfinite(pair->state_ratio)) {
      const bool smaller = pair->state_ratio >= 1;
      out += tile(times(smaller ? pair->state_ratio : 1 / pair->state_ratio), smaller ? "smaller" : "larger",
                  fmt::format("state in memory, {} against {} at {} context", display_name(pair->model),
                              display_name(pair->baseline), context));
    }
  }
  return out.empty() ? "" : "<div class=\"tiles\">\n" + out + "</div>\n";
}

std::string head(const RunRecord& run) {
  std::string lead = training_summary(run);
  const std::string efficiency = efficiency_summary(run.bench);
  if (!lead.empty() && !efficiency.empty()) lead += " ";
  lead += efficiency;
  if (lead.empty()) lead = "The files of this run hold no finite result yet.";
  std::string out = fmt::format("<header>\n<h1>{}</h1>\n<p class=\"lead\">{}</p>\n{}", escape_html(run.name),
                                escape_html(lead), key_numbers(run));
  for (const auto& note : run.notes) out += soft_paragraph("Note: " + note);
  out += moved_notes(run.bench);
  return out + "</header>\n";
}

}  // namespace

std::string training_summary(const RunRecord& run) {
  const auto losses = summarise_losses(run);
  if (!std::isfinite(losses.last)) return "";
  const double tokens = run.train.rbegin()->second.total_tokens;
  std::string out =
      fmt::format("{} training steps{} took the loss from {} to {} nats per token", integer(run.train.rbegin()->first),
                  std::isfinite(tokens) ? fmt::format(" ({} tokens)", human_count(tokens)) : "",
                  format_number(losses.first), format_number(losses.last));
  if (const auto last = last_validation(run); std::isfinite(last.bits_per_byte)) {
    out += fmt::format("; a byte of text it never saw costs {} bits", format_number(last.bits_per_byte));
  }
  return out + ".";
}

std::string render_changing_part(const RunRecord& run) {
  return head(run) + loss_section(run) + gradient_section(run) + training_speed_section(run);
}

std::string render_report(const RunRecord& run, const LivePart* live) {
  const auto decode = decode_rows(run.bench);
  std::vector<BenchRow> own, of_grids;  // and frontiers
  for (const auto& row : run.bench) {
    if (row.kind != "machine") (row.own_time() ? own : of_grids).push_back(row);
  }
  std::string out = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      // The page asks for nothing from elsewhere, whatever text it shows.
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
      "script-src 'unsafe-inline'; img-src data:{}\">\n<link rel=\"icon\" href=\"data:,\">\n",
      live ? "; connect-src 'self'" : "");
  out += fmt::format("<title>{} – LT2 run report</title>\n<style>\n{}{}{}{}</style>\n</head>\n<body>\n<main>\n",
                     escape_html(run.name), kPageStyle, chart_style(), heat_map_style(), live ? live->style : "");
  if (live) out += live->status;
  out += fmt::format("<div id=\"changing\">\n{}</div>\n", render_changing_part(run));
  // A running run may not have written everything yet: that is not missing.
  const auto add = [&](bool there, const std::string& part) {
    if (there || !live) out += part;
  };
  if (of_grids.empty() || !own.empty()) {
    add(!decode.empty(), speed_section(decode) + state_section(decode));
    add(!own.empty(), numbers_section(own));
  }
  out += efficiency_sections(of_grids);
  add(!run.samples.empty(), samples_section(run));
  add(!run.model.empty(), model_section(run));
  add(!run.machine.empty(), machine_section(run));
  add(run.commands.has_value(), commands_section(run));
  add(run.config.has_value(), config_section(run));
  out += fmt::format("</main>\n<script>\n{}{}</script>\n</body>\n</html>\n", chart_script(), live ? live->script : "");
  return out;
}

void write_report(const std::filesystem::path& dump_dir, const std::filesystem::path& output) {
  write_file_atomically(output, render_report(read_run(dump_dir)));
}

}  // namespace lt2
