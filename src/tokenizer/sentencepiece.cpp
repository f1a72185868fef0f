#include "tokenizer/sentencepiece.h"

#include <algorithm>
#include <cfloat>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "base/regex/work.h"
#include "base/utf8.h"
#include "tokenizer/hf_decoder.h"
#include "tokenizer/hf_normalizer.h"
#include "tokenizer/merge.h"
#include "tokenizer/unicode.h"

namespace lt2 {
namespace {

constexpr std::string_view kSpaceMark = "\xe2\x96\x81", kReplacement = "\xef\xbf\xbd";

// Of a loop over a text, told to the work on it now and then.
class Progress {
 public:
  void reached(size_t place) {
    if (place - told_ < kBetween) return;
    work_.add(place - told_);
    told_ = place;
  }

 private:
  static constexpr size_t kBetween = 4096;
  TextWork& work_ = TextWork::current();
  size_t told_ = 0;
};

// SentencePiece replaces byte by byte, not by maximal subparts.
std::string replaced(std::string_view bytes) {
  std::string text;
  for (size_t at = 0; at < bytes.size();) {
    const Utf8Unit unit = utf8_unit(bytes, at);
    if (unit.valid) {
      text.append(bytes, at, unit.bytes);
    } else {
      for (size_t i = 0; i < unit.bytes; ++i) text += kReplacement;
    }
    at += unit.bytes;
  }
  return text;
}

std::string with_spaces(std::string_view piece) {
  std::string text;
  while (!piece.empty()) {
    if (piece.starts_with(kSpaceMark)) {
      text += ' ';
      piece.remove_prefix(kSpaceMark.size());
    } else {
      text += piece.front();
      piece.remove_prefix(1);
    }
  }
  return text;
}

}  // namespace

// A run of byte pieces is one text.
class SentencePieceStream : public DecodeStream {
 public:
  SentencePieceStream(const SentencePieceTokenizer& of, bool continues) : of_(of), begun_(continues) {}

  std::string push(int32_t id) override {
    const std::string bytes = of_.next_bytes(id, begun_);
    if (of_.type_of(id) != SentencePieceTokenizer::Type::kByte) return finish() + bytes;
    bytes_ += bytes;
    const size_t complete = complete_utf8_prefix(bytes_);
    std::string text = replaced(std::string_view(bytes_).substr(0, complete));
    bytes_.erase(0, complete);
    return text;
  }

  std::string finish() override { return replaced(std::exchange(bytes_, {})); }

 private:
  const SentencePieceTokenizer& of_;
  std::string bytes_;
  bool begun_;
};

SentencePieceTokenizer::SentencePieceTokenizer(std::string_view content, const std::string& where) : Tokenizer(where) {
  read(content);
  LT2_CHECK(!pieces_.empty(), "{}: no SentencePiece model: no piece in it", where_);
  LT2_CHECK(settings_.model != Model::kWord, "{}: a word model; only unigram, BPE and character models are supported",
            where_);
  LT2_CHECK(!settings_.whitespace_as_suffix, "{}: treat_whitespace_as_suffix is not supported", where_);
  if (!settings_.charsmap.empty()) charsmap_ = Charsmap(settings_.charsmap, where_ + ": precompiled_charsmap");
  settings_.charsmap = {};
  index_pieces();
  if (settings_.model == Model::kBpe) prepare_bpe();
  if (settings_.model == Model::kUnigram) prepare_unigram();
  bos_ = control_id(settings_.bos_piece);
  eos_ = control_id(settings_.eos_piece);
  pad_ = control_id(settings_.pad_piece);
}

void SentencePieceTokenizer::index_pieces() {
  byte_ids_.assign(256, -1);
  for (int32_t id = 0; id < n_words(); ++id) {
    const Piece& piece = pieces_[static_cast<size_t>(id)];
    const bool of_text = piece.type == Type::kNormal || piece.type == Type::kUserDefined || piece.type == Type::kUnused;
    LT2_CHECK((of_text ? texts_ : reserved_).insert(piece.text, id), "{}: piece {} \"{}\" is there twice", where_, id,
              piece.text);
    if (piece.type == Type::kUserDefined) user_defined_.add(piece.text, id);
    if (piece.type == Type::kControl) controls_.add(piece.text, id);
    if (piece.type == Type::kUnknown) {
      LT2_CHECK(unk_ < 0, "{}: pieces {} and {} are both of type unknown", where_, unk_, id);
      unk_ = id;
    }
    if (piece.type != Type::kByte) continue;
    const int byte = byte_of_fallback(piece.text);
    LT2_CHECK(byte >= 0, "{}: piece {} \"{}\" should be a byte <0xNN>", where_, id, piece.text);
    byte_ids_[static_cast<size_t>(byte)] = id;
  }
  LT2_CHECK(unk_ >= 0, "{}: no piece of type unknown", where_);
  LT2_CHECK(!settings_.byte_fallback || std::count(byte_ids_.begin(), byte_ids_.end(), -1) == 0,
            "{}: byte_fallback needs all 256 byte pieces", where_);
}

void SentencePieceTokenizer::prepare_bpe() {
  std::vector<float> scores;
  for (const Piece& piece : pieces_) scores.push_back(piece.score);
  std::sort(scores.begin(), scores.end(), std::greater<>());
  scores.erase(std::unique(scores.begin(), scores.end()), scores.end());
  words_apart_ = true;
  for (const Piece& piece : pieces_) {
    const auto place = std::lower_bound(scores.begin(), scores.end(), piece.score, std::greater<>());
    ranks_.push_back(static_cast<uint32_t>(place - scores.begin()));
    for (size_t at = piece.text.find(kSpaceMark); at != std::string::npos; at = piece.text.find(kSpaceMark, at + 1))
      words_apart_ = words_apart_ && (at == 0 || std::string_view(piece.text).substr(0, at).ends_with(kSpaceMark));
  }
}

void SentencePieceTokenizer::prepare_unigram() {
  lowest_ = FLT_MAX;
  highest_ = FLT_MIN;  // scores are logarithms, below zero
  size_t bytes = 0;
  for (const Piece& piece : pieces_) {
    bytes += piece.text.size();
    if (piece.type != Type::kNormal) continue;
    lowest_ = std::min(lowest_, piece.score);
    highest_ = std::max(highest_, piece.score);
  }
  trie_ = PairTable(bytes);
  uint32_t nodes = 1;
  for (int32_t id = 0; id < n_words(); ++id) {
    const Piece& piece = pieces_[static_cast<size_t>(id)];
    if (piece.type != Type::kNormal && piece.type != Type::kUserDefined) continue;
    int32_t node = 0;
    for (size_t i = 0; i < piece.text.size(); ++i) {
      const auto byte = static_cast<uint8_t>(piece.text[i]);
      auto edge = trie_.find(node, byte);
      const bool last = i + 1 == piece.text.size();
      if (edge.rank == UINT32_MAX || last) {
        if (edge.rank == UINT32_MAX) edge = {nodes++, -1};
        if (last) edge.id = id;
        trie_.insert(node, byte, edge);
      }
      node = static_cast<int32_t>(edge.rank);
    }
  }
}

int32_t SentencePieceTokenizer::text_id(std::string_view piece) const {
  const int32_t id = texts_.find(piece);
  return id >= 0 ? id : unk_;
}

int32_t SentencePieceTokenizer::control_id(std::string_view piece) const {
  const int32_t id = reserved_.find(piece);
  return id >= 0 && type_of(id) == Type::kControl ? id : -1;
}

void SentencePieceTokenizer::check_id(int32_t id) const {
  LT2_CHECK(id >= 0 && id < n_words(), "{}: token id {} is not in 0 to {}", where_, id, n_words() - 1);
}

std::string SentencePieceTokenizer::normalize(std::string_view text, bool continues) const {
  const size_t most = most_normalized_bytes(text.size());
  const auto match = [&](size_t at) {
    const size_t symbol = user_defined_.match_at(text, at);
    return symbol > 0 ? Charsmap::Match{symbol, text.substr(at, symbol)} : charsmap_.match(text, at);
  };
  const bool squeezes = settings_.remove_extra_whitespaces;
  const std::string_view space = settings_.escape_whitespaces ? kSpaceMark : " ";
  Progress progress;
  size_t at = 0;
  while (squeezes && !continues && at < text.size()) {
    const auto found = match(at);
    if (found.text != " ") break;
    at += found.bytes;
  }
  std::string out;
  if (at == text.size()) return out;
  out.reserve(text.size() + text.size() / 2);
  if (settings_.add_dummy_prefix && !continues) out += space;
  bool after_space = squeezes && !continues;
  while (at < text.size()) {
    auto found = match(at);
    at += found.bytes;
    progress.reached(at);
    while (after_space && found.text.starts_with(' ')) found.text.remove_prefix(1);
    if (found.text.empty()) continue;
    for (const char c : found.text) {
      if (c == ' ') {
        out += space;
      } else {
        out += c;
      }
    }
    after_space = squeezes && found.text.ends_with(' ');
    LT2_CHECK(out.size() <= most, "{}: normalizing: the text grew beyond {} bytes, more than 64-fold", where_, most);
  }
  while (squeezes && out.ends_with(space)) out.erase(out.size() - space.size());
  return out;
}

void SentencePieceTokenizer::append_symbol(std::string_view symbol, int32_t id, std::vector<int32_t>& ids) const {
  if (id != unk_ || !settings_.byte_fallback) {
    ids.push_back(id);
    return;
  }
  for (const char byte : symbol) ids.push_back(byte_ids_[static_cast<uint8_t>(byte)]);
}

void SentencePieceTokenizer::encode_bpe_stretch(std::string_view text, std::vector<int32_t>& ids) const {
  constexpr int32_t kAtomic = -2, kCharacter = -1;
  TextWork& work = TextWork::current();
  work.add(text.size());
  const uint64_t hash = hash_bytes(text);
  if (cache_.find(text, hash, ids)) return;
  std::vector<Symbol> symbols;
  for (size_t at = 0; at < text.size();) {
    const size_t whole = user_defined_.match_at(text, at), bytes = whole ? whole : character_at(text, at).bytes;
    symbols.push_back({static_cast<uint32_t>(at), static_cast<uint32_t>(at + bytes), whole ? kAtomic : kCharacter});
    at += bytes;
  }
  // Which two symbols an unused piece was merged from: it is taken apart again.
  std::unordered_map<std::string_view, size_t> unused;
  if (settings_.model == Model::kBpe) {
    merge_symbols(symbols, [&](const Symbol& left, const Symbol& right) -> PairTable::Value {
      work.add(1);
      const auto both = text.substr(left.begin, right.end - left.begin);
      if (left.id == kAtomic || right.id == kAtomic || both.size() > texts_.longest()) return {};
      const int32_t id = texts_.find(both);
      if (id < 0) return {};
      if (type_of(id) == Type::kUnused) unused[both] = left.end - left.begin;
      return {ranks_[static_cast<size_t>(id)], id};
    });
  }
  const size_t before = ids.size();
  std::vector<std::string_view> left;
  for (const Symbol& symbol : symbols) {
    left.push_back(text.substr(symbol.begin, symbol.end - symbol.begin));
    while (!left.empty()) {
      const auto part = left.back();
      left.pop_back();
      const int32_t id = text_id(part);
      const auto made = type_of(id) == Type::kUnused ? unused.find(part) : unused.end();
      if (made == unused.end()) {
        append_symbol(part, id, ids);
      } else {
        left.push_back(part.substr(made->second));
        left.push_back(part.substr(0, made->second));
      }
    }
  }
  cache_.store(text, hash, ids.data() + before, ids.size() - before);
}

void SentencePieceTokenizer::encode_bpe(std::string_view text, std::vector<int32_t>& ids) const {
  size_t begin = 0;
  // Where no piece reaches over the border before a space, words are merged each by itself.
  while (words_apart_ && begin < text.size()) {
    size_t end = begin;
    while (text.substr(end).starts_with(kSpaceMark)) end += kSpaceMark.size();
    end = std::min(text.find(kSpaceMark, end), text.size());
    encode_bpe_stretch(text.substr(begin, end - begin), ids);
    begin = end;
  }
  if (begin < text.size()) encode_bpe_stretch(text.substr(begin), ids);
}

void SentencePieceTokenizer::encode_unigram(std::string_view text, std::vector<int32_t>& ids) const {
  struct Node {
    int32_t id = -1;
    float score = 0;  // of the best path that ends here
    size_t begin = SIZE_MAX;
  };
  std::vector<Node> ends(text.size() + 1);
  const auto offer = [&](size_t begin, size_t end, int32_t id, double score) {
    Node& node = ends[end];
    if (node.begin == SIZE_MAX || score > static_cast<double>(node.score))
      node = {id, static_cast<float>(score), begin};
  };
  const float unknown = lowest_ - 10.0f;
  Progress progress;
  for (size_t begin = 0; begin < text.size();) {
    progress.reached(begin);
    const float so_far = ends[begin].score;
    const size_t character = character_at(text, begin).bytes;
    bool single = false;  // the character by itself is a piece
    int32_t node = 0;
    for (size_t end = begin; end < text.size();) {
      const auto edge = trie_.find(node, static_cast<uint8_t>(text[end++]));
      if (edge.rank == UINT32_MAX) break;
      node = static_cast<int32_t>(edge.rank);
      if (edge.id < 0) continue;
      const Piece& piece = pieces_[static_cast<size_t>(edge.id)];
      // Rounded where SentencePiece rounds: sums of single precision, compared in double.
      const double score = piece.type == Type::kUserDefined ? static_cast<float>(end - begin) * highest_ - 0.1
                                                            : static_cast<double>(piece.score);
      offer(begin, end, edge.id, score + static_cast<double>(so_far));
      single = single || end - begin == character;
    }
    if (!single) offer(begin, begin + character, unk_, static_cast<double>(unknown + so_far));
    begin += character;
  }
  std::vector<std::pair<size_t, size_t>> path;
  for (size_t end = text.size(); end > 0; end = ends[end].begin) path.emplace_back(ends[end].begin, end);
  for (auto part = path.rbegin(); part != path.rend(); ++part)
    append_symbol(text.substr(part->first, part->second - part->first), ends[part->second].id, ids);
}

void SentencePieceTokenizer::append_section(std::string_view text, bool continues, std::vector<int32_t>& ids) const {
  const std::string normal = normalize(text, continues);
  const auto begin = static_cast<std::ptrdiff_t>(ids.size());
  if (settings_.model == Model::kUnigram) {
    encode_unigram(normal, ids);
  } else {
    encode_bpe(normal, ids);
  }
  // A run of unknown symbols is one.
  const auto both_unknown = [this](int32_t a, int32_t b) { return a == unk_ && b == unk_; };
  ids.erase(std::unique(ids.begin() + begin, ids.end(), both_unknown), ids.end());
}

void SentencePieceTokenizer::append(std::string_view text, const TextReading& how, std::vector<int32_t>& ids) const {
  LT2_CHECK(text.size() < UINT32_MAX / 16, "{}: a text of {} bytes at once; give it in pieces", where_, text.size());
  bool continues = how.continues;
  for (size_t at = 0; at < text.size();) {
    const auto mark = how.specials ? controls_.find(text, at) : LiteralFinder::Match{};
    const auto section = text.substr(at, mark.number < 0 ? text.npos : mark.begin - at);
    if (!section.empty()) append_section(section, std::exchange(continues, true), ids);
    if (mark.number < 0) return;
    ids.push_back(mark.number);
    at = mark.end;
  }
}

std::vector<std::pair<std::string, int32_t>> SentencePieceTokenizer::marks() const {
  std::vector<std::pair<std::string, int32_t>> out;
  for (const auto type : {Type::kControl, Type::kUserDefined}) {
    for (int32_t id = 0; id < n_words(); ++id)
      if (type_of(id) == type) out.emplace_back(pieces_[static_cast<size_t>(id)].text, id);
  }
  return out;
}

std::string SentencePieceTokenizer::token_bytes(int32_t id) const {
  check_id(id);
  const std::string& text = pieces_[static_cast<size_t>(id)].text;
  switch (type_of(id)) {
    case Type::kControl:
      return "";
    case Type::kUnknown:
      return settings_.unk_surface;
    case Type::kByte:
      return std::string(1, static_cast<char>(byte_of_fallback(text)));
    default:
      return with_spaces(text);
  }
}

std::string SentencePieceTokenizer::first_bytes(int32_t id) const {
  auto bytes = token_bytes(id);
  const bool text = type_of(id) != Type::kControl && type_of(id) != Type::kUnknown && type_of(id) != Type::kByte;
  const bool drops = settings_.add_dummy_prefix || settings_.remove_extra_whitespaces;
  if (text && drops && pieces_[static_cast<size_t>(id)].text.starts_with(kSpaceMark)) bytes.erase(0, 1);
  return bytes;
}

// Where runs of spaces are squeezed, all that stand at the start go, not the first alone.
bool SentencePieceTokenizer::begins_text(int32_t id) const {
  return !(settings_.remove_extra_whitespaces ? first_bytes(id) : token_bytes(id)).empty();
}

std::string SentencePieceTokenizer::text_of_bytes(std::string_view bytes) const { return replaced(bytes); }

std::string SentencePieceTokenizer::decode(const std::vector<int32_t>& ids) const {
  SentencePieceStream stream(*this, /*continues=*/false);
  std::string text;
  for (const int32_t id : ids) text += stream.push(id);
  return text + stream.finish();
}

std::unique_ptr<DecodeStream> SentencePieceTokenizer::decode_stream(bool continues) const {
  return std::make_unique<SentencePieceStream>(*this, continues);
}

bool SentencePieceTokenizer::is_special(int32_t id) const {
  return id >= 0 && id < n_words() && (type_of(id) == Type::kControl || type_of(id) == Type::kUnknown);
}

}  // namespace lt2
