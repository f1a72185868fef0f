#pragma once
// The report page of a running run, served to a browser on this machine.
//
//     GET /                              the page, as the run's files are now
//     GET /charts                        the part of it that new lines change
//     GET /points?after=STEP&epoch=E     JSON: where the run is, and its log lines of later steps
//
// The page asks for points every two seconds, and for its charts when something is new. `epoch` is from the answer
// before: if steps that were there are gone since (the run was resumed), all points come again.
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "report/run_record.h"

namespace lt2 {

class LiveServer {
 public:
  /// Listens on 127.0.0.1 for browsers; port 0 takes a free one. `dump_dir` must be there, its files may come later.
  /// Throws lt2::Error.
  LiveServer(const std::filesystem::path& dump_dir, int port);
  ~LiveServer();
  LiveServer(const LiveServer&) = delete;
  LiveServer& operator=(const LiveServer&) = delete;

  int port() const { return port_; }
  std::string url() const;
  /// Answers until `stop` is true, which it looks at five times a second.
  void run(const std::function<bool()>& stop);

  static constexpr size_t kMostRequestBytes = 8192, kMostConnections = 64, kMostPoints = 5000;

 private:
  struct Connection;
  std::string answer(std::string_view request);
  std::string points(std::string_view query);
  void read_run_files();
  void accept_all();
  bool serve(Connection& connection, short events);

  RunFollower follower_;
  std::string error_;  // why the files could not be read, empty if they could
  std::string charts_;
  int64_t charts_version_ = -1;
  int listener_ = -1, port_ = 0;
  std::vector<std::unique_ptr<Connection>> connections_;  // the oldest first
};

/// `lt2 report DIR --live`: prints the address, serves until Ctrl-C.
void serve_live(const std::filesystem::path& dump_dir, int port);

}  // namespace lt2
