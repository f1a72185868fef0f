#include "base/mapping_guard.h"

#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>
#include <string_view>
#include <utility>

namespace lt2 {
namespace {

// Read by a signal handler, so without a lock. More files than slots: the others are not guarded.
std::array<std::atomic<const MappingGuard::Mapping*>, 4096> mappings{};
static_assert(std::atomic<const MappingGuard::Mapping*>::is_always_lock_free, "a handler may not lock");

void say(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
    if (written <= 0) return;
    text.remove_prefix(static_cast<size_t>(written));
  }
}

// Only what a signal handler may call.
void handle(int number, siginfo_t* info, void*) {
  const auto* at = static_cast<const char*>(info->si_addr);
  for (const auto& slot : mappings) {
    const auto* mapping = slot.load(std::memory_order_acquire);
    if (!mapping || at < mapping->begin || at >= mapping->begin + mapping->bytes) continue;
    if (::isatty(STDERR_FILENO) != 0) say("\n");  // a progress bar or a text may stand in the line
    say("error: ");
    say(mapping->path);
    say(": cannot be read any more: it was cut short while in use, or its disk fails. Restore it and start again\n");
    ::_exit(1);
  }
  ::signal(number, SIG_DFL);  // not ours: the same access raises it again, and ends the process
}

void install() {
  struct sigaction action {};
  action.sa_sigaction = handle;
  action.sa_flags = SA_SIGINFO;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGBUS, &action, nullptr);
}

}  // namespace

MappingGuard::MappingGuard(const void* begin, size_t bytes, std::string path)
    : mapping_{static_cast<const char*>(begin), bytes, std::move(path)} {
  [[maybe_unused]] static const bool installed = (install(), true);
  for (auto& slot : mappings) {
    const Mapping* none = nullptr;
    if (slot.compare_exchange_strong(none, &mapping_)) return;
  }
}

MappingGuard::~MappingGuard() {
  for (auto& slot : mappings) {
    const Mapping* own = &mapping_;
    if (slot.compare_exchange_strong(own, nullptr)) return;
  }
}

}  // namespace lt2
