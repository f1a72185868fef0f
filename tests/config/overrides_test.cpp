#include "config/overrides.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "config/bench_config.h"
#include "config/generate_config.h"
#include "config/train_config.h"
#include "tests/support/error_of.h"
#include "tests/support/temp_folder.h"

namespace lt2 {
namespace {

std::string yaml_of(const std::string& argument) { return write_yaml(canonical(parse_override(argument, "x"))); }

std::string error_of(const std::string& argument) {
  return test::error_of([&] {
    GenerateConfig config;
    apply_overrides(config, {argument}, "lt2 generate");
  });
}

TEST(Override, Syntax) {
  EXPECT_EQ(yaml_of("a=1"), "a: 1\n");
  EXPECT_EQ(yaml_of("a.b.c=v"), "a:\n  b:\n    c: v\n");
  EXPECT_EQ(yaml_of("a[b]=v"), "a:\n  b: v\n");
  EXPECT_EQ(yaml_of("a[b].c=v"), "a:\n  b:\n    c: v\n");
  EXPECT_EQ(yaml_of("a=b=c"), "a: 'b=c'\n");
  EXPECT_EQ(yaml_of("a"), "a: null\n");
  EXPECT_EQ(yaml_of("a="), "a: null\n");
  EXPECT_EQ(yaml_of("a='null'"), "a: 'null'\n");
  EXPECT_EQ(yaml_of("a=[x, z]"), "a:\n  - x\n  - z\n");
  EXPECT_EQ(yaml_of("s={w: 1.0}"), "s:\n  w: 1.0\n");
  EXPECT_EQ(yaml_of("s.d_1.0=2"), "s:\n  d_1:\n    '0': 2\n");
  EXPECT_EQ(yaml_of("s.\"d_1.0\"=2"), "s:\n  d_1.0: 2\n");
  EXPECT_EQ(yaml_of("s[d_1.0]=2"), "s:\n  d_1.0: 2\n");
  EXPECT_EQ(yaml_of("p=4:1"), "p: '4:1'\n");
  EXPECT_EQ(yaml_of("p=full->SWA=4->2:1"), "p: 'full->SWA=4->2:1'\n");
}

TEST(Override, BadKeys) {
  for (const auto* bad : {"=1", ".a=1", "a.=1", "a..b=1", "a[=1", "a[]=1", "a.\"b=1", "a.\"b\"c=1", "a\"b\"=1", ""}) {
    EXPECT_THROW(parse_override(bad, bad), Error) << bad;
  }
}

TEST(Override, FillsAnyStruct) {
  GenerateConfig config;
  EXPECT_EQ(config.temperature, 0.0);
  EXPECT_EQ(config.max_gen_len, 512);
  EXPECT_EQ(config.dtype, "bf16");
  EXPECT_EQ(config.device, "cpu");
  apply_overrides(
      config,
      {"ckpt=runs/demo", "temperature=8e-1", "top_k=40", "until=[END, 'a: b']", "dtype=fp32", "chat=yes", "top_k=50"},
      "lt2 generate");
  EXPECT_EQ(config.ckpt, "runs/demo");
  EXPECT_EQ(config.temperature, 0.8);
  EXPECT_EQ(config.top_k, 50);
  EXPECT_EQ(config.until, (std::vector<std::string>{"END", "a: b"}));
  EXPECT_TRUE(config.chat);
  apply_overrides(config, {"top_k"}, "lt2 generate");
  EXPECT_EQ(config.top_k, std::nullopt);
}

TEST(Override, PromptsAreNotYaml) {
  for (const std::string prompt : {"First Citizen: speak", "{x", "# title", "Null", "null", "~", "5", "a=b", "",
                                   "\"quoted\"", "two\nlines", "${x} \\${y}"}) {
    GenerateConfig config;
    apply_overrides(config, {"prompt=" + prompt}, "lt2 generate");
    EXPECT_EQ(config.prompt, prompt);
  }
}

TEST(Override, NullIsAWordOfAPromptAndNoFile) {
  GenerateConfig config;
  apply_overrides(config, {"prompt=x", "prompt_file=f"}, "lt2 generate");
  apply_overrides(config, {"prompt=null", "prompt_file=null", "ckpt=null"}, "lt2 generate");
  EXPECT_EQ(config.prompt, "null");
  EXPECT_EQ(config.prompt_file, std::nullopt);
  EXPECT_EQ(config.ckpt, "null");  // it cannot be null, so this is a folder's name
  apply_overrides(config, {"prompt"}, "lt2 generate");
  EXPECT_EQ(config.prompt, std::nullopt);  // the key alone: none
  const auto run = parse_train_config("val: {prompt: text}\n", "file", {"val.prompt=null"});
  EXPECT_EQ(run.val.prompt, "null");
  // The resolved configuration keeps the two apart.
  EXPECT_EQ(parse_train_config(to_yaml(run), "file", {}).val.prompt, "null");
  EXPECT_EQ(parse_train_config(to_json(run), "file", {}).val.prompt, "null");
  EXPECT_EQ(parse_train_config("val: {prompt: text}\n", "file", {"val.prompt"}).val.prompt, std::nullopt);
}

// Shells do not expand the tilde after `key=`, and YAML has none.
TEST(Override, ATildeInAPathIsTheHomeFolder) {
  const std::string before = std::getenv("HOME") ? std::getenv("HOME") : "";
  ::setenv("HOME", "/home/x y", 1);
  GenerateConfig config;
  apply_overrides(config, {"ckpt=~/runs/demo", "prompt_file=~", "state=/a/~/b", "prompt=~/x"}, "lt2 generate");
  EXPECT_EQ(config.ckpt, "/home/x y/runs/demo");
  EXPECT_EQ(config.prompt_file, "/home/x y");
  EXPECT_EQ(config.state, "/a/~/b");
  EXPECT_EQ(config.prompt, "~/x");  // no path
  const auto run = parse_train_config(
      "dump_dir: ~/run\ndata: {root_dir: ~, sources: {~/a.txt: 1, b~: 1}, tokenizer: {path: ~/t.json}}\n", "file",
      {"checkpoint.path=~/c", "checkpoint.init_ckpt_path=~root/i", "val.source=~/v.txt", "profiling.trace_folder=~/p"});
  EXPECT_EQ(run.dump_dir, "/home/x y/run");
  EXPECT_EQ(run.data.root_dir, std::nullopt);  // YAML's null
  EXPECT_EQ(run.data.sources, (Weights{{"/home/x y/a.txt", 1}, {"b~", 1}}));
  EXPECT_EQ(run.data.tokenizer.path, "/home/x y/t.json");
  EXPECT_EQ(run.checkpoint.path, "/home/x y/c");
  EXPECT_EQ(run.checkpoint.init_ckpt_path, "~root/i");  // a name; only a shell knows that user's home
  EXPECT_EQ(run.val.source, "/home/x y/v.txt");
  EXPECT_EQ(run.profiling.trace_folder, "/home/x y/p");
  EXPECT_EQ(parse_train_config(to_yaml(run), "file", {}), run);
  ::unsetenv("HOME");
  EXPECT_EQ(error_of("ckpt=~/x"),
            "lt2 generate: ckpt=~/x: ckpt: ~/x begins with ~, but HOME is not set; write the whole path");
  ::setenv("HOME", before.c_str(), 1);
}

TEST(Override, WhatGenerateIgnoresIsSaid) {
  GenerateConfig config, defaults;
  apply_overrides(config, {"max_tokens=5", "show_progress=true", "compile_prefilling=true", "top_k=3"}, "lt2 generate");
  EXPECT_EQ(ignored_fields(collect_fields(config), collect_fields(defaults)),
            (std::vector<std::string>{"ignored: max_tokens=5 (one prompt at a time)",
                                      "ignored: compile_prefilling=true (no effect here)",
                                      "ignored: show_progress=true (the text itself shows it)"}));
}

TEST(Override, Errors) {
  EXPECT_EQ(error_of("temperatur=1"), "lt2 generate: temperatur=1: unknown key temperatur; did you mean temperature?");
  EXPECT_EQ(error_of("--sede=1"), "lt2 generate: --sede=1: unknown key sede; did you mean seed?");
  EXPECT_EQ(error_of("xyzzy=1"), "lt2 generate: xyzzy=1: unknown key xyzzy");
  EXPECT_EQ(error_of("top_k=1.0"), "lt2 generate: top_k=1.0: top_k must be an integer or null; found 1.0");
  EXPECT_EQ(error_of("top_k=0"), "lt2 generate: top_k=0: top_k must be at least 1; found 0");
  EXPECT_EQ(error_of("top_p=1.5"), "lt2 generate: top_p=1.5: top_p must be above 0 and at most 1; found 1.5");
  EXPECT_EQ(error_of("temperature=nan"),
            "lt2 generate: temperature=nan: temperature must be at least 0; found \"nan\"");
  EXPECT_EQ(error_of("temperature=.inf"),
            "lt2 generate: temperature=.inf: temperature must be a finite number; found .inf");
  EXPECT_EQ(error_of("temperature"), "lt2 generate: temperature: temperature must be a number; found null");
  EXPECT_EQ(error_of("until=x"), "lt2 generate: until=x: until must be a list of texts; found \"x\"");
  EXPECT_EQ(error_of("until.0=x"), "lt2 generate: until.0=x: until must be a list of texts; found a map");
  EXPECT_EQ(error_of("dtype=bf61"),
            "lt2 generate: dtype=bf61: dtype must be one of fp32, bf16; found \"bf61\"; did you mean bf16?");
  EXPECT_EQ(error_of("until=[a").find("lt2 generate: until=[a: not valid YAML: "), 0u);
}

TEST(Override, NearestKey) {
  const std::vector<std::string> known = {"model.dim", "model.attention_pattern", "data.seq_len", "steps"};
  EXPECT_EQ(nearest_key("model.atention_pattern", known), "model.attention_pattern");
  EXPECT_EQ(nearest_key("model.attention_pattren", known), "model.attention_pattern");
  EXPECT_EQ(nearest_key("seq_len", known), "data.seq_len");
  EXPECT_EQ(nearest_key("model.seq_len", known), "data.seq_len");
  EXPECT_EQ(nearest_key("stesp", known), "steps");
  EXPECT_EQ(nearest_key("wholly_different", known), "");
}

TEST(Override, DashesAreAnotherSpelling) {
  GenerateConfig config;
  apply_overrides(config, {"--max-gen-len=7", "--prompt=--x: y", "--top_k=3", "--logit-bias.5=-1"}, "lt2 generate");
  EXPECT_EQ(config.max_gen_len, 7);
  EXPECT_EQ(config.prompt, "--x: y");
  EXPECT_EQ(config.top_k, 3);
  EXPECT_EQ(config.logit_bias, (Weights{{"5", -1}}));
  // A name that a user chose keeps its dashes.
  const auto run = parse_train_config("", "file", {"--data.sources.my-file.txt=1", "--data.seq-len=64"});
  EXPECT_EQ(run.data.sources, (Weights{{"my-file.txt", 1}}));
  EXPECT_EQ(run.data.seq_len, 64);
  EXPECT_EQ(error_of("--top-k=1.0"), "lt2 generate: --top-k=1.0: top_k must be an integer or null; found 1.0");
}

TEST(Override, ListsWithCommas) {
  const auto read = [](const std::vector<std::string>& arguments) {
    BenchConfig config;
    apply_overrides(config, arguments, "lt2 bench");
    return config;
  };
  const auto refusal = [&](const std::string& argument) -> std::string {
    try {
      read({argument});
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  const auto config =
      read({"mode=decode,train", "contexts=1k,4096,1.5M", "frontier=24G,80GB", "label=a: b,null", "batch=8"});
  EXPECT_EQ(config.mode, (std::vector<std::string>{"decode", "train"}));
  EXPECT_EQ(config.contexts, (std::vector<int64_t>{1024, 4096, 3 << 19}));
  EXPECT_EQ(config.frontier, (std::vector<int64_t>{int64_t{24} << 30, 80'000'000'000}));
  EXPECT_EQ(config.label, (std::vector<std::string>{"a: b", "null"}));
  EXPECT_EQ(config.batch, (std::vector<int64_t>{8}));
  EXPECT_EQ(read({"contexts=", "mode="}), BenchConfig());
  EXPECT_EQ(
      refusal("mode=decode,trian"),
      "lt2 bench: mode=decode,trian: mode must be one of train, prefill, decode; found \"trian\"; did you mean train?");
  EXPECT_EQ(refusal("mode=decode,"),
            "lt2 bench: mode=decode,: mode must be words with commas between; found \"decode,\"");
  EXPECT_EQ(
      refusal("contexts=16,"),
      "lt2 bench: contexts=16,: contexts must be numbers with commas between, for example 1k,4k,32k; found \"16,\"");
  EXPECT_EQ(refusal("contexts=4,0"), "lt2 bench: contexts=4,0: contexts must be at least 1; found \"4,0\"");
  EXPECT_EQ(
      refusal("memory=2X"),
      "lt2 bench: memory=2X: memory must be a whole number such as 4096, 1k, 24G (1024 to the third) or 5GB (1000 to "
      "the third); found \"2X\"");
}

TEST(Override, APathThatExistsWithItsCommaIsOne) {
  const test::TempFolder temporary;
  const auto folder = temporary.path() / "a,b";
  std::filesystem::create_directories(folder);
  BenchConfig config;
  apply_overrides(config, {"ckpt=" + folder.string()}, "lt2 bench");
  EXPECT_EQ(config.ckpt, std::vector<std::string>{folder.string()});
  std::filesystem::remove(folder);
  apply_overrides(config, {"ckpt=" + folder.string()}, "lt2 bench");
  EXPECT_EQ(config.ckpt.size(), 2u);
}

}  // namespace
}  // namespace lt2
