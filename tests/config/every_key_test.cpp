// No key of any command is read and then forgotten: a second value changes the struct, or is reported as ignored.
#include <gtest/gtest.h>

#include <functional>

#include "base/error.h"
#include "config/bench_config.h"
#include "config/check_config.h"
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
#include "config/train_options.h"

namespace lt2 {
namespace {

template <class... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};

/// Values as a user types them; the first that is in range and not the default is taken.
std::vector<std::string> candidates(const Field& field) {
  std::vector<std::string> out = field.check.words;
  const auto numbers = [&](double value) {
    for (const double next : {value + 1, value - 1, 1.0, 2.0, value / 2 + 0.25}) out.push_back(fmt::format("{}", next));
  };
  std::visit(
      Overloaded{[&](const int64_t* v) { numbers(static_cast<double>(*v)); }, [&](const double* v) { numbers(*v); },
                 [&](const bool* v) { out.emplace_back(*v ? "false" : "true"); },
                 [&](const std::string*) { out.emplace_back("x"); },
                 [&](const std::optional<int64_t>* v) { numbers(static_cast<double>(v->value_or(0))); },
                 [&](const std::optional<double>* v) { numbers(v->value_or(0)); },
                 [&](const std::optional<std::string>*) { out.emplace_back("x"); },
                 [&](const std::vector<std::string>*) { out.emplace_back(field.check.commas ? "x,y" : "[x]"); },
                 [&](const Weights*) { out.emplace_back("{x: 1}"); },
                 [&](const ConfigTree*) {
                   const auto key = out.empty() ? "x" : out.front();
                   out = {"{" + key + ": 1}"};
                 },
                 [&](const std::vector<int64_t>*) { out.emplace_back("7,1k"); }},
      field.target);
  return out;
}

/// How the key answers its second value: "changed", "reported", or what went wrong.
template <class Config>
std::string answer_of(const std::string& key, const std::string& value) {
  Config before, config;
  try {
    apply_overrides(config, {key + "=" + value}, "lt2");
  } catch (const Error& error) {
    return error.what();
  }
  const auto changes = changed_fields(collect_fields(before), collect_fields(config));
  const auto reports = ignored_fields(collect_fields(config), collect_fields(before));
  if (changes.size() == 1 && reports.empty() && changes[0].key == key) return "changed";
  if (changes.empty() && reports.size() == 1 && reports[0].starts_with("ignored: " + key + "=")) return "reported";
  return changes.empty() && reports.empty() ? "nothing" : "another key changed";
}

template <class Config>
class EveryKey : public ::testing::Test {};
using Structs = ::testing::Types<TrainConfig, TrainOptions, GenerateConfig, InspectConfig, InspectMachineConfig,
                                 CheckConfig, BenchConfig, ReportConfig, PrepareConfig, PrepareMemory, TokenizeConfig,
                                 ConvertConfig, QuantizeConfig, LaunchOptions, LaunchConfig>;
TYPED_TEST_SUITE(EveryKey, Structs);

TYPED_TEST(EveryKey, AnswersASecondValue) {
  const auto fields = default_fields<TypeParam>();
  ASSERT_FALSE(fields.empty());
  for (const auto& field : fields) {
    std::string answer;
    for (const auto& value : candidates(field)) {
      answer = answer_of<TypeParam>(field.key, value);
      if (answer == "changed" || answer == "reported") break;
    }
    EXPECT_EQ(answer, field.check.ignored.empty() ? "changed" : "reported") << field.key;
  }
}

// A struct reads what it wrote, also after every key has another value.
TYPED_TEST(EveryKey, ReadsBackWhatItWrites) {
  for (const auto& field : default_fields<TypeParam>()) {
    for (const auto& value : candidates(field)) {
      TypeParam config, again;
      try {
        apply_overrides(config, {field.key + "=" + value}, "lt2");
      } catch (const Error&) {
        continue;
      }
      auto tree = to_tree(collect_fields(config));
      resolve_references(tree);
      read_tree(tree, collect_fields(again));
      EXPECT_EQ(again, config) << field.key << "=" << value;
    }
  }
}

}  // namespace
}  // namespace lt2
