#pragma once
// Reading a mapped file that was cut short meanwhile, or whose disk fails, raises SIGBUS in the middle of whatever
// reads.
#include <cstddef>
#include <string>

namespace lt2 {

/// While it lives, a SIGBUS in [begin, begin + bytes) ends the process with one line that names `path` and status 1.
class MappingGuard {
 public:
  MappingGuard(const void* begin, size_t bytes, std::string path);
  ~MappingGuard();
  MappingGuard(const MappingGuard&) = delete;
  MappingGuard& operator=(const MappingGuard&) = delete;

  struct Mapping {
    const char* begin;
    size_t bytes;
    std::string path;
  };

 private:
  Mapping mapping_;
};

}  // namespace lt2
