// Every mixer in random layouts against the same model in fp64, where every op is its naive reference: training,
// prefill, prefill in pieces, decode.
#include <fmt/format.h>

#include <random>

#include "config/patterns.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"

namespace lt2 {
namespace {

using test::ModelCase;

struct Layout {
  ModelCase model;
  int64_t batch, length;
};

class RandomLayouts {
 public:
  explicit RandomLayouts(uint32_t seed) : random_(seed) {}

  Layout draw(const std::string& type) {
    Layout out{
        .model = {.name = type}, .batch = between(1, 2), .length = one_of<int64_t>({1, 2, 17, 63, 64, 65, 100, 130})};
    auto& m = out.model;
    m.layers = between(1, 3);
    m.loops = between(1, 3);
    auto other = one_of(layer_type_names());
    if (other == type) other = type == "full" ? "gdn" : "full";
    m.layer_pattern = m.layers == 1 || between(0, 1) == 0
                          ? type
                          : "interleaved:" + std::to_string(between(1, 2)) + ":1:" + type + ":" + other;
    m.attention_pattern = one_of<std::string>({"0:1", "1:0", "1:1", "bookend:0", m.loops == 2 ? "full->SWA=7" : "2:1"});
    m.window = one_of<int64_t>({1, 5, 24});
    m.gate = between(0, 1) == 1;
    m.tied = between(0, 1) == 1;
    m.neg_eigval = between(0, 1) == 1;
    m.heads = one_of<int64_t>({1, 2, 4});
    m.kv_heads = one_of<int64_t>({1, 2, 4});
    m.indexer = one_of<std::string>({"reference", "lightning"});
    m.kl_stage = one_of<std::string>({"sparse", "dense"});
    if (is_linear_layer_type(type)) m.carry = one_of<std::string>({"none", "token"});
    return out;
  }

  std::vector<int64_t> pieces(int64_t length) {
    std::vector<int64_t> out;
    for (int64_t left = length; left > 0; left -= out.back()) out.push_back(between(1, left));
    return out;
  }

 private:
  int64_t between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(random_() % static_cast<uint32_t>(high - low + 1));
  }
  template <class T>
  T one_of(const std::vector<T>& items) {
    return items[random_() % items.size()];
  }
  std::mt19937 random_;
};

std::string text(const Layout& layout) {
  const auto& m = layout.model;
  return fmt::format(
      "{} | {} | window {} | {} layers x {} loops | {} heads, {} for keys | indexer {} {} | carry {} | [{}, {}]",
      m.layer_pattern, m.attention_pattern, m.window.value_or(0), m.layers, m.loops, m.heads,
      std::min(m.heads, m.kv_heads), m.indexer, m.kl_stage, m.carry, layout.batch, layout.length);
}

bool makes_q_or_k(const std::string& name) {
  const auto has = [&](const char* part) { return name.find(part) != std::string::npos; };
  return has(".q_proj.") || has(".k_proj.") || has(".feature_map_");
}

// Training, prefill, prefill in `pieces`, decode.
void expect_the_naive_form(const Layout& layout, const std::vector<int64_t>& pieces, uint64_t seed) {
  SCOPED_TRACE(text(layout));
  const auto model = test::make_model(layout.model), naive = test::make_model(layout.model);
  naive->to(torch::kFloat64);
  naive->compute_type = torch::kFloat64;
  torch::manual_seed(seed);
  const auto tokens = torch::randint(61, {layout.batch, layout.length}, torch::kInt64);
  const auto targets = torch::randint(61, {layout.batch, layout.length}, torch::kInt64);

  // Training: loss and every gradient.
  const auto losses = model->losses(tokens, targets), expected_losses = naive->losses(tokens, targets);
  EXPECT_NEAR(losses.total.item<double>(), expected_losses.total.item<double>(), 1e-4);
  losses.total.backward();
  expected_losses.total.backward();
  const auto parameters = model->official_parameters(), expected_parameters = naive->official_parameters();
  double largest = 0;
  for (const auto& [name, parameter] : expected_parameters) {
    if (parameter.grad().defined()) largest = std::max(largest, parameter.grad().abs().max().item<double>());
  }
  for (size_t i = 0; i < parameters.size(); ++i) {
    const auto gradient = parameters[i].second.grad(), expected = expected_parameters[i].second.grad();
    ASSERT_EQ(gradient.defined(), expected.defined()) << parameters[i].first;
    if (!gradient.defined()) continue;
    // Relative to the tensor, with a floor for tensors whose gradient is almost zero. For a single token o is v times
    // q . k, and the norm over o divides by that number: 17 roundings of the largest are left.
    const double floor = layout.length == 1 && makes_q_or_k(parameters[i].first) ? 5e-4 : 1e-4;
    const double scale = std::max(expected.abs().max().item<double>(), floor * largest);
    EXPECT_LE((gradient - expected).abs().max().item<double>(), 2e-3 * scale) << parameters[i].first;
  }

  // Prefill whole, in pieces, token by token.
  torch::NoGradGuard no_grad;
  const auto expected = naive->logits(naive->hidden(tokens));
  for (const auto& split :
       {std::vector<int64_t>{layout.length}, pieces, std::vector<int64_t>(static_cast<size_t>(layout.length), 1)}) {
    auto state = model->make_state(layout.batch);
    std::vector<torch::Tensor> parts;
    int64_t begin = 0;
    for (const int64_t piece : split) {
      parts.push_back(model->step(tokens.narrow(1, begin, piece), state, /*all_positions=*/true));
      begin += piece;
    }
    EXPECT_LE((torch::cat(parts, 1) - expected).abs().max().item<double>(), 5e-4) << split.size() << " pieces";
  }
}

class EveryMixer : public ::testing::TestWithParam<std::string> {};

TEST_P(EveryMixer, AgreesWithTheNaiveFormInRandomLayouts) {
  RandomLayouts layouts(static_cast<uint32_t>(std::hash<std::string>{}(GetParam())));
  for (uint64_t trial = 0; trial < 6; ++trial) {
    const auto layout = layouts.draw(GetParam());
    expect_the_naive_form(layout, layouts.pieces(layout.length), trial);
  }
}

TEST_P(EveryMixer, AgreesWithTheNaiveFormAtEverySizeOfOne) {
  const Layout plain{
      .model = {.name = GetParam(), .layer_pattern = GetParam(), .layers = 2, .kv_heads = 2}, .batch = 2, .length = 9};
  const auto check = [&](auto change) {
    auto layout = plain;
    change(layout);
    expect_the_naive_form(layout, {layout.length}, 3);
  };
  check([](Layout& l) { l.model.heads = 1; });
  check([](Layout& l) { l.model.kv_heads = 1; });
  check([](Layout& l) { l.model.loops = 1; });
  check([](Layout& l) { l.model.layers = 1; });
  check([](Layout& l) { l.batch = 1; });
  check([](Layout& l) { l.length = 1; });
  check([](Layout& l) {
    l.model.window = 1;
    l.model.attention_pattern = "1:0";
  });
  check([](Layout& l) { l.model.heads = l.model.kv_heads = l.model.loops = l.model.layers = l.batch = l.length = 1; });
}

INSTANTIATE_TEST_SUITE_P(Types, EveryMixer, ::testing::ValuesIn(mixer_types()),
                         [](const auto& type) { return type.param; });

}  // namespace
}  // namespace lt2
