#include "data/validation.h"

#include <algorithm>
#include <deque>
#include <memory>

#include "base/error.h"
#include "data/packer.h"
#include "data/sources.h"

namespace lt2 {
namespace {

struct NoState {};

// The sequences of one source, until its text ends.
class Pass {
 public:
  Pass(const std::vector<FilePart>& parts, const Encoding& encoding, int64_t seq_len)
      : length_(seq_len + 1), packer_(length_, seq_len) {
    for (const FilePart& part : parts) readers_.push_back(DocumentReader::open(part, encoding));
  }

  // Shorter than length at the end of the text.
  std::vector<int32_t> next() {
    std::vector<int32_t> tokens(static_cast<size_t>(length_));
    tokens.resize(static_cast<size_t>(packer_.next(tokens.data(), [this](auto& document) { return pull(document); })));
    return tokens;
  }

 private:
  bool pull(Packer<NoState>::Document& document) {
    while (!readers_.empty()) {
      document.tokens = readers_.front()->next();
      if (readers_.front()->state().current_iter > 0)
        readers_.pop_front();
      else if (!document.tokens->empty())
        return true;
    }
    return false;
  }

  int64_t length_;
  Packer<NoState> packer_;
  std::deque<std::unique_ptr<DocumentReader>> readers_;
};

void append_row(Batch& batch, const std::vector<int32_t>& tokens) {
  ++batch.rows;
  for (int64_t i = 0; i < batch.seq_len; ++i)
    batch.tokens.insert(batch.tokens.end(), {tokens[static_cast<size_t>(i)], tokens[static_cast<size_t>(i) + 1]});
}

}  // namespace

ValidationSet::ValidationSet(const DataConfig& config, const std::optional<std::string>& source, int64_t max_batches,
                             double held_back, const Tokenizer& tokenizer) {
  LT2_CHECK(config.batch_size >= 1 && config.seq_len >= 1,
            "data: expected batch_size and seq_len of at least 1, found {} and {}", config.batch_size, config.seq_len);
  const Encoding encoding{&tokenizer, config.add_bos, config.add_eos};
  std::deque<Pass> passes;
  if (source) {
    passes.emplace_back(validation_parts({config.root_dir, *source}, 1), encoding, config.seq_len);
  } else {
    for (const auto& [name, weight] : config.sources)
      passes.emplace_back(validation_parts({config.root_dir, name}, held_back), encoding, config.seq_len);
  }

  std::vector<int32_t> longest_rest;
  const int64_t max_rows = max_batches * config.batch_size;
  for (int64_t rows = 0; rows < max_rows && !passes.empty();) {
    Pass pass = std::move(passes.front());
    passes.pop_front();
    auto tokens = pass.next();
    if (static_cast<int64_t>(tokens.size()) <= config.seq_len) {  // the end of this source
      if (tokens.size() > longest_rest.size()) longest_rest = std::move(tokens);
      continue;
    }
    if (rows++ % config.batch_size == 0) batches_.push_back({0, config.seq_len, 2, {}});
    append_row(batches_.back(), tokens);
    passes.push_back(std::move(pass));
  }
  if (!batches_.empty()) return;
  LT2_CHECK(longest_rest.size() >= 2,
            "validation: fewer than two tokens of text. Set val.source to a longer text, or val.every=0.");
  batches_.push_back({0, static_cast<int64_t>(longest_rest.size()) - 1, 2, {}});
  append_row(batches_.back(), longest_rest);
}

}  // namespace lt2
