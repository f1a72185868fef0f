#include "ops/tensor_pool.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/torch.h"

namespace lt2 {
namespace {

TEST(TensorPool, HandsFreedBlocksOutAgain) {
  install_tensor_pool();
  const auto round = [] {
    auto small = torch::ones({7}), large = torch::ones({1 << 20});
    EXPECT_EQ(reinterpret_cast<uintptr_t>(small.data_ptr()) % 64, 0U);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(large.data_ptr()) % 64, 0U);
    return (small.sum() + large.sum()).item<float>();
  };
  EXPECT_EQ(round(), 7 + (1 << 20));
  const auto before = tensor_pool_counts();
  for (int i = 0; i < 10; ++i) EXPECT_EQ(round(), 7 + (1 << 20));
  const auto after = tensor_pool_counts();
  EXPECT_EQ(after.system_allocations, before.system_allocations);
  EXPECT_EQ(after.live_bytes, before.live_bytes);
}

TEST(TensorPool, CountsWhatIsInUse) {
  install_tensor_pool();
  const auto before = tensor_pool_counts();
  auto t = torch::empty({1000});
  EXPECT_GE(tensor_pool_counts().live_bytes - before.live_bytes, 4000);
  EXPECT_LE(tensor_pool_counts().live_bytes - before.live_bytes, 4000 * 9 / 8 + 64);
  t = torch::Tensor();
  EXPECT_EQ(tensor_pool_counts().live_bytes, before.live_bytes);
}

TEST(TensorPool, EmptyAndAbsurdSizes) {
  install_tensor_pool();
  EXPECT_EQ(torch::empty({0}).numel(), 0);
  EXPECT_THROW(torch::empty({int64_t{1} << 60}), c10::Error);
  EXPECT_EQ(torch::ones({3}).sum().item<float>(), 3);
}

TEST(TensorPool, BlocksMayBeFreedByOtherThreads) {
  install_tensor_pool();
  std::vector<torch::Tensor> tensors;
  for (int i = 0; i < 100; ++i) tensors.push_back(torch::full({100 + i}, i));
  std::thread([moved = std::move(tensors)]() mutable { moved.clear(); }).join();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([i] {
      for (int n = 1; n < 200; ++n) EXPECT_EQ(torch::full({n}, i).sum().item<float>(), static_cast<float>(n * i));
    });
  }
  for (auto& thread : threads) thread.join();
}

}  // namespace
}  // namespace lt2
