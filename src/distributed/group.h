#pragma once
// The processes of one run and what they tell each other: c10d collectives, Gloo on CPU tensors and NCCL on CUDA ones.
//
// Every rank makes the same calls in the same order. A rank that dies or hangs makes the others' calls throw: at once
// when its connections break, else after the time-out; the message names it, from heartbeats that all ranks leave at
// the meeting point.
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/torch.h"
#include "distributed/layout.h"

namespace c10d {
class ProcessGroup;
class Store;
class Work;
}  // namespace c10d

namespace lt2 {

class MeetingServer;
class MeetingStore;

class Group {
 public:
  /// One process: every call returns at once.
  Group();
  /// Meets the others at layout.master_addr, naming missing ranks after a while. Throws lt2::Error if they do not all
  /// come within `timeout_s`; MeetingStopped (distributed/waiting.h) at a signal. After that one end the process
  /// without destructors of statics: a thread may be left in a wait inside c10d.
  static std::shared_ptr<Group> start(const ProcessLayout& layout, torch::Device device, double timeout_s);
  /// Over a store that the caller made (tests: several ranks as threads of one process).
  Group(c10::intrusive_ptr<c10d::Store> store, const ProcessLayout& layout, torch::Device device, double timeout_s);
  /// Waits for no other rank.
  ~Group();
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  int rank() const { return rank_; }
  int world() const { return world_; }

  /// A collective that runs; wait() once, before the tensor is read.
  class Pending {
   public:
    Pending() = default;
    void wait();

   private:
    friend class Group;
    struct Running;
    Group* group_ = nullptr;
    std::shared_ptr<Running> running_;
  };

  /// tensor = sum over the ranks, in place. Contiguous, fp32 or fp64.
  Pending all_reduce(const torch::Tensor& tensor);
  /// On rank `root` the sum over the ranks; on the others the contents are lost.
  Pending reduce(const torch::Tensor& tensor, int root);
  /// The contents of rank `root` on all.
  Pending broadcast(const torch::Tensor& tensor, int root);
  /// Element sums, small and at once.
  std::vector<double> sum(std::vector<double> values);
  /// The texts of all ranks, in their order, on every rank.
  std::vector<std::string> gather(const std::string& text);

  /// For the heartbeat: the optimizer step under way.
  void set_step(int64_t step) { step_ = step; }

 private:
  struct Heart;
  Pending run(const torch::Tensor& tensor,
              const std::function<c10::intrusive_ptr<c10d::Work>(std::vector<torch::Tensor>&)>& start);
  void first_exchange(const ProcessLayout& layout, double timeout_s);
  [[noreturn]] void broken(const std::string& what);
  std::string diagnose();
  void beat();

  int rank_ = 0, world_ = 1;
  torch::Device device_ = torch::kCPU;
  std::unique_ptr<MeetingServer> server_;     // rank 0's
  c10::intrusive_ptr<MeetingStore> meeting_;  // this rank's connection to it
  std::unique_ptr<Heart> heart_;
  c10::intrusive_ptr<c10d::ProcessGroup> group_;
  std::atomic<int64_t> calls_{0}, step_{0};
};

}  // namespace lt2
