#include "tokenizer/hf_decoder.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/utf8.h"
#include "tokenizer/hf_normalizer.h"
#include "tokenizer/hf_pretokenizer.h"
#include "tokenizer/json_character.h"

namespace lt2 {
namespace {

enum class Kind { kJoin, kByteLevel, kMetaspace, kByteFallback, kFuse, kReplace, kStrip };

}  // namespace

struct HfDecoder::Stage {
  Kind kind = Kind::kJoin;
  std::string text;  // metaspace: the mark; replace: the new text; strip: the character
  bool drops_first_mark = false;
  size_t start = 0, stop = 0;  // strip: how many at each end
  std::optional<TextPattern> pattern;

  std::string with_spaces(const std::string& token, const std::string& with) const {
    std::string out;
    size_t at = 0;
    for (size_t mark = token.find(text); mark != std::string::npos; mark = token.find(text, at)) {
      out.append(token, at, mark - at);
      out += with;
      at = mark + text.size();
    }
    return out.append(token, at);
  }

  std::string stripped(const std::string& token) const {
    std::string_view left = token;
    for (size_t i = 0; i < start && left.starts_with(text); ++i) left.remove_prefix(text.size());
    for (size_t i = 0; i < stop && left.ends_with(text); ++i) left.remove_suffix(text.size());
    return std::string(left);
  }
};

class HfDecoder::Stages : public HfDecoder::Run {
 public:
  Stages(const HfDecoder& of, bool middle) : stages_(of.stages_), kept_(of.stages_.size()) {
    bool pieces = false;
    for (size_t i = 0; i < kept_.size(); ++i) {
      kept_[i].first = !middle;
      kept_[i].left = middle ? 0 : stages_[i]->start;
      kept_[i].pieces = pieces;
      if (!fuses(*stages_[i])) continue;
      // Only taking characters off the front can be done before the end of the text is known.
      kept_[i].waits = !std::all_of(stages_.begin() + static_cast<ptrdiff_t>(i) + 1, stages_.end(), [](const auto& s) {
        return s->kind == Kind::kFuse || (s->kind == Kind::kStrip && s->stop == 0);
      });
      pieces = !kept_[i].waits;
    }
  }

  std::string push(const std::string& token) override {
    feed(0, token);
    return std::exchange(out_, {});
  }

  std::string finish() override {
    for (size_t i = 0; i < kept_.size(); ++i) {
      if (kept_[i].held.empty()) continue;
      if (stages_[i]->kind == Kind::kByteFallback) {
        flush_bytes(i);
      } else {
        feed(i + 1, replace_invalid_utf8(std::exchange(kept_[i].held, {})));
      }
    }
    return std::exchange(out_, {});
  }

 private:
  struct Kept {
    bool first = true;    // no token came yet
    bool pieces = false;  // pieces of one fused text arrive, not tokens
    bool waits = false;   // fuses, and gives the text out at its end
    size_t left = 0;      // strip: characters that may still go from the front of a fused text
    std::string held;
  };
  static bool fuses(const Stage& stage) { return stage.kind == Kind::kFuse || stage.kind == Kind::kByteLevel; }

  void feed(size_t i, std::string token) {
    if (i == kept_.size()) {
      out_ += token;
      return;
    }
    const Stage& stage = *stages_[i];
    Kept& kept = kept_[i];
    const bool first = std::exchange(kept.first, false);
    switch (stage.kind) {
      case Kind::kJoin:
        return feed(i + 1, first ? token : " " + token);
      case Kind::kByteLevel:
        if (std::string bytes; bytes_of_byte_level(token, bytes)) token = std::move(bytes);
        return fuse(i, std::move(token));
      case Kind::kFuse:
        return fuse(i, std::move(token));
      case Kind::kMetaspace:
        return feed(i + 1, stage.with_spaces(token, first && stage.drops_first_mark ? "" : " "));
      case Kind::kReplace:
        return feed(i + 1, stage.pattern->replace(token, stage.text));
      case Kind::kByteFallback:
        if (const int byte = byte_of_fallback(token); byte >= 0) {
          kept.held += static_cast<char>(byte);
          return;
        }
        flush_bytes(i);
        return feed(i + 1, std::move(token));
      case Kind::kStrip:
        if (!kept.pieces) return feed(i + 1, stage.stripped(token));
        return strip_front(i, std::move(token));
    }
  }

  void fuse(size_t i, std::string token) {
    if (!kept_[i].waits) return feed(i + 1, std::move(token));
    kept_[i].held += token;
  }

  // A run of bytes is a text or, if any of it is broken, one U+FFFD a byte.
  void flush_bytes(size_t i) {
    const std::string bytes = std::exchange(kept_[i].held, {});
    if (bytes.empty()) return;
    if (count_invalid_utf8(bytes) == 0) return feed(i + 1, bytes);
    for (size_t n = 0; n < bytes.size(); ++n) feed(i + 1, "\xef\xbf\xbd");
  }

  void strip_front(size_t i, std::string piece) {
    Kept& kept = kept_[i];
    const std::string& character = stages_[i]->text;
    kept.held += piece;
    while (kept.left > 0 && kept.held.starts_with(character)) {
      kept.held.erase(0, character.size());
      --kept.left;
    }
    if (kept.left > 0 && character.starts_with(kept.held)) return;  // may become one
    kept.left = 0;
    feed(i + 1, std::exchange(kept.held, {}));
  }

  const std::vector<std::shared_ptr<const Stage>>& stages_;
  std::vector<Kept> kept_;
  std::string out_;
};

HfDecoder::HfDecoder() { stages_.push_back(std::make_shared<Stage>(Stage{})); }

HfDecoder::HfDecoder(const JsonField& field) { add(field, 1); }

void HfDecoder::add(const JsonField& field, int depth) {
  const std::string& type = field.at("type").text();
  if (depth > kDeepestComponent) field.refuse(fmt::format("more than {} nested decoders", kDeepestComponent));
  if (type == "Sequence") {
    const auto list = field.at("decoders").array();
    for (size_t i = 0; i < list.size(); ++i) add(list.at(i), depth + 1);
    return;
  }
  Stage stage{};
  if (type == "ByteLevel") {
    stage.kind = Kind::kByteLevel;
  } else if (type == "Metaspace") {
    stage.kind = Kind::kMetaspace;
    append_utf8(stage.text, character_of(field.at("replacement")));
    stage.drops_first_mark = prepend_scheme_of(field) != PrependScheme::kNever;
  } else if (type == "ByteFallback") {
    stage.kind = Kind::kByteFallback;
  } else if (type == "Fuse") {
    stage.kind = Kind::kFuse;
  } else if (type == "Replace") {
    stage.kind = Kind::kReplace;
    stage.pattern.emplace(field.at("pattern"));
    stage.text = field.at("content").text();
  } else if (type == "Strip") {
    stage.kind = Kind::kStrip;
    append_utf8(stage.text, character_of(field.at("content")));
    stage.start = static_cast<size_t>(field.at("start").integer(0, 1 << 20));
    stage.stop = static_cast<size_t>(field.at("stop").integer(0, 1 << 20));
  } else {
    field.at("type").refuse(
        fmt::format("no decoder \"{}\"; known are ByteLevel, Metaspace, ByteFallback, Fuse, "
                    "Replace, Strip, Sequence",
                    type));
  }
  stages_.push_back(std::make_shared<Stage>(std::move(stage)));
}

bool HfDecoder::is_byte_level() const { return stages_.size() == 1 && stages_[0]->kind == Kind::kByteLevel; }

bool HfDecoder::has_byte_fallback() const {
  return std::any_of(stages_.begin(), stages_.end(), [](const auto& s) { return s->kind == Kind::kByteFallback; });
}

std::unique_ptr<HfDecoder::Run> HfDecoder::start(bool middle) const { return std::make_unique<Stages>(*this, middle); }

int byte_of_fallback(std::string_view token) {
  const auto digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
  };
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  const int high = digit(token[3]), low = digit(token[4]);
  return high < 0 || low < 0 ? -1 : 16 * high + low;
}

}  // namespace lt2
