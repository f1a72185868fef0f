#include "data/loader_state.h"

#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json_field.h"

namespace lt2 {
namespace {

// Keeps the order of the sources.
using Json = nlohmann::ordered_json;
using Field = BasicJsonField<Json>;

std::string text(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string optional_text(const std::optional<std::string>& value) { return value ? text(*value) : "null"; }

std::string rng_text(const Pcg64::State& rng) {
  return fmt::format(
      R"({{"bit_generator": "PCG64", "state": {{"state": {}, "inc": {}}}, "has_uint32": {}, "uinteger": {}}})",
      to_decimal(rng.state), to_decimal(rng.inc), rng.has_uint32 ? 1 : 0, rng.uinteger);
}

constexpr int64_t kMost = int64_t{1} << 62;

unsigned __int128 long_integer(const Field& field) {
  const auto digits = field.value().is_string() ? field.text() : text(field.value());
  try {
    return uint128_from_decimal(digits);
  } catch (const Error&) {
    field.refuse(fmt::format("expected a whole number below 2^128, found {}", digits.substr(0, 60)));
  }
}

Pcg64::State rng_of(const Field& field) {
  const auto name = field.at("bit_generator");
  if (name.text() != "PCG64") name.refuse(fmt::format("expected PCG64, found {}", name.text()));
  const auto state = field.at("state");
  return {long_integer(state.at("state")), long_integer(state.at("inc")), field.at("has_uint32").integer(0, 1) != 0,
          static_cast<uint32_t>(field.at("uinteger").integer(0, UINT32_MAX))};
}

std::optional<std::string> optional_of(const Field& field, const char* key) {
  return field.has(key) ? std::optional(field.at(key).text()) : std::nullopt;
}

LoaderState state_of(const Field& root) {
  const Field packed = root.at("it_state"), tokenized = packed.at("it_state"), mixed = tokenized.at("it_state");
  const Field sources = mixed.at("sources"), positions = mixed.at("source_to_state");
  LoaderState state;
  state.root_dir = optional_of(mixed, "root_dir");
  for (const auto& [name, unused] : sources.object().value().items()) {
    const Field source = positions.at(name);
    state.sources.push_back({name, sources.at(name).number(), source.at("file_path").text(),
                             source.at("position").integer(0, kMost), source.at("block_size").integer(1, kMost),
                             source.at("offset").integer(0, kMost), source.at("current_iter").integer(0, kMost)});
  }
  state.source_rng = rng_of(mixed.at("rng_state"));
  state.add_bos = tokenized.at("add_bos").boolean();
  state.add_eos = tokenized.at("add_eos").boolean();
  state.tokenizer_name = tokenized.at("name").text();
  state.tokenizer_path = optional_of(tokenized, "path");
  state.start_token = packed.at("start_token").integer(0, kMost);
  state.seq_len = packed.at("output_seq_len").integer(0, kMost);
  state.n_views = packed.at("n_views").integer(0, kMost);
  state.prefetch_size = root.at("prefetch_size").integer(1, kMost);
  state.seq_idx = root.at("seq_idx").integer(0, state.prefetch_size - 1);
  state.shuffle_rng = rng_of(root.at("rng_state"));
  state.batch_size = root.at("batch_size").integer(0, kMost);
  if (root.has("seed")) state.seed = root.at("seed").integer(INT64_MIN, INT64_MAX);
  return state;
}

}  // namespace

std::string to_json(const LoaderState& state) {
  std::vector<std::string> weights, positions;
  bool untouched = state.start_token == 0;
  for (const auto& source : state.sources) {
    weights.push_back(fmt::format("{}: {}", text(source.name), text(source.weight)));
    positions.push_back(
        fmt::format(R"({}: {{"file_path": {}, "position": {}, "block_size": {}, "offset": {}, "current_iter": {}}})",
                    text(source.name), text(source.file_path), source.position, source.block_size, source.offset,
                    source.current_iter));
    untouched = untouched && source.position == 0 && source.current_iter == 0;
  }
  const std::string mixed = fmt::format(
      R"({{"root_dir": {}, "sources": {{{}}}, "source_to_state": {{{}}}, "rng_state": {}}})",
      optional_text(state.root_dir), fmt::join(weights, ", "), fmt::join(positions, ", "), rng_text(state.source_rng));
  const std::string tokenized =
      fmt::format(R"({{"it_state": {}, "add_bos": {}, "add_eos": {}, "name": {}, "path": {}}})", mixed, state.add_bos,
                  state.add_eos, text(state.tokenizer_name), optional_text(state.tokenizer_path));
  // Lingua's very first state alone has a seq_len.
  const std::string packed =
      fmt::format(R"({{"start_token": {}, "it_state": {}, "output_seq_len": {}, "n_views": {}{}}})", state.start_token,
                  tokenized, state.seq_len, state.n_views, untouched ? R"(, "seq_len": 0)" : "");
  return fmt::format(R"({{"it_state": {}, "seq_idx": {}, "rng_state": {}, "batch_size": {}, "prefetch_size": {}{}}})",
                     packed, state.seq_idx, rng_text(state.shuffle_rng), state.batch_size, state.prefetch_size,
                     state.seed ? fmt::format(R"(, "seed": {})", *state.seed) : "");
}

LoaderState loader_state_from_json(const std::string& json, const std::string& where) {
  const auto document = parse_json<Json>(quote_long_integers(json), where);
  return state_of(Field(document, where));
}

std::string quote_long_integers(const std::string& json) {
  constexpr size_t kLong = 18;  // any such number fits 64 bits; what follows need not
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  std::string out;
  out.reserve(json.size() + 16);
  for (size_t at = 0; at < json.size();) {
    const size_t begin = at;
    if (json[at] == '"') {
      for (++at; at < json.size() && json[at] != '"'; ++at)
        if (json[at] == '\\') ++at;
      at = std::min(at + 1, json.size());
      out.append(json, begin, at - begin);
    } else if (is_digit(json[at]) || json[at] == '-') {
      bool integer = true;
      while (at < json.size() &&
             (is_digit(json[at]) || std::string_view("+-.eE").find(json[at]) != std::string_view::npos))
        integer = is_digit(json[at++]) && integer;
      const bool quoted = integer && at - begin >= kLong;
      if (quoted) out += '"';
      out.append(json, begin, at - begin);
      if (quoted) out += '"';
    } else {
      out += json[at++];
    }
  }
  return out;
}

}  // namespace lt2
