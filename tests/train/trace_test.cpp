#include "train/trace.h"

#include <gtest/gtest.h>
#include "base/torch.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "tests/support/temp_folder.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

class TraceTest : public ::testing::Test {
 protected:
  static std::vector<nlohmann::json> events(const fs::path& path, const std::string& category) {
    std::vector<nlohmann::json> out;
    const auto trace = nlohmann::json::parse(read_file(path));
    for (const auto& event : trace["traceEvents"]) {
      if (event.value("cat", event["name"].get<std::string>()) == category) out.push_back(event);
    }
    return out;
  }
  static bool inside(const nlohmann::json& inner, const nlohmann::json& outer) {
    const double begin = inner["ts"], end = begin + inner["dur"].get<double>();
    const double from = outer["ts"], to = from + outer["dur"].get<double>();
    return begin >= from - 1 && end <= to + 1;  // doubles keep a quarter of a microsecond
  }
  test::TempFolder temporary_;
  fs::path root_ = temporary_.path();
};

void work() {
  auto x = torch::ones({4, 4}, torch::requires_grad());
  torch::mm(x, x).sum().backward();
}

TEST_F(TraceTest, StepsPhasesOperationsAndMemory) {
  StepTracer tracer(root_ / "profiling", 3, 2, 2);
  for (int64_t step = 0; step < 6; ++step) {
    tracer.begin_step(step);
    tracer.phase("forward");
    work();
    tracer.phase("optimizer");
    tracer.phase("");
    EXPECT_EQ(fs::exists(root_ / "profiling" / "trace_3_2.json"), step >= 4);
  }
  tracer.finish();
  const auto path = root_ / "profiling" / "trace_3_2.json";
  const auto steps = events(path, "step"), phases = events(path, "phase");
  ASSERT_EQ(steps.size(), 2u);
  EXPECT_EQ(steps[0]["name"], "step 3");  // as logged: the third, traced from step 2 on
  EXPECT_EQ(steps[1]["name"], "step 4");
  EXPECT_EQ(steps[0]["pid"], 3);
  ASSERT_EQ(phases.size(), 4u);
  EXPECT_EQ(phases[0]["name"], "forward");
  EXPECT_TRUE(inside(phases[0], steps[0]) && inside(phases[3], steps[1]));
  std::map<std::string, int> names;
  for (const auto& operation : events(path, "torch")) {
    ++names[operation["name"]];
    EXPECT_TRUE(inside(operation, phases[0]) || inside(operation, phases[2])) << operation;
  }
  EXPECT_GE(names["aten::mm"], 6);  // one forward, two backward, in two steps
  const auto autograd = events(path, "autograd");
  EXPECT_TRUE(std::any_of(autograd.begin(), autograd.end(), [](const auto& event) {
    return event["name"].template get<std::string>().find("MmBackward") != std::string::npos;
  }));
  const auto memory = events(path, "resident memory");
  ASSERT_GE(memory.size(), 4u);
  EXPECT_EQ(memory[0]["ph"], "C");
  EXPECT_GT(memory[0]["args"]["GiB"], 0.001);
  EXPECT_EQ(std::distance(fs::directory_iterator(root_ / "profiling"), {}), 1);
}

TEST_F(TraceTest, AShortRunStillWritesItsSteps) {
  {
    StepTracer tracer(root_, 0, 1, 100);
    tracer.begin_step(7);  // resumed inside the window
    tracer.phase("forward");
  }
  const auto path = root_ / "trace_0_7.json";
  EXPECT_EQ(events(path, "step").size(), 1u);
  EXPECT_EQ(events(path, "phase").size(), 1u);
}

TEST_F(TraceTest, NothingOutsideItsSteps) {
  StepTracer none, past(root_, 0, 2, 2);
  none.begin_step(0), none.phase("forward"), none.finish();
  past.begin_step(4), past.phase("forward"), past.finish();
  EXPECT_TRUE(fs::is_empty(root_));
}

TEST_F(TraceTest, OddNamesAndManyThreads) {
  Trace trace(0);
  trace.watch_operations();
  trace.begin("quote \" slash \\ tab \t \xff", "phase");
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([] {
      for (int j = 0; j < 50; ++j) torch::ones({2}).neg();
    });
  for (auto& thread : threads) thread.join();
  trace.end();
  EXPECT_THROW(trace.end(), Error);
  EXPECT_THROW(Trace(1).watch_operations(), Error);
  trace.stop_operations();
  torch::ones({2}).mul(3);
  trace.write(root_ / "odd.json");
  std::map<int, int> negations;
  for (const auto& event : events(root_ / "odd.json", "torch")) {
    EXPECT_NE(event["name"], "aten::mul");
    if (event["name"] == "aten::neg") ++negations[event["tid"].get<int>()];
  }
  EXPECT_EQ(negations.size(), 4u);
  for (const auto& [thread, count] : negations) EXPECT_EQ(count, 50) << thread;
  EXPECT_TRUE(
      events(root_ / "odd.json", "phase")[0]["name"].get<std::string>().starts_with("quote \" slash \\ tab \t"));
}

}  // namespace
}  // namespace lt2
