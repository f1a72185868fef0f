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
#include "report/html.h"
#include "report/page_style.h"

namespace lt2 {
namespace {

using Json = nlohmann::ordered_json;

// More log lines than kMostPoints are drawn as about kBins means of neighbours with a band for their range: where
// several share a pixel, a line of noise hides its trend.
constexpr size_t kMostPoints = 400, kBins = 200;

/// "full" -> "full attention": the benchmark's names are short, the page's are words.
std::string display_name(const std::string& model) { return model == "full" ? "full attention" : model; }

std::string integer(double value) { return std::isfinite(value) ? format_tick(std::round(value)) : "–"; }

/// human_bytes without the idle decimal: "256 MiB".
std::string bytes(double value) {
  if (!std::isfinite(value)) return "–";
  std::string text = human_bytes(value);
  if (const size_t idle = text.find(".0 "); idle != std::string::npos) text.erase(idle, 2);
  return text;
}

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

using Facts = std::vector<std::pair<std::string, std::string>>;
std::string facts_list(const Facts& facts) {
  std::string out = "<dl class=\"facts\">\n";
  for (const auto& [name, value] : facts) {
    out += fmt::format("<dt>{}</dt><dd>{}</dd>\n", escape_html(name), escape_html(value));
  }
  return out + "</dl>\n";
}

// --- training ---

struct Losses {
  double first_step = kAbsent, first = kAbsent, last_step = kAbsent, last = kAbsent;
  int64_t not_finite = 0, count = 0;
  double first_not_finite = kAbsent;
};

Losses summarise_losses(const RunRecord& run) {
  Losses losses;
  for (const auto& [step, point] : run.train) {
    ++losses.count;
    if (!std::isfinite(point.loss)) {
      if (losses.not_finite++ == 0) losses.first_not_finite = step;
      continue;
    }
    if (std::isnan(losses.first)) std::tie(losses.first_step, losses.first) = std::pair(step, point.loss);
    std::tie(losses.last_step, losses.last) = std::pair(step, point.loss);
  }
  return losses;
}

/// The last value of every source, averaged over sources: one number for a run of any number of them.
ValidationPoint last_validation(const RunRecord& run) {
  ValidationPoint mean{0, 0};
  for (const auto& [source, points] : run.validation) {
    mean.loss_per_token += points.rbegin()->second.loss_per_token / static_cast<double>(run.validation.size());
    mean.bits_per_byte += points.rbegin()->second.bits_per_byte / static_cast<double>(run.validation.size());
  }
  return run.validation.empty() ? ValidationPoint{} : mean;
}

double median(const RunRecord& run, double TrainPoint::*field) {
  std::vector<double> values;
  for (const auto& [step, point] : run.train) {
    if (std::isfinite(point.*field)) values.push_back(point.*field);
  }
  if (values.empty()) return kAbsent;
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

/// The training line, thinned by averaging neighbours where it has too many points; returns how many steps make one
/// point.
size_t fill_train_series(const RunRecord& run, ChartSeries& series) {
  std::vector<ChartPoint> points;
  for (const auto& [step, point] : run.train) points.push_back({step, point.loss});
  const size_t bin = points.size() <= kMostPoints ? 1 : (points.size() + kBins - 1) / kBins;
  if (bin <= 1) {
    series.points = std::move(points);
    return 1;
  }
  for (size_t begin = 0; begin < points.size(); begin += bin) {
    const size_t end = std::min(points.size(), begin + bin);
    double x = 0, y = 0, low = INFINITY, high = -INFINITY;
    for (size_t i = begin; i < end; ++i) {
      x += points[i].x / static_cast<double>(end - begin);
      y += points[i].y / static_cast<double>(end - begin);
      low = std::min(low, points[i].y);
      high = std::max(high, points[i].y);
    }
    series.points.push_back({x, y});
    if (std::isfinite(y)) series.band.push_back({x, low, high});
  }
  return bin;
}

std::string validation_table(const RunRecord& run) {
  std::string out =
      "<div class=\"scroll\"><table><thead><tr><th>Validation text</th><th>Step</th><th>Loss (nats/token)</th>"
      "<th>Bits per byte</th></tr></thead><tbody>\n";
  for (const auto& [source, points] : run.validation) {
    const auto& [step, point] = *points.rbegin();
    out += fmt::format("<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n", escape_html(source), integer(step),
                       format_number(point.loss_per_token), format_number(point.bits_per_byte));
  }
  return out + "</tbody></table></div>\n";
}

std::string training_facts(const RunRecord& run) {
  Facts facts;
  const auto& last = run.train.rbegin()->second;
  if (std::isfinite(last.total_tokens)) facts.emplace_back("Tokens read", integer(last.total_tokens));
  if (const double speed = median(run, &TrainPoint::tokens_per_s); std::isfinite(speed)) {
    facts.emplace_back("Training speed", format_number(speed) + " tokens/s (median)");
  }
  if (const double flops = median(run, &TrainPoint::flops_per_s); std::isfinite(flops)) {
    facts.emplace_back("Arithmetic", format_number(flops / 1e9) + " GFLOP/s (median, model operations only)");
  }
  if (std::isfinite(last.loops)) facts.emplace_back("Loops", integer(last.loops) + " passes through the layers");
  if (std::isfinite(last.learning_rate)) facts.emplace_back("Last learning rate", format_tick(last.learning_rate));
  if (std::isfinite(last.grad_norm) && last.grad_norm >= 0) {
    facts.emplace_back("Last gradient norm", format_number(last.grad_norm) + " (before clipping)");
  }
  return facts.empty() ? "" : facts_list(facts);
}

std::string loss_section(const RunRecord& run) {
  const char* title = "Loss while training";
  if (run.train.empty() && run.validation.empty()) {
    return section(title, missing("metrics.jsonl has no complete line; training writes it."));
  }
  Chart chart;
  chart.description = "Loss in nats per token against training step. " + training_summary(run);
  chart.x = {
      .title = "training step", .snug = true, .value_label = [](double step) { return "step " + integer(step); }};
  chart.y = {.title = "loss (nats per token)"};
  size_t bin = 1;
  if (!run.train.empty()) {
    chart.series.push_back({.name = "training"});
    bin = fill_train_series(run, chart.series.back());
  }
  for (const auto& [source, points] : run.validation) {
    ChartSeries series{.name = run.validation.size() == 1 ? "validation" : "validation: " + source, .markers = true};
    for (const auto& [step, point] : points) series.points.push_back({step, point.loss_per_token});
    series.markers = points.size() <= 30;
    chart.series.push_back(std::move(series));
  }
  double low = INFINITY, high = -INFINITY;
  for (const auto& series : chart.series) {
    for (const auto& point : series.points) {
      if (!std::isfinite(point.y)) continue;
      low = std::min(low, point.y);
      high = std::max(high, point.y);
    }
  }
  // A loss that once exploded would press everything else flat.
  if (low > 0 && high / low > 50) chart.y.scale = AxisScale::kLog10;

  std::string body = paragraph(
      "How surprised the model is by the next token of the text, on average; lower is better. Training loss is "
      "measured "
      "on the text it learns from, validation loss on text it never trains on.");
  body += render_chart(chart);
  if (bin > 1) {
    body += soft_paragraph(
        fmt::format("The training line is the mean of {} neighbouring log lines, the pale area their range.", bin));
  }
  if (const auto losses = summarise_losses(run); losses.not_finite > 0) {
    body += soft_paragraph(fmt::format("No finite loss in {} of {} log lines, first at step {}: gaps in the line.",
                                       losses.not_finite, losses.count, integer(losses.first_not_finite)));
  }
  if (run.train.empty()) body += missing("the training line; metrics.jsonl is missing or empty.");
  if (run.validation.empty()) body += missing("the validation line; there is no metrics.validation.jsonl.");
  if (run.validation.size() > 1) body += validation_table(run);
  if (!run.train.empty()) body += training_facts(run);
  return section(title, body);
}

// --- decoding ---

std::vector<BenchRow> decode_rows(const std::vector<BenchRow>& bench) {
  std::vector<BenchRow> rows;
  std::copy_if(bench.begin(), bench.end(), std::back_inserter(rows), [](const auto& r) { return r.kind == "decode"; });
  return rows;
}

const BenchRow* find_row(const std::vector<BenchRow>& rows, const BenchRow& like, const std::string& model) {
  const auto at = std::find_if(rows.begin(), rows.end(), [&](const BenchRow& row) {
    return row.kind == like.kind && row.model == model && row.dtype == like.dtype && row.batch == like.batch &&
           row.context == like.context;
  });
  return at == rows.end() ? nullptr : &*at;
}

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
  }
  for (auto& series : all) {
    std::stable_sort(series.points.begin(), series.points.end(),
                     [](const auto& a, const auto& b) { return a.x < b.x; });
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
                                  "down as the context grows; a linear layer looks at a state of fixed size.") +
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
  chart.y = {.title = "state in memory", .scale = AxisScale::kLog2, .tick_label = bytes, .value_label = bytes};
  chart.series = bench_series(rows, &BenchRow::state_bytes);
  return section(title,
                 paragraph("What the model has to keep in memory to go on writing: keys and values of all earlier "
                           "tokens for full attention, a fixed matrix per head for a linear layer; lower is "
                           "better. Both axes grow by doubling.") +
                     render_chart(chart));
}

std::string times(double ratio) { return std::isfinite(ratio) ? format_number(ratio) + "×" : "–"; }

std::string numbers_section(const std::vector<BenchRow>& bench) {
  const char* title = "The measurements";
  if (bench.empty()) return section(title, missing("there is no bench.jsonl, or it is empty."));
  std::vector<BenchRow> rows = bench;
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
      "Limit is the speed this machine could reach at best if only its measured memory bandwidth and arithmetic rate "
      "counted; share is how much of it was reached.");
  if (ratios) {
    body += paragraph(
        "The last two columns compare with full attention at the same context: above 1× in speed is faster, below 1× "
        "in "
        "state is smaller.");
  }
  body += "<div class=\"scroll\"><table><thead><tr><th>Context</th><th class=\"text\">Model</th>";
  if (conditions.kind) body += "<th>Kind</th>";
  if (conditions.dtype) body += "<th>Type</th>";
  if (conditions.batch) body += "<th>Batch</th>";
  body += "<th>Tokens/s</th><th>Limit</th><th>Share</th><th>State</th>";
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
    body += fmt::format("<td>{}</td><td>{}</td><td>{}</td><td>{}</td>", format_number(row.tokens_per_s),
                        format_number(row.floor_tokens_per_s), format_share(row.share),
                        escape_html(bytes(row.state_bytes)));
    if (ratios) {
      const BenchRow* full = row.model == "full" ? nullptr : find_row(rows, row, "full");
      body += full ? fmt::format("<td>{}</td><td>{}</td>", times(row.tokens_per_s / full->tokens_per_s),
                                 times(row.state_bytes / full->state_bytes))
                   : "<td></td><td></td>";
    }
    body += "</tr>\n";
  }
  body += "</tbody></table></div>\n";
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
      facts.emplace_back("Memory", bytes(number));
    } else if (key == "fma_gflops" && std::isfinite(number)) {
      facts.emplace_back("Arithmetic rate", format_number(number) + " GFLOP/s (measured peak of multiply-adds)");
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
    out += tile(format_number(losses.last), "nats/token",
                fmt::format("final training loss (step {}; {} at step {})", integer(losses.last_step),
                            format_number(losses.first), integer(losses.first_step)));
  }
  if (const auto last = last_validation(run); std::isfinite(last.bits_per_byte)) {
    out += tile(
        format_number(last.bits_per_byte), "bits/byte",
        run.validation.size() == 1
            ? "for text it never saw; 8 is knowing nothing"
            : fmt::format("for text it never saw, mean of {} sources; 8 is knowing nothing", run.validation.size()));
  }
  if (const auto pair = compare_decode(run.bench)) {
    const std::string context = format_context(pair->context);
    if (std::isfinite(pair->speed_ratio)) {
      out += tile(times(pair->speed_ratio), "as fast",
                  fmt::format("decoding, {} against {} at {} context", display_name(pair->model),
                              display_name(pair->baseline), context));
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
  return out + "</header>\n";
}

}  // namespace

std::optional<DecodeComparison> compare_decode(const std::vector<BenchRow>& bench) {
  const auto rows = decode_rows(bench);
  std::vector<std::string> others;
  for (const auto& row : rows) {
    if (row.model != "full") others.push_back(row.model);
  }
  if (others.empty()) return std::nullopt;
  const bool hybrid = std::find(others.begin(), others.end(), "hybrid") != others.end();
  const std::string model = hybrid ? "hybrid" : others.front();
  std::optional<DecodeComparison> best;
  for (const auto& row : rows) {
    if (row.model != model || (best && row.context <= best->context)) continue;
    const BenchRow* full = find_row(rows, row, "full");
    if (!full) continue;
    const auto ratio = [](double a, double b) { return a > 0 && b > 0 && std::isfinite(a / b) ? a / b : kAbsent; };
    const DecodeComparison pair{.model = model,
                                .baseline = "full",
                                .context = row.context,
                                .speed_ratio = ratio(row.tokens_per_s, full->tokens_per_s),
                                .state_ratio = ratio(full->state_bytes, row.state_bytes),
                                .model_state_bytes = row.state_bytes,
                                .baseline_state_bytes = full->state_bytes};
    if (std::isfinite(pair.speed_ratio) || std::isfinite(pair.state_ratio)) best = pair;
  }
  return best;
}

std::string efficiency_summary(const std::vector<BenchRow>& bench) {
  const auto pair = compare_decode(bench);
  if (!pair) return "";
  std::string speed, state;
  if (std::isfinite(pair->speed_ratio)) {
    speed =
        fmt::format("decodes {} times as fast as {}", format_number(pair->speed_ratio), display_name(pair->baseline));
  }
  if (std::isfinite(pair->state_ratio)) {
    const bool smaller = pair->state_ratio >= 1;
    state =
        fmt::format("keeps a state {} times {} ({} instead of {})",
                    format_number(smaller ? pair->state_ratio : 1 / pair->state_ratio), smaller ? "smaller" : "larger",
                    bytes(pair->model_state_bytes), bytes(pair->baseline_state_bytes));
  }
  return fmt::format("At a context of {} tokens the {} model {}{}{}.", integer(pair->context),
                     display_name(pair->model), speed, !speed.empty() && !state.empty() ? " and " : "", state);
}

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

std::string render_report(const RunRecord& run) {
  const auto decode = decode_rows(run.bench);
  std::string out =
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      // The page asks for nothing from anywhere, whatever text it shows.
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
      "script-src "
      "'unsafe-inline'; img-src data:\">\n<link rel=\"icon\" href=\"data:,\">\n";
  out += fmt::format("<title>{} – LT2 run report</title>\n<style>\n{}{}</style>\n</head>\n<body>\n<main>\n",
                     escape_html(run.name), kPageStyle, chart_style());
  out += head(run);
  out += loss_section(run);
  out += speed_section(decode);
  out += state_section(decode);
  out += numbers_section(run.bench);
  out += samples_section(run);
  out += model_section(run);
  out += machine_section(run);
  out += commands_section(run);
  out += config_section(run);
  out += fmt::format("</main>\n<script>\n{}</script>\n</body>\n</html>\n", chart_script());
  return out;
}

void write_report(const std::filesystem::path& dump_dir, const std::filesystem::path& output) {
  write_file_atomically(output, render_report(read_run(dump_dir)));
}

}  // namespace lt2
