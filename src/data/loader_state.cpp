#include "data/loader_state.h"

#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace lt2 {
namespace {

// Keeps the order of the sources.
using Json = nlohmann::ordered_json;

std::string text(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string optional_text(const std::optional<std::string>& value) { return value ? text(*value) : "null"; }

std::string rng_text(const Pcg64::State& rng) {
  return fmt::format(
      R"({{"bit_generator": "PCG64", "state": {{"state": {}, "inc": {}}}, "has_uint32": {}, "uinteger": {}}})",
      to_decimal(rng.state), to_decimal(rng.inc), rng.has_uint32 ? 1 : 0, rng.uinteger);
}

unsigned __int128 long_integer(const Json& value) {
  return uint128_from_decimal(value.is_string() ? value.get<std::string>() : text(value));
}

Pcg64::State rng_of(const Json& json) {
  const auto name = json.at("bit_generator").get<std::string>();
  LT2_CHECK(name == "PCG64", "bit_generator: expected PCG64, found {}", name);
  return {long_integer(json.at("state").at("state")), long_integer(json.at("state").at("inc")),
          json.at("has_uint32").get<int>() != 0, json.at("uinteger").get<uint32_t>()};
}

std::optional<std::string> optional_of(const Json& json, const char* key) {
  if (!json.contains(key) || json.at(key).is_null()) return std::nullopt;
  return json.at(key).get<std::string>();
}

LoaderState state_of(const Json& json) {
  const Json &packed = json.at("it_state"), &tokenized = packed.at("it_state"), &mixed = tokenized.at("it_state");
  LoaderState state;
  state.root_dir = optional_of(mixed, "root_dir");
  for (const auto& [name, weight] : mixed.at("sources").items()) {
    const Json& source = mixed.at("source_to_state").at(name);
    state.sources.push_back({name, weight.get<double>(), source.at("file_path").get<std::string>(),
                             source.at("position").get<int64_t>(), source.at("block_size").get<int64_t>(),
                             source.at("offset").get<int64_t>(), source.at("current_iter").get<int64_t>()});
    LT2_CHECK(state.sources.back().position >= 0, "source {}: position {} is negative", name,
              state.sources.back().position);
  }
  state.source_rng = rng_of(mixed.at("rng_state"));
  state.add_bos = tokenized.at("add_bos").get<bool>();
  state.add_eos = tokenized.at("add_eos").get<bool>();
  state.tokenizer_name = tokenized.at("name").get<std::string>();
  state.tokenizer_path = optional_of(tokenized, "path");
  state.start_token = packed.at("start_token").get<int64_t>();
  state.seq_len = packed.at("output_seq_len").get<int64_t>();
  state.n_views = packed.at("n_views").get<int64_t>();
  state.seq_idx = json.at("seq_idx").get<int64_t>();
  state.shuffle_rng = rng_of(json.at("rng_state"));
  state.batch_size = json.at("batch_size").get<int64_t>();
  state.prefetch_size = json.at("prefetch_size").get<int64_t>();
  if (json.contains("seed")) state.seed = json.at("seed").get<int64_t>();
  LT2_CHECK(state.start_token >= 0, "start_token {} is negative", state.start_token);
  LT2_CHECK(state.seq_idx >= 0 && state.seq_idx < state.prefetch_size, "seq_idx {} is not below prefetch_size {}",
            state.seq_idx, state.prefetch_size);
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

LoaderState loader_state_from_json(const std::string& json) {
  try {
    return state_of(Json::parse(quote_long_integers(json)));
  } catch (const Json::exception& error) {
    fail("data loader state: {}", error.what());
  } catch (const Error& error) {
    fail("data loader state: {}", error.what());
  }
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
