#include "tokenizer/hf_pretokenizer.h"

#include <array>

#include "base/error.h"
#include "base/regex/work.h"
#include "base/utf8.h"
#include "tokenizer/hf_normalizer.h"
#include "tokenizer/json_character.h"
#include "tokenizer/unicode.h"
#include "tokenizer/words.h"

namespace lt2 {
namespace {

using Range = Pieces::Range;

enum class Behavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

Behavior behavior_of(const JsonField& field) {
  const std::string& name = field.text();
  if (name == "Isolated") return Behavior::kIsolated;
  if (name == "Removed") return Behavior::kRemoved;
  if (name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::kMergedWithNext;
  if (name == "Contiguous") return Behavior::kContiguous;
  field.refuse(
      fmt::format("expected Isolated, Removed, MergedWithPrevious, MergedWithNext or Contiguous, found \"{}\"", name));
}

// A part of a piece that is a match of the pattern, or lies between two.
struct Part {
  size_t begin, end;
  bool match;
};

// What a behaviour makes of one piece's parts, which leave no gaps.
class Cutter {
 public:
  Cutter(Behavior behavior, bool invert, std::vector<Range>& out) : behavior_(behavior), invert_(invert), out_(out) {}

  void start() { parts_.clear(); }
  void add(size_t begin, size_t end, bool match) {
    if (begin < end) parts_.push_back({begin, end, match != invert_});
  }
  void finish() {
    const size_t first = out_.size();
    bool before = false;  // was the part before a match?
    switch (behavior_) {
      case Behavior::kIsolated:
        for (const Part& part : parts_) out_.push_back({part.begin, part.end});
        return;
      case Behavior::kRemoved:
        for (const Part& part : parts_)
          if (!part.match) out_.push_back({part.begin, part.end});
        return;
      case Behavior::kContiguous:
        for (const Part& part : parts_) {
          join_or_push(part, out_.size() > first && part.match == before);
          before = part.match;
        }
        return;
      case Behavior::kMergedWithPrevious:
        for (const Part& part : parts_) {
          join_or_push(part, out_.size() > first && part.match && !before);
          before = part.match;
        }
        return;
      case Behavior::kMergedWithNext:
        for (size_t i = 0; i < parts_.size(); ++i) {
          const bool joins = i > 0 && parts_[i - 1].match && !parts_[i].match;
          join_or_push(parts_[i], joins);
        }
        return;
    }
  }

 private:
  void join_or_push(const Part& part, bool join) {
    if (join) {
      out_.back().end = part.end;
    } else {
      out_.push_back({part.begin, part.end});
    }
  }

  Behavior behavior_;
  bool invert_;
  std::vector<Range>& out_;
  std::vector<Part> parts_;
};

// Cuts every piece where `find(piece, found)` calls found(begin, end).
template <class Find>
class Cut : public PreTokenizer {
 public:
  Cut(Behavior behavior, bool invert, Find find) : behavior_(behavior), invert_(invert), find_(std::move(find)) {}

  void apply(Pieces& pieces) const override {
    std::vector<Range> out;
    out.reserve(pieces.ranges.size());
    Cutter cutter(behavior_, invert_, out);
    for (size_t i = 0; i < pieces.ranges.size(); ++i) {
      const std::string_view piece = pieces[i];
      const size_t offset = pieces.ranges[i].begin;
      size_t at = 0;
      cutter.start();
      TextWork::note(piece.size());
      find_(piece, [&](size_t begin, size_t end) {
        TextWork::note(1);
        cutter.add(offset + at, offset + begin, false);
        cutter.add(offset + begin, offset + end, true);
        at = end;
      });
      cutter.add(offset + at, offset + piece.size(), false);
      cutter.finish();
    }
    pieces.ranges = std::move(out);
  }

 private:
  Behavior behavior_;
  bool invert_;
  Find find_;
};

template <class Find>
std::unique_ptr<PreTokenizer> cut(Behavior behavior, bool invert, Find find) {
  return std::make_unique<Cut<Find>>(behavior, invert, std::move(find));
}

// Characters of a class, one by one.
auto characters_of(int bits) {
  return [bits](std::string_view piece, auto&& found) {
    const uint8_t* classes = char_classes();
    for (size_t at = 0; at < piece.size();) {
      const Character c = character_at(piece, at);
      if (classes[c.code] & bits) found(at, at + c.bytes);
      at += c.bytes;
    }
  };
}

// \w+|[^\w\s]+
auto word_or_symbol_runs() {
  return [](std::string_view piece, auto&& found) {
    const uint8_t* classes = char_classes();
    const auto kind = [&](size_t at) {
      const uint8_t bits = classes[character_at(piece, at).code];
      return bits & kWord ? 1 : bits & kSpace ? 0 : 2;
    };
    for (size_t at = 0; at < piece.size();) {
      const size_t begin = at;
      const int first = kind(at);
      while (at < piece.size() && kind(at) == first) at += character_at(piece, at).bytes;
      if (first != 0) found(begin, at);
    }
  };
}

// The scanners' words follow each other without gaps, so cutting at them needs no list of parts.
class Words : public PreTokenizer {
 public:
  explicit Words(WordEnd word_end) : word_end_(word_end) {}

  void apply(Pieces& pieces) const override {
    std::vector<Range> out;
    out.reserve(pieces.text.size() / 4 + pieces.ranges.size());
    for (size_t i = 0; i < pieces.ranges.size(); ++i) {
      const std::string_view piece = pieces[i];
      const size_t offset = pieces.ranges[i].begin;
      for (size_t at = 0; at < piece.size();) {
        const size_t end = word_end_(piece, at);
        TextWork::note(end - at);
        out.push_back({offset + at, offset + end});
        at = end;
      }
    }
    pieces.ranges = std::move(out);
  }

 private:
  WordEnd word_end_;
};

// Where a piece that is written anew stands.
enum class Stands { kAtTheStart, kContinuing, kInside };

// Writes every piece anew: write(piece, where it stands, out) appends it.
template <class Write>
class Rewrite : public PreTokenizer {
 public:
  explicit Rewrite(Write write) : write_(std::move(write)) {}

  void apply(Pieces& pieces) const override {
    std::string out;
    out.reserve(pieces.text.size() + pieces.ranges.size());
    // The next stage sees pieces without gaps: whether one was cut off in front is known here alone.
    const bool whole = pieces.ranges.empty() || pieces.ranges[0].begin == 0;
    pieces.begins_input = pieces.begins_input && whole;
    pieces.continues = pieces.continues && whole;
    const Stands first = pieces.continues      ? Stands::kContinuing
                         : pieces.begins_input ? Stands::kAtTheStart
                                               : Stands::kInside;
    for (size_t i = 0; i < pieces.ranges.size(); ++i) {
      const size_t begin = out.size();
      TextWork::note(pieces[i].size());
      write_(pieces[i], i == 0 ? first : Stands::kInside, out);
      pieces.ranges[i] = {begin, out.size()};
    }
    pieces.own = std::move(out);
    pieces.text = pieces.own;
  }

 private:
  Write write_;
};

template <class Write>
std::unique_ptr<PreTokenizer> rewrite(Write write) {
  return std::make_unique<Rewrite<Write>>(std::move(write));
}

using Stages = std::vector<std::unique_ptr<PreTokenizer>>;

void add_byte_level(const JsonField& field, bool last, PreTokenizers& out) {
  if (field.boolean("add_prefix_space", true)) {
    out.stages.push_back(rewrite([](std::string_view piece, Stands stands, std::string& text) {
      if (stands != Stands::kContinuing && !piece.starts_with(' ')) text += ' ';
      text += piece;
    }));
  }
  if (field.boolean("use_regex", true)) out.stages.push_back(std::make_unique<Words>(gpt2_word_end));
  if (last) {
    out.byte_level = true;
  } else {
    out.stages.push_back(rewrite([](std::string_view piece, Stands, std::string& text) {
      for (const char byte : piece) text += byte_level_character(static_cast<uint8_t>(byte));
    }));
  }
}

void add_split(const JsonField& field, Stages& stages) {
  const TextPattern pattern(field.at("pattern"));
  const auto behavior = behavior_of(field.at("behavior"));
  const bool invert = field.boolean("invert", false);
  const WordEnd word_end = pattern.is_regex() ? word_end_of(pattern.source()) : nullptr;
  if (word_end && behavior == Behavior::kIsolated) {
    stages.push_back(std::make_unique<Words>(word_end));
  } else {
    stages.push_back(
        cut(behavior, invert, [pattern](std::string_view piece, auto&& found) { pattern.each_match(piece, found); }));
  }
}

void add_metaspace(const JsonField& field, Stages& stages) {
  std::string mark;
  append_utf8(mark, character_of(field.at("replacement")));
  stages.push_back(
      rewrite([mark, scheme = prepend_scheme_of(field)](std::string_view piece, Stands stands, std::string& text) {
        const bool prepends = (scheme == PrependScheme::kAlways && stands != Stands::kContinuing) ||
                              (scheme == PrependScheme::kFirst && stands == Stands::kAtTheStart);
        if (prepends && !piece.starts_with(' ') && !piece.starts_with(mark)) text += mark;
        for (const char c : piece) {
          if (c == ' ') {
            text += mark;
          } else {
            text += c;
          }
        }
      }));
  if (!field.boolean("split", true)) return;
  stages.push_back(cut(Behavior::kMergedWithNext, false, [mark](std::string_view piece, auto&& found) {
    for (size_t at = piece.find(mark); at != std::string_view::npos; at = piece.find(mark, at + mark.size()))
      found(at, at + mark.size());
  }));
}

void add(const JsonField& field, bool last, int depth, PreTokenizers& out) {
  const std::string& type = field.at("type").text();
  if (depth > kDeepestComponent) field.refuse(fmt::format("more than {} nested pre-tokenizers", kDeepestComponent));
  Stages& stages = out.stages;
  if (type == "Sequence") {
    const auto list = field.at("pretokenizers").array();
    for (size_t i = 0; i < list.size(); ++i) add(list.at(i), last && i + 1 == list.size(), depth + 1, out);
  } else if (type == "ByteLevel") {
    add_byte_level(field, last, out);
  } else if (type == "Digits") {
    const bool each = field.boolean("individual_digits", false);
    stages.push_back(cut(each ? Behavior::kIsolated : Behavior::kContiguous, false, characters_of(kNumber)));
  } else if (type == "Split") {
    add_split(field, stages);
  } else if (type == "Whitespace") {
    stages.push_back(cut(Behavior::kRemoved, true, word_or_symbol_runs()));
  } else if (type == "WhitespaceSplit") {
    stages.push_back(cut(Behavior::kRemoved, false, characters_of(kSpace)));
  } else if (type == "Punctuation") {
    const auto behavior = field.has("behavior") ? behavior_of(field.at("behavior")) : Behavior::kIsolated;
    stages.push_back(cut(behavior, false, characters_of(kPunctuation)));
  } else if (type == "Metaspace") {
    add_metaspace(field, stages);
  } else {
    field.at("type").refuse(
        fmt::format("no pre-tokenizer \"{}\"; known are ByteLevel, Digits, Split, Whitespace, "
                    "WhitespaceSplit, Punctuation, Metaspace, Sequence",
                    type));
  }
}

struct ByteLevelMap {
  std::array<std::string, 256> characters;
  std::array<int16_t, 0x144> bytes;  // by code point, -1: none
};

const ByteLevelMap& byte_level_map() {
  static const ByteLevelMap map = [] {
    ByteLevelMap all;
    all.bytes.fill(-1);
    uint32_t next = 0x100;
    for (uint32_t byte = 0; byte < 256; ++byte) {
      const bool itself = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
      const uint32_t code = itself ? byte : next++;
      append_utf8(all.characters[byte], code);
      all.bytes[code] = static_cast<int16_t>(byte);
    }
    return all;
  }();
  return map;
}

}  // namespace

PreTokenizers make_pre_tokenizers(const JsonField& field) {
  PreTokenizers out;
  add(field, true, 1, out);
  return out;
}

const std::string& byte_level_character(uint8_t byte) { return byte_level_map().characters[byte]; }

bool bytes_of_byte_level(std::string_view token, std::string& bytes) {
  const auto& map = byte_level_map().bytes;
  bytes.clear();
  for (size_t at = 0; at < token.size();) {
    const Character c = character_at(token, at);
    if (c.code >= map.size() || map[c.code] < 0) return false;
    bytes += static_cast<char>(map[c.code]);
    at += c.bytes;
  }
  return true;
}

PrependScheme prepend_scheme_of(const JsonField& metaspace) {
  if (!metaspace.has("prepend_scheme"))
    return metaspace.boolean("add_prefix_space", true) ? PrependScheme::kAlways : PrependScheme::kNever;
  const auto field = metaspace.at("prepend_scheme");
  if (field.text() == "always") return PrependScheme::kAlways;
  if (field.text() == "first") return PrependScheme::kFirst;
  if (field.text() == "never") return PrependScheme::kNever;
  field.refuse(fmt::format("expected always, first or never, found \"{}\"", field.text()));
}

}  // namespace lt2
