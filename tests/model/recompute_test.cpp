// Recomputing activations changes no gradient, for any mixer and layout.
#include "model/recompute.h"

#include "base/error.h"
#include "base/threads.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"

namespace lt2 {
namespace {

using test::identical;
using test::ModelCase;

struct Gradients {
  LoopedTransformer::Losses losses;
  NamedTensors of;
};

Gradients gradients(const ModelCase& c, Recompute level, torch::ScalarType type) {
  const auto model = test::make_model(c);
  model->compute_type = type;
  model->recompute = level;
  torch::manual_seed(9);
  const auto tokens = torch::randint(61, {2, 38});
  Gradients out{model->losses(tokens.narrow(1, 0, 37), tokens.narrow(1, 1, 37), /*draw=*/3), {}};
  out.losses.total.backward();
  for (const auto& [name, parameter] : model->official_parameters()) out.of.emplace_back(name, parameter.grad());
  return out;
}

// Tiny models: threads would only wait for each other.
class RecomputeTest : public ::testing::TestWithParam<ModelCase> {
 protected:
  void SetUp() override { set_num_threads(1); }
  void TearDown() override { set_num_threads(allowed_cores()); }
};

TEST_P(RecomputeTest, GradientsAreTheSameBitForBit) {
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    const Gradients kept = gradients(GetParam(), Recompute::kNone, type);
    for (const auto level : {Recompute::kLoop, Recompute::kBlock, Recompute::kLayer}) {
      const Gradients again = gradients(GetParam(), level, type);
      EXPECT_TRUE(identical(again.losses.cross_entropy, kept.losses.cross_entropy));
      ASSERT_EQ(again.losses.mixers.defined(), kept.losses.mixers.defined());
      if (kept.losses.mixers.defined()) {
        EXPECT_TRUE(test::close(again.losses.mixers, kept.losses.mixers, 1e-6));
      }
      for (size_t i = 0; i < kept.of.size(); ++i) {
        const auto& [name, gradient] = kept.of[i];
        ASSERT_EQ(again.of[i].second.defined(), gradient.defined()) << name;
        if (gradient.defined()) {
          EXPECT_TRUE(identical(again.of[i].second, gradient)) << name << ", level " << static_cast<int>(level);
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, RecomputeTest, ::testing::ValuesIn(test::all_layouts()), test::case_name);

TEST(Recompute, RunsAgainInTheBackwardPass) {
  const auto x = torch::randn({3}).requires_grad_();
  int runs = 0;
  const Part part = [&](const Tensors& in) {
    ++runs;
    return Tensors{in[0].exp().sin()};
  };
  const auto y = recomputed(part, {x})[0];
  EXPECT_EQ(runs, 1);
  y.sum().backward();
  EXPECT_EQ(runs, 2);
  EXPECT_TRUE(test::close(x.grad(), x.detach().exp().cos() * x.detach().exp(), 1e-6));
}

TEST(Recompute, UnknownLevelNamesTheField) {
  EXPECT_EQ(parse_recompute("block", "f"), Recompute::kBlock);
  EXPECT_THROW(parse_recompute("blocks", "f"), Error);
}

}  // namespace
}  // namespace lt2
