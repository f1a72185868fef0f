// Values of a configuration get into job files, logs, headings and file names: only fields whose text people read
// accept a line break.
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/text.h"
#include "config/bench_config.h"
#include "config/convert_config.h"
#include "config/generate_config.h"
#include "config/inspect_config.h"
#include "config/launch_config.h"
#include "config/overrides.h"
#include "config/prepare_config.h"
#include "config/quantize_config.h"
#include "config/report_config.h"
#include "config/tokenize_config.h"
#include "config/train_config.h"
#include "tests/support/error_of.h"

namespace lt2 {
namespace {

const std::vector<std::string> kControl = {"a\nb", "\n", "a\r", "\ta", "a\x1b[31mb", "a\x7f", "a\xc2\x85z"};

bool is_text(const Field& field) {
  return std::holds_alternative<std::string*>(field.target) ||
         std::holds_alternative<std::optional<std::string>*>(field.target) ||
         std::holds_alternative<std::vector<std::string>*>(field.target);
}

// One line that names the field, or "" if nothing was thrown.
template <class Act>
std::string error_of(Act act) {
  auto message = test::error_of(act);
  EXPECT_EQ(printable(message), message);
  return message;
}

ConfigTree nested(const std::string& key, ConfigTree value) {
  auto tree = parse_override(key, "file");
  ConfigTree* leaf = &tree;
  while (leaf->is_map()) leaf = &leaf->entries[0].second;
  *leaf = std::move(value);
  leaf->origin = "file";
  return tree;
}

template <class Config>
std::vector<std::string> fields_that_take_control_characters() {
  std::vector<std::string> taken;
  Config config;
  const auto fields = collect_fields(config);
  for (const auto& field : fields) {
    if (!is_text(field)) continue;
    const bool list = std::holds_alternative<std::vector<std::string>*>(field.target);
    size_t refused = 0;
    for (const auto& text : kControl) {
      auto value = ConfigTree::quoted(text);
      if (list) {
        auto item = std::move(value);
        value = {};
        value.kind = ConfigTree::Kind::kList;
        value.items = {item};
      }
      const auto from_file = error_of([&] { read_tree(nested(field.key, value), fields); });
      const auto argument = field.key + "=" + (field.check.verbatim ? text : write_yaml(value));
      const auto from_line = error_of([&] { apply_overrides(config, {argument}, "lt2"); });
      EXPECT_EQ(from_file.empty(), from_line.empty()) << field.key << from_file << from_line;
      if (from_file.empty()) continue;
      EXPECT_NE(from_file.find(field.key), std::string::npos) << from_file;
      ++refused;
    }
    EXPECT_TRUE(refused == 0 || refused == kControl.size()) << field.key;
    if (refused == 0) taken.push_back(field.key);
  }
  return taken;
}

TEST(ControlCharacters, AreRefusedInEveryFieldButProse) {
  using Keys = std::vector<std::string>;
  EXPECT_EQ(fields_that_take_control_characters<TrainConfig>(), Keys{"val.prompt"});
  EXPECT_EQ(fields_that_take_control_characters<GenerateConfig>(), (Keys{"prompt", "until"}));
  EXPECT_EQ(fields_that_take_control_characters<LaunchConfig>(), Keys{});
  EXPECT_EQ(fields_that_take_control_characters<QuantizeConfig>(), Keys{});
  EXPECT_EQ(fields_that_take_control_characters<BenchConfig>(), Keys{});
  EXPECT_EQ(fields_that_take_control_characters<ConvertConfig>(), Keys{});
  EXPECT_EQ(fields_that_take_control_characters<InspectConfig>(), Keys{});
  EXPECT_EQ(fields_that_take_control_characters<PrepareConfig>(), Keys{});
  EXPECT_EQ(fields_that_take_control_characters<ReportConfig>(), Keys{});
  EXPECT_EQ(fields_that_take_control_characters<TokenizeConfig>(), Keys{});
}

TEST(ControlCharacters, AreRefusedInKeysAndNames) {
  const auto train = [](const std::string& yaml, const std::vector<std::string>& overrides = {}) {
    return error_of([&] { parse_train_config(yaml, "f.yaml", overrides); });
  };
  EXPECT_NE(train("dump_dir: \"runs/a\\nb\"").find("f.yaml:1: dump_dir must not hold control characters"),
            std::string::npos);
  EXPECT_NE(train("dump_dir: |\n  runs/a\n").find("runs/a\\n"), std::string::npos);
  EXPECT_NE(train("data:\n  sources: {\"a\\nb\": 1}").find("f.yaml:2: a key must not hold control"), std::string::npos);
  EXPECT_NE(train("", {"data.sources.\"a\nb\"=1"}).find("a key must not hold control"), std::string::npos);
  EXPECT_NE(train("", {"data.sources={\"a\\nb\": 1}"}).find("a key must not hold control"), std::string::npos);
  EXPECT_NE(train("\"st\\neps\": 1").find("a key must not hold control"), std::string::npos);
  EXPECT_NE(train("steps: \"a\\nb\"").find("\"a\\nb\""), std::string::npos) << "messages stay one line";
  EXPECT_NE(train("", {"steps=a\nb"}).find("steps"), std::string::npos);
  EXPECT_NE(error_of([] { load_train_config("a\nb.yaml", {}); }).find("a\\nb.yaml"), std::string::npos);
  EXPECT_EQ(train("val: {prompt: \"To be,\\nor not\"}\nlogging: {wandb: {notes: \"two\\nlines\"}}"), "");
}

}  // namespace
}  // namespace lt2
