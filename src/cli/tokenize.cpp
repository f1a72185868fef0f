// lt2 tokenize tokenizer=... path=FILE: text to ids and back, for files and pipes.
#include <fmt/format.h>

#include <charconv>
#include <chrono>
#include <iterator>
#include <memory>
#include <utility>

#include "base/error.h"
#include "base/files.h"
#include "base/input_stream.h"
#include "base/log.h"
#include "base/output.h"
#include "base/units.h"
#include "base/utf8.h"
#include "cli/command.h"
#include "cli/options.h"
#include "config/tokenize_config.h"
#include "tokenizer/tokenizer.h"

namespace lt2 {
namespace {

class Input {
 public:
  explicit Input(const std::string& path) : stream_(path) {}

  bool line(std::string& line) {
    const bool there = stream_.line(line);
    lines_ += there;
    return there;
  }
  std::string rest() { return stream_.rest(); }
  // No more input is available now: the writer of the pipe may wait for the answer.
  bool waits() const { return !stream_.ready(0); }
  std::string place() const { return lines_ > 0 ? fmt::format("{}:{}", stream_.name(), lines_) : stream_.name(); }

 private:
  InputStream stream_;
  int64_t lines_ = 0;
};

class Output {
 public:
  explicit Output(const std::string& path) {
    if (path != "-") file_ = std::make_unique<AtomicFile>(path);
  }
  void write(std::string_view text) { file_ ? file_->write(text.data(), text.size()) : write_out(text); }
  void flush() {
    if (!file_) flush_out();
  }
  void commit() { file_ ? file_->commit() : flush_out(); }

 private:
  std::unique_ptr<AtomicFile> file_;
};

// Counts, and the time spent in the tokenizer alone.
struct Meter {
  int64_t tokens = 0, bytes = 0;
  std::chrono::steady_clock::duration spent{};

  template <class Work>
  auto time(Work&& work) {
    const auto start = std::chrono::steady_clock::now();
    auto result = work();
    spent += std::chrono::steady_clock::now() - start;
    return result;
  }
  void report() const {
    const double seconds = std::max(1e-9, std::chrono::duration<double>(spent).count());
    const auto count = static_cast<double>(tokens), size = static_cast<double>(bytes);
    log_info("{} tokens, {}, {:.2f} bytes/token; {} tokens/s, {:.1f} MB/s", tokens, human_bytes(size),
             tokens ? size / count : 0.0, human_count(count / seconds), size / seconds / 1e6);
  }
};

void append_ids(const std::vector<int32_t>& ids, std::string& line) {
  for (size_t i = 0; i < ids.size(); ++i) {
    char digits[12];
    const auto end = std::to_chars(std::begin(digits), std::end(digits), ids[i]).ptr;
    if (i > 0) line += ' ';
    line.append(digits, end);
  }
  line += '\n';
}

std::vector<int32_t> parse_ids(std::string_view line, const Input& input) {
  const auto separates = [](char c) { return c == ' ' || c == ',' || c == '\t' || c == '\r'; };
  std::vector<int32_t> ids;
  for (size_t at = 0; at < line.size();) {
    if (separates(line[at])) {
      ++at;
      continue;
    }
    size_t end = at;
    while (end < line.size() && !separates(line[end])) ++end;
    int32_t id = 0;
    const auto [stop, error] = std::from_chars(line.data() + at, line.data() + end, id);
    LT2_CHECK(error == std::errc() && stop == line.data() + end,
              "tokenize: {}: \"{}\" is no token id; decode reads numbers with spaces between", input.place(),
              line.substr(at, std::min<size_t>(end - at, 24)));
    ids.push_back(id);
    at = end;
  }
  return ids;
}

void encode(const TokenizeConfig& config, const Tokenizer& tokenizer, Input& input, Output& output, Meter& meter) {
  std::string line;
  const auto ids_of = [&](std::string_view text) {
    try {
      return tokenizer.encode(text, config.bos, config.eos, {.specials = config.parse_special});
    } catch (const Error& error) {
      fail("tokenize: {}: {}", input.place(), error.what());
    }
  };
  const auto one = [&](std::string_view text) {
    const auto ids = meter.time([&] { return ids_of(text); });
    meter.tokens += static_cast<int64_t>(ids.size());
    meter.bytes += static_cast<int64_t>(text.size());
    line.clear();
    append_ids(ids, line);
    output.write(line);
  };
  if (config.per == "file") return one(without_byte_order_mark(input.rest()));
  bool first = true;
  for (std::string text; input.line(text);) {
    one(std::exchange(first, false) ? without_byte_order_mark(text) : text);
    if (input.waits()) output.flush();
  }
}

void decode(const TokenizeConfig& config, const Tokenizer& tokenizer, Input& input, Output& output, Meter& meter) {
  StreamDecoder stream(tokenizer);
  const auto write = [&](const std::string& text) {
    meter.bytes += static_cast<int64_t>(text.size());
    output.write(text);
  };
  for (std::string line; input.line(line);) {
    const auto ids = parse_ids(line, input);
    meter.tokens += static_cast<int64_t>(ids.size());
    write(meter.time([&] {
      std::string text;
      for (const int32_t id : ids) text += stream.push(id);
      return config.per == "line" ? text + stream.finish() : text;
    }));
    if (config.per == "line") output.write("\n");
    if (input.waits()) output.flush();
  }
  write(stream.finish());
}

int run(const Arguments& arguments) {
  TokenizeConfig config;
  const auto options = read_options(arguments.words, "tokenize", Others::kRefused, config);
  if (config.mode == "decode")
    refuse_without_effect(options, "tokenize", {"bos", "eos", "parse_special"}, "with mode=decode");
  if (config.tokenizer != "tiktoken")
    refuse_without_effect(options, "tokenize", {"specials"}, "without tokenizer=tiktoken");
  if (config.tokenizer == "bytes") refuse_without_effect(options, "tokenize", {"path"}, "with tokenizer=bytes");
  const auto tokenizer = make_tokenizer(config.tokenizer, config.path, config.specials);
  Input input(config.in);
  Output output(config.out);
  Meter meter;
  (config.mode == "encode" ? encode : decode)(config, *tokenizer, input, output, meter);
  output.commit();
  meter.report();
  return 0;
}

}  // namespace

Command tokenize_command() {
  return {.name = "tokenize",
          .summary = "text to token ids and back",
          .about =
              "Writes the token ids of a text, separated by spaces, or the text of such ids. Results go to standard "
              "output, speed and bytes per token to standard error. per=line answers line by line, so it works "
              "inside a pipe; decode undoes encode with the same per=.",
          .usage = {"tokenize tokenizer=bytes|tiktoken|sp|hf path=FILE [key=value ...]"},
          .examples = {"tokenize tokenizer=hf path=tokenizer.json in=text.txt per=file out=ids.txt",
                       "tokenize tokenizer=tiktoken path=tokenizer.model < text.txt"},
          .keys = {keys_with<TokenizeConfig>("keys")},
          .run = run};
}

}  // namespace lt2
