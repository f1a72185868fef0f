#include "distributed/group.h"

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <future>
#include <map>
#include <mutex>
#include <optional>

#ifdef USE_C10D_NCCL
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

#include "base/error.h"
#include "base/signals.h"
#include "distributed/meeting_server.h"
#include "distributed/meeting_store.h"
#include "distributed/waiting.h"

namespace lt2 {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

constexpr auto kBeat = 300ms;

milliseconds to_ms(double seconds) { return milliseconds(static_cast<int64_t>(seconds * 1000)); }

c10::intrusive_ptr<c10d::ProcessGroup> make_group(const c10::intrusive_ptr<c10d::Store>& store,
                                                  const ProcessLayout& layout, torch::Device device, double timeout_s) {
#ifdef USE_C10D_NCCL
  if (device.is_cuda()) {
    auto options = c10d::ProcessGroupNCCL::Options::create();
    options->timeout = to_ms(timeout_s);
    return c10::make_intrusive<c10d::ProcessGroupNCCL>(store, layout.rank, layout.world, options);
  }
#endif
  LT2_CHECK(device.is_cpu(), "this LibTorch has no NCCL: several ranks train on the CPU only");
  auto options = c10d::ProcessGroupGloo::Options::create(to_ms(timeout_s));
  options->devices.push_back(layout.one_machine ? c10d::ProcessGroupGloo::createDeviceForHostname("127.0.0.1")
                                                : c10d::ProcessGroupGloo::createDefaultDevice());
  options->threads = 1;  // sums are short; the cores belong to the kernels
  return c10::make_intrusive<c10d::ProcessGroupGloo>(store, layout.rank, layout.world, options);
}

// c10d ends its own waits after the time-out; this one is for the case that it does not.
Waiting waiting_for_c10d(const ProcessLayout& layout, double timeout_s) {
  return {layout, 2 * timeout_s, /*all_are_there=*/true};
}

// No signal ends a wait inside c10d, so the group is made in a thread of its own. After a signal that thread is
// abandoned with everything it holds.
c10::intrusive_ptr<c10d::ProcessGroup> make_group_until_signal(const c10::intrusive_ptr<c10d::Store>& store,
                                                               const ProcessLayout& layout, torch::Device device,
                                                               double timeout_s) {
  using Made = c10::intrusive_ptr<c10d::ProcessGroup>;
  auto task =
      std::make_shared<std::packaged_task<Made()>>([=] { return make_group(store, layout, device, timeout_s); });
  auto made = task->get_future();
  std::thread([task] {
    leave_signals_to_others();
    (*task)();
  }).detach();
  auto waiting = waiting_for_c10d(layout, timeout_s);
  while (made.wait_for(0s) != std::future_status::ready) waiting.for_more_of("connections to all other ranks");
  return made.get();
}

struct Beat {
  int64_t count = 0, calls = 0, step = 0;
};

std::vector<uint8_t> bytes_of(const Beat& beat) {
  std::vector<uint8_t> out(sizeof(Beat));
  std::memcpy(out.data(), &beat, sizeof(Beat));
  return out;
}

std::string list_of(const std::vector<int>& ranks) {
  return fmt::format("{} {}", ranks.size() == 1 ? "rank" : "ranks", fmt::join(ranks, ", "));
}

}  // namespace

// A thread that shows the others that this process runs.
struct Group::Heart {
  c10::intrusive_ptr<c10d::Store> store;
  std::mutex mutex;
  std::condition_variable stop_requested;
  bool stop = false;
  Beat beat;
  std::thread thread;

  static std::string key(int rank) { return fmt::format("beat/{}", rank); }
  /// nullopt: never seen, or the store is gone.
  std::optional<Beat> of(int rank) {
    const std::lock_guard lock(mutex);
    if (!store->check({key(rank)})) return std::nullopt;
    const auto bytes = store->get(key(rank));
    if (bytes.size() != sizeof(Beat)) return std::nullopt;
    Beat out;
    std::memcpy(&out, bytes.data(), sizeof(Beat));
    return out;
  }
};

Group::Group() = default;

std::shared_ptr<Group> Group::start(const ProcessLayout& layout, torch::Device device, double timeout_s) {
  if (layout.world == 1) return std::make_shared<Group>();
  std::unique_ptr<MeetingServer> server;
  if (layout.rank == 0) server = std::make_unique<MeetingServer>(layout);
  auto meeting = c10::make_intrusive<MeetingStore>(layout, timeout_s);
  try {
    meeting->meet();
  } catch (const MeetingStopped&) {
    if (server) std::this_thread::sleep_for(kBeat);  // the others shall hear of it
    throw;
  }
  auto group = std::make_shared<Group>(meeting, layout, device, timeout_s);
  group->server_ = std::move(server);
  group->meeting_ = std::move(meeting);
  return group;
}

Group::Group(c10::intrusive_ptr<c10d::Store> store, const ProcessLayout& layout, torch::Device device, double timeout_s)
    : rank_(layout.rank), world_(layout.world), device_(device) {
  heart_ = std::make_unique<Heart>();
  heart_->store = c10::make_intrusive<c10d::PrefixStore>("heart", store);
  group_ = make_group_until_signal(c10::make_intrusive<c10d::PrefixStore>("group", store), layout, device, timeout_s);
  first_exchange(layout, timeout_s);
  heart_->thread = std::thread([this] {
    leave_signals_to_others();
    beat();
  });
}

// A meeting of all: from here on a missing rank is a rank lost.
void Group::first_exchange(const ProcessLayout& layout, double timeout_s) {
  std::vector<torch::Tensor> tensors{torch::zeros({1}, torch::device(device_))};
  ++calls_;
  try {
    const auto work = group_->allreduce(tensors);
    auto waiting = waiting_for_c10d(layout, timeout_s);
    while (!work->isCompleted()) waiting.for_more_of("the first exchange with all other ranks");
    work->wait();
  } catch (const MeetingStopped&) {
    // Its destructor would wait for the exchange.
    static_cast<void>(group_.release());
    throw;
  } catch (const std::exception& error) {
    broken(error.what());
  }
}

Group::~Group() {
  if (!heart_) return;
  if (meeting_) meeting_->close();  // ends the heart's pending calls
  {
    const std::lock_guard lock(heart_->mutex);
    heart_->stop = true;
  }
  heart_->stop_requested.notify_all();
  if (heart_->thread.joinable()) heart_->thread.join();
}

void Group::beat() {
  std::unique_lock lock(heart_->mutex);
  while (!heart_->stop) {
    ++heart_->beat.count;
    heart_->beat.calls = calls_;
    heart_->beat.step = step_;
    try {
      heart_->store->set(Heart::key(rank_), bytes_of(heart_->beat));
    } catch (const std::exception&) {
      return;  // the store went with rank 0; the collectives notice
    }
    heart_->stop_requested.wait_for(lock, kBeat);
  }
}

// The ranks at fault: those whose heart stands still, else those that have entered the fewest collectives.
std::string Group::diagnose() {
  const auto look = [&] {
    std::map<int, std::optional<Beat>> beats;
    for (int r = 0; r < world_; ++r) beats[r] = heart_->of(r);
    return beats;
  };
  try {
    const auto before = look();
    std::this_thread::sleep_for(4 * kBeat);
    const auto after = look();
    std::vector<int> still, behind;
    int64_t fewest = std::numeric_limits<int64_t>::max(), most = 0;
    for (const auto& [r, beat] : after) {
      // A rank that was not seen before has begun to beat meanwhile.
      if (!beat || (before.at(r) && beat->count == before.at(r)->count)) {
        if (r != rank_) still.push_back(r);
        continue;
      }
      fewest = std::min(fewest, beat->calls);
      most = std::max(most, beat->calls);
    }
    if (!still.empty()) {
      const auto& last = after.at(still[0]);
      return fmt::format("{} died or hangs (last seen in step {})", list_of(still), last ? last->step : 0);
    }
    for (const auto& [r, beat] : after) {
      if (beat->calls == fewest && fewest < most && r != rank_) behind.push_back(r);
    }
    if (!behind.empty()) return fmt::format("{} did not come to the exchange of the others", list_of(behind));
    return "all ranks are alive: the network between them is broken or too slow";
  } catch (const std::exception&) {
    return "rank 0 died or hangs (it keeps the meeting point)";
  }
}

void Group::broken(const std::string& what) {
  std::string culprit;
  try {
    // Ranks that wait for this one fail after it; what the first of them saw holds for all.
    const std::lock_guard lock(heart_->mutex);
    if (heart_->store->check({"verdict"})) {
      const auto bytes = heart_->store->get("verdict");
      culprit.assign(bytes.begin(), bytes.end());
    }
  } catch (const std::exception&) {
    // The store is gone, which diagnose() says.
  }
  if (culprit.empty()) {
    culprit = diagnose();
    try {
      const std::lock_guard lock(heart_->mutex);
      heart_->store->set("verdict", std::vector<uint8_t>(culprit.begin(), culprit.end()));
    } catch (const std::exception&) {
    }
  }
  // Others may still be looking, at this heart, too; the store lives in rank 0.
  std::this_thread::sleep_for((rank_ == 0 ? 8 : 4) * kBeat);
  fail("rank {}, step {}: {}. Exchange failed: {}", rank_, step_.load(), culprit, what.substr(0, what.find('\n')));
}

struct Group::Pending::Running {
  std::vector<torch::Tensor> tensors;  // kept until the end
  c10::intrusive_ptr<c10d::Work> work;
};

void Group::Pending::wait() {
  if (!running_) return;
  try {
    running_->work->wait();
  } catch (const std::exception& error) {
    group_->broken(error.what());
  }
  running_.reset();
}

Group::Pending Group::run(const torch::Tensor& tensor,
                          const std::function<c10::intrusive_ptr<c10d::Work>(std::vector<torch::Tensor>&)>& start) {
  Pending out;
  if (world_ == 1) return out;
  LT2_CHECK(tensor.is_contiguous(), "group: a tensor must be contiguous to be exchanged");
  ++calls_;
  out.group_ = this;
  out.running_ = std::make_shared<Pending::Running>();
  out.running_->tensors = {tensor};
  try {
    out.running_->work = start(out.running_->tensors);
  } catch (const std::exception& error) {
    broken(error.what());
  }
  return out;
}

Group::Pending Group::all_reduce(const torch::Tensor& tensor) {
  return run(tensor, [&](auto& tensors) { return group_->allreduce(tensors); });
}

Group::Pending Group::reduce(const torch::Tensor& tensor, int root) {
  c10d::ReduceOptions options;
  options.rootRank = root;
  return run(tensor, [&](auto& tensors) { return group_->reduce(tensors, options); });
}

Group::Pending Group::broadcast(const torch::Tensor& tensor, int root) {
  c10d::BroadcastOptions options;
  options.rootRank = root;
  return run(tensor, [&](auto& tensors) { return group_->broadcast(tensors, options); });
}

std::vector<double> Group::sum(std::vector<double> values) {
  if (world_ == 1) return values;
  const auto tensor = torch::tensor(values, torch::kFloat64).to(device_);
  all_reduce(tensor).wait();
  const auto on_cpu = tensor.cpu();
  return {on_cpu.data_ptr<double>(), on_cpu.data_ptr<double>() + on_cpu.numel()};
}

std::vector<std::string> Group::gather(const std::string& text) {
  std::vector<std::string> out{text};
  if (world_ == 1) return out;
  std::vector<double> sizes(static_cast<size_t>(world_));
  sizes[static_cast<size_t>(rank_)] = static_cast<double>(text.size());
  sizes = sum(sizes);
  out.clear();
  for (int r = 0; r < world_; ++r) {
    const auto size = static_cast<int64_t>(sizes[static_cast<size_t>(r)]);
    auto bytes = torch::empty({size}, torch::kUInt8);
    if (r == rank_ && size > 0) std::memcpy(bytes.data_ptr(), text.data(), text.size());
    bytes = bytes.to(device_);
    if (size > 0) broadcast(bytes, r).wait();
    bytes = bytes.cpu();
    out.emplace_back(reinterpret_cast<const char*>(bytes.data_ptr()), static_cast<size_t>(size));
  }
  return out;
}

}  // namespace lt2
