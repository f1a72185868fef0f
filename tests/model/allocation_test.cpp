// Decoding takes no memory from the system after its first token.
#include <gtest/gtest.h>

#include "ops/runtime.h"
#include "ops/tensor_pool.h"
#include "tests/support/models.h"

namespace lt2 {
namespace {

class Decode : public ::testing::TestWithParam<test::ModelCase> {};

TEST_P(Decode, AllocatesNothingAfterTheFirstToken) {
  init_runtime();
  const auto model = test::make_model(GetParam());
  torch::InferenceMode inference;
  for (const int64_t batch : {1, 3}) {
    auto state = model->make_state(batch, /*reserve_tokens=*/200);
    model->step(torch::zeros({batch, 70}, torch::kInt64), state);
    const auto token = torch::ones({batch, 1}, torch::kInt64);
    for (int i = 0; i < 2; ++i) model->step(token, state);
    const auto before = tensor_pool_counts();
    for (int i = 0; i < 60; ++i) model->step(token, state);
    const auto after = tensor_pool_counts();
    EXPECT_EQ(after.system_allocations, before.system_allocations);
    EXPECT_EQ(after.live_bytes, before.live_bytes) << "something grows with every token";
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, Decode, ::testing::ValuesIn(test::all_layouts()), test::case_name);

}  // namespace
}  // namespace lt2
