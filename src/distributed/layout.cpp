#include "distributed/layout.h"

#include <charconv>
#include <cstdlib>

#include "base/error.h"

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
            "environment: {} must be a whole number from {} to {}; found \"{}\"", name, least, most, value);
  return out;
}

constexpr int kMost = 1 << 20;

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
    out.master_port = number("MASTER_PORT", 1, 65535);
  } else if (is_set("SLURM_JOB_ID") && is_set("SLURM_PROCID")) {
    out.job = text("SLURM_JOB_ID");
    out.world = number("SLURM_NTASKS", 1, kMost);
    out.rank = number("SLURM_PROCID", 0, out.world - 1);
    out.local_rank = number("SLURM_LOCALID", 0, kMost);
    out.master_addr = first_host(text("SLURM_JOB_NODELIST"));
    // Every process of a job comes to the same port, and two jobs on a host rarely do.
    out.master_port = 20000 + static_cast<int>(std::strtoull(out.job.c_str(), nullptr, 10) % 40000);
  }
  return out;
}

}  // namespace lt2
