// What two models say of a text, against sums over their whole logits.
#include "measure/quality.h"

#include "tests/support/compare.h"
#include "tests/support/error_of.h"
#include "tests/support/models.h"

namespace lt2 {
namespace {

const test::ModelCase kCase{.name = "hybrid", .layer_pattern = "interleaved:1:1:gdn:full", .layers = 2};

std::vector<int32_t> text() {
  std::vector<int32_t> out;
  for (int32_t i = 0; i < 50; ++i) out.push_back((i * i + 3 * i) % 61);
  return out;
}

// [window, vocab] for each window, in fp64.
std::vector<torch::Tensor> log_probabilities(LoopedTransformer& model, int64_t window) {
  torch::NoGradGuard no_grad;
  const auto all = torch::tensor(text(), torch::kInt32).to(torch::kInt64);
  std::vector<torch::Tensor> out;
  for (int64_t begin = 0; begin < 49; begin += window) {
    const auto ids = all.narrow(0, begin, std::min(window, 49 - begin)).unsqueeze(0);
    out.push_back(torch::log_softmax(model.logits(model.hidden(ids))[0].to(torch::kFloat64), -1));
  }
  return out;
}

TEST(Quality, OfTheSameWeightsNothingIsLost) {
  const auto model = test::make_model(kCase), same = test::make_model(kCase);
  const auto quality = compare_quality(*model, *same, text(), 20);
  EXPECT_EQ(quality.tokens, 49);
  EXPECT_EQ(quality.loss, quality.reference_loss);
  EXPECT_EQ(quality.divergence, 0);
  EXPECT_EQ(quality.same_first_choice, 1);
}

TEST(Quality, IsTheMeanOverAllPositions) {
  const auto reference = test::make_model(kCase), model = test::make_model(kCase);
  {
    torch::NoGradGuard no_grad;
    torch::manual_seed(4);
    model->output->weight.add_(0.05 * torch::randn(model->output->weight.sizes()));
  }
  const auto all = text();
  for (const int64_t window : {7, 49, 1000}) {
    const auto quality = compare_quality(*reference, *model, all, window);
    double reference_loss = 0, loss = 0, divergence = 0, same = 0;
    size_t at = 0;
    const auto p = log_probabilities(*reference, window), q = log_probabilities(*model, window);
    for (size_t w = 0; w < p.size(); ++w) {
      for (int64_t i = 0; i < p[w].size(0); ++i) {
        const auto target = all[++at];
        reference_loss -= p[w][i][target].item<double>() / 49;
        loss -= q[w][i][target].item<double>() / 49;
        divergence += (p[w][i].exp() * (p[w][i] - q[w][i])).sum().item<double>() / 49;
        same += (p[w][i].argmax() == q[w][i].argmax()).item<bool>() / 49.0;
      }
    }
    EXPECT_EQ(quality.tokens, 49);
    EXPECT_NEAR(quality.reference_loss, reference_loss, 1e-4) << window;
    EXPECT_NEAR(quality.loss, loss, 1e-4) << window;
    EXPECT_NEAR(quality.divergence, divergence, 1e-5) << window;
    EXPECT_NEAR(quality.same_first_choice, same, 1e-9) << window;
    EXPECT_GT(quality.divergence, 1e-4);
    EXPECT_DOUBLE_EQ(quality.perplexity(), std::exp(quality.loss));
    EXPECT_DOUBLE_EQ(quality.reference_perplexity(), std::exp(quality.reference_loss));
  }
}

TEST(Quality, NeedsTwoTokens) {
  const auto model = test::make_model(kCase);
  EXPECT_EQ(test::error_of([&] { compare_quality(*model, *model, {1}, 8); }),
            "quality: at least two tokens of text are needed; found 1");
  EXPECT_EQ(compare_quality(*model, *model, {1, 2}, 8).tokens, 1);
}

}  // namespace
}  // namespace lt2
