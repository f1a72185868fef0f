#include "tokenizer/hf.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/files.h"
#include "base/regex/work.h"
#include "base/utf8.h"
#include "tokenizer/unicode.h"

namespace lt2 {

namespace fs = std::filesystem;

// One call's working memory.
class HfTokenizer::Encoder {
 public:
  Encoder(const HfTokenizer& of, const TextReading& how, std::vector<int32_t>& ids)
      : of_(of), added_(how.specials ? of.every_ : of.ordinary_), continues_(how.continues), ids_(ids) {}

  void add(std::string_view text) {
    each_section(added_.raw, text, [&](std::string_view raw, size_t at) {
      if (!of_.normalizer_) return add_normalized(raw, at == 0);
      const auto& normalizer = at == 0 && continues_ ? *of_.continuing_ : *of_.normalizer_;
      const std::string normal = normalizer.apply(std::string(raw));
      add_normalized(normal, at == 0);
    });
  }

 private:
  void add_normalized(std::string_view text, bool starts) {
    each_section(added_.normalized, text,
                 [&](std::string_view section, size_t at) { add_section(section, starts && at == 0); });
  }

  // Calls section(text, where) for the stretches between added tokens, and appends those.
  template <class Section>
  void each_section(const LiteralFinder& finder, std::string_view text, Section&& section) {
    size_t done = 0;
    for (size_t from = 0; !finder.empty();) {
      const auto match = finder.find(text, from);
      if (match.number < 0) break;
      from = match.end;
      const AddedToken& token = of_.added_[static_cast<size_t>(match.number)];
      if (token.single_word && touches_word(text, match)) continue;
      size_t begin = std::max(match.begin, done), end = match.end;
      if (token.lstrip)
        while (begin > done && is(text, character_before(text, begin), kSpace)) begin = character_before(text, begin);
      if (token.rstrip)
        while (end < text.size() && is(text, end, kSpace)) end += character_at(text, end).bytes;
      if (done < begin) section(text.substr(done, begin - done), done);
      ids_.push_back(token.id);
      done = end;
      from = std::max(from, end);
    }
    if (done < text.size()) section(text.substr(done), done);
  }

  static bool is(std::string_view text, size_t at, int bits) {
    return char_classes()[character_at(text, at).code] & bits;
  }
  static bool touches_word(std::string_view text, const LiteralFinder::Match& match) {
    return (match.begin > 0 && is(text, character_before(text, match.begin), kWord)) ||
           (match.end < text.size() && is(text, match.end, kWord));
  }

  void add_section(std::string_view text, bool starts) {
    Pieces pieces;
    pieces.text = text;
    pieces.begins_input = starts && !continues_;
    pieces.continues = starts && continues_;
    pieces.ranges = {{0, text.size()}};
    for (const auto& stage : of_.pre_tokenizers_.stages) {
      stage->apply(pieces);
      LT2_CHECK(pieces.text.size() <= most_normalized_bytes(text.size()),
                "{}: pre_tokenizer: the text grew to {} bytes, more than 64-fold", of_.where_, pieces.text.size());
    }
    TextWork& work = TextWork::current();
    for (size_t i = 0; i < pieces.ranges.size(); ++i) {
      work.add(pieces[i].size());
      of_.model_->encode(pieces[i], ids_, symbols_);
    }
  }

  const HfTokenizer& of_;
  const AddedFinder& added_;
  const bool continues_;
  std::vector<int32_t>& ids_;
  std::vector<Symbol> symbols_;
};

class HfStream : public DecodeStream {
 public:
  HfStream(const HfTokenizer& of, bool continues) : of_(of), run_(of.decoder_->start(continues)) {}

  std::string push(int32_t id) override {
    of_.check_id(id);
    const auto& token = of_.tokens_[static_cast<size_t>(id)];
    if (token.empty()) return "";
    waiting_ += run_->push(token);
    const size_t complete = complete_utf8_prefix(waiting_);
    std::string text = replace_invalid_utf8(std::string_view(waiting_).substr(0, complete));
    waiting_.erase(0, complete);
    return text;
  }
  std::string finish() override { return replace_invalid_utf8(std::exchange(waiting_, {}) + run_->finish()); }

 private:
  const HfTokenizer& of_;
  std::unique_ptr<HfDecoder::Run> run_;
  std::string waiting_;
};

HfTokenizer::HfTokenizer(std::string_view content, const std::string& where, const Companions& companions)
    : Tokenizer(where) {
  const auto document = parse_json(content, where);
  const JsonField root(document, where);
  root.object();
  if (root.has("normalizer")) {
    normalizer_ = make_normalizer(root.at("normalizer"));
    continuing_ = make_normalizer(root.at("normalizer"), /*continues=*/true);
  }
  if (root.has("pre_tokenizer")) pre_tokenizers_ = make_pre_tokenizers(root.at("pre_tokenizer"));
  model_ = std::make_unique<BpeModel>(root.at("model"), pre_tokenizers_.byte_level);
  decoder_ = root.has("decoder") ? std::make_unique<HfDecoder>(root.at("decoder")) : std::make_unique<HfDecoder>();
  tokens_ = model_->tokens();
  read_added(root);
  LT2_CHECK(!tokens_.empty(), "{}: model.vocab: no token", where);
  if (decoder_->is_byte_level()) {
    bytes_ = tokens_;
    std::string bytes;
    for (auto& token : bytes_)
      if (bytes_of_byte_level(token, bytes)) token = bytes;
  }
  if (root.has("post_processor")) read_template(root.at("post_processor"), 1);
  const fs::path folder = fs::path(where).parent_path();
  read_companion(companions.config, (folder / "tokenizer_config.json").string());
  read_companion(companions.special_tokens, (folder / "special_tokens_map.json").string());
  if (bos_ < 0 && before_.size() == 1) bos_ = before_.front();
  if (eos_ < 0 && after_.size() == 1) eos_ = after_.front();
  index_added();
}

std::unique_ptr<HfTokenizer> HfTokenizer::open(const fs::path& path) {
  const fs::path file = fs::is_directory(path) ? path / "tokenizer.json" : path;
  const auto beside = [&](const char* name) {
    const fs::path other = file.parent_path() / name;
    return is_there(other) ? read_file(other) : std::string();
  };
  return std::make_unique<HfTokenizer>(read_file(file), file.string(),
                                       Companions{beside("tokenizer_config.json"), beside("special_tokens_map.json")});
}

void HfTokenizer::read_added(const JsonField& root) {
  special_.resize(tokens_.size());
  if (!root.has("added_tokens")) return;
  const auto list = root.at("added_tokens").array();
  const int64_t most = highest_id(tokens_.size() + list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    const auto field = list.at(i);
    AddedToken token{.id = static_cast<int32_t>(field.at("id").integer(0, most - 1)),
                     .content = field.at("content").text(),
                     .special = field.boolean("special", false),
                     .normalized = field.boolean("normalized", false),
                     .single_word = field.boolean("single_word", false),
                     .lstrip = field.boolean("lstrip", false),
                     .rstrip = field.boolean("rstrip", false)};
    if (token.content.empty()) field.at("content").refuse("an empty token");
    const auto at = static_cast<size_t>(token.id);
    if (at >= tokens_.size()) {
      tokens_.resize(at + 1);
      special_.resize(at + 1);
    }
    if (!tokens_[at].empty() && tokens_[at] != token.content)
      field.refuse(fmt::format("id {} of \"{}\" is that of \"{}\"", token.id, token.content, tokens_[at]));
    tokens_[at] = token.content;
    special_[at] = token.special;
    added_.push_back(std::move(token));
  }
}

// Once BOS, EOS and padding are known: they are special tokens, whatever the file says.
void HfTokenizer::index_added() {
  for (size_t i = 0; i < added_.size(); ++i) {
    const AddedToken& token = added_[i];
    const auto content = token.normalized && normalizer_ ? normalizer_->apply(token.content) : token.content;
    for (AddedFinder* finder : {&every_, &ordinary_}) {
      if (finder == &ordinary_ && is_special(token.id)) continue;
      (token.normalized ? finder->normalized : finder->raw).add(content, static_cast<int32_t>(i));
    }
  }
  std::vector<bool> marks;
  for (int32_t id = 0; id < n_words(); ++id) marks.push_back(is_special(id));
  model_->take_whole_pieces(marks);
}

void HfTokenizer::read_template(const JsonField& field, int depth) {
  const std::string& type = field.at("type").text();
  if (depth > kDeepestComponent) field.refuse(fmt::format("more than {} nested post-processors", kDeepestComponent));
  if (type == "Sequence") {
    const auto list = field.at("processors").array();
    for (size_t i = 0; i < list.size(); ++i) read_template(list.at(i), depth + 1);
  } else if (type == "TemplateProcessing") {
    const auto parts = field.at("single").array();
    std::vector<int32_t>* side = &before_;
    for (size_t i = 0; i < parts.size(); ++i) {
      const auto part = parts.at(i);
      if (part.has("Sequence")) {
        side = &after_;
        continue;
      }
      const auto& name = part.at("SpecialToken").at("id").text();
      const auto ids = field.at("special_tokens").at(name).at("ids").array();
      for (size_t k = 0; k < ids.size(); ++k)
        side->push_back(static_cast<int32_t>(ids.at(k).integer(0, n_words() - 1)));
    }
  } else if (type != "ByteLevel") {  // which changes offsets only
    field.at("type").refuse(
        fmt::format("no post-processor \"{}\"; known are ByteLevel, TemplateProcessing, Sequence", type));
  }
}

void HfTokenizer::read_companion(const std::string& content, const std::string& where) {
  if (content.empty()) return;
  const auto document = parse_json(content, where);
  const JsonField root(document, where);
  const auto read = [&](const char* key, int32_t& id, bool needed) {
    if (id >= 0 || !root.has(key)) return;
    const auto field = root.at(key);
    const auto token = field.value().is_object() ? field.at("content") : field;
    id = id_of(token.text());
    if (id < 0 && needed) token.refuse(fmt::format("\"{}\" is not in {}", token.text(), where_));
  };
  read("bos_token", bos_, true);
  read("eos_token", eos_, true);
  read("pad_token", pad_, false);  // texts are never padded here
}

int32_t HfTokenizer::id_of(std::string_view token) const {
  for (const AddedToken& added : added_)
    if (added.content == token) return added.id;
  return model_->id_of(token);
}

void HfTokenizer::check_id(int32_t id) const {
  LT2_CHECK(id >= 0 && id < n_words(), "{}: token id {} is not in 0 to {}", where_, id, n_words() - 1);
}

void HfTokenizer::append(std::string_view text, const TextReading& how, std::vector<int32_t>& ids) const {
  LT2_CHECK(text.size() < UINT32_MAX / 16, "{}: a text of {} bytes at once; give it in pieces", where_, text.size());
  Encoder(*this, how, ids).add(text);
}

std::vector<int32_t> HfTokenizer::with_template(const std::vector<int32_t>& ids) const {
  std::vector<int32_t> all = before_;
  all.insert(all.end(), ids.begin(), ids.end());
  all.insert(all.end(), after_.begin(), after_.end());
  return all;
}

std::string HfTokenizer::bytes_at(int32_t id, bool middle) const {
  check_id(id);
  if (!bytes_.empty()) return bytes_[static_cast<size_t>(id)];
  const auto& token = tokens_[static_cast<size_t>(id)];
  if (token.empty()) return "";
  if (const int byte = byte_of_fallback(token); byte >= 0 && decoder_->has_byte_fallback())
    return std::string(1, static_cast<char>(byte));
  const auto run = decoder_->start(middle);
  const std::string bytes = run->push(token);
  return bytes + run->finish();
}

std::string HfTokenizer::token_bytes(int32_t id) const { return bytes_at(id, /*middle=*/true); }

std::string HfTokenizer::first_bytes(int32_t id) const { return bytes_at(id, /*middle=*/false); }

std::string HfTokenizer::decode(const std::vector<int32_t>& ids) const {
  if (!bytes_.empty()) return Tokenizer::decode(ids);
  const auto stream = decode_stream(/*continues=*/false);
  std::string text;
  for (const int32_t id : ids) text += stream->push(id);
  return text + stream->finish();
}

std::unique_ptr<DecodeStream> HfTokenizer::decode_stream(bool continues) const {
  if (!bytes_.empty()) return Tokenizer::decode_stream(continues);
  return std::make_unique<HfStream>(*this, continues);
}

bool HfTokenizer::is_special(int32_t id) const {
  return id >= 0 && id < n_words() && (special_[static_cast<size_t>(id)] || Tokenizer::is_special(id));
}

std::vector<std::pair<std::string, int32_t>> HfTokenizer::marks() const {
  std::vector<std::pair<std::string, int32_t>> out;
  for (const AddedToken& token : added_) out.emplace_back(token.content, token.id);
  return out;
}

}  // namespace lt2
