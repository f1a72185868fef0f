#include <algorithm>
#include <string_view>

#include "base/characters.h"
#include "base/regex/node.h"
#include "base/regex/onig.h"

namespace lt2 {
namespace {

using Kind = RegexNode::Kind;
using Op = RegexInstruction::Op;

struct NoTree {};

struct Options {
  bool ignore_case = false, dot_all = false;
};

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_hex(char c) { return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'f'); }

// Pattern text is checked by Oniguruma before it comes here: only what is well-formed is told apart.
class Parser {
 public:
  explicit Parser(std::string_view pattern) : pattern_(pattern) {}

  RegexNode parse() {
    RegexNode whole = alternatives({}, 0);
    if (at_ != pattern_.size()) throw NoTree();
    return whole;
  }

 private:
  static constexpr int kDeepest = 50;
  static constexpr uint32_t kMostRepeats = 1000;

  bool at_end() const { return at_ == pattern_.size(); }
  bool looking_at(std::string_view text) const { return pattern_.substr(at_).starts_with(text); }
  bool take(std::string_view text) {
    if (!looking_at(text)) return false;
    at_ += text.size();
    return true;
  }

  RegexNode alternatives(Options options, int depth) {
    if (depth > kDeepest) throw NoTree();
    RegexNode all{.kind = Kind::kAlternatives, .parts = {}};
    const std::string before = before_;
    std::string after;
    do {
      before_ = before;
      all.parts.push_back(sequence(options, depth));
      after += before_;
    } while (take("|"));
    before_ = after;
    return all.parts.size() == 1 ? std::move(all.parts.front()) : std::move(all);
  }

  RegexNode sequence(Options options, int depth) {
    RegexNode all{.kind = Kind::kSequence, .parts = {}};
    while (!at_end() && pattern_[at_] != '|' && pattern_[at_] != ')') {
      // (?i) binds the rest of its group, alternatives and all.
      if (const auto inside = isolated_options(options)) {
        all.parts.push_back(alternatives(*inside, depth + 1));
        break;
      }
      const size_t begin = at_;
      const bool group = pattern_[at_] == '(';  // whose parts have said what stands before
      RegexNode node = atom(options, depth);
      if (!group)
        no_joint_fold(options.ignore_case && node.kind == Kind::kSet && at_ - begin == 1 ? lower(pattern_[begin])
                                                                                         : '\0');
      all.parts.push_back(repeated(std::move(node)));
    }
    return all.parts.size() == 1 ? std::move(all.parts.front()) : std::move(all);
  }

  // Case folding makes "ss" match one character, so such neighbours have no tree, whatever groups they stand in.
  void no_joint_fold(char now) {
    for (const std::string_view pair : {"ss", "ff", "fi", "fl", "st"})
      if (pair[1] == now && before_.find(pair[0]) != std::string::npos) throw NoTree();
    before_ = now == '\0' ? "" : std::string(1, now);
  }

  // "(?im-x)" alone; the cursor moves only if it is one.
  std::optional<Options> isolated_options(Options options) {
    const size_t begin = at_;
    if (!take("(?")) return std::nullopt;
    if (letters(options) && take(")")) return options;
    at_ = begin;
    return std::nullopt;
  }

  // "im-i" after "(?"; false if there is another letter, or none.
  bool letters(Options& options) {
    const size_t begin = at_;
    bool on = true;
    for (; !at_end(); ++at_) {
      const char c = pattern_[at_];
      if (c == '-')
        on = false;
      else if (c == 'i')
        options.ignore_case = on;
      else if (c == 'm')
        options.dot_all = on;
      else
        break;
    }
    return at_ > begin;
  }

  RegexNode atom(Options options, int depth) {
    const char c = pattern_[at_];
    if (c == '(') return group(options, depth);
    if (c == '[') return set(brackets(), options);
    if (c == '\\') return escape(options);
    if (c == '^') return ++at_, anchor(Op::kLineBegin);
    if (c == '$') return ++at_, anchor(Op::kLineEnd);
    if (std::string_view("*+?{").find(c) != std::string_view::npos) throw NoTree();
    const size_t begin = at_;
    at_ += character_at(pattern_, at_).bytes;
    return set(pattern_.substr(begin, at_ - begin), options);
  }

  RegexNode group(Options options, int depth) {
    ++at_;
    RegexNode node;
    if (!looking_at("?")) {
      node = alternatives(options, depth + 1);
    } else if (take("?:")) {
      node = alternatives(options, depth + 1);
    } else if (take("?>")) {
      node = {.kind = Kind::kAtomic, .parts = {alternatives(options, depth + 1)}};
    } else if (looking_at("?=") || looking_at("?!")) {
      const bool negative = pattern_[at_ + 1] == '!';
      at_ += 2;
      node = {.kind = Kind::kAhead, .parts = {alternatives(options, depth + 1)}};
      node.negative = negative;
    } else if (looking_at("?<=") || looking_at("?<!")) {
      const bool negative = pattern_[at_ + 2] == '!';
      at_ += 3;
      const RegexNode body = alternatives(options, depth + 1);
      if (body.kind != Kind::kSet) throw NoTree();
      node = {.kind = Kind::kBehind, .atom = body.atom, .parts = {}};
      node.negative = negative;
    } else {
      ++at_;
      if (!letters(options) || !take(":")) throw NoTree();
      node = alternatives(options, depth + 1);
    }
    if (!take(")")) throw NoTree();
    return node;
  }

  // "[...]" with sets and [:names:] inside.
  std::string_view brackets() {
    const size_t begin = at_;
    int depth = 0;
    do {
      if (at_end()) throw NoTree();
      if (looking_at("[:")) {
        const size_t close = pattern_.find(":]", at_ + 2);
        const size_t other = pattern_.find_first_of("[]", at_ + 2);
        if (close == std::string_view::npos || other != close + 1) throw NoTree();
        at_ = close + 2;
      } else if (take("[")) {
        ++depth;
        take("^");
        if (looking_at("]")) throw NoTree();  // a literal or an error, by the reader
      } else if (take("]")) {
        --depth;
      } else {
        if (pattern_[at_] == '\\')
          skip_escape();
        else
          ++at_;
      }
    } while (depth > 0);
    return pattern_.substr(begin, at_ - begin);
  }

  // An escape that stands for one character or a class of them.
  void skip_escape() {
    ++at_;
    if (at_end()) throw NoTree();
    const char c = pattern_[at_++];
    if (c == 'p' || c == 'P' || (c == 'x' && looking_at("{"))) {
      if (!take("{")) throw NoTree();
      const size_t close = pattern_.find('}', at_);
      if (close == std::string_view::npos) throw NoTree();
      // \x{41 42} is two.
      if (c == 'x' && !std::all_of(pattern_.begin() + static_cast<ptrdiff_t>(at_),
                                   pattern_.begin() + static_cast<ptrdiff_t>(close), is_hex))
        throw NoTree();
      at_ = close + 1;
    } else if (c == 'x' || c == 'u') {
      const size_t digits = c == 'x' ? 2 : 4;
      if (at_ + digits > pattern_.size()) throw NoTree();
      for (size_t i = 0; i < digits; ++i)
        if (!is_hex(pattern_[at_ + i])) throw NoTree();
      if (c == 'x' && pattern_[at_] >= '8') throw NoTree();  // a byte of a character
      at_ += digits;
    } else if (std::string_view("sSdDwWhHnrtfvae").find(c) == std::string_view::npos) {
      const bool mark = static_cast<unsigned char>(c) < 0x80 && !is_digit(c) && !(lower(c) >= 'a' && lower(c) <= 'z');
      if (!mark) throw NoTree();
    }
  }

  RegexNode escape(Options options) {
    const size_t begin = at_;
    if (take("\\A")) return anchor(Op::kTextBegin);
    if (take("\\z")) return anchor(Op::kTextEnd);
    if (take("\\Z")) return anchor(Op::kLastLineEnd);
    if (take("\\b")) return anchor(Op::kWordBoundary);
    if (take("\\B")) {
      RegexNode node = anchor(Op::kWordBoundary);
      node.negative = true;
      return node;
    }
    skip_escape();
    return set(pattern_.substr(begin, at_ - begin), options);
  }

  static RegexNode anchor(Op op) {
    RegexNode node{.kind = Kind::kAnchor, .parts = {}};
    node.anchor = op;
    return node;
  }

  static bool has_escape(std::string_view atom, std::string_view letters) {
    for (size_t i = 0; i + 1 < atom.size(); ++i)
      if (atom[i] == '\\' && letters.find(atom[++i]) != std::string_view::npos) return true;
    return false;
  }
  static bool has_code(std::string_view atom) { return has_escape(atom, "xu0123456789"); }
  // Whether characters may be in it that it does not name.
  static bool is_class(std::string_view atom) { return has_escape(atom, "pPsSdDwWhH") || atom.starts_with('['); }

  static RegexNode set(std::string_view atom, Options options) {
    std::string text(atom);
    if (options.ignore_case) {
      if (!is_ascii(atom) || has_code(atom)) throw NoTree();
      text = "(?i:" + text + ")";
      if (is_class(atom) && matches_several(text)) throw NoTree();
    }
    if (options.dot_all && atom == ".") text = "(?m:.)";
    return {.kind = Kind::kSet, .atom = text, .parts = {}};
  }

  RegexNode repeated(RegexNode node) {
    RegexNode repeat{.kind = Kind::kRepeat, .parts = {}};
    bool interval = false, exact = false;
    if (take("*"))
      repeat.most = RegexProgram::kEndless;
    else if (take("+"))
      repeat.least = 1, repeat.most = RegexProgram::kEndless;
    else if (take("?"))
      repeat.most = 1;
    else if (looking_at("{"))
      exact = take_interval(repeat), interval = true;
    else
      return node;
    const bool thing = node.kind != Kind::kAnchor && node.kind != Kind::kAhead && node.kind != Kind::kBehind;
    if (!thing) throw NoTree();
    // After an interval these marks mean other things in Ruby than elsewhere: X{2}? is (?:X{2})?, and + is one or
    // more.
    const bool optional = exact && take("?");
    bool more = !optional && interval && take("+");
    if (!optional && !more && take("?"))
      repeat.mode = RegexNode::Mode::kLazy;
    else if (!interval && take("+"))
      repeat.mode = RegexNode::Mode::kPossessive;
    if (!at_end() && std::string_view("*+?{").find(pattern_[at_]) != std::string_view::npos) throw NoTree();
    // Oniguruma ends a repetition of nothing in its own way.
    if (repeat.most > 1 && node.can_be_empty()) throw NoTree();
    // As many as there are: groups of them add nothing.
    if (more && (repeat.least == 1 || repeat.most == RegexProgram::kEndless))
      repeat.most = RegexProgram::kEndless, more = false;
    repeat.parts.push_back(std::move(node));
    if (optional) return repetition(std::move(repeat), 0, 1);
    if (more) return repetition(std::move(repeat), 1, RegexProgram::kEndless);
    return repeat;
  }

  static RegexNode repetition(RegexNode node, uint32_t least, uint32_t most) {
    if (most > 1 && node.can_be_empty()) throw NoTree();
    return {.kind = Kind::kRepeat, .parts = {std::move(node)}, .least = least, .most = most};
  }

  // Whether it is "{n}".
  bool take_interval(RegexNode& repeat) {
    ++at_;
    const auto least = number();
    const bool range = take(",");
    const auto most = range ? number() : least;
    const bool open = pattern_[at_ - 1] == ',';
    if (!take("}") || (!least && !most)) throw NoTree();
    repeat.least = least.value_or(0);
    repeat.most = open ? RegexProgram::kEndless : *most;
    if (repeat.least > repeat.most || repeat.most == 0) throw NoTree();
    return !range;
  }

  std::optional<uint32_t> number() {
    uint32_t value = 0;
    const size_t begin = at_;
    for (; !at_end() && is_digit(pattern_[at_]); ++at_) {
      value = value * 10 + static_cast<uint32_t>(pattern_[at_] - '0');
      if (value > kMostRepeats) throw NoTree();
    }
    return at_ > begin ? std::optional(value) : std::nullopt;
  }

  std::string_view pattern_;
  size_t at_ = 0;
  std::string before_;  // the literal characters that may stand right before, where case is ignored
};

}  // namespace

bool RegexNode::can_be_empty() const {
  const auto empty = [](const RegexNode& part) { return part.can_be_empty(); };
  if (kind == Kind::kSet) return false;
  if (kind == Kind::kSequence) return std::all_of(parts.begin(), parts.end(), empty);
  if (kind == Kind::kAlternatives) return std::any_of(parts.begin(), parts.end(), empty);
  if (kind == Kind::kRepeat) return least == 0 || parts.front().can_be_empty();
  return kind != Kind::kAtomic || parts.front().can_be_empty();
}

std::optional<RegexNode> parse_regex(const std::string& pattern) {
  try {
    return Parser(pattern).parse();
  } catch (const NoTree&) {
    return std::nullopt;
  }
}

}  // namespace lt2
