// A plan's numbers against the memory that states really take.
#include "infer/memory_plan.h"

#include "tests/support/compare.h"
#include "tests/support/error_of.h"
#include "tests/support/models.h"

namespace lt2 {
namespace {

int64_t bytes_after(LoopedTransformer& model, int64_t tokens) {
  torch::NoGradGuard no_grad;
  auto state = model.make_state(1);
  model.step(torch::randint(61, {1, tokens}, torch::kInt64), state);
  return state.bytes();
}

class SequenceBytes : public ::testing::TestWithParam<test::ModelCase> {};

TEST_P(SequenceBytes, AreEnoughForItsState) {
  const auto model = test::make_model(GetParam());
  for (const int64_t tokens : {1, 25, 90}) {
    const auto planned = sequence_bytes(*model, tokens, 0);
    EXPECT_GE(planned, bytes_after(*model, tokens)) << tokens;
    EXPECT_GE(sequence_bytes(*model, tokens, 4), planned);
  }
}
INSTANTIATE_TEST_SUITE_P(Layouts, SequenceBytes, ::testing::ValuesIn(test::all_layouts()), test::case_name);

TEST(SequenceBytesOf, AreExactWhereNothingHasAWindow) {
  for (const char* layers : {"full", "gdn", "interleaved:1:1:gdn:full", "kda"}) {
    const auto model = test::make_model({.name = "exact", .layer_pattern = layers});
    for (const int64_t tokens : {1, 33, 80}) EXPECT_EQ(sequence_bytes(*model, tokens, 0), bytes_after(*model, tokens));
  }
}

TEST(SequenceBytesOf, GrowAsTheMixersDo) {
  const auto full = test::make_model({.name = "full"}),
             linear = test::make_model({.name = "l", .layer_pattern = "gdn"}),
             window = test::make_model({.name = "window", .attention_pattern = "1:0"});
  // 2 loops x 3 layers, keys and values of 4 heads x 12 numbers in fp32.
  EXPECT_EQ(sequence_bytes(*full, 2000, 0) - sequence_bytes(*full, 1000, 0), 1000 * 6 * 2 * 48 * 4);
  EXPECT_EQ(sequence_bytes(*linear, 100'000, 0), sequence_bytes(*linear, 10, 0));
  EXPECT_EQ(sequence_bytes(*window, 100'000, 0), sequence_bytes(*window, 10'000, 0));
  // A mark keeps a copy of the matrices of linear mixers.
  EXPECT_GT(sequence_bytes(*linear, 10, 4), sequence_bytes(*linear, 10, 0));
}

TEST(PlanMemory, CountsWeightsAndScratch) {
  const auto model = test::make_model({.name = "full"});
  int64_t parameters = 0;
  for (const auto& parameter : model->parameters()) parameters += parameter.numel();
  const int64_t budget = int64_t{1} << 40;
  const auto plan = plan_memory(*model, budget, 10, 1);
  EXPECT_GE(plan.weights, 4 * parameters);
  EXPECT_EQ(plan.weights, held_weight_bytes(*model));
  EXPECT_EQ(plan.for_states(), budget - plan.weights - plan.scratch);
  const auto scratch = [&](int64_t rows, int64_t outputs) {
    return plan_memory(*model, budget, rows, outputs).scratch;
  };
  EXPECT_EQ(scratch(20, 1) - scratch(10, 1), scratch(30, 1) - scratch(20, 1));
  EXPECT_GE(scratch(20, 1) - scratch(10, 1), 10 * 4 * 48);   // at least the stream of ten rows
  EXPECT_GE(scratch(20, 11) - scratch(20, 1), 10 * 4 * 61);  // at least ten rows of logits
}

TEST(PlanMemory, ABudgetThatLeavesNothingIsRefusedWithTheNumbers) {
  const auto model = test::make_model({.name = "full"});
  const auto plan = plan_memory(*model, int64_t{1} << 40, 10, 1);
  const int64_t least = plan.weights + plan.scratch + 1;
  EXPECT_EQ(plan_memory(*model, least, 10, 1).for_states(), 1);
  const auto error = test::error_of([&] { plan_memory(*model, least - 1, 10, 1); });
  EXPECT_TRUE(error.starts_with("the model does not fit: weights ")) << error;
  EXPECT_NE(error.find("for 10 tokens a pass"), std::string::npos) << error;
}

TEST(PlanMemory, ThisMachineHasSome) {
  EXPECT_GT(available_memory(), int64_t{1} << 20);
  EXPECT_LT(available_memory(), int64_t{1} << 50);
}

}  // namespace
}  // namespace lt2
