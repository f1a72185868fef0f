#include "report/efficiency.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace lt2 {
namespace {

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

constexpr const char* kRows =
    R"({"kind":"prefill","shape":"1.3B","model":"full","context":1024,"batch":1,"dtype":"bf16","tokens_per_s":500,"floor_tokens_per_s":900,"first_token_s":2}
{"kind":"decode","shape":"1.3B","model":"full","context":1024,"batch":1,"dtype":"bf16","tokens_per_s":3,"floor_tokens_per_s":4,"planned_bytes":3e9}
{"kind":"decode","shape":"1.3B","model":"gdn","context":1024,"batch":1,"dtype":"bf16","tokens_per_s":3.5,"floor_tokens_per_s":4,"planned_bytes":3e9}
{"kind":"skipped","mode":"decode","shape":"1.3B","model":"full","context":65536,"batch":1,"dtype":"bf16","floor_tokens_per_s":1,"planned_bytes":4e10,"reason":"needs <40 GiB>"}
{"kind":"frontier","shape":"1.3B","model":"full","context":40000,"batch":1,"dtype":"bf16","memory_bytes":25769803776,"planned_bytes":2.57e10,"refused_context":44000,"tried_context":30000}
{"kind":"frontier","shape":"1.3B","model":"gdn","context":null,"endless":true,"batch":1,"dtype":"bf16","memory_bytes":25769803776,"planned_bytes":3e9}
)";

TEST(Efficiency, PanelsUnderOneLegendWithLimitsAndFrontiers) {
  const auto page = render_efficiency_page(parse_bench(kRows, "bench"), "a machine & its limits");
  EXPECT_EQ(count(page, "<ul class=\"legend"), 1u);
  EXPECT_EQ(count(page, "<h3>Decoding, batch 1</h3>"), 1u);
  EXPECT_EQ(count(page, "<h3>Prefill, batch 1</h3>"), 1u);
  EXPECT_EQ(count(page, "<h3>Memory, batch 1</h3>"), 1u);
  EXPECT_EQ(count(page, "<line class=\"level\""), 1u);
  EXPECT_EQ(page.find("40000000000"), std::string::npos) << "beyond every memory";
  EXPECT_EQ(count(page, "class=\"mark\""), 1u) << "full ends, gdn does not";
  EXPECT_NE(page.find("s1 floor\""), std::string::npos);
  EXPECT_EQ(page.find("<li>full, limit"), std::string::npos) << "limits are not in the legend";
  EXPECT_NE(page.find("no end"), std::string::npos);
  EXPECT_NE(page.find("not run: needs &lt;40 GiB&gt;"), std::string::npos);
  EXPECT_NE(page.find("a machine &amp; its limits"), std::string::npos);
  EXPECT_EQ(page.find("src="), std::string::npos);
  EXPECT_EQ(page.find("http"), page.find("http-equiv"));
}

TEST(Efficiency, NoiseIsMarked) {
  const std::string rows =
      R"({"kind":"prefill","shape":"1.3B","model":"full","context":8192,"batch":1,"tokens_per_s":120,"tokens_per_s_low":120,"tokens_per_s_high":120,"repeats":1,"noisy":true}
{"kind":"decode","shape":"1.3B","model":"full","context":1024,"batch":1,"tokens_per_s":3,"tokens_per_s_low":2.9,"tokens_per_s_high":3.1,"repeats":5,"noisy":false,"predicted_share":0.9,"predicted_share_noisy":true}
{"kind":"machine","begin":{},"end":{},"noisy":true,"moved":"reading 31 -> 6.8 GB/s"}
)";
  const auto page = render_efficiency_page(parse_bench(rows, "bench"), "machine");
  EXPECT_EQ(count(page, "<td>~120</td><td>one run</td>"), 1u);
  EXPECT_EQ(count(page, "<td>3.00</td><td>2.90 – 3.10</td>"), 1u);
  EXPECT_EQ(count(page, "<td>~0.900</td>"), 1u);
  EXPECT_EQ(count(page, "~ marks noisy figures"), 1u);
  EXPECT_EQ(count(page, "its limits moved (reading 31 -&gt; 6.8 GB/s)"), 1u);
  EXPECT_EQ(count(page, "<section>"), 1u) << "the machine is no shape";
  EXPECT_EQ(count(render_efficiency_page(parse_bench(kRows, "bench"), ""), "~ marks"), 0u);
}

TEST(Efficiency, AShapeASection) {
  std::string other = kRows;
  for (size_t at = 0; (at = other.find("1.3B", at)) != std::string::npos;) other.replace(at, 4, "0.6B");
  const auto sections = efficiency_sections(parse_bench(kRows + other, "bench"));
  EXPECT_EQ(count(sections, "<section>"), 2u);
  EXPECT_EQ(count(sections, "<ul class=\"legend"), 2u);
  EXPECT_TRUE(efficiency_sections({}).empty());
}

TEST(Efficiency, AMeasuredRowReplacesASkippedOneAndNotTheOtherWayRound) {
  const std::string measured =
      R"({"kind":"decode","shape":"1.3B","model":"full","context":65536,"batch":1,"dtype":"bf16","tokens_per_s":1})";
  const auto after = parse_bench(kRows + measured + "\n", "bench"),
             before = parse_bench(measured + "\n" + kRows, "bench");
  EXPECT_EQ(after.size(), 6u);
  EXPECT_EQ(before.size(), 6u);
  for (const auto& rows : {after, before}) {
    for (const auto& row : rows) EXPECT_NE(row.kind, "skipped");
  }
}

TEST(Efficiency, HostileRows) {
  EXPECT_THROW(parse_bench("{\"kind\":\"decode\"}\n", "bench"), Error);
  EXPECT_THROW(parse_bench("{\"kind\":\"frontier\",\"batch\":\"x\"}\n", "bench"), Error);
  EXPECT_THROW(parse_bench("nonsense\n", "bench"), Error);
  const auto rows = parse_bench(
      "{\"kind\":\"frontier\",\"model\":\"</script>\",\"context\":1e308,\"memory_bytes\":-1,\"planned_bytes\":0}\n"
      "{\"kind\":\"decode\",\"context\":-5,\"tokens_per_s\":null,\"batch\":0}\n{\"kind\":\"skipped\",\"context\":0}\n",
      "bench");
  const auto page = render_efficiency_page(rows, "");
  EXPECT_EQ(count(page, "</script>"), 1u);
  EXPECT_EQ(page.find("nan"), std::string::npos);
}

}  // namespace
}  // namespace lt2
