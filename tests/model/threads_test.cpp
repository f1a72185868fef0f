// The number of threads changes no bit of a loss or a gradient, in any layout: every sum has one order. Sizes are above
// those from which torch splits a sum among its threads (32,768 numbers).
#include "base/threads.h"

#include <gtest/gtest.h>

#include "tests/support/compare.h"
#include "tests/support/models.h"

namespace lt2 {
namespace {

using test::ModelCase;

struct Sample {
  std::string name;
  ModelConfig config;
};
std::ostream& operator<<(std::ostream& out, const Sample& s) { return out << s.name; }

std::vector<Sample> samples() {
  std::vector<Sample> out;
  for (const auto& c : test::all_layouts()) out.push_back({c.name, test::config_of(c)});
  const auto changed = [&](const std::string& name, ModelCase c, auto change) {
    c.layers = 1;
    auto config = test::config_of(c);
    change(config);
    out.push_back({name, config});
  };
  changed("mamba2_three_taps", {.layer_pattern = "mamba2"}, [](auto& c) { c.mamba2.d_conv = 3; });
  changed("la_wide_heads", {.layer_pattern = "la", .dim = 96, .heads = 1}, [](auto&) {});
  changed("nsa_biased", {.layer_pattern = "nsa"}, [](auto& c) { c.nsa.qkv_bias = true; });
  changed("dsa_dense_loss", {.layer_pattern = "dsa", .indexer = "lightning", .kl_stage = "dense"}, [](auto&) {});
  changed("mla_query_rank", {.layer_pattern = "mla"}, [](auto& c) { c.mla.q_lora_rank = 20; });
  changed("mamba2_carry", {.layer_pattern = "mamba2", .carry = "token"}, [](auto&) {});
  return out;
}

class Threads : public ::testing::TestWithParam<Sample> {
 protected:
  void TearDown() override {
    set_num_threads(allowed_cores());
    at::set_num_threads(1);
  }
};

TEST_P(Threads, ChangeNoBitOfATrainingStep) {
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    const auto model = test::model_of_config(GetParam().config);
    model->compute_type = type;
    torch::manual_seed(3);
    const int64_t B = 3, L = 287;
    ASSERT_GT(B * L * GetParam().config.dim, 32768);
    const auto tokens = torch::randint(61, {B, L}, torch::kInt64), targets = torch::randint(61, {B, L}, torch::kInt64);
    torch::Tensor first_loss;
    std::vector<torch::Tensor> first;
    for (const int threads : {1, 2, 3}) {
      SCOPED_TRACE(std::string(c10::toString(type)) + ", " + std::to_string(threads) + " threads");
      set_num_threads(threads);
      at::set_num_threads(threads);  // more than the program sets: no result may depend on it
      const auto loss = model->loss(tokens, targets);
      loss.backward();
      if (threads == 1) first_loss = loss.detach();
      EXPECT_TRUE(test::identical(loss.detach(), first_loss));
      size_t i = 0;
      for (auto& [name, parameter] : model->official_parameters()) {
        const auto gradient = parameter.grad();
        parameter.mutable_grad() = torch::Tensor();
        if (!gradient.defined()) continue;
        if (threads == 1) {
          first.push_back(gradient);
          continue;
        }
        ASSERT_LT(i, first.size()) << name;
        EXPECT_TRUE(test::identical(gradient, first[i++])) << name;
      }
      EXPECT_EQ(i, threads == 1 ? 0 : first.size());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, Threads, ::testing::ValuesIn(samples()),
                         [](const auto& each) { return each.param.name; });

}  // namespace
}  // namespace lt2
