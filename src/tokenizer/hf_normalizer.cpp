#include "tokenizer/hf_normalizer.h"

#include <optional>

#include "base/error.h"
#include "base/regex/work.h"
#include "tokenizer/base64.h"
#include "tokenizer/charsmap.h"
#include "tokenizer/unicode.h"

namespace lt2 {
namespace {

template <class Apply>
class Simple : public Normalizer {
 public:
  explicit Simple(Apply apply) : apply_(std::move(apply)) {}
  std::string apply(std::string text) const override { return apply_(std::move(text)); }

 private:
  Apply apply_;
};

template <class Apply>
std::unique_ptr<Normalizer> simple(Apply apply) {
  return std::make_unique<Simple<Apply>>(std::move(apply));
}

std::string strip(std::string_view text, bool left, bool right) {
  const uint8_t* classes = char_classes();
  size_t begin = 0, end = text.size();
  while (left && begin < end && (classes[character_at(text, begin).code] & kSpace))
    begin += character_at(text, begin).bytes;
  while (right && end > begin) {
    const size_t last = character_before(text, end);
    if (!(classes[character_at(text, last).code] & kSpace)) break;
    end = last;
  }
  return std::string(text.substr(begin, end - begin));
}

std::unique_ptr<Normalizer> make(const JsonField& field, bool continues, int depth) {
  const std::string& type = field.at("type").text();
  if (depth > kDeepestComponent) field.refuse(fmt::format("more than {} nested normalizers", kDeepestComponent));
  const auto form = type == "NFC"    ? std::optional(NormalForm::kNfc)
                    : type == "NFD"  ? std::optional(NormalForm::kNfd)
                    : type == "NFKC" ? std::optional(NormalForm::kNfkc)
                    : type == "NFKD" ? std::optional(NormalForm::kNfkd)
                                     : std::nullopt;
  if (form) return simple([form](const std::string& text) { return normalize(text, *form); });
  if (type == "Lowercase") return simple([](const std::string& text) { return lowercase(text); });
  if (type == "StripAccents") return simple([](const std::string& text) { return strip_accents(text); });
  if (type == "Strip") {
    const bool left = field.boolean("strip_left", true) && !continues, right = field.boolean("strip_right", true);
    return simple([=](const std::string& text) { return strip(text, left, right); });
  }
  if (type == "Replace") {
    return simple([pattern = TextPattern(field.at("pattern")), content = field.at("content").text()](
                      const std::string& text) { return pattern.replace(text, content); });
  }
  if (type == "Prepend") {
    const std::string prefix = continues ? "" : field.at("prepend").text();
    return simple([prefix](const std::string& text) { return text.empty() ? text : prefix + text; });
  }
  if (type == "Precompiled") {
    std::string blob;
    const auto map = field.at("precompiled_charsmap");
    if (!decode_base64(map.text(), blob)) map.refuse("not base64");
    return simple([map = Charsmap(blob, map.where())](const std::string& text) { return map.apply(text); });
  }
  if (type == "Sequence") {
    std::vector<std::shared_ptr<const Normalizer>> parts;
    const auto list = field.at("normalizers").array();
    for (size_t i = 0; i < list.size(); ++i) parts.push_back(make(list.at(i), continues, depth + 1));
    return simple([parts, where = field.where()](std::string text) {
      const size_t most = most_normalized_bytes(text.size());
      for (const auto& part : parts) {
        text = part->apply(std::move(text));
        LT2_CHECK(text.size() <= most, "{}: the text grew to {} bytes, more than 64-fold", where, text.size());
      }
      return text;
    });
  }
  field.at("type").refuse(
      fmt::format("no normalizer \"{}\"; known are NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, "
                  "Strip, Replace, Prepend, Precompiled, Sequence",
                  type));
}

}  // namespace

TextPattern::TextPattern(const JsonField& field) {
  if (field.has("String")) {
    source_ = field.at("String").text();
  } else {
    const auto regex = field.at("Regex");
    source_ = regex.text();
    regex_ = std::make_shared<Regex>(source_, regex.where());
  }
}

std::string TextPattern::replace(std::string_view text, const std::string& with) const {
  std::string out;
  size_t at = 0;
  const size_t most = most_normalized_bytes(text.size());
  each_match(text, [&](size_t begin, size_t end) {
    TextWork::note(1);
    out.append(text, at, begin - at);
    out += with;
    LT2_CHECK(out.size() <= most, "replacing \"{}\": the text grew to {} bytes, more than 64-fold", source_,
              out.size());
    at = end;
  });
  out.append(text, at);
  return out;
}

std::unique_ptr<Normalizer> make_normalizer(const JsonField& field, bool continues) {
  return make(field, continues, 1);
}

}  // namespace lt2
