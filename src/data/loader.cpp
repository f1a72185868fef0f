#include "data/loader.h"

#include <fmt/ranges.h>

#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>

#include "base/log.h"
#include "data/shuffle_buffer.h"
#include "data/sources.h"

namespace lt2 {
namespace {

using Made = ShuffleBuffer::Made;

// A thread that keeps a few batches ready. It alone touches the buffer while it lives.
class Ahead {
 public:
  explicit Ahead(ShuffleBuffer& buffer) : buffer_(buffer), thread_([this] { run(); }) {}
  ~Ahead() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    buffer_.cancel();
    thread_.join();
  }
  Ahead(const Ahead&) = delete;
  Ahead& operator=(const Ahead&) = delete;

  Made take() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !ready_.empty() || failure_; });
    if (ready_.empty()) std::rethrow_exception(failure_);
    Made made = std::move(ready_.front());
    ready_.pop_front();
    changed_.notify_all();
    return made;
  }

 private:
  // Enough to hide a slow document; the shuffle buffer after it is what makes reading ahead long.
  static constexpr size_t kReady = 4;

  void run() {
    try {
      for (;;) {
        Made made = buffer_.make();
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return ready_.size() < kReady || stop_; });
        if (stop_) return;
        ready_.push_back(std::move(made));
        changed_.notify_all();
      }
    } catch (...) {
      const std::lock_guard lock(mutex_);
      failure_ = std::current_exception();
      changed_.notify_all();
    }
  }

  ShuffleBuffer& buffer_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Made> ready_;
  std::exception_ptr failure_;
  bool stop_ = false;
  std::thread thread_;  // last: starts when all else is there
};

}  // namespace

struct Loader::Impl {
  Impl(const DataConfig& config, int64_t rank, int64_t world, double held_back,
       std::shared_ptr<const Tokenizer> tokenizer)
      : buffer(config, rank, world, held_back, std::move(tokenizer)),
        position(buffer.start(config.seed)),
        sources(config.sources),
        root_dir(config.root_dir),
        seed(config.seed),
        load_async(config.load_async),
        speaks(rank == 0) {}

  ShuffleBuffer buffer;
  ShuffleBuffer::Position position;  // after the batch handed out last
  std::vector<std::pair<std::string, double>> sources;
  std::optional<std::string> root_dir;
  int64_t seed;
  bool load_async;
  bool speaks;                   // one of the processes does
  std::unique_ptr<Ahead> ahead;  // destroyed first
};

Loader::Loader(const DataConfig& config, int64_t rank, int64_t world, double held_back,
               std::shared_ptr<const Tokenizer> tokenizer)
    : impl_(std::make_unique<Impl>(config, rank, world, held_back, std::move(tokenizer))) {}
Loader::~Loader() = default;

Batch Loader::next() {
  if (impl_->load_async && !impl_->ahead) impl_->ahead = std::make_unique<Ahead>(impl_->buffer);
  Made made = impl_->ahead ? impl_->ahead->take() : impl_->buffer.make();
  impl_->position = made.after;
  return std::move(made.batch);
}

std::string Loader::state() const { return to_json(impl_->buffer.saved(impl_->position)); }

bool Loader::restore(const std::string& json, int64_t step, const std::string& where) {
  const LoaderState state = loader_state_from_json(json, where);
  impl_->ahead.reset();
  std::vector<std::string> reasons;
  if (const auto position = impl_->buffer.start(state, reasons)) {
    impl_->position = *position;
    return true;
  }
  restart(step, fmt::format("{}", fmt::join(reasons, "; ")));
  return false;
}

void Loader::restart(int64_t step, const std::string& reason) {
  impl_->ahead.reset();
  impl_->position = impl_->buffer.start(impl_->seed + step);
  if (!impl_->speaks) return;
  log_warning(
      "the position in the data cannot be kept: {}. The data starts from the beginning, in another order (seed {}).",
      reason, impl_->seed + step);
}

}  // namespace lt2
