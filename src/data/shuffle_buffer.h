#pragma once
// Batches in shuffled order from the packed stream: a round fills a buffer, shuffles its rows and hands them out block
// by block.
#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/loader.h"
#include "data/loader_state.h"
#include "data/mixture.h"
#include "data/packer.h"

namespace lt2 {

class ShuffleBuffer {
 public:
  /// Where a round begins: the stream before the buffer's first sequence, the generator before the shuffle.
  struct Round {
    Packer<Mixture::State>::Position stream;
    Pcg64::State rng;
  };
  /// Block `seq_idx` of a round comes next.
  struct Position {
    std::shared_ptr<const Round> round;
    int64_t seq_idx = 0;
  };
  struct Made {
    Batch batch;
    Position after;
  };

  /// As Loader's.
  ShuffleBuffer(const DataConfig& config, int64_t rank, int64_t world, double held_back,
                std::shared_ptr<const Tokenizer> tokenizer);

  /// Begins the data with this seed.
  Position start(int64_t seed);
  /// Goes to a saved position. Null, with `reasons` filled and nothing changed, if it means nothing here.
  std::optional<Position> start(const LoaderState& state, std::vector<std::string>& reasons);
  /// The next batch. Once it has thrown it throws the same again.
  Made make();
  /// Makes a running make() throw soon; for another thread. Lasts until the next start().
  void cancel() { cancelled_ = true; }

  /// `position` as a state to save. May run while make() does.
  LoaderState saved(const Position& position) const;

 private:
  Position go_to(const Position& position);
  Batch next_block();
  void fill();
  void refill(int64_t block);
  void read_row(int64_t row);
  bool pull(Packer<Mixture::State>::Document& document);
  void compare(const LoaderState& state, std::vector<std::string>& reasons) const;
  void find_files(const LoaderState& state, std::vector<std::string>& reasons);

  DataConfig config_;
  int64_t rank_, world_, length_, seed_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::unique_ptr<Mixture> mixture_;
  Packer<Mixture::State> packer_;
  Pcg64 rng_;

  std::vector<int32_t> rows_;   // [prefetch_size * batch_size, length]
  std::vector<int64_t> order_;  // shuffled in place of the rows
  Position next_;
  Packer<Mixture::State>::Position behind_fill_;  // the stream after the buffer's first content of this round
  bool filled_ = false;
  int64_t handed_out_ = -1;     // the block to refill before the next
  int64_t expected_token_ = 0;  // the first document after a start must reach past this one
  std::exception_ptr failure_;
  std::atomic<bool> cancelled_ = false;
};

}  // namespace lt2
