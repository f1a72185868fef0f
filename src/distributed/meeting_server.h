#pragma once
// The meeting point of a run's ranks: a table of keys and values that rank 0 keeps for all of them.
//
// It answers every connection by itself and never waits for one: a stray byte, half a frame or a peer that does not
// read costs that connection only, and the end of the server waits for no connection.
#include <string>
#include <thread>

#include "distributed/layout.h"
#include "distributed/wire.h"

namespace lt2 {

class MeetingServer {
 public:
  /// Listens at the layout's place (wire::listen_at) in a thread of its own. Throws lt2::Error if it cannot.
  explicit MeetingServer(const ProcessLayout& layout);
  /// Hangs up on all and gives the place free.
  ~MeetingServer();
  MeetingServer(const MeetingServer&) = delete;
  MeetingServer& operator=(const MeetingServer&) = delete;

 private:
  std::string path_;  // of a Unix socket
  wire::Socket listening_, wake_;
  std::thread thread_;
};

}  // namespace lt2
