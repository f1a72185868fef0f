#include "report/report.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include "base/error.h"
#include "base/files.h"
#include "tests/support/error_of.h"
#include "tests/support/temp_folder.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

class Report : public ::testing::Test {
 protected:
  void write(const std::string& name, const std::string& content) {
    std::ofstream(folder_ / name, std::ios::binary) << content;
  }
  /// A whole run: every file, in the form the other rooms write.
  void write_everything() {
    std::string metrics, bench;
    for (int step = 1; step <= 20; ++step) {
      metrics += fmt::format(
          R"({{"global_step":{},"loss/out":{},"optim/lr":0.0003,"optim/grad_norm":0.8,"speed/wps":5000,"speed/FLOPS":1e11,)"
          R"("speed/loops":4,"optim/total_tokens":{}}})"
          "\n",
          step, 5.0 - 0.1 * step, 8192 * step);
    }
    for (int context = 1024; context <= 32768; context *= 2) {
      bench +=
          fmt::format(R"({{"kind":"decode","model":"full","context":{0},"tokens_per_s":20,"tokens_per_s_low":19.5,)"
                      R"("tokens_per_s_high":20.5,"repeats":57,"noisy":false,"floor_tokens_per_s":40,"share":0.5,)"
                      R"("state_bytes":{1},"dtype":"fp32","batch":1}})"
                      "\n"
                      R"({{"kind":"decode","model":"hybrid","context":{0},"tokens_per_s":50,"tokens_per_s_low":49,)"
                      R"("tokens_per_s_high":51,"repeats":57,"noisy":false,"floor_tokens_per_s":100,"share":0.5,)"
                      R"("baseline":"full","speed_ratio":2.5,"speed_ratio_low":2.4,"speed_ratio_high":2.6,)"
                      R"("speed_ratio_noisy":false,"state_bytes":{2},"dtype":"fp32","batch":1}})"
                      "\n",
                      context, 1000 * context, 250 * context);
    }
    write("metrics.jsonl", metrics);
    write("bench.jsonl", bench);
    write("metrics.validation.jsonl",
          R"({"global_step": 20, "shakespeare": {"nll_per_token": -3.1, "loss_per_token": 3.1, "bits_per_byte": 2.61}})"
          "\n");
    write("samples.json", R"([{"when": "before training", "step": 0, "prompt": "ROMEO:", "text": "xq zz"},)"
                          R"({"when": "after training", "step": 20, "prompt": "ROMEO:", "text": "ROMEO: I say"}])");
    write("machine.json", R"({"cpu": "Some CPU", "cores": 2, "isa": "AVX-512", "memory_bytes": 17179869184,)"
                          R"("fma_gflops": 300, "read_gbps": 18.5})");
    write("model.json",
          R"({"parameters": 3215872, "effective_depth": 20, "layers": ["gdn","gdn","gdn","gdn","full"]})");
    write("commands.txt", "lt2 train config=demo.yaml\n");
    write("config.yaml", "name: demo\nmodel:\n  dim: 256\n");
  }
  std::string error_of_reading() {
    return test::error_of([&] { read_run(folder_); });
  }
  std::string page() { return render_report(read_run(folder_)); }

  test::TempFolder temporary_;
  fs::path folder_ = temporary_.path();
};

#define EXPECT_HAS(text, part) EXPECT_NE((text).find(part), std::string::npos) << "no " << (part)
#define EXPECT_HAS_NOT(text, part) EXPECT_EQ((text).find(part), std::string::npos) << "has " << (part)

TEST_F(Report, WholeRunInOnePage) {
  write_everything();
  write_report(folder_, folder_ / "report.html");
  const std::string page = read_file(folder_ / "report.html");
  size_t last = 0;
  const std::vector<std::string> parts{"<h1>" + folder_.filename().string() + "</h1>",
                                       "Loss while training",
                                       "Decoding speed",
                                       "Memory of the state",
                                       "The measurements",
                                       "What it writes",
                                       "The model",
                                       "The machine",
                                       "The commands",
                                       "The configuration",
                                       "</html>"};
  for (const auto& part : parts) {
    const size_t at = page.find(part, last);
    ASSERT_NE(at, std::string::npos) << part << " is missing or out of order";
    last = at;
  }
  EXPECT_HAS_NOT(page, "Left out");
  EXPECT_HAS(page, "20 training steps");
  EXPECT_HAS(page, "took the loss from 4.90 to 3.00 nats per token; a byte of text it never saw costs 2.61 bits.");
  EXPECT_HAS(page, "4 × gdn, full");
  EXPECT_HAS(page, "2.50×");
  EXPECT_HAS(page, "median of 57 pairs of runs");
  EXPECT_HAS(page, "<td>50.0</td><td>49.0 – 51.0</td>");
  EXPECT_HAS(page, "class=\"band\"");
  EXPECT_HAS_NOT(page, "noisy");
  EXPECT_HAS(page, "50 %");
  EXPECT_HAS(page, "<span class=\"prompt\">ROMEO:</span> I say");  // the prompt once, not twice
}

TEST_F(Report, LoadsNothing) {
  write_everything();
  const std::string text = page();
  for (const char* part : {"http://", "https://", "src=", "@import", "url(", "<iframe", "<object", "<embed"}) {
    EXPECT_HAS_NOT(text, part);
  }
  EXPECT_HAS(text, "default-src 'none'");
}

TEST_F(Report, EveryTagIsClosed) {
  write_everything();
  const std::string text = page();
  const auto count = [&](const std::string& part) {
    size_t found = 0;
    for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
    return found;
  };
  for (const std::string tag :
       {"section", "div", "svg", "table", "tr", "td", "dl", "pre", "p", "g", "text", "ul", "li"}) {
    EXPECT_EQ(count("<" + tag + ">") + count("<" + tag + " "), count("</" + tag + ">")) << tag;
  }
}

TEST_F(Report, HostileTextIsText) {
  write_everything();
  const std::string attack = "</pre></script><script>alert(1)</script><img src=x onerror=alert(1)>";
  const std::string json = "\"" + attack + "\\u0000\\u001b\"";
  write("samples.json", fmt::format(R"([{{"when":{0},"prompt":{0},"text":{0}}}])", json));
  write("config.yaml", attack + "\xFF\xFE\r\n");
  write("commands.txt", attack);
  write("machine.json", fmt::format(R"({{"cpu":{0},{0}:{0}}})", json));
  write("model.json", fmt::format(R"({{"layers":[{0},{{{0}:{0}}}],"parameters":{0}}})", json));
  write("bench.jsonl", fmt::format(R"({{"kind":"decode","model":{0},"context":1024,"dtype":{0},"tokens_per_s":1}})"
                                   "\n"
                                   R"({{"kind":{0},"model":"full","context":1024,"state_bytes":1}})",
                                   json));
  write("metrics.validation.jsonl", fmt::format(R"({{"global_step":1,{}:{{"loss_per_token":1}},"b":{{}}}})", json));
  const std::string text = page();
  EXPECT_HAS_NOT(text, "<img");
  EXPECT_HAS_NOT(text, "alert(1)</script>");
  EXPECT_HAS(text, "&lt;img src=x onerror=alert(1)&gt;");
  EXPECT_EQ(text.find('\0'), std::string::npos);
  EXPECT_EQ(text.find('\xFF'), std::string::npos);
}

TEST_F(Report, MissingOptionalFilesAreExplained) {
  write("metrics.jsonl", "{\"global_step\":1,\"loss/out\":2.5}\n");
  const std::string text = page();
  for (const char* name : {"metrics.validation.jsonl", "bench.jsonl", "samples.json", "model.json", "machine.json",
                           "commands.txt", "config.yaml"}) {
    EXPECT_HAS(text, name);
  }
  EXPECT_HAS(text, "2.50");
}

TEST_F(Report, BenchAloneIsEnough) {
  write_everything();
  fs::remove(folder_ / "metrics.jsonl");
  fs::remove(folder_ / "metrics.validation.jsonl");
  const std::string text = page();
  EXPECT_HAS(text, "At a context of 32,768 tokens the hybrid model decodes 2.50 times as fast as full attention");
  EXPECT_HAS(text, "Left out: metrics.jsonl");
}

TEST_F(Report, NothingToReportSaysWhatWasExpected) {
  write("config.yaml", "name: x\n");
  const std::string error = error_of_reading();
  EXPECT_HAS(error, "metrics.jsonl");
  EXPECT_HAS(error, "bench.jsonl");
  EXPECT_HAS(error, folder_.string());
  fs::remove_all(folder_);
  EXPECT_HAS(error_of_reading(), "no such folder");
}

TEST_F(Report, TruncatedLastLineIsSkippedWithANote) {
  write("metrics.jsonl", "{\"global_step\":1,\"loss/out\":2.5}\n{\"global_step\":2,\"loss");
  const auto run = read_run(folder_);
  EXPECT_EQ(run.train.size(), 1u);
  ASSERT_EQ(run.notes.size(), 1u);
  EXPECT_HAS(run.notes[0], "metrics.jsonl:2");
  EXPECT_HAS(render_report(run), "was skipped");
}

TEST_F(Report, CompleteLastLineNeedsNoLineEnd) {
  write("metrics.jsonl", "{\"global_step\":1,\"loss/out\":2.5}\r\n\n{\"global_step\":2,\"loss/out\":2}");
  EXPECT_EQ(read_run(folder_).train.size(), 2u);
}

TEST_F(Report, OnlyATruncatedLineStillMakesAPage) {
  write("metrics.jsonl", "{\"global_st");
  EXPECT_HAS(page(), "no finite result yet");
}

TEST_F(Report, ErrorsNameFileAndLine) {
  write("metrics.jsonl", "{\"global_step\":1}\n{broken}\n{\"global_step\":2}\n");
  EXPECT_HAS(error_of_reading(), "metrics.jsonl:2: not a JSON object on one line");
  write("metrics.jsonl", "{\"global_step\":1}\n[1]\n");
  EXPECT_HAS(error_of_reading(), "metrics.jsonl:2: expected a JSON object, found [1]");
  write("metrics.jsonl", "{\"loss/out\":1}\n");
  EXPECT_HAS(error_of_reading(), "metrics.jsonl:1: no \"global_step\" field");
  write("metrics.jsonl", "{\"global_step\":1,\"loss/out\":\"low\"}\n");
  EXPECT_HAS(error_of_reading(), "metrics.jsonl:1: \"loss/out\" must be a number, found \"low\"");
  write("metrics.jsonl", "{\"global_step\":1}\n");
  write("bench.jsonl", "{\"kind\":\"decode\",\"context\":null}\n");
  EXPECT_HAS(error_of_reading(), "bench.jsonl:1: \"context\" must be a finite number");
  write("bench.jsonl", "");
  write("samples.json", "[\n{\"text\": \"a\"},\n{oops}]");
  EXPECT_HAS(error_of_reading(), "samples.json:3: not valid JSON");
  write("samples.json", "[{\"text\":\"a\"},{\"text\":3}]");
  EXPECT_HAS(error_of_reading(), "samples.json: entry 2: \"text\" must be a string, found 3");
  write("samples.json", "[]");
  write("machine.json", "[]");
  EXPECT_HAS(error_of_reading(), "machine.json: expected a JSON object, found []");
}

TEST_F(Report, NotFiniteAndHugeNumbers) {
  write_everything();
  write("metrics.jsonl",
        "{\"global_step\":1,\"loss/out\":3,\"note\":\"NaN, \\\"Infinity\"}\n{\"global_step\":2,\"loss/out\":NaN}\n"
        "{\"global_step\":3,\"loss/out\":-Infinity,\"speed/wps\":1e308}\n{\"global_step\":4,\"loss/out\":1e308}\n"
        "{\"global_step\":5,\"loss/out\":null,\"optim/grad_norm\":Infinity}\n");
  write("bench.jsonl",
        "{\"model\":\"full\",\"context\":1024,\"tokens_per_s\":NaN,\"state_bytes\":0}\n"
        "{\"model\":\"hybrid\",\"context\":1024,\"tokens_per_s\":1e308,\"floor_tokens_per_s\":1e-308,\"state_bytes\":"
        "1e308}\n");
  write("machine.json", "{\"cpu\":null,\"memory_bytes\":Infinity,\"fma_gflops\":\"fast\",\"extra\":[1,{}]}");
  const auto run = read_run(folder_);
  EXPECT_TRUE(std::isnan(run.train.at(2).loss));
  EXPECT_EQ(run.train.at(4).loss, 1e308);
  EXPECT_HAS(render_report(run), "No finite loss in 3 of 5 log lines, first at step 2");
  EXPECT_FALSE(compare_decode(run.bench));
  write("metrics.jsonl", "{\"global_step\":1,\"loss/out\":1e999}\n");
  EXPECT_HAS(error_of_reading(), "metrics.jsonl:1");
}

TEST_F(Report, ResumedRunCountsRepeatedStepsOnce) {
  write("metrics.jsonl",
        "{\"global_step\":1,\"loss/out\":5}\n{\"global_step\":2,\"loss/out\":4}\n{\"global_step\":3,\"loss/out\":3}\n"
        "{\"global_step\":2,\"loss/out\":4.5}\n");
  const auto run = read_run(folder_);
  EXPECT_EQ(run.train.size(), 2u);
  EXPECT_EQ(run.train.at(2).loss, 4.5);
  ASSERT_EQ(run.notes.size(), 1u);
  EXPECT_HAS(run.notes[0], "resumed once");
}

TEST_F(Report, RepeatedMeasurementReplacesTheEarlier) {
  write("bench.jsonl",
        "{\"model\":\"full\",\"context\":1024,\"tokens_per_s\":1}\n"
        "{\"model\":\"full\",\"context\":1024,\"tokens_per_s\":2,\"floor_tokens_per_s\":4}\n");
  const auto run = read_run(folder_);
  ASSERT_EQ(run.bench.size(), 1u);
  EXPECT_EQ(run.bench[0].tokens_per_s, 2);
  EXPECT_EQ(run.bench[0].share, 0.5);
}

TEST_F(Report, OfficialValidationLinesCarryLogLikelihoods) {
  write("metrics.jsonl", "");
  write("metrics.validation.jsonl", "{\"global_step\":7,\"books\":{\"nll_per_token\":-2.5}}\n");
  EXPECT_EQ(read_run(folder_).validation.at("books").at(7).loss_per_token, 2.5);
}

TEST_F(Report, LongRunsAreThinned) {
  std::string metrics;
  for (int step = 1; step <= 20000; ++step) metrics += fmt::format("{{\"global_step\":{},\"loss/out\":3}}\n", step);
  write("metrics.jsonl", metrics);
  const std::string text = page();
  EXPECT_LT(text.size(), 100000u);
  EXPECT_HAS(text, "mean of 100 neighbouring log lines");
}

TEST_F(Report, SpikesAreMarkedAndExplained) {
  std::string metrics;
  for (int step = 1; step <= 60; ++step) {
    metrics += fmt::format("{{\"global_step\":{},\"loss/out\":{}}}\n", step, step == 40 ? 4.5 : 3.0);
  }
  write("metrics.jsonl", metrics);
  const std::string text = page();
  EXPECT_HAS(text, "class=\"mark\"");
  EXPECT_HAS(text, "step 40: loss 4.50, 3.00 before");
  EXPECT_HAS(text,
             "1 loss spike: a line&#39;s loss above the median of the 20 before it by more than 4 times their "
             "median absolute deviation and by more than 2 %. The highest: step 40, 4.50 after 3.00.");
}

TEST_F(Report, GradientOfEveryUnitAndShareOfThePeak) {
  std::string metrics;
  for (int step = 1; step <= 4; ++step) {
    metrics += fmt::format(
        R"({{"global_step":{},"loss/out":3,"optim/grad_norm":{},"speed/mfu":0.27,"optim/grad_norm/output":0.5,)"
        R"("optim/grad_norm/layers.0":{},"optim/grad_norm/<i>":1}})"
        "\n",
        step, step == 2 ? -1 : 2, step == 3 ? "null" : "0.25");
  }
  write("metrics.jsonl",
        metrics + "{\"global_step\":5,\"optim/grad_norm/embedding\":3,\"optim/grad_norm/output\":8}\n");
  const auto run = read_run(folder_);
  EXPECT_EQ(run.units, (std::vector<std::string>{"output", "layers.0", "<i>", "embedding"}));
  EXPECT_EQ(run.train.at(5).unit_norms.at(0), 8);
  EXPECT_EQ(run.train.at(5).unit_norms.at(3), 3);
  EXPECT_TRUE(std::isnan(run.train.at(3).unit_norms.at(1)));
  const std::string text = render_report(run);
  EXPECT_HAS(text, "<h2>Gradient</h2>");
  EXPECT_HAS(text, "<td>output</td><td>0.500</td><td>0.500</td><td>8.00</td><td>8.00</td>");
  EXPECT_HAS(text, "27 % <small>of the peak</small>");
  EXPECT_HAS(text, "&lt;i&gt;");
  EXPECT_HAS_NOT(text, "<i>");
}

TEST_F(Report, TimesAndStepsOfTheRun) {
  write("metrics.jsonl",
        "{\"global_step\":1,\"created_at\":\"2026-05-20T12:34:56.789012+00:00\"}\n"
        "{\"global_step\":2,\"created_at\":\"yesterday\"}\n{\"global_step\":3}\n");
  write("config.yaml", "name: x\ndata:\n  steps: 5\nsteps: 300\n");
  auto run = read_run(folder_);
  EXPECT_NEAR(run.train.at(1).time, 1779280496.789012, 1e-4);
  EXPECT_TRUE(std::isnan(run.train.at(2).time) && std::isnan(run.train.at(3).time));
  EXPECT_EQ(run.steps, 300);
  for (const char* config : {"steps: many\n", "steps: -1\n", "steps: 3 # or 4\n", " steps: 3\n", "steps: 1e999"}) {
    write("config.yaml", config);
    EXPECT_TRUE(std::isnan(read_run(folder_).steps)) << config;
  }
}

BenchRow row(const std::string& model, double context, double speed, double state, const std::string& dtype = "fp32") {
  BenchRow row;
  row.kind = "decode";
  row.model = model;
  row.dtype = dtype;
  row.context = context;
  row.tokens_per_s = speed;
  row.state_bytes = state;
  row.batch = 1;
  return row;
}

/// A row whose model took turns with full attention.
BenchRow paired(BenchRow row, double ratio, bool noisy = false) {
  row.baseline = "full";
  row.speed_ratio = ratio;
  row.speed_ratio_low = 0.5 * ratio;
  row.speed_ratio_high = 2 * ratio;
  row.speed_ratio_noisy = noisy;
  row.repeats = 9;
  return row;
}

TEST(CompareDecode, TakesTheLongestCommonContext) {
  const auto pair = compare_decode({row("full", 1024, 10, 100), row("hybrid", 1024, 11, 50), row("full", 2048, 5, 200),
                                    paired(row("hybrid", 2048, 10, 50), 2.1), row("hybrid", 4096, 9, 50)});
  ASSERT_TRUE(pair);
  EXPECT_EQ(pair->context, 2048);
  EXPECT_EQ(pair->speed_ratio, 2.1) << "of the pairs, not of the medians";
  EXPECT_EQ(pair->pairs, 9);
  EXPECT_EQ(pair->state_ratio, 4);
}

TEST(CompareDecode, NeedsEqualConditions) {
  EXPECT_FALSE(compare_decode({row("full", 1024, 10, 100, "fp32"), row("hybrid", 1024, 11, 50, "bf16")}));
  EXPECT_FALSE(compare_decode({row("full", 1024, 10, 100)}));
  EXPECT_FALSE(compare_decode({}));
  EXPECT_EQ(compare_decode({row("full", 8, 10, 100), row("window", 8, 20, 50)})->model, "window");
}

TEST(EfficiencySummary, IsHonestAboutLosing) {
  const auto text = efficiency_summary({row("full", 512, 10, 1024), paired(row("hybrid", 512, 8, 2048), 0.8)});
  EXPECT_EQ(
      text,
      "At a context of 512 tokens the hybrid model decodes 0.800 times as fast as full attention and keeps a state "
      "2.00 times larger (2 KiB instead of 1 KiB).");
  EXPECT_EQ(efficiency_summary({row("full", 512, 10, kAbsent), paired(row("hybrid", 512, 20, kAbsent), 2)}),
            "At a context of 512 tokens the hybrid model decodes 2.00 times as fast as full attention.");
  EXPECT_EQ(efficiency_summary({}), "");
}

// Full attention was measured while something else ran, the hybrid a minute later.
TEST_F(Report, SaysNothingOfSpeedsThatWereNotMeasuredInTurns) {
  write("bench.jsonl",
        "{\"kind\":\"decode\",\"model\":\"full\",\"context\":32768,\"batch\":1,\"tokens_per_s\":2.3,\"state_bytes\":"
        "4096}\n"
        "{\"kind\":\"decode\",\"model\":\"hybrid\",\"context\":32768,\"batch\":1,\"tokens_per_s\":34.5,"
        "\"state_bytes\":1024}\n");
  const std::string text = page();
  EXPECT_HAS_NOT(text, "15.0");
  EXPECT_HAS_NOT(text, "times as fast");
  EXPECT_HAS(text, "the hybrid model keeps a state 4.00 times smaller (1 KiB instead of 4 KiB).");
}

TEST_F(Report, NoiseIsMarkedInHeadlineTileAndTable) {
  write(
      "bench.jsonl",
      "{\"kind\":\"decode\",\"model\":\"full\",\"context\":32768,\"batch\":1,\"tokens_per_s\":8,\"tokens_per_s_low\":2,"
      "\"tokens_per_s_high\":9,\"repeats\":20,\"noisy\":true}\n"
      "{\"kind\":\"decode\",\"model\":\"hybrid\",\"context\":32768,\"batch\":1,\"tokens_per_s\":35,"
      "\"tokens_per_s_low\":34,\"tokens_per_s_high\":36,\"repeats\":20,\"noisy\":false,\"baseline\":\"full\","
      "\"speed_ratio\":4.4,\"speed_ratio_low\":3.9,\"speed_ratio_high\":15,\"speed_ratio_noisy\":true}\n"
      "{\"kind\":\"machine\",\"noisy\":true,\"moved\":\"fp32 300 -> 210 GFLOP/s\"}\n");
  const std::string text = page();
  EXPECT_HAS(
      text,
      "the hybrid model decodes about 4.40 times as fast as full attention (noisy: half of the pairs of runs lie "
      "between 3.90 and 15.0).");
  EXPECT_HAS(text, "<b>~4.40× <small>as fast</small></b>");
  EXPECT_HAS(text, "noisy: half of the pairs between 3.90× and 15.0×");
  EXPECT_HAS(text, "<td>~8.00</td><td>2.00 – 9.00</td>");
  EXPECT_HAS(text, "<td>35.0</td>");
  EXPECT_HAS(text, "<td>~4.40×</td>");
  EXPECT_HAS(text, "~ marks noisy figures");
  EXPECT_HAS(text, "its limits moved (fp32 300 -&gt; 210 GFLOP/s)");
  write("bench.jsonl", "{\"kind\":\"decode\",\"context\":1,\"noisy\":3}\n");
  EXPECT_HAS(error_of_reading(), "bench.jsonl:1: \"noisy\" must be true or false, found 3");
}

}  // namespace
}  // namespace lt2
