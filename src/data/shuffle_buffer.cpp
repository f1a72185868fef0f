#include "data/shuffle_buffer.h"

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "data/sources.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

Pcg64 generator(int64_t seed, int64_t rank, int64_t world) {
  return Pcg64({static_cast<uint64_t>(seed), static_cast<uint64_t>(rank), static_cast<uint64_t>(world)});
}

void check_sizes(const DataConfig& config, int64_t rank, int64_t world) {
  const auto at_least_one = [](const char* key, int64_t value) {
    LT2_CHECK(value >= 1, "data.{}: expected at least 1, found {}", key, value);
  };
  at_least_one("batch_size", config.batch_size);
  at_least_one("seq_len", config.seq_len);
  at_least_one("n_views", config.n_views);
  at_least_one("prefetch_size", config.prefetch_size);
  LT2_CHECK(config.seed >= 0, "data.seed: expected 0 or more, found {}", config.seed);
  LT2_CHECK(rank >= 0 && rank < world, "data loader: no rank {} in {} processes", rank, world);
}

bool same_file(const std::string& saved, const FilePart& part) {
  const fs::path a = saved, b = part.path;
  return a == b ||
         (a.filename() == b.filename() && (part.is_file || a.parent_path().filename() == b.parent_path().filename()));
}

// The saved file itself, else the one of that name below the root folder.
std::optional<std::string> existing(const std::string& saved, const std::optional<std::string>& root_dir) {
  const fs::path path = saved,
                 moved = fs::path(root_dir.value_or("")) / path.parent_path().filename() / path.filename();
  for (const fs::path& candidate : {path, moved})
    if (fs::is_regular_file(candidate)) return candidate.string();
  return std::nullopt;
}

std::unique_ptr<Tokenizer> made_tokenizer(const TokenizerConfig& config) {
  return make_tokenizer(config.name, config.path, config.specials);
}

}  // namespace

ShuffleBuffer::ShuffleBuffer(const DataConfig& config, int64_t rank, int64_t world, double held_back,
                             std::shared_ptr<const Tokenizer> tokenizer)
    : config_((check_sizes(config, rank, world), config)),
      rank_(rank),
      world_(world),
      length_(config.seq_len + config.n_views - 1),
      seed_(config.seed),
      tokenizer_(tokenizer ? std::move(tokenizer) : made_tokenizer(config.tokenizer)),
      packer_(length_, config.seq_len),
      rng_(generator(config.seed + 1, rank, world)) {
  tokenizer_->encode("", config.add_bos, config.add_eos);  // a vocabulary without these is no fault of a document
  std::vector<Mixture::Source> sources;
  for (const auto& [name, weight] : config.sources)
    sources.push_back(
        {name, weight, training_part({config.root_dir, name}, held_back, rank, world, config.allow_unread_chunks)});
  mixture_ = std::make_unique<Mixture>(sources, Encoding{tokenizer_.get(), config.add_bos, config.add_eos},
                                       generator(seed_, rank, world));
}

ShuffleBuffer::Position ShuffleBuffer::start(int64_t seed) {
  seed_ = seed;
  Round round;
  round.stream.stream = {std::vector<DocumentReader::State>(mixture_->size()), generator(seed, rank_, world_).state()};
  round.rng = generator(seed + 1, rank_, world_).state();
  return go_to({std::make_shared<const Round>(round), 0});
}

std::optional<ShuffleBuffer::Position> ShuffleBuffer::start(const LoaderState& state,
                                                            std::vector<std::string>& reasons) {
  compare(state, reasons);
  if (reasons.empty()) find_files(state, reasons);
  if (!reasons.empty()) return std::nullopt;
  seed_ = state.seed.value_or(config_.seed);
  Round round{{state.start_token, {{}, state.source_rng}}, state.shuffle_rng};
  for (const auto& source : state.sources)
    round.stream.stream.readers.push_back({source.position, source.current_iter});
  return go_to({std::make_shared<const Round>(round), state.seq_idx});
}

ShuffleBuffer::Position ShuffleBuffer::go_to(const Position& position) {
  filled_ = false;
  handed_out_ = -1;
  failure_ = nullptr;
  cancelled_ = false;
  return next_ = position;
}

void ShuffleBuffer::compare(const LoaderState& state, std::vector<std::string>& reasons) const {
  const auto number = [&](const char* key, int64_t saved, int64_t configured) {
    if (saved != configured) reasons.push_back(fmt::format("data.{} was {}, is {}", key, saved, configured));
  };
  number("batch_size", state.batch_size, config_.batch_size);
  number("prefetch_size", state.prefetch_size, config_.prefetch_size);
  number("seq_len", state.seq_len, config_.seq_len);
  number("n_views", state.n_views, config_.n_views);
  if (state.tokenizer_name != config_.tokenizer.name)
    reasons.push_back(fmt::format("data.tokenizer.name was {}, is {}", state.tokenizer_name, config_.tokenizer.name));
  if (state.add_bos != config_.add_bos || state.add_eos != config_.add_eos)
    reasons.emplace_back("data.add_bos or data.add_eos changed");
  const auto same_source = [](const auto& a, const auto& b) { return a.name == b.first && a.weight == b.second; };
  if (!std::equal(state.sources.begin(), state.sources.end(), config_.sources.begin(), config_.sources.end(),
                  same_source))
    reasons.emplace_back("data.sources changed");
  // A generator's increment never changes: it tells whose it is.
  const int64_t seed = state.seed.value_or(config_.seed);
  if (state.source_rng.inc != generator(seed, rank_, world_).state().inc ||
      state.shuffle_rng.inc != generator(seed + 1, rank_, world_).state().inc)
    reasons.push_back(fmt::format("data.seed or the number of processes (now {}) changed", world_));
}

void ShuffleBuffer::find_files(const LoaderState& state, std::vector<std::string>& reasons) {
  std::vector<FilePart> parts;
  for (size_t i = 0; i < state.sources.size(); ++i) {
    const auto& source = state.sources[i];
    FilePart part = mixture_->reader(i).part();
    if (!same_file(source.file_path, part)) {
      // Lingua lists files in the order of the file system: this process may have been given another one.
      const auto path = existing(source.file_path, config_.root_dir);
      if (path)
        part.path = *path, part.end = static_cast<int64_t>(fs::file_size(*path));
      else
        reasons.push_back(fmt::format("{} is gone", source.file_path));
    }
    if (source.block_size != part.block_size || source.offset != part.offset)
      reasons.push_back(
          fmt::format("{} was shared by {} processes, is by {}", part.path, source.block_size, part.block_size));
    if (const auto refusal = DocumentReader::open(part, {})->refusal({source.position, source.current_iter});
        !refusal.empty())
      reasons.push_back(refusal);
    parts.push_back(part);
  }
  if (!reasons.empty()) return;
  for (size_t i = 0; i < parts.size(); ++i)
    if (parts[i].path != mixture_->reader(i).part().path) mixture_->set_part(i, parts[i]);
}

LoaderState ShuffleBuffer::saved(const Position& position) const {
  const Round& round = *position.round;
  LoaderState state;
  state.root_dir = config_.root_dir;
  for (size_t i = 0; i < config_.sources.size(); ++i) {
    const auto& [name, weight] = config_.sources[i];
    const FilePart& part = mixture_->reader(i).part();
    const auto& reader = round.stream.stream.readers[i];
    state.sources.push_back(
        {name, weight, part.path, reader.position, part.block_size, part.offset, reader.current_iter});
  }
  state.source_rng = round.stream.stream.rng;
  state.add_bos = config_.add_bos;
  state.add_eos = config_.add_eos;
  state.tokenizer_name = config_.tokenizer.name;
  state.tokenizer_path = config_.tokenizer.path;
  state.start_token = round.stream.start_token;
  state.seq_len = config_.seq_len;
  state.n_views = config_.n_views;
  state.seq_idx = position.seq_idx;
  state.shuffle_rng = round.rng;
  state.batch_size = config_.batch_size;
  state.prefetch_size = config_.prefetch_size;
  if (seed_ != config_.seed) state.seed = seed_;
  return state;
}

ShuffleBuffer::Made ShuffleBuffer::make() {
  if (failure_) std::rethrow_exception(failure_);
  try {
    if (!filled_) fill();
    if (handed_out_ >= 0) refill(std::exchange(handed_out_, -1));
    Batch batch = next_block();
    return {std::move(batch), next_};
  } catch (...) {
    failure_ = std::current_exception();
    throw;
  }
}

void ShuffleBuffer::fill() {
  const Round& round = *next_.round;
  mixture_->set_state(round.stream.stream);
  packer_.restart(round.stream.start_token);
  expected_token_ = round.stream.start_token;
  rng_.set_state(round.rng);
  const int64_t count = config_.prefetch_size * config_.batch_size;
  rows_.resize(static_cast<size_t>(count * length_));
  order_.resize(static_cast<size_t>(count));
  std::iota(order_.begin(), order_.end(), 0);
  for (int64_t row = 0; row < count; ++row) read_row(row);
  behind_fill_ = packer_.position(mixture_->state());
  rng_.shuffle(order_);
  for (int64_t row = 0; row < next_.seq_idx * config_.batch_size; ++row) read_row(row);
  filled_ = true;
}

void ShuffleBuffer::refill(int64_t block) {
  for (int64_t row = 0; row < config_.batch_size; ++row) read_row(block * config_.batch_size + row);
  if (block < config_.prefetch_size - 1) return;
  behind_fill_ = packer_.position(mixture_->state());
  rng_.shuffle(order_);
}

void ShuffleBuffer::read_row(int64_t row) {
  LT2_CHECK(!cancelled_, "data loader: stopped");
  packer_.next(rows_.data() + order_[static_cast<size_t>(row)] * length_,
               [this](auto& document) { return pull(document); });
}

bool ShuffleBuffer::pull(Packer<Mixture::State>::Document& document) {
  document.before = mixture_->state();
  document.tokens = mixture_->next();
  const auto size = static_cast<int64_t>(document.tokens->size());
  LT2_CHECK(size > expected_token_,
            "{}: the saved position is token {} of a document that has {} tokens: the file or the tokenizer changed "
            "since it was saved",
            mixture_->last_path(), expected_token_, size);
  expected_token_ = 0;
  return true;
}

Batch ShuffleBuffer::next_block() {
  Batch batch{config_.batch_size, config_.seq_len, config_.n_views, {}};
  batch.tokens.reserve(static_cast<size_t>(batch.rows * batch.seq_len * batch.n_views));
  for (int64_t row = 0; row < batch.rows; ++row) {
    const int32_t* tokens = rows_.data() + order_[static_cast<size_t>(next_.seq_idx * batch.rows + row)] * length_;
    for (int64_t i = 0; i < batch.seq_len; ++i)
      for (int64_t view = 0; view < batch.n_views; ++view) batch.tokens.push_back(tokens[i + view]);
  }
  handed_out_ = next_.seq_idx;
  if (next_.seq_idx == config_.prefetch_size - 1)
    next_ = {std::make_shared<const Round>(Round{behind_fill_, rng_.state()}), 0};
  else
    ++next_.seq_idx;
  return batch;
}

}  // namespace lt2
