#include "distributed/group.h"

#include <atomic>
#include <chrono>
#include <thread>

#include "base/error.h"
#include "tests/support/compare.h"
#include "tests/support/ranks.h"

namespace lt2 {
namespace {

TEST(Group, OneRankNeedsNobody) {
  Group alone;
  auto x = torch::ones({3});
  alone.all_reduce(x).wait();
  alone.broadcast(x, 0).wait();
  EXPECT_TRUE(test::identical(x, torch::ones({3})));
  EXPECT_EQ(alone.sum({2.5}), std::vector<double>{2.5});
  EXPECT_EQ(alone.gather("a"), std::vector<std::string>{"a"});
}

TEST(Group, Exchanges) {
  test::on_ranks(3, [](const std::shared_ptr<Group>& group) {
    const float rank = static_cast<float>(group->rank());
    auto x = torch::full({5}, rank + 1);
    group->all_reduce(x).wait();
    EXPECT_TRUE(test::identical(x, torch::full({5}, 6.0F)));
    auto y = torch::full({2}, rank);
    group->broadcast(y, 2).wait();
    EXPECT_TRUE(test::identical(y, torch::full({2}, 2.0F)));
    auto z = torch::full({2}, rank);
    group->reduce(z, 1).wait();
    if (group->rank() == 1) {
      EXPECT_TRUE(test::identical(z, torch::full({2}, 3.0F)));
    }
    EXPECT_EQ(group->sum({1, 0.5}), (std::vector<double>{3, 1.5}));
    const std::string own(static_cast<size_t>(group->rank()), 'x');
    EXPECT_EQ(group->gather(own), (std::vector<std::string>{"", "x", "xx"}));
  });
}

TEST(Group, SeveralExchangesAtOnce) {
  test::on_ranks(2, [](const std::shared_ptr<Group>& group) {
    std::vector<torch::Tensor> tensors;
    std::vector<Group::Pending> pending;
    for (int i = 0; i < 20; ++i) {
      tensors.push_back(torch::full({1000 + i}, static_cast<float>(group->rank() * i)));
      pending.push_back(group->all_reduce(tensors.back()));
    }
    for (auto& each : pending) each.wait();
    for (int i = 0; i < 20; ++i) EXPECT_EQ(tensors[static_cast<size_t>(i)][0].item<float>(), static_cast<float>(i));
  });
}

// Its heart beats, but it does not come.
TEST(Group, ARankThatDoesNotComeIsNamed) {
  std::string message;
  std::atomic<bool> done{false};
  test::on_ranks(
      2,
      [&](const std::shared_ptr<Group>& group) {
        group->set_step(7);
        if (group->rank() == 1) {
          while (!done) std::this_thread::sleep_for(std::chrono::milliseconds(20));
          return;
        }
        try {
          group->sum({1});
        } catch (const Error& error) {
          message = error.what();
        }
        done = true;
      },
      /*timeout_s=*/2);
  EXPECT_NE(message.find("rank 1 did not come"), std::string::npos) << message;
  EXPECT_NE(message.find("step 7"), std::string::npos) << message;
}

TEST(Group, ARankThatIsGoneIsNamed) {
  std::string message;
  test::on_ranks(3, [&](std::shared_ptr<Group> group) {
    if (group->rank() == 2) {
      group.reset();  // its connections close, its heart stops
      return;
    }
    try {
      for (int i = 0; i < 3; ++i) group->sum({1});
    } catch (const Error& error) {
      if (group->rank() == 0) message = error.what();
    }
  });
  EXPECT_NE(message.find("rank 2 died"), std::string::npos) << message;
}

}  // namespace
}  // namespace lt2
