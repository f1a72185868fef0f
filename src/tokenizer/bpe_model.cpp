#include "tokenizer/bpe_model.h"

#include "base/error.h"
#include "base/regex/work.h"
#include "tokenizer/hf_pretokenizer.h"
#include "tokenizer/unicode.h"

namespace lt2 {
namespace {

using nlohmann::json;

void refuse_text(const JsonField& field, const char* key) {
  if (field.has(key) && !field.at(key).text().empty())
    field.at(key).refuse(fmt::format("\"{}\" is not supported; only models without it", field.at(key).text()));
}

}  // namespace

BpeModel::BpeModel(const JsonField& field, bool byte_level) : byte_level_(byte_level) {
  const std::string type = field.text("type", "BPE");  // the oldest files leave it out
  if (type != "BPE") field.at("type").refuse(fmt::format("no model \"{}\"; known is BPE", type));
  if (field.has("dropout") &&
      (!field.at("dropout").value().is_number() || field.at("dropout").value().get<double>() != 0))
    field.at("dropout").refuse("merges are dropped at random in training only; set it to null");
  refuse_text(field, "continuing_subword_prefix");
  refuse_text(field, "end_of_word_suffix");
  byte_fallback_ = field.boolean("byte_fallback", false);
  fuse_unknown_ = field.boolean("fuse_unk", false);
  ignore_merges_ = field.boolean("ignore_merges", false);
  read_vocabulary(field.at("vocab"));
  read_merges(field.at("merges"));
  if (field.has("unk_token")) {
    unknown_ = id_of(field.at("unk_token").text());
    if (unknown_ < 0) field.at("unk_token").refuse(fmt::format("\"{}\" is not in vocab", field.at("unk_token").text()));
  }
  for (int byte = 0; byte < 256; ++byte)
    fallback_ids_[static_cast<size_t>(byte)] = id_of(fmt::format("<0x{:02X}>", byte));
  for (int byte = 0; byte < 256 && byte_level_; ++byte)
    byte_ids_[static_cast<size_t>(byte)] = start_ids(byte_level_character(static_cast<uint8_t>(byte)));
}

void BpeModel::take_whole_pieces(const std::vector<bool>& except) {
  std::string bytes;
  for (size_t id = 0; id < tokens_.size() && ignore_merges_; ++id) {
    if (tokens_[id].empty() || except[id]) continue;
    if (!byte_level_) {
      whole_.insert(tokens_[id], static_cast<int32_t>(id));
    } else if (bytes_of_byte_level(tokens_[id], bytes)) {
      whole_.insert(bytes, static_cast<int32_t>(id));
    }
  }
}

void BpeModel::read_vocabulary(const JsonField& field) {
  const int64_t most = highest_id(field.object().size());
  for (const auto& [token, id] : field.value().items()) {
    if (!id.is_number_integer()) field.at(token).integer(0, most);  // throws
    const int64_t number = id.is_number_unsigned()
                               ? static_cast<int64_t>(std::min<uint64_t>(id.get<uint64_t>(), INT32_MAX))
                               : id.get<int64_t>();
    if (number < 0 || number >= most) field.at(token).integer(0, most - 1);
    tokens_.resize(std::max(tokens_.size(), static_cast<size_t>(number) + 1));
    auto& place = tokens_[static_cast<size_t>(number)];
    if (token.empty()) field.refuse("an empty token");
    if (!place.empty()) field.at(token).refuse(fmt::format("\"{}\" has the same id {}", place, number));
    place = token;
    vocabulary_.insert(token, static_cast<int32_t>(number));
  }
}

void BpeModel::read_merges(const JsonField& field) {
  const json& list = field.array().value();
  pairs_ = PairTable(list.size());
  std::string both;
  for (size_t i = 0; i < list.size(); ++i) {
    std::string_view left, right;
    if (list[i].is_string()) {
      const std::string_view text = list[i].get_ref<const std::string&>();
      const size_t space = text.find(' ');
      if (space == std::string_view::npos) field.at(i).refuse("expected two tokens with a space between");
      left = text.substr(0, space);
      right = text.substr(space + 1);
    } else {
      if (!list[i].is_array() || list[i].size() != 2) field.at(i).refuse("expected \"a b\" or [\"a\", \"b\"]");
      left = field.at(i).at(size_t{0}).text();
      right = field.at(i).at(1).text();
    }
    both.assign(left).append(right);
    const auto known = [&](std::string_view token) {
      const int32_t id = id_of(token);
      if (id < 0) field.at(i).refuse(fmt::format("names \"{}\", which is not in model.vocab", token));
      return id;
    };
    const int32_t left_id = known(left), right_id = known(right);
    pairs_.insert(left_id, right_id, {static_cast<uint32_t>(i), known(both)});
  }
}

std::vector<int32_t> BpeModel::start_ids(std::string_view character) const {
  if (const int32_t id = id_of(character); id >= 0) return {id};
  std::vector<int32_t> ids;
  for (const char byte : character) {
    const int32_t id = byte_fallback_ ? fallback_ids_[static_cast<uint8_t>(byte)] : -1;
    if (id < 0) return {};
    ids.push_back(id);
  }
  return ids;
}

void BpeModel::start(std::string_view piece, std::vector<Symbol>& symbols) const {
  symbols.clear();
  TextWork& work = TextWork::current();
  const auto push = [&](int32_t id) {
    const auto at = static_cast<uint32_t>(symbols.size());
    symbols.push_back({at, at + 1, id});
  };
  bool unknown = false;  // the symbol before was
  const auto push_unknown = [&] {
    if (unknown_ >= 0 && !(unknown && fuse_unknown_)) push(unknown_);
    unknown = true;
  };
  for (size_t at = 0; at < piece.size();) {
    if (byte_level_) {
      const auto& ids = byte_ids_[static_cast<uint8_t>(piece[at++])];
      if (ids.empty()) {
        push_unknown();
        continue;
      }
      for (const int32_t id : ids) push(id);
    } else {
      const auto character = piece.substr(at, character_at(piece, at).bytes);
      at += character.size();
      work.add(1);
      if (const int32_t id = id_of(character); id >= 0) {
        push(id);
      } else if (const auto ids = start_ids(character); !ids.empty()) {
        for (const int32_t byte : ids) push(byte);
      } else {
        push_unknown();
        continue;
      }
    }
    unknown = false;
  }
}

void BpeModel::encode(std::string_view piece, std::vector<int32_t>& ids, std::vector<Symbol>& symbols) const {
  const uint64_t hash = hash_bytes(piece);
  if (ignore_merges_) {
    if (const int32_t id = whole_.find(piece, hash); id >= 0) {
      ids.push_back(id);
      return;
    }
  }
  if (cache_.find(piece, hash, ids)) return;
  start(piece, symbols);
  TextWork& work = TextWork::current();
  merge_symbols(symbols, [&](const Symbol& left, const Symbol& right) {
    work.add(1);
    return pairs_.find(left.id, right.id);
  });
  const size_t before = ids.size();
  for (const Symbol& symbol : symbols) ids.push_back(symbol.id);
  cache_.store(piece, hash, ids.data() + before, symbols.size());
}

}  // namespace lt2
