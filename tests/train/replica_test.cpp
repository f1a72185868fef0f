// Several ranks against one: they give the same weights in every sharding.
#include "train/replica.h"

#include <atomic>
#include <map>
#include <mutex>

#include "base/error.h"
#include "base/threads.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/ranks.h"
#include "train/step.h"

namespace lt2 {
namespace {

using test::ModelCase;

constexpr int64_t kSteps = 4, kMicro = 2, kRows = 6, kLength = 23;

struct Outcome {
  std::vector<StepResult> steps;
  NamedTensors parameters, moments;
};

torch::Tensor tokens_of(int64_t step, int64_t micro) {
  torch::manual_seed(static_cast<uint64_t>(100 * step + micro));
  return torch::randint(61, {kRows, kLength + 1});
}

// An epsilon that gradients of rounding errors do not reach: with the usual one AdamW makes whole steps of them, and
// where a state is carried these grow to 3e-3 of the moments in four steps.
OptimConfig optimizer() {
  OptimConfig optim;
  optim.lr = 3e-3;
  optim.warmup = 1;
  optim.epsilon = 1e-3;
  return optim;
}

// Steps [from, to), on this rank's rows of the global batches.
void train(Replica& replica, int64_t from, int64_t to, const std::vector<torch::Tensor>& batches, Outcome& out) {
  const OptimConfig optim = optimizer();
  const int64_t rows = kRows / replica.group().world();
  for (int64_t step = from; step < to; ++step) {
    out.steps.push_back(train_step(replica, optim, step, kSteps, kMicro, [&](int64_t micro) {
      const auto own =
          batches[static_cast<size_t>(step * kMicro + micro)].narrow(0, replica.group().rank() * rows, rows);
      return MicroBatch{.inputs = own.narrow(1, 0, kLength), .targets = own.narrow(1, 1, kLength), .draw = step};
    }));
  }
}

std::vector<torch::Tensor> all_batches() {
  std::vector<torch::Tensor> out;
  for (int64_t step = 0; step < kSteps; ++step) {
    for (int64_t micro = 0; micro < kMicro; ++micro) out.push_back(tokens_of(step, micro));
  }
  return out;
}

Outcome run(const ModelCase& c, int world, Sharding sharding, Recompute recompute, int64_t from = 0,
            int64_t to = kSteps, const Outcome* resumed = nullptr) {
  const auto batches = all_batches();
  std::vector<std::shared_ptr<LoopedTransformer>> models;
  for (int rank = 0; rank < world; ++rank) {
    models.push_back(test::make_model(c));
    models.back()->recompute = recompute;
    if (!resumed) continue;
    torch::NoGradGuard no_grad;
    for (const auto& [name, parameter] : models.back()->official_parameters())
      parameter.copy_(take(resumed->parameters, name, parameter.sizes().vec()));
  }
  Outcome out;
  test::on_ranks(world, [&](const std::shared_ptr<Group>& group) {
    const auto rank = static_cast<size_t>(group->rank());
    Replica replica(*models[rank], optimizer(), group, sharding);
    if (resumed) replica.restore_optimizer(resumed->moments);
    Outcome own;
    train(replica, from, to, batches, own);
    const auto parameters = replica.parameters(), moments = replica.optimizer_state();
    const double norm = replica.parameter_norm();
    EXPECT_GT(norm, 0);
    if (rank > 0) return;
    out.steps = own.steps;
    for (const auto& [name, tensor] : parameters) out.parameters.emplace_back(name, tensor.detach().clone());
    for (const auto& [name, tensor] : moments) out.moments.emplace_back(name, tensor.detach().clone());
  });
  return out;
}

void expect_alike(const Outcome& out, const Outcome& one) {
  ASSERT_EQ(out.steps.size(), one.steps.size());
  for (size_t i = 0; i < one.steps.size(); ++i) {
    EXPECT_NEAR(out.steps[i].loss / one.steps[i].loss, 1, 1e-5) << "step " << i;
    EXPECT_NEAR(out.steps[i].gradient_norm / one.steps[i].gradient_norm, 1, 1e-3) << "step " << i;
  }
  ASSERT_EQ(out.parameters.size(), one.parameters.size());
  for (size_t i = 0; i < one.parameters.size(); ++i) {
    EXPECT_EQ(out.parameters[i].first, one.parameters[i].first);
    EXPECT_TRUE(test::close(out.parameters[i].second, one.parameters[i].second, 3e-4)) << one.parameters[i].first;
  }
  ASSERT_EQ(out.moments.size(), one.moments.size());
  for (const auto& [name, tensor] : one.moments)
    EXPECT_TRUE(test::close(take(out.moments, name, tensor.sizes().vec()), tensor, 3e-4)) << name;
}

struct Setting {
  const char* name;
  int world;
  Sharding sharding;
  Recompute recompute;
};
std::ostream& operator<<(std::ostream& out, const Setting& s) { return out << s.name; }

const std::vector<Setting> kSettings{
    {"ddp_2", 2, Sharding::kNone, Recompute::kNone},
    {"ddp_3_loop", 3, Sharding::kNone, Recompute::kLoop},
    {"zero1_2", 2, Sharding::kZero1, Recompute::kNone},
    {"zero1_3_layer", 3, Sharding::kZero1, Recompute::kLayer},
    {"zero2_2_block", 2, Sharding::kZero2, Recompute::kBlock},
    {"zero2_3", 3, Sharding::kZero2, Recompute::kNone},
    {"full_2", 2, Sharding::kFull, Recompute::kLayer},
    {"full_3", 3, Sharding::kFull, Recompute::kLayer},
};

// The ranks are threads of this process: more threads each would only wait for each other.
class ReplicaTest : public ::testing::TestWithParam<Setting> {
 protected:
  void SetUp() override { set_num_threads(1); }
  void TearDown() override { set_num_threads(allowed_cores()); }
};

TEST_P(ReplicaTest, RanksEqualOne) {
  const auto& s = GetParam();
  for (const ModelCase& c :
       {ModelCase{
            .name = "hybrid", .layer_pattern = "interleaved:2:1:gdn:full", .attention_pattern = "2:1", .gate = true},
        ModelCase{.name = "tied_reference", .layer_pattern = "dsa", .tied = true},
        ModelCase{.name = "lightning", .layer_pattern = "dsa", .indexer = "lightning"},
        ModelCase{.name = "carry", .layer_pattern = "gdn", .loops = 3, .layers = 2, .carry = "token"}}) {
    SCOPED_TRACE(c.name);
    expect_alike(run(c, s.world, s.sharding, s.recompute), run(c, 1, Sharding::kNone, Recompute::kNone));
  }
}

// Weights and moments do not depend on the number of ranks that saved them.
TEST_P(ReplicaTest, GoesOnWithAnotherNumberOfRanks) {
  const auto& s = GetParam();
  const ModelCase c{.name = "hybrid", .layer_pattern = "interleaved:2:1:gdn:full"};
  const Outcome whole = run(c, 1, Sharding::kNone, Recompute::kNone);
  const Outcome half = run(c, s.world, s.sharding, s.recompute, 0, 2);
  Outcome rest = run(c, 1, Sharding::kNone, Recompute::kNone, 2, kSteps, &half);
  EXPECT_NEAR(rest.steps.back().loss / whole.steps.back().loss, 1, 1e-5);
  const Outcome first = run(c, 1, Sharding::kNone, Recompute::kNone, 0, 2);
  rest = run(c, s.world, s.sharding, s.recompute, 2, kSteps, &first);
  EXPECT_NEAR(rest.steps.back().loss / whole.steps.back().loss, 1, 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Settings, ReplicaTest, ::testing::ValuesIn(kSettings),
                         [](const auto& i) { return std::string(i.param.name); });

// A rank may give up a step anywhere, alone or with others: no other rank waits for it, all skip the step, and the
// repeated step has the same result as an undisturbed one.
using GivenUp = ReplicaTest;
TEST_P(GivenUp, ByAnyRankCountsOnNone) {
  const auto& s = GetParam();
  const ModelCase c{.name = "hybrid", .layer_pattern = "interleaved:2:1:gdn:full", .attention_pattern = "2:1"};
  const Outcome whole = run(c, s.world, s.sharding, s.recompute);
  const auto batches = all_batches();
  std::vector<std::shared_ptr<LoopedTransformer>> models;
  for (int rank = 0; rank < s.world; ++rank) {
    models.push_back(test::make_model(c));
    models.back()->recompute = s.recompute;
  }
  std::atomic<int> given_up = 0;
  test::on_ranks(s.world, [&](const std::shared_ptr<Group>& group) {
    const int rank = group->rank();
    LoopedTransformer& model = *models[static_cast<size_t>(rank)];
    Replica replica(model, optimizer(), group, s.sharding);
    Outcome own;
    // The first step learns what later ones know; both are tried again and again, some calls of a layer further.
    for (int64_t step = 0; step < kSteps; ++step) {
      for (int attempt = 0;; ++attempt) {
        int calls = step < 2 ? 7 * attempt + 3 * static_cast<int>(step) : 1000;
        if (attempt % 3 == 1) calls += rank;                                     // all, at different places
        const bool quits = attempt % 3 == 1 || rank == (attempt / 3) % s.world;  // or one
        model.at_each_layer = [&] {
          if (quits && calls-- == 0) throw StepGivenUp();
        };
        train(replica, step, step + 1, batches, own);
        if (!own.steps.back().given_up) break;
        EXPECT_FALSE(own.steps.back().applied);
        own.steps.pop_back();
        ++given_up;
      }
    }
    model.at_each_layer = {};
    const auto parameters = replica.parameters(), moments = replica.optimizer_state();
    if (rank > 0) return;
    for (size_t i = 0; i < whole.steps.size(); ++i) {
      EXPECT_EQ(own.steps[i].loss, whole.steps[i].loss);
      EXPECT_EQ(own.steps[i].gradient_norm, whole.steps[i].gradient_norm);
    }
    for (const auto& [name, tensor] : parameters)
      EXPECT_TRUE(test::identical(tensor, take(whole.parameters, name, tensor.sizes().vec()))) << name;
    for (const auto& [name, tensor] : moments)
      EXPECT_TRUE(test::identical(tensor, take(whole.moments, name, tensor.sizes().vec()))) << name;
  });
  EXPECT_GE(given_up, 3 * s.world);
}

INSTANTIATE_TEST_SUITE_P(Settings, GivenUp, ::testing::Values(kSettings[0], kSettings[3], kSettings[4], kSettings[6]),
                         [](const auto& i) { return std::string(i.param.name); });

TEST(Replica, RunsTwiceAlike) {
  const ModelCase c{.name = "hybrid", .layer_pattern = "interleaved:2:1:gdn:full"};
  const auto first = run(c, 2, Sharding::kZero2, Recompute::kNone),
             second = run(c, 2, Sharding::kZero2, Recompute::kNone);
  for (size_t i = 0; i < first.parameters.size(); ++i)
    EXPECT_TRUE(test::identical(first.parameters[i].second, second.parameters[i].second));
}

TEST(Replica, ANumberThatIsNotOneStopsAllRanksAlike) {
  const auto batches = all_batches();
  std::mutex mutex;
  std::vector<bool> applied;
  test::on_ranks(2, [&](const std::shared_ptr<Group>& group) {
    const auto model = test::make_model({.name = "full"});
    Replica replica(*model, optimizer(), group, Sharding::kZero1);
    if (group->rank() == 1) {
      torch::NoGradGuard no_grad;
      model->layers[0]->feed_forward->w1->weight[0].fill_(NAN);
    }
    Outcome out;
    train(replica, 0, 1, batches, out);
    const std::lock_guard lock(mutex);
    applied.push_back(out.steps[0].applied);
  });
  EXPECT_EQ(applied, (std::vector<bool>{false, false}));
}

TEST(Replica, FullShardLetsWeightsGo) {
  test::on_ranks(2, [&](const std::shared_ptr<Group>& group) {
    const auto model = test::make_model({.name = "full"});
    model->recompute = Recompute::kLayer;
    Replica replica(*model, optimizer(), group, Sharding::kFull);
    const auto& weight = model->layers[1]->feed_forward->w1->weight;
    EXPECT_EQ(weight.numel(), 0);
    Outcome out;
    train(replica, 0, 1, all_batches(), out);
    EXPECT_EQ(weight.numel(), 0);
    torch::NoGradGuard no_grad;
    model->hidden(torch::zeros({1, 3}, torch::kInt64));
    EXPECT_EQ(weight.numel(), 0);
  });
}

TEST(Replica, ShardingNames) {
  EXPECT_EQ(parse_sharding("zero2"), Sharding::kZero2);
  EXPECT_THROW(parse_sharding("zero3"), Error);
}

}  // namespace
}  // namespace lt2
