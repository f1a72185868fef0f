#pragma once
// A rank's connection to the meeting point, as c10d's collectives want it.
#include <torch/csrc/distributed/c10d/Store.hpp>

#include <atomic>
#include <mutex>
#include <string>
#include <vector>

#include "base/torch.h"
#include "distributed/layout.h"
#include "distributed/wire.h"

namespace lt2 {

/// Every call is answered within seconds or throws lt2::Error; the waits (wait, get of a key that is not there yet)
/// behave as class Waiting does. Any thread may call.
class MeetingStore : public c10d::Store {
 public:
  /// Waits for rank 0 to open the meeting point.
  MeetingStore(const ProcessLayout& layout, double timeout_s);

  /// Returns when all ranks have called it. At a signal to any rank before that all of them throw MeetingStopped; after
  /// it none does.
  void meet();
  /// Ends every pending call, in any thread, and all later ones.
  void close();

  void set(const std::string& key, const std::vector<uint8_t>& value) override;
  std::vector<uint8_t> get(const std::string& key) override;
  int64_t add(const std::string& key, int64_t value) override;
  bool deleteKey(const std::string& key) override;
  bool check(const std::vector<std::string>& keys) override;
  int64_t getNumKeys() override;
  void wait(const std::vector<std::string>& keys) override;
  void wait(const std::vector<std::string>& keys, const std::chrono::milliseconds& timeout) override;

 private:
  std::vector<std::string> request(const std::vector<std::string>& fields);
  // A signal came before all had met: what does not answer soon is given up.
  bool signalled() const;
  // False: the answer did not come in time, or the connection is gone.
  bool send_all(const std::string& bytes, std::chrono::steady_clock::time_point until);
  bool ready(short events, std::chrono::steady_clock::time_point until);

  const ProcessLayout layout_;
  std::mutex mutex_;  // one request at a time
  wire::Socket socket_;
  std::string in_;
  std::atomic<bool> met_{false}, closed_{false};
};

}  // namespace lt2
