#include "tokenizer/tiktoken.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "base/error.h"
#include "base/regex/work.h"
#include "tokenizer/base64.h"

namespace lt2 {
namespace {

using Names = std::vector<std::pair<std::string, int32_t>>;  // offset after the ranks

Names lingua_names() {
  Names names;
  for (int32_t k = 0; k < 256; ++k) {
    const char* known = k == 0     ? "<|begin_of_text|>"
                        : k == 1   ? "<|end_of_text|>"
                        : k == 2   ? "<|fim_prefix|>"
                        : k == 3   ? "<|fim_middle|>"
                        : k == 253 ? "<|fim_end_fill|>"
                        : k == 254 ? "<|fim_pad|>"
                        : k == 255 ? "<|fim_suffix|>"
                                   : nullptr;
    names.emplace_back(known ? known : fmt::format("<|reserved_special_token_{}|>", k), k);
  }
  return names;
}

Names llama3_names() {
  Names names = {{"<|begin_of_text|>", 0},   {"<|end_of_text|>", 1},   {"<|finetune_right_pad_id|>", 4},
                 {"<|start_header_id|>", 6}, {"<|end_header_id|>", 7}, {"<|eom_id|>", 8},
                 {"<|eot_id|>", 9},          {"<|python_tag|>", 10}};
  std::array<bool, 256> taken{};
  for (const auto& [name, offset] : names) taken[static_cast<size_t>(offset)] = true;
  for (int32_t offset = 0, number = 0; offset < 256; ++offset)
    if (!taken[static_cast<size_t>(offset)])
      names.emplace_back(fmt::format("<|reserved_special_token_{}|>", number++), offset);
  return names;
}

struct Publisher {
  const char* name;
  Names (*names)();
  int32_t bos, eos;  // offsets
  WordEnd word_end;
};

constexpr Publisher kPublishers[] = {
    {"lingua", lingua_names, 0, 1, llama3_word_end},
    {"llama3", llama3_names, 0, 1, llama3_word_end},
    // OpenAI left one id unused after the ranks, and more before <|endofprompt|>.
    {"cl100k",
     [] {
       return Names{{"<|endoftext|>", 1},
                    {"<|fim_prefix|>", 2},
                    {"<|fim_middle|>", 3},
                    {"<|fim_suffix|>", 4},
                    {"<|endofprompt|>", 20}};
     },
     1, 1, llama3_word_end},
    {"gpt2",
     [] {
       return Names{{"<|endoftext|>", 0}};
     },
     0, 0, gpt2_word_end},
};

const Publisher& publisher(const std::string& name) {
  std::vector<std::string> names;
  for (const Publisher& each : kPublishers) {
    if (each.name == name) return each;
    names.emplace_back(each.name);
  }
  fail("data.tokenizer.specials: \"{}\" is none of {}", name, fmt::join(names, ", "));
}

constexpr size_t kLongestToken = 4096;  // published ones stay below 200 bytes; merging time grows with it

std::vector<std::string_view> lines_of(std::string_view content) {
  std::vector<std::string_view> lines;
  while (!content.empty()) {
    const size_t end = std::min(content.find('\n'), content.size());
    std::string_view line = content.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.push_back(line);
    content.remove_prefix(std::min(end + 1, content.size()));
  }
  while (!lines.empty() && lines.back().empty()) lines.pop_back();
  return lines;
}

// Text for an error: as short and printable as a message can bear.
std::string shown(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 24)) out += c >= ' ' && c <= '~' ? c : '?';
  return out + (text.size() > 24 ? "..." : "");
}

std::vector<std::string> read_ranks(std::string_view content, const std::string& where) {
  const auto lines = lines_of(content);
  LT2_CHECK(!lines.empty(), "{}: empty; a rank file has a line \"BASE64 RANK\" for each token", where);
  std::vector<std::string> tokens(lines.size());
  std::string bytes;
  for (size_t i = 0; i < lines.size(); ++i) {
    const auto place = [&] { return fmt::format("{}:{}", where, i + 1); };
    const size_t space = lines[i].find(' ');
    LT2_CHECK(space != std::string_view::npos, "{}: expected \"BASE64 RANK\", found \"{}\"", place(), shown(lines[i]));
    const auto number = lines[i].substr(space + 1);
    LT2_CHECK(decode_base64(lines[i].substr(0, space), bytes), "{}: \"{}\" is not base64; is the file complete?",
              place(), shown(lines[i].substr(0, space)));
    uint64_t rank = 0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), rank);
    LT2_CHECK(error == std::errc() && end == number.data() + number.size(), "{}: rank \"{}\" is not a number", place(),
              shown(number));
    LT2_CHECK(rank < lines.size(), "{}: rank {} in a file of {} tokens; ranks are 0 to {}, each once", place(), rank,
              lines.size(), lines.size() - 1);
    LT2_CHECK(tokens[rank].empty(), "{}: rank {} is there twice", place(), rank);
    LT2_CHECK(!bytes.empty() && bytes.size() <= kLongestToken, "{}: a token of {} bytes; 1 to {} are possible", place(),
              bytes.size(), kLongestToken);
    tokens[rank] = bytes;
  }
  return tokens;
}

constexpr size_t kPieceCodePoints = 400'000;

// Bytes of the first 400,000 code points.
size_t piece_bytes(std::string_view text) {
  if (text.size() <= kPieceCodePoints) return text.size();
  size_t seen = 0;
  for (size_t at = 0; at < text.size(); ++at)
    if ((static_cast<uint8_t>(text[at]) & 0xc0) != 0x80 && seen++ == kPieceCodePoints) return at;
  return text.size();
}

}  // namespace

// One call's working memory.
class TiktokenTokenizer::Encoder {
 public:
  Encoder(const TiktokenTokenizer& of, std::vector<int32_t>& ids) : of_(of), ids_(ids) {}

  void add(std::string_view text) {
    while (!text.empty()) {
      const auto piece = text.substr(0, piece_bytes(text));
      for (size_t at = 0; at < piece.size();) {
        const size_t end = of_.word_end_(piece, at);
        add_word(piece.substr(at, end - at));
        at = end;
      }
      text.remove_prefix(piece.size());
    }
  }

 private:
  void add_word(std::string_view word) {
    work_.add(word.size());
    const uint64_t hash = hash_bytes(word);
    if (const int32_t id = of_.ranks_.find(word, hash); id >= 0) {
      ids_.push_back(id);
      return;
    }
    if (of_.cache_.find(word, hash, ids_)) return;
    symbols_.resize(word.size());
    for (uint32_t i = 0; i < word.size(); ++i) symbols_[i] = {i, i + 1, of_.ranks_.find(word.substr(i, 1))};
    merge_symbols(symbols_, [&](const Symbol& left, const Symbol& right) {
      work_.add(1);
      const size_t bytes = right.end - left.begin;
      const int32_t id = bytes > of_.ranks_.longest() ? -1 : of_.ranks_.find(word.substr(left.begin, bytes));
      return PairTable::Value{id < 0 ? UINT32_MAX : static_cast<uint32_t>(id), id};
    });
    const size_t before = ids_.size();
    for (const Symbol& symbol : symbols_) ids_.push_back(symbol.id);
    of_.cache_.store(word, hash, ids_.data() + before, symbols_.size());
  }

  const TiktokenTokenizer& of_;
  std::vector<int32_t>& ids_;
  TextWork& work_ = TextWork::current();
  std::vector<Symbol> symbols_;
};

TiktokenTokenizer::TiktokenTokenizer(std::string_view content, const std::string& where, const std::string& specials)
    : Tokenizer(where) {
  const Publisher& rules = publisher(specials);
  tokens_ = read_ranks(content, where);
  for (int32_t rank = 0; rank < n_ranks(); ++rank) {
    LT2_CHECK(ranks_.insert(tokens_[static_cast<size_t>(rank)], rank),
              "{}: rank {} has the bytes of rank {}; each token is there once", where, rank,
              ranks_.find(tokens_[static_cast<size_t>(rank)]));
  }
  for (int byte = 0; byte < 256; ++byte) {
    LT2_CHECK(ranks_.find(std::string(1, static_cast<char>(byte))) >= 0,
              "{}: no token for the single byte 0x{:02x}; all 256 must be there", where, byte);
  }
  specials_ = rules.names();
  for (size_t i = 0; i < specials_.size(); ++i) {
    auto& [name, id] = specials_[i];
    special_at_.resize(std::max(special_at_.size(), static_cast<size_t>(id) + 1), -1);
    special_at_[static_cast<size_t>(id)] = static_cast<int32_t>(i);
    id += n_ranks();
    special_names_.add(name, id);
  }
  word_end_ = rules.word_end;
  bos_ = n_ranks() + rules.bos;
  eos_ = n_ranks() + rules.eos;
  n_words_ = n_ranks() + static_cast<int32_t>(special_at_.size());
}

void TiktokenTokenizer::append(std::string_view text, const TextReading& how, std::vector<int32_t>& ids) const {
  Encoder encoder(*this, ids);
  for (size_t at = 0; at < text.size();) {
    const auto match = how.specials ? special_names_.find(text, at) : LiteralFinder::Match{};
    if (match.number < 0) return encoder.add(text.substr(at));
    encoder.add(text.substr(at, match.begin - at));
    ids.push_back(match.number);
    at = match.end;
  }
}

std::string TiktokenTokenizer::token_bytes(int32_t id) const {
  LT2_CHECK(id >= 0 && id < n_words_, "{}: token id {} is not in 0 to {}", where_, id, n_words_ - 1);
  if (id < n_ranks()) return tokens_[static_cast<size_t>(id)];
  const int32_t special = special_at_[static_cast<size_t>(id - n_ranks())];
  return special < 0 ? "" : specials_[static_cast<size_t>(special)].first;
}

}  // namespace lt2
