#pragma once
// Arguments of `tokenize`.
#include <optional>
#include <string>

#include "config/fields.h"

namespace lt2 {

struct TokenizeConfig {
  std::string tokenizer = "bytes", specials = "lingua", in = "-", out = "-", mode = "encode", per = "line";
  std::optional<std::string> path;
  bool bos = false, eos = false, parse_special = false;

  bool operator==(const TokenizeConfig&) const = default;

  template <class Visit>
  void fields(Visit&& visit) {
    visit("tokenizer", tokenizer, one_of({"bytes", "tiktoken", "sp", "hf"}), "kind of tokenizer");
    visit("path", path, verbatim_path(), "its vocabulary file");
    visit("specials", specials, one_of({"lingua", "llama3", "cl100k", "gpt2"}),
          "tiktoken: whose special tokens a rank file has; gpt2: also GPT-2's split");
    visit("in", in, verbatim_path(), "file to read; -: standard input");
    visit("out", out, verbatim_path(), "file to write; -: standard output");
    visit("mode", mode, one_of({"encode", "decode"}), "text to ids, or ids to text");
    visit("per", per, one_of({"line", "file"}),
          "line: each line by itself, without its line end; file: all of it as one text");
    visit("bos", bos, any(), "encode: BOS before each text");
    visit("eos", eos, any(), "encode: EOS after each text");
    visit("parse_special", parse_special, any(), "encode: names of special tokens in the text become those tokens");
  }
};

}  // namespace lt2
