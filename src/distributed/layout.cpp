#include "distributed/layout.h"

#include <charconv>
#include <cstdlib>

#include "base/error.h"
#include "base/text.h"

namespace lt2 {
namespace {

bool is_set(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != 0;
}

std::string text(const char* name) {
  LT2_CHECK(is_set(name), "environment: {} is not set. torchrun, lt2 launch and srun set it", name);
  return std::getenv(name);
}

int number(const char* name, int least, int most) {
  const std::string value = text(name);
  int out = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), out);
  LT2_CHECK(error == std::errc() && end == value.data() + value.size() && out >= least && out <= most,
            "environment: {} must be a whole number from {} to {}; found \"{}\"", name, least, most, printable(value));
  return out;
}

constexpr int kMost = 1 << 20;
constexpr const char* kLoopback = "127.0.0.1";

bool is_loopback(const std::string& host) { return host == "localhost" || host == "::1" || host.starts_with("127."); }

}  // namespace

std::string first_host(const std::string& node_list) {
  const size_t end = node_list.find_first_of(",[");
  std::string host = node_list.substr(0, end);
  if (end == std::string::npos || node_list[end] == ',') return host;
  const size_t from = end + 1, to = node_list.find_first_of(",-]", from);
  const size_t close = node_list.find(']', from);
  LT2_CHECK(to != std::string::npos && close != std::string::npos,
            "environment: SLURM_JOB_NODELIST must be like node[01-04]; found \"{}\"", node_list);
  host += node_list.substr(from, to - from);
  const size_t rest = node_list.find_first_of(",[", close);
  return host + node_list.substr(close + 1, rest == std::string::npos ? rest : rest - close - 1);
}

ProcessLayout process_layout() {
  ProcessLayout out;
  if (is_set("LOCAL_RANK")) {
    out.world = number("WORLD_SIZE", 1, kMost);
    out.rank = number("RANK", 0, out.world - 1);
    out.local_rank = number("LOCAL_RANK", 0, kMost);
    out.master_addr = text("MASTER_ADDR");
    const bool path = out.master_addr.starts_with('/');
    if (!path) out.master_port = number("MASTER_PORT", 1, 65535);
    out.one_machine = path || is_loopback(out.master_addr) ||
                      (is_set("LOCAL_WORLD_SIZE") && number("LOCAL_WORLD_SIZE", 1, kMost) == out.world);
    if (out.one_machine && !path) out.master_addr = kLoopback;
  } else if (is_set("SLURM_JOB_ID") && is_set("SLURM_PROCID")) {
    out.job = text("SLURM_JOB_ID");
    LT2_CHECK(out.job.find_first_not_of("0123456789") == std::string::npos,
              "environment: SLURM_JOB_ID must be a whole number; found \"{}\"", printable(out.job));
    out.world = number("SLURM_NTASKS", 1, kMost);
    out.rank = number("SLURM_PROCID", 0, out.world - 1);
    out.local_rank = number("SLURM_LOCALID", 0, kMost);
    out.master_addr = first_host(text("SLURM_JOB_NODELIST"));
    // Every process of a job comes to the same port, and two jobs on a host rarely do.
    out.master_port = 20000 + static_cast<int>(std::strtoull(out.job.c_str(), nullptr, 10) % 40000);
    out.one_machine = is_set("SLURM_JOB_NUM_NODES") && number("SLURM_JOB_NUM_NODES", 1, kMost) == 1;
    if (out.one_machine) out.master_addr = kLoopback;
  }
  return out;
}

}  // namespace lt2
