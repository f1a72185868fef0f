// A second objective: only the norms train, towards the hidden states of a frozen copy in every loop, the norms before
// the feed-forward at half the rate. Whatever is recomputed, accumulated or shared out, it must train as plain autograd
// and torch's AdamW do, and leave every other parameter's bits alone.
#include "train/objective.h"

#include <torch/optim/adamw.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/threads.h"
#include "checkpoint/safetensors.h"
#include "tests/support/compare.h"
#include "tests/support/error_of.h"
#include "tests/support/models.h"
#include "tests/support/ranks.h"
#include "train/checkpoint.h"
#include "train/schedule.h"
#include "train/step.h"
#include "train/trainer.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using test::ModelCase;
using torch::Tensor;

constexpr int64_t kSteps = 4, kRows = 6, kLength = 19;

class NormsTowardsACopy : public Objective {
 public:
  explicit NormsTowardsACopy(std::shared_ptr<LoopedTransformer> teacher) : teacher_(std::move(teacher)) {}

  Loss loss(LoopedTransformer& model, const MicroBatch& batch) override {
    std::vector<Tensor> targets, distances;
    Taps of_teacher, of_model;
    of_teacher.on("loop.*.out", [&](const TapPoint&, const Tensor& h) { targets.push_back(h); });
    of_model.on("loop.*.out", [&](const TapPoint& at, const Tensor& h) {
      distances.push_back((h - targets[static_cast<size_t>(at.loop)]).square().mean());
    });
    {
      torch::NoGradGuard no_grad;
      const Listening listening(*teacher_, of_teacher);
      teacher_->hidden(batch.inputs, batch.draw);
    }
    const Listening listening(model, of_model);
    model.hidden(batch.inputs, batch.draw);
    const auto last = distances.back(), before = distances.front();
    return {.total = last + 0.5 * before, .shown = {}, .terms = {{"first_loop", before}, {"last_loop", last}}};
  }
  double lr_scale(const std::string& name) const override {
    return !name.ends_with("norm.weight") ? 0 : name.ends_with("ffn_norm.weight") ? 0.5 : 1;
  }

 private:
  std::shared_ptr<LoopedTransformer> teacher_;
};

const std::vector<ModelCase> kModels{
    {.name = "hybrid", .layer_pattern = "interleaved:2:1:gdn:full", .attention_pattern = "2:1", .gate = true},
    {.name = "ouro", .loops = 3, .type = "ouro"},
};

// The student: the copy with its norms moved away.
std::shared_ptr<LoopedTransformer> make_student(const ModelCase& c) {
  const auto model = test::make_model(c);
  torch::NoGradGuard no_grad;
  torch::manual_seed(17);
  for (auto& [name, parameter] : model->official_parameters()) {
    if (name.ends_with("norm.weight")) parameter.mul_(1 + 0.3 * torch::rand(parameter.sizes()));
  }
  return model;
}

// epsilon: gradients of rounding errors must not make whole steps.
OptimConfig optimizer() {
  OptimConfig optim;
  optim.lr = 3e-2;
  optim.warmup = 1;
  optim.epsilon = 1e-7;
  optim.clip = 0.5;
  return optim;
}

Tensor tokens_of(int64_t step, int64_t micro) {
  torch::manual_seed(static_cast<uint64_t>(100 * step + micro));
  return torch::randint(61, {kRows, kLength + 1});
}

MicroBatch batch_of(const Tensor& tokens, int64_t step) {
  return {.inputs = tokens.narrow(1, 0, kLength), .targets = tokens.narrow(1, 1, kLength), .draw = step};
}

NamedTensors copies_of(const NamedTensors& tensors) {
  NamedTensors out;
  for (const auto& [name, tensor] : tensors) out.emplace_back(name, tensor.detach().clone());
  return out;
}

struct Outcome {
  std::vector<StepResult> steps;
  NamedTensors parameters, moments;
};

struct Setting {
  const char* name;
  int world;
  Sharding sharding;
  Recompute recompute;
  int64_t micro_steps;
};
std::ostream& operator<<(std::ostream& out, const Setting& s) { return out << s.name; }

// All steps by plain autograd on whole batches and torch's optimizer.
Outcome plainly(const ModelCase& c, int64_t micro_steps) {
  const auto model = make_student(c);
  NormsTowardsACopy objective(test::make_model(c));
  const auto optim = optimizer();
  Outcome out;
  std::vector<Tensor> trained;
  std::vector<torch::optim::OptimizerParamGroup> groups;
  std::vector<double> scales;
  for (const auto& [name, parameter] : model->official_parameters()) {
    const double scale = objective.lr_scale(name);
    if (scale == 0) continue;
    auto options = std::make_unique<torch::optim::AdamWOptions>(0.0);
    options->betas({optim.beta1, optim.beta2}).eps(optim.epsilon).weight_decay(optim.weight_decay);
    trained.push_back(parameter);
    groups.emplace_back(std::vector<Tensor>{parameter}, std::move(options));
    scales.push_back(scale);
  }
  torch::optim::AdamW adamw(groups);
  for (int64_t step = 0; step < kSteps; ++step) {
    StepResult result;
    result.terms = {{"first_loop", 0}, {"last_loop", 0}};
    adamw.zero_grad();
    for (int64_t micro = 0; micro < micro_steps; ++micro) {
      const auto loss = objective.loss(*model, batch_of(tokens_of(step, micro), step));
      const double share = 1.0 / static_cast<double>(micro_steps);
      (loss.total * share).backward();
      result.loss += share * loss.total.item<double>();
      for (size_t i = 0; i < 2; ++i) result.terms[i].second += share * loss.terms[i].second.item<double>();
    }
    double squares = 0;
    for (const auto& parameter : trained) {
      if (parameter.grad().defined()) squares += parameter.grad().to(torch::kFloat64).square().sum().item<double>();
    }
    result.gradient_norm = std::sqrt(squares);
    result.lr = optim.lr * lr_factor(step, kSteps, optim);
    for (size_t i = 0; i < groups.size(); ++i) {
      static_cast<torch::optim::AdamWOptions&>(adamw.param_groups()[i].options()).lr(result.lr * scales[i]);
      if (trained[i].grad().defined())
        trained[i].mutable_grad().mul_(std::min(1.0, optim.clip / (result.gradient_norm + 1e-6)));
    }
    adamw.step();
    out.steps.push_back(result);
  }
  out.parameters = copies_of(model->official_parameters());
  return out;
}

// Where a rank gives up a step: asked at each layer of a pass, the calls counted from 0 in each attempt.
struct Place {
  int64_t step;
  int attempt, rank, call;
};

// Steps [from, to) with a Replica; steps given up are taken again.
Outcome run(const ModelCase& c, const Setting& s, int64_t from = 0, int64_t to = kSteps,
            const Outcome* resumed = nullptr, const std::function<bool(const Place&)>& quits = {}) {
  std::vector<std::shared_ptr<LoopedTransformer>> students, teachers;
  std::vector<std::vector<Tensor>> batches;
  for (int rank = 0; rank < s.world; ++rank) {
    students.push_back(make_student(c));
    students.back()->recompute = s.recompute;
    teachers.push_back(test::make_model(c));
    if (!resumed) continue;
    torch::NoGradGuard no_grad;
    for (const auto& [name, parameter] : students.back()->official_parameters())
      parameter.copy_(take(resumed->parameters, name, parameter.sizes().vec()));
  }
  for (int64_t step = from; step < to; ++step) {
    auto& of_step = batches.emplace_back();
    for (int64_t micro = 0; micro < s.micro_steps; ++micro) of_step.push_back(tokens_of(step, micro));
  }
  Outcome out;
  test::on_ranks(s.world, [&](const std::shared_ptr<Group>& group) {
    const auto rank = static_cast<size_t>(group->rank());
    Replica replica(*students[rank], optimizer(), group, s.sharding,
                    std::make_shared<NormsTowardsACopy>(teachers[rank]));
    if (resumed) replica.restore_optimizer(resumed->moments);
    std::vector<StepResult> steps;
    const int64_t rows = kRows / s.world;
    int attempt = 0;
    for (int64_t step = from; step < to; ++step) {
      if (quits) {
        students[rank]->at_each_layer = [&, place = Place{step, attempt, group->rank(), 0}]() mutable {
          if (quits(place)) throw StepGivenUp();
          ++place.call;
        };
      }
      const auto result = train_step(replica, optimizer(), step, kSteps, s.micro_steps, [&](int64_t micro) {
        const auto& whole = batches[static_cast<size_t>(step - from)][static_cast<size_t>(micro)];
        return batch_of(whole.narrow(0, group->rank() * rows, rows), step);
      });
      if (result.given_up) {
        --step;
        ++attempt;
      } else {
        steps.push_back(result);
        attempt = 0;
      }
    }
    students[rank]->at_each_layer = {};
    const auto parameters = replica.parameters(), moments = replica.optimizer_state();
    for (const auto& [name, parameter] : students[rank]->official_parameters()) {
      EXPECT_EQ(parameter.requires_grad(), name.ends_with("norm.weight")) << name;
      EXPECT_FALSE(parameter.grad().defined()) << name;
    }
    if (rank > 0) return;
    out = {.steps = steps, .parameters = copies_of(parameters), .moments = copies_of(moments)};
  });
  return out;
}

void expect_identical(const NamedTensors& found, const NamedTensors& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (const auto& [name, tensor] : expected)
    EXPECT_TRUE(test::identical(take(found, name, tensor.sizes().vec()), tensor)) << name;
}

class ObjectiveTest : public ::testing::TestWithParam<Setting> {
 protected:
  void SetUp() override { set_num_threads(1); }  // the ranks are threads
  void TearDown() override { set_num_threads(allowed_cores()); }
};

TEST_P(ObjectiveTest, TrainsAsPlainAutogradDoes) {
  const Setting& s = GetParam();
  for (const auto& c : kModels) {
    SCOPED_TRACE(c.name);
    const auto found = run(c, s);
    const auto expected = plainly(c, s.micro_steps);
    ASSERT_EQ(found.steps.size(), expected.steps.size());
    for (size_t i = 0; i < expected.steps.size(); ++i) {
      const auto &is = found.steps[i], &should = expected.steps[i];
      EXPECT_NEAR(is.loss / should.loss, 1, 1e-4) << "step " << i;
      EXPECT_NEAR(is.gradient_norm / should.gradient_norm, 1, 1e-3) << "step " << i;
      EXPECT_EQ(is.lr, should.lr);
      EXPECT_TRUE(is.applied);
      ASSERT_EQ(is.terms.size(), 2u);
      for (size_t k = 0; k < 2; ++k) {
        EXPECT_EQ(is.terms[k].first, should.terms[k].first);
        EXPECT_NEAR(is.terms[k].second / should.terms[k].second, 1, 1e-4) << is.terms[k].first << ", step " << i;
      }
    }
    EXPECT_LT(found.steps.back().loss, 0.9 * found.steps.front().loss);
    const auto before = make_student(c)->official_parameters();
    for (const auto& [name, tensor] : expected.parameters) {
      const auto shape = tensor.sizes().vec();
      const auto is = take(found.parameters, name, shape), was = take(before, name, shape);
      if (name.ends_with("norm.weight")) {
        EXPECT_TRUE(test::close(is, tensor, 1e-4)) << name;
      } else {
        EXPECT_TRUE(test::identical(is, was)) << name;
      }
    }
    EXPECT_FALSE(found.moments.empty());
    for (const auto& [name, tensor] : found.moments)
      EXPECT_TRUE(name.find("norm.weight.") != std::string::npos) << name;
    // hidden() ends before the final norm, which the loops of ouro end with.
    const bool final_norm = std::any_of(found.moments.begin(), found.moments.end(),
                                        [](const auto& item) { return item.first == "norm.weight.step"; });
    EXPECT_EQ(final_norm, c.type == "ouro");
  }
}

TEST_P(ObjectiveTest, GoesOnAsIfItHadNeverStopped) {
  const Setting& s = GetParam();
  const auto whole = run(kModels[0], s), half = run(kModels[0], s, 0, 2);
  const auto rest = run(kModels[0], s, 2, kSteps, &half);
  expect_identical(rest.parameters, whole.parameters);
  expect_identical(rest.moments, whole.moments);
}

TEST_P(ObjectiveTest, AStepGivenUpByOneRankCountsOnNone) {
  const Setting& s = GetParam();
  const auto whole = run(kModels[1], s);
  // In each step, also in those whose order of exchanges is known: one rank, the other, both at different places.
  std::atomic<int> given_up = 0;
  const auto found = run(kModels[1], s, 0, kSteps, nullptr, [&](const Place& at) {
    const bool both = at.attempt % 3 == 2;
    const bool quits = both || at.rank == at.attempt % 3 % s.world;
    const int call = 2 + 4 * at.attempt + 3 * static_cast<int>(at.step) + (both ? at.rank : 0);
    if (quits && at.call == call) ++given_up;
    return quits && at.call == call;
  });
  EXPECT_GE(given_up, 2 * kSteps);
  expect_identical(found.parameters, whole.parameters);
  expect_identical(found.moments, whole.moments);
}

const std::vector<Setting> kSettings{
    {"one", 1, Sharding::kNone, Recompute::kNone, 1},
    {"one_loop_3", 1, Sharding::kNone, Recompute::kLoop, 3},
    {"one_layer_3", 1, Sharding::kNone, Recompute::kLayer, 3},
    {"two_3", 2, Sharding::kNone, Recompute::kNone, 3},
    {"two_loop", 2, Sharding::kNone, Recompute::kLoop, 1},
    {"two_layer_3", 2, Sharding::kNone, Recompute::kLayer, 3},
    {"zero1_3", 2, Sharding::kZero1, Recompute::kNone, 3},
    {"zero2_layer_3", 2, Sharding::kZero2, Recompute::kLayer, 3},
    {"full_shard_3", 2, Sharding::kFull, Recompute::kLayer, 3},
};
INSTANTIATE_TEST_SUITE_P(Settings, ObjectiveTest, ::testing::ValuesIn(kSettings),
                         [](const auto& i) { return std::string(i.param.name); });

TEST(Objective, RecomputationChangesNoBit) {
  for (const auto& c : kModels) {
    for (const int64_t micro_steps : {1, 3}) {
      Setting s{"", 1, Sharding::kNone, Recompute::kNone, micro_steps};
      const auto kept = run(c, s);
      for (const auto level : {Recompute::kLoop, Recompute::kBlock, Recompute::kLayer}) {
        s.recompute = level;
        const auto recomputed = run(c, s);
        expect_identical(recomputed.parameters, kept.parameters);
        expect_identical(recomputed.moments, kept.moments);
      }
    }
  }
}

TEST(Objective, MustTrainSomething) {
  struct Nothing : LanguageModelLoss {
    double lr_scale(const std::string&) const override { return 0; }
  };
  const auto model = test::make_model(kModels[0]);
  EXPECT_EQ(test::error_of([&] {
              Replica(*model, optimizer(), std::make_shared<Group>(), Sharding::kNone, std::make_shared<Nothing>());
            }),
            "the objective trains no parameter of the model");
}

TEST(Objective, TheLanguageModelShowsCrossEntropyAndTheIndexersLoss) {
  for (const bool dsa : {false, true}) {
    const auto model = test::make_model({.name = "", .layer_pattern = dsa ? "dsa" : "full", .indexer = "lightning"});
    const auto batch = batch_of(tokens_of(0, 0), 0);
    const auto losses = model->losses(batch.inputs, batch.targets);
    const auto loss = LanguageModelLoss().loss(*model, batch);
    EXPECT_TRUE(test::identical(loss.total, losses.total));
    EXPECT_TRUE(test::identical(loss.shown, losses.cross_entropy));
    ASSERT_EQ(loss.terms.size(), dsa ? 1u : 0u);
    if (!dsa) continue;
    EXPECT_EQ(loss.terms[0].first, "indexer");
    EXPECT_TRUE(test::identical(loss.terms[0].second, losses.mixers));
  }
}

// A whole run: its log shows the terms, its checkpoints hold moments of the trained parameters only, and it resumes.
TEST(Objective, ATrainerRunsAny) {
  const auto root = fs::path(::testing::TempDir()) / "lt2_objective_run";
  fs::remove_all(root);
  fs::create_directories(root);
  std::ofstream text(root / "text.txt");
  for (int i = 0; i < 400; ++i) text << "line " << i << ": the quick brown fox jumps over the lazy dog\n";
  text.close();
  clear_stop_signal();
  const auto config = [&](const std::string& run) {
    auto parsed = parse_train_config(
        "name: test\nsteps: 4\ngrad_acc_steps: 2\ndata: {seq_len: 32, batch_size: 2, prefetch_size: 4}\n"
        "optim: {lr: 0.003, warmup: 1}\nmodel: {dim: 32, n_layers: 2, n_heads: 2, multiple_of: 16, loop_count: 2}\n"
        "distributed: {model_dtype: fp32}\ncheckpoint: {dump: {every: 2, keep: 4}, eval: {every: 1000}}\n"
        "logging: {freq: 1}\nval: {every: 0}\n",
        "test.yaml", {"dump_dir=" + (root / run).string(), "data.sources={" + (root / "text.txt").string() + ": 1.0}"});
    validate(parsed);
    return parsed;
  };
  auto of_model = config("a").model;
  of_model.vocab_size = 258;
  of_model.seed = 99;
  const auto teacher = std::make_shared<LoopedTransformer>(of_model);
  teacher->initialise();
  {
    torch::NoGradGuard no_grad;
    for (const auto& [name, parameter] : teacher->official_parameters()) {
      if (name.ends_with("norm.weight")) parameter.mul_(1.5);
    }
  }
  const auto group = std::make_shared<Group>();
  const auto objective = std::make_shared<NormsTowardsACopy>(teacher);
  Trainer(config("whole"), group, objective).run();
  for (int start = 0; start < 2; ++start) {
    Trainer part(config("parts"), group, objective);
    part.stop_after(start == 0 ? 1 : 10);
    EXPECT_EQ(part.run(), start == 0 ? Trainer::End::kInterrupted : Trainer::End::kFinished);
  }
  const auto file = [&](const std::string& run, int64_t step, const char* name) {
    return checkpoint_folder(root / run / "checkpoints", step) / name;
  };
  for (const char* name : {"model.safetensors", "optimizer.safetensors"})
    EXPECT_TRUE(read_file(file("whole", 4, name)) == read_file(file("parts", 4, name))) << name;
  const SafetensorsFile first(file("whole", 2, "model.safetensors")), last(file("whole", 4, "model.safetensors")),
      moments(file("whole", 4, "optimizer.safetensors"));
  for (const auto& name : last.names()) {
    const bool same = test::identical(last.tensor(name), first.tensor(name));
    EXPECT_EQ(same, !name.ends_with("_norm.weight")) << name;  // and norm.weight, which nothing reads
  }
  for (const auto& name : moments.names()) EXPECT_NE(name.find("_norm.weight."), std::string::npos) << name;
  std::ifstream metrics(root / "whole" / "metrics.jsonl");
  int lines = 0;
  for (std::string line; std::getline(metrics, line); ++lines) {
    const auto json = nlohmann::json::parse(line);
    EXPECT_NEAR(json.at("loss/out").get<double>(),
                json.at("loss/last_loop").get<double>() + 0.5 * json.at("loss/first_loop").get<double>(), 1e-5);
  }
  EXPECT_EQ(lines, 4);
  set_log_file("");
  fs::remove_all(root);
}

}  // namespace
}  // namespace lt2
