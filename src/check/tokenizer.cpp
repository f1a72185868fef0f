#include "check/tokenizer.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/files.h"
#include "tokenizer/hf.h"
#include "tokenizer/tiktoken.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/unicode.h"
#include "tokenizer/words.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Ids = std::vector<int32_t>;

// SHA-256 (FIPS 180-4): the vectors give long lists of ids by their hash.
std::string sha256_hex(std::string bytes) {
  std::array<uint32_t, 64> k{};
  std::array<uint32_t, 8> h{};
  const auto fraction = [](long double root) {
    return static_cast<uint32_t>((root - std::floor(root)) * 4294967296.0L);
  };
  for (uint32_t prime = 2, found = 0; found < 64; ++prime) {
    bool is_prime = true;
    for (uint32_t d = 2; d * d <= prime; ++d) is_prime = is_prime && prime % d != 0;
    if (!is_prime) continue;
    if (found < 8) h[found] = fraction(std::sqrt(static_cast<long double>(prime)));
    k[found++] = fraction(std::cbrt(static_cast<long double>(prime)));
  }
  const uint64_t bits = bytes.size() * 8;
  bytes += '\x80';
  while (bytes.size() % 64 != 56) bytes += '\0';
  for (int shift = 56; shift >= 0; shift -= 8) bytes += static_cast<char>(bits >> shift & 0xff);
  for (size_t block = 0; block < bytes.size(); block += 64) {
    std::array<uint32_t, 64> w{};
    for (size_t i = 0; i < 64; ++i) w[i / 4] = w[i / 4] << 8 | static_cast<uint8_t>(bytes[block + i]);
    for (size_t i = 16; i < 64; ++i) {
      const uint32_t a = w[i - 15], b = w[i - 2];
      w[i] = w[i - 16] + w[i - 7] + (std::rotr(a, 7) ^ std::rotr(a, 18) ^ a >> 3) +
             (std::rotr(b, 17) ^ std::rotr(b, 19) ^ b >> 10);
    }
    auto s = h;
    for (size_t i = 0; i < 64; ++i) {
      const uint32_t mixed = s[7] + (std::rotr(s[4], 6) ^ std::rotr(s[4], 11) ^ std::rotr(s[4], 25)) +
                             ((s[4] & s[5]) ^ (~s[4] & s[6])) + k[i] + w[i];
      const uint32_t major = (std::rotr(s[0], 2) ^ std::rotr(s[0], 13) ^ std::rotr(s[0], 22)) +
                             ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
      std::rotate(s.begin(), s.end() - 1, s.end());
      s[4] += mixed;
      s[0] = mixed + major;
    }
    for (size_t i = 0; i < 8; ++i) h[i] += s[i];
  }
  std::string hex;
  for (const uint32_t word : h) hex += fmt::format("{:08x}", word);
  return hex;
}

json parse(const std::string& text, const std::string& where) {
  try {
    return json::parse(text);
  } catch (const json::exception& error) {
    fail("{}: {}", where, error.what());
  }
}

std::vector<json> read_lines(const fs::path& path) {
  std::vector<json> rows;
  std::string content = read_file(path);
  for (size_t at = 0; at < content.size();) {
    const size_t end = std::min(content.find('\n', at), content.size());
    if (end > at)
      rows.push_back(parse(content.substr(at, end - at), fmt::format("{}:{}", path.string(), rows.size() + 1)));
    at = end + 1;
  }
  return rows;
}

std::string bytes_of_hex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return bytes;
}

std::string hex_of_bytes(const std::string& bytes) {
  std::string hex;
  for (const char byte : bytes) hex += fmt::format("{:02x}", static_cast<uint8_t>(byte));
  return hex;
}

// The difference, short enough for one line.
std::string difference(const Ids& expected, const Ids& found) {
  const auto [a, b] = std::mismatch(expected.begin(), expected.end(), found.begin(), found.end());
  const auto some = [](const Ids& ids, Ids::const_iterator from) {
    return fmt::format("{}", fmt::join(from, from + std::min<ptrdiff_t>(8, ids.end() - from), " "));
  };
  return fmt::format("{} ids expected, {} found; from id {} on: expected {}; found {}", expected.size(), found.size(),
                     a - expected.begin(), some(expected, a), some(found, b));
}

std::string difference(const std::string& expected, const std::string& found) {
  const auto [a, b] = std::mismatch(expected.begin(), expected.end(), found.begin(), found.end());
  const auto shown = [](const std::string& text, std::string::const_iterator from) {
    const std::string part(from, from + std::min<ptrdiff_t>(24, text.end() - from));
    return json(part).dump(-1, ' ', true, json::error_handler_t::replace);
  };
  return fmt::format("{} bytes expected, {} found; from byte {} on: expected {}; found {}", expected.size(),
                     found.size(), a - expected.begin(), shown(expected, a), shown(found, b));
}

std::string difference(int64_t expected, int64_t found) {
  return fmt::format("expected {}, found {}", expected, found);
}

class Report {
 public:
  explicit Report(std::string vocabulary) : vocabulary_(std::move(vocabulary)) {}

  // An exception counts as wrong.
  template <class T, class Compute>
  void compare(const char* what, const std::string& id, const T& expected, Compute&& compute) {
    TokenizerCheck& check = named(what);
    ++check.compared;
    std::string found;
    try {
      const T actual = compute();
      if (actual == expected) return;
      found = difference(expected, actual);
    } catch (const Error& error) {
      found = error.what();
    }
    if (check.wrong++ == 0) check.first = fmt::format("{}: {}", id, found);
  }

  std::vector<TokenizerCheck> checks;

 private:
  TokenizerCheck& named(const char* what) {
    for (auto& check : checks)
      if (check.what == what) return check;
    checks.push_back({vocabulary_, what, 0, 0, {}});
    return checks.back();
  }
  std::string vocabulary_;
};

// The tokenizers of a folder.
struct Vocabulary {
  std::string name;
  json meta;
  std::unique_ptr<Tokenizer> main;    // of the plain ids
  std::unique_ptr<Tokenizer> lingua;  // rank files: the same with Lingua's special tokens
  const HfTokenizer* hf = nullptr;
  TextReading reading = {};  // of the plain ids: Hugging Face's library reads special tokens in any text
  bool nfc = false;          // decoding gives the normal form of the text
};

Vocabulary open_vocabulary(const fs::path& folder) {
  Vocabulary out;
  out.name = folder.filename().string();
  out.meta = parse(read_file(folder / "meta.json"), folder / "meta.json");
  const std::string kind = out.meta.at("kind");
  const auto file = [&] { return (folder / out.meta.at("file").get<std::string>()).string(); };
  if (kind == "tiktoken") {
    const bool gpt2 = out.meta.at("split_regex") == kGpt2Pattern;
    LT2_CHECK(gpt2 || out.meta.at("split_regex") == kLlama3Pattern,
              "{}: meta.json: split_regex is unknown; expected that of gpt2 or llama3", folder.string());
    out.main = make_tokenizer("tiktoken", file(), gpt2 ? "gpt2" : "cl100k");
    if (out.meta.contains("lingua")) out.lingua = make_tokenizer("tiktoken", file(), "lingua");
  } else if (kind == "hf_tokenizer_json") {
    auto hf = HfTokenizer::open(file());
    out.hf = hf.get();
    out.reading.specials = true;
    out.main = std::move(hf);
    out.nfc = out.meta.at("normalizer").is_object();
    LT2_CHECK(!out.nfc || out.meta.at("normalizer").at("type") == "NFC",
              "{}: meta.json: normalizer must be NFC or none", folder.string());
  } else if (kind == "sentencepiece") {
    out.main = make_tokenizer("sp", file());
  } else {
    LT2_CHECK(kind == "bytes", "{}: meta.json: kind \"{}\" is unknown", folder.string(), kind);
    out.main = make_tokenizer("bytes", std::nullopt);
  }
  return out;
}

void check_marks(const json& meta, const Tokenizer& tokenizer, Report& report) {
  const auto number = [&](const char* key, int32_t found) {
    if (!meta.contains(key)) return;
    const int64_t expected = meta.at(key).is_null() ? -1 : meta.at(key).get<int64_t>();
    report.compare("words and marks", key, expected, [&] { return static_cast<int64_t>(found); });
  };
  number("n_words", tokenizer.n_words());
  number("max_id", tokenizer.n_words() - 1);
  number("bos_id", tokenizer.bos_id());
  number("eos_id", tokenizer.eos_id());
  number("pad_id", tokenizer.pad_id());
  const auto* tiktoken = dynamic_cast<const TiktokenTokenizer*>(&tokenizer);
  if (!tiktoken) return;
  for (const auto& [name, id] : meta.at("specials").items()) {
    report.compare("words and marks", name, Ids{id.get<int32_t>()},
                   [&, text = name] { return tiktoken->encode(text, false, false, {.specials = true}); });
    report.compare("words and marks", name, name,
                   [&, number = id.get<int32_t>()] { return tiktoken->decode({number}); });
  }
}

std::string streamed(const Tokenizer& tokenizer, const Ids& ids) {
  StreamDecoder decoder(tokenizer);
  std::string text;
  for (const int32_t id : ids) text += decoder.push(id);
  return text + decoder.finish();
}

void check_cases(const fs::path& folder, const Vocabulary& of, Report& report) {
  for (const json& row : read_lines(folder / "cases.jsonl")) {
    const std::string id = "case " + row.at("id").get<std::string>(), text = row.at("text");
    const Ids ids = row.at("ids");
    report.compare("encode", id, ids, [&] { return of.main->encode(text, false, false, of.reading); });
    if (of.lingua) report.compare("encode", id, ids, [&] { return of.lingua->encode(text, false, false); });
    if (of.main->name() == "tiktoken") {
      report.compare("encode with specials", id,
                     row.contains("ids_all_special") ? row.at("ids_all_special").get<Ids>() : ids,
                     [&] { return of.main->encode(text, false, false, {.specials = true}); });
    }
    if (of.lingua) {
      const char* key = "ids_all_special_lingua";
      report.compare("encode with specials", id, row.contains(key) ? row.at(key).get<Ids>() : ids,
                     [&] { return of.lingua->encode(text, false, false, {.specials = true}); });
    }
    if (row.contains("ids_special") && of.hf) {
      report.compare("encode with template", id, row.at("ids_special").get<Ids>(),
                     [&] { return of.hf->with_template(of.hf->encode(text, false, false, of.reading)); });
    }
    const std::string decoded = row.contains("decoded") ? row.at("decoded").get<std::string>()
                                : of.nfc                ? normalize(text, NormalForm::kNfc)
                                                        : text;
    report.compare("decode", id, decoded, [&] { return of.main->decode(ids); });
    report.compare("decode as a stream", id, decoded, [&] { return streamed(*of.main, ids); });
  }
}

void check_decodings(const fs::path& folder, const Vocabulary& of, Report& report) {
  int64_t line = 0;
  for (const json& row : read_lines(folder / "decode.jsonl")) {
    const std::string id = fmt::format("decode.jsonl:{}", ++line), text = row.at("text");
    const Ids ids = row.at("ids");
    report.compare("decode", id, text, [&] { return of.main->decode(ids); });
    report.compare("decode as a stream", id, text, [&] { return streamed(*of.main, ids); });
    if (row.contains("bytes_hex")) {
      report.compare("bytes of tokens", id, row.at("bytes_hex").get<std::string>(), [&] {
        std::string bytes;
        for (const int32_t each : ids) bytes += of.main->token_bytes(each);
        return hex_of_bytes(bytes);
      });
    }
    if (row.contains("text_skip_special")) {
      report.compare("decode without specials", id, row.at("text_skip_special").get<std::string>(), [&] {
        Ids left = ids;
        std::erase_if(left, [&](int32_t each) { return of.main->is_special(each); });
        return of.main->decode(left);
      });
    }
  }
}

void check_invalid_utf8(const fs::path& path, const Vocabulary& of, Report& report) {
  for (const json& row : read_lines(path)) {
    if (!row.contains(of.name)) continue;
    const std::string hex = row.at("bytes_hex");
    report.compare("invalid UTF-8", hex, row.at(of.name).get<Ids>(),
                   [&] { return of.main->encode(bytes_of_hex(hex), false, false, of.reading); });
  }
}

void check_chunking(const fs::path& path, const Vocabulary& of, Report& report) {
  for (const json& row : parse(read_file(path), path)) {
    if (row.at("vocabulary") != of.name) continue;
    const std::string repeat = row.at("repeat");
    std::string text;
    for (int64_t i = 0; i < row.at("times").get<int64_t>(); ++i) text += repeat;
    report.compare("long texts", "\"" + repeat + "\"...", row.at("sha256_of_ids_as_u32_le").get<std::string>(), [&] {
      std::string bytes;
      for (const int32_t id : of.main->encode(text, false, false, of.reading))
        for (const int shift : {0, 8, 16, 24}) bytes += static_cast<char>(id >> shift & 0xff);
      return sha256_hex(std::move(bytes));
    });
  }
}

void check_vocabulary(const fs::path& folder, std::vector<TokenizerCheck>& out) {
  const auto vocabulary = open_vocabulary(folder);
  Report report(vocabulary.name);
  check_marks(vocabulary.meta, *vocabulary.main, report);
  if (vocabulary.lingua) check_marks(vocabulary.meta.at("lingua"), *vocabulary.lingua, report);
  check_cases(folder, vocabulary, report);
  check_decodings(folder, vocabulary, report);
  const auto beside = folder.parent_path();
  if (fs::exists(beside / "invalid_utf8.jsonl")) check_invalid_utf8(beside / "invalid_utf8.jsonl", vocabulary, report);
  if (fs::exists(beside / "chunking.json")) check_chunking(beside / "chunking.json", vocabulary, report);
  out.insert(out.end(), report.checks.begin(), report.checks.end());
}

bool is_vocabulary(const fs::path& folder) {
  return fs::exists(folder / "meta.json") && fs::exists(folder / "cases.jsonl");
}

std::vector<fs::path> vocabularies(const fs::path& folder) {
  // "a/b/" has an empty last component, and the name of the folder counts.
  const fs::path path = folder.has_filename() ? folder : folder.parent_path();
  if (is_vocabulary(path)) return {path};
  std::vector<fs::path> found;
  if (fs::is_directory(path))
    for (const auto& entry : fs::directory_iterator(path))
      if (entry.is_directory() && is_vocabulary(entry.path())) found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

bool has_tokenizer_vectors(const fs::path& folder) { return !vocabularies(folder).empty(); }

std::vector<TokenizerCheck> check_tokenizer_vectors(const fs::path& folder) {
  const auto all = vocabularies(folder);
  LT2_CHECK(!all.empty(), "{}: no tokenizer vectors here (folders with meta.json and cases.jsonl)", folder.string());
  std::vector<TokenizerCheck> out;
  for (const auto& each : all) {
    try {
      check_vocabulary(each, out);
    } catch (const json::exception& error) {
      fail("{}: malformed vectors: {}", each.string(), error.what());
    }
  }
  return out;
}

}  // namespace lt2
