#include "config/train_config.h"

#include "config/help.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "tests/support/error_of.h"

namespace lt2 {
namespace {

TrainConfig parse(const std::string& yaml, const std::vector<std::string>& overrides = {}, Notes* notes = nullptr) {
  return parse_train_config(yaml, "configs/gdn.yaml", overrides, notes);
}

std::string error_of(const std::string& yaml, const std::vector<std::string>& overrides = {}) {
  return test::error_of([&] { parse(yaml, overrides); });
}

TEST(TrainConfig, DefaultsAreTheOfficialOnes) {
  const auto c = parse("");
  EXPECT_EQ(c.name, "lingua");
  EXPECT_EQ(c.steps, 1000);
  EXPECT_EQ(c.model.attention_pattern, "1:0");
  EXPECT_EQ(c.model.default_sliding_window, 2048);
  EXPECT_EQ(c.model.n_heads, std::nullopt);
  EXPECT_TRUE(c.model.use_block_residual);
  EXPECT_EQ(c.optim.lr, 3e-4);
  EXPECT_EQ(c.distributed.model_dtype, "bf16");
  EXPECT_EQ(c.distributed.float8_filter, "layers\\.[0-9]+\\.");
  EXPECT_EQ(c.data.tokenizer.name, "bytes");
  EXPECT_EQ(c, TrainConfig());
}

TEST(TrainConfig, FileThenOverridesLeftToRight) {
  const auto c = parse(
      "steps: 5\ndata:\n  sources: {b: 2, a: 1}\nmodel: {dim: 64}\n",
      {"model.dim=128", "data.sources.c=3", "steps=6", "steps=7", "model[n_layers]=3", "data.sources.\"d_1.0\"=.5"});
  EXPECT_EQ(c.steps, 7);
  EXPECT_EQ(c.model.dim, 128);
  EXPECT_EQ(c.model.n_layers, 3);
  EXPECT_EQ(c.data.sources, (Weights{{"b", 2}, {"a", 1}, {"c", 3}, {"d_1.0", 0.5}}));
}

TEST(TrainConfig, ReferencesSeeDefaults) {
  const auto c = parse("name: demo\ndump_dir: runs/${name}\nmodel: {max_seqlen: '${data.seq_len}'}\n");
  EXPECT_EQ(c.dump_dir, "runs/demo");
  EXPECT_EQ(c.model.max_seqlen, 2048);
}

TEST(TrainConfig, UnknownKeysNameLineAndNearestKey) {
  EXPECT_EQ(error_of("steps: 1\n\nmodel:\n  dim: 64\n\n\n  atention_pattern: '4:1'\n"),
            "configs/gdn.yaml:7: unknown key model.atention_pattern; did you mean model.attention_pattern?");
  EXPECT_EQ(error_of("modle: {dim: 1}\n"), "configs/gdn.yaml:1: unknown key modle; did you mean model?");
  EXPECT_EQ(error_of("seq_len: 5\n"), "configs/gdn.yaml:1: unknown key seq_len; did you mean data.seq_len?");
  EXPECT_EQ(error_of("", {"data.batchsize=2"}),
            "command line: data.batchsize=2: unknown key data.batchsize; did you mean data.batch_size?");
  EXPECT_EQ(error_of("", {"--stesp=2"}), "command line: --stesp=2: unknown key stesp; did you mean steps?");
  EXPECT_EQ(error_of("logging: {wandb: {projct: x}}\n"),
            "configs/gdn.yaml:1: unknown key logging.wandb.projct; did you mean logging.wandb.project?");
}

TEST(TrainConfig, TypeErrorsNameFieldAndPlace) {
  EXPECT_EQ(error_of("model:\n  dim: abc\n"), "configs/gdn.yaml:2: model.dim must be an integer; found \"abc\"");
  EXPECT_EQ(error_of("", {"model.dim=abc"}),
            "command line: model.dim=abc: model.dim must be an integer; found \"abc\"");
  EXPECT_EQ(error_of("", {"model.dim=1.0"}), "command line: model.dim=1.0: model.dim must be an integer; found 1.0");
  EXPECT_EQ(error_of("", {"model.dim=true"}), "command line: model.dim=true: model.dim must be an integer; found true");
  EXPECT_EQ(error_of("", {"model.dim"}), "command line: model.dim: model.dim must be an integer; found null");
  EXPECT_EQ(error_of("", {"model.dim=0"}), "command line: model.dim=0: model.dim must be at least 1; found 0");
  EXPECT_EQ(error_of("", {"optim.lr=fast"}), "command line: optim.lr=fast: optim.lr must be a number; found \"fast\"");
  EXPECT_EQ(error_of("", {"name=[a]"}), "command line: name=[a]: name must be text; found a list");
  EXPECT_EQ(error_of("model:\n"), "configs/gdn.yaml:1: model must be a group of keys; found null");
  EXPECT_EQ(error_of("", {"data=3"}), "command line: data=3: data must be a group of keys; found 3");
  EXPECT_EQ(error_of("- 1\n"), "configs/gdn.yaml: expected a map of keys; found a list");
  EXPECT_EQ(error_of("", {"distributed.fsdp_type=fullshard"}),
            "command line: distributed.fsdp_type=fullshard: distributed.fsdp_type must be one of no_shard, full_shard, "
            "zero1, zero2; found "
            "\"fullshard\"; did you mean full_shard?");
  EXPECT_EQ(error_of("", {"data.sources.dclm_baseline_1.0=big"}),
            "command line: data.sources.dclm_baseline_1.0=big: data.sources.dclm_baseline_1.0 must be a number; found "
            "\"big\"");
  EXPECT_EQ(error_of("data: {sources: {a: {b: 1}}}\n"),
            "configs/gdn.yaml:1: data.sources.a must be a number; found a map");
  EXPECT_EQ(error_of("steps: 1\nsteps: 2\n"),
            "configs/gdn.yaml:2: key steps appears twice; first at configs/gdn.yaml:1");
}

// A whole map of the user's names replaces the old one; a dotted key adds to it. Groups merge.
TEST(TrainConfig, AMapGivenWholeReplaces) {
  const std::string yaml =
      "data:\n  sources: {shakespeare.txt: 1, b: 2}\n  seq_len: 7\neval: {harness: {tasks: [x]}, other: 1}\n"
      "logging: {wandb: {project: p}}\n";
  const auto sources = [&](const std::vector<std::string>& arguments) { return parse(yaml, arguments).data.sources; };
  EXPECT_EQ(sources({"data.sources={mine.txt: 1.0}"}), (Weights{{"mine.txt", 1}}));
  EXPECT_EQ(sources({"data={sources: {mine.txt: 1.0}}"}), (Weights{{"mine.txt", 1}}));
  EXPECT_EQ(sources({"data[sources]={mine.txt: 1.0}"}), (Weights{{"mine.txt", 1}}));
  EXPECT_EQ(sources({"data.sources.mine.txt=1.0"}), (Weights{{"shakespeare.txt", 1}, {"b", 2}, {"mine.txt", 1}}));
  EXPECT_EQ(sources({"data.sources.\"mine.txt\"=1.0"}), sources({"data.sources.mine.txt=1.0"}));
  EXPECT_EQ(sources({"data.sources.b=5"}), (Weights{{"shakespeare.txt", 1}, {"b", 5}}));
  EXPECT_EQ(sources({"data.sources={a: 1}", "data.sources.x/y.z.jsonl=3"}), (Weights{{"a", 1}, {"x/y.z.jsonl", 3}}));
  EXPECT_EQ(sources({"data.sources.a=1", "data.sources={c: 1}"}), (Weights{{"c", 1}}));
  EXPECT_TRUE(sources({"data.sources={}"}).empty());
  // The rest of a group stays.
  EXPECT_EQ(parse(yaml, {"data={sources: {mine.txt: 1.0}}"}).data.seq_len, 7);
  const auto eval = [&](const std::string& argument) { return write_yaml(parse(yaml, {argument}).eval); };
  EXPECT_EQ(eval("eval={more: 2}"), "more: 2\n");
  EXPECT_EQ(eval("eval.harness={limit: 2}"), "harness:\n  limit: 2\nother: 1\n");
  EXPECT_EQ(eval("eval.harness.limit=2"), "harness:\n  tasks:\n    - x\n  limit: 2\nother: 1\n");
  EXPECT_EQ(write_yaml(parse(yaml, {"logging.wandb={name: mine}"}).logging.wandb), "project: p\nname: mine\n");
}

// A plain YAML reader takes 4:1 for 241; a text field must not.
TEST(TrainConfig, RatiosNeedNoQuotes) {
  for (const auto* ratio : {"4:1", "1:0", "0:1", "12:30"}) {
    EXPECT_EQ(parse(std::string("model: {attention_pattern: ") + ratio + "}\n").model.attention_pattern, ratio);
    EXPECT_EQ(parse(std::string("model:\n  attention_pattern: \"") + ratio + "\"\n").model.attention_pattern, ratio);
    EXPECT_EQ(parse("", {std::string("model.attention_pattern=") + ratio}).model.attention_pattern, ratio);
    EXPECT_EQ(parse("", {std::string("model.attention_pattern=\"") + ratio + "\""}).model.attention_pattern, ratio);
  }
}

TEST(TrainConfig, IntegerRatioIsReadBackWithAWarning) {
  for (const auto* yaml : {"model:\n  attention_pattern: 241\n", "model:\n  attention_pattern: '241'\n"}) {
    Notes notes;
    EXPECT_EQ(parse(yaml, {}, &notes).model.attention_pattern, "4:1");
    ASSERT_EQ(notes.warnings.size(), 1u);
    EXPECT_EQ(notes.warnings[0],
              "configs/gdn.yaml:2: model.attention_pattern 241 read as \"4:1\": a YAML reader took the ratio for a "
              "base-60 number");
  }
  EXPECT_EQ(parse("model: {attention_pattern: 60}\n").model.attention_pattern, "1:0");
  EXPECT_EQ(parse("model: {attention_pattern: 59}\n").model.attention_pattern, "59");
  EXPECT_EQ(parse("model: {attention_pattern: 128, n_layers: 1}\n").model.attention_pattern, "128");
  EXPECT_EQ(parse("model: {attention_pattern: '64,64'}\n").model.attention_pattern, "64,64");
}

struct Alias {
  std::string yaml, layers, attention;
  bool gate;
  std::optional<int64_t> window;
};
std::ostream& operator<<(std::ostream& stream, const Alias& alias) { return stream << alias.yaml; }
class TrainConfigAlias : public ::testing::TestWithParam<Alias> {};
TEST_P(TrainConfigAlias, BecomesCanonical) {
  const auto& want = GetParam();
  const auto c = parse("model: {" + want.yaml + "}\n").model;
  EXPECT_EQ(c.layer_pattern, want.layers) << want.yaml;
  EXPECT_EQ(c.attention_pattern, want.attention) << want.yaml;
  EXPECT_EQ(c.use_attn_gate, want.gate) << want.yaml;
  EXPECT_EQ(c.default_sliding_window, want.window) << want.yaml;
}
INSTANTIATE_TEST_SUITE_P(
    Table, TrainConfigAlias,
    ::testing::Values(Alias{"mixer: full", "full", "0:1", false, 2048},
                      Alias{"mixer: window", "full", "1:0", false, 2048},
                      Alias{"mixer: window, attention_pattern: '4:1'", "full", "4:1", false, 2048},
                      Alias{"mixer: gdn", "gdn", "1:0", false, 2048},
                      Alias{"mixer: kda, attention_pattern: 1:0", "kda", "1:0", false, 2048},
                      Alias{"mixer: gla", "gla", "1:0", false, 2048},
                      Alias{"mixer: gdn, attention_pattern: '4:1', gated_attn: true", "interleaved:4:1:gdn:full", "4:1",
                            true, 2048},
                      Alias{"mixer: gdn, attention_pattern: 4:1", "interleaved:4:1:gdn:full", "4:1", false, 2048},
                      Alias{"mixer: gdn, attention_pattern: 241", "interleaved:4:1:gdn:full", "4:1", false, 2048},
                      Alias{"mixer: GDN, layer_pattern: gdn", "gdn", "1:0", false, 2048},
                      Alias{"gated_attn: yes", "full", "1:0", true, 2048},
                      Alias{"gated_attn: 1, use_attn_gate: true", "full", "1:0", true, 2048},
                      Alias{"sliding_window: 256", "full", "1:0", false, 256},
                      Alias{"sliding_window: null", "full", "0:1", false, 2048},
                      Alias{"sliding_window: null, attention_pattern: 4:1", "full", "4:1", false, 2048}));

TEST(TrainConfig, ContradictingAliasesNameBoth) {
  EXPECT_EQ(error_of("model:\n  mixer: gdn\n  layer_pattern: kda\n"),
            "configs/gdn.yaml:2: model.mixer = \"gdn\" means model.layer_pattern = \"gdn\", but configs/gdn.yaml:3: "
            "model.layer_pattern is "
            "\"kda\". Keep one of them");
  EXPECT_EQ(error_of("model:\n  use_attn_gate: false\n", {"model.gated_attn=true"}),
            "command line: model.gated_attn=true: model.gated_attn = true means model.use_attn_gate = true, but "
            "configs/gdn.yaml:2: "
            "model.use_attn_gate is false. Keep one of them");
  EXPECT_NE(error_of("model: {mixer: full, attention_pattern: '4:1'}\n")
                .find("model.mixer = \"full\" means model.attention_pattern"),
            std::string::npos);
  EXPECT_NE(
      error_of("model: {mixer: gdn, attention_pattern: 'bookend:2'}\n").find("goes with model.attention_pattern a:b"),
      std::string::npos);
  EXPECT_NE(error_of("model: {mixer: gdn, attention_pattern: '0:1'}\n").find("goes with model.attention_pattern a:b"),
            std::string::npos);
  EXPECT_NE(error_of("model: {sliding_window: 8, attention_pattern: '4:1'}\n").find("model.sliding_window"),
            std::string::npos);
  EXPECT_NE(error_of("model: {mixer: gdnn}\n").find("model.mixer must be one of window, full, gdn"), std::string::npos);
}

TEST(TrainConfig, NotesListWhatHasNoEffect) {
  Notes notes;
  parse(
      "distributed: {compile: true, allow_bf16_reduced_precision_reduction: true, matmul_allow_tf32: false}\n"
      "model: {cot_gdp_size: 3, attn_impl: sdpa}\nenv: {OMP_NUM_THREADS: '4'}\nlogging: {wandb: {project: x}}\neval: "
      "{dataset_dir: /x}\n",
      {}, &notes);
  EXPECT_EQ(ignored_line(notes),
            "ignored, no effect here: model.cot_gdp_size=3 (the mixer cot_gdp is not supported), "
            "distributed.allow_bf16_reduced_precision_reduction=true, model.attn_impl=sdpa, distributed.compile=true, "
            "env.OMP_NUM_THREADS=4 (set it on the command line to limit the threads), logging.wandb=..., "
            "eval=... (no task suites run while training; val.every measures the loss)");
  EXPECT_FALSE(notes.where.on_command_line("env.OMP_NUM_THREADS"));
  Notes typed;
  EXPECT_EQ(parse("", {"env.OMP_NUM_THREADS=4"}, &typed).env.OMP_NUM_THREADS, "4");
  EXPECT_EQ(ignored_line(typed), "");
  EXPECT_TRUE(typed.where.on_command_line("env.OMP_NUM_THREADS"));
}

TEST(TrainConfig, WhatIsHonouredIsNoNote) {
  Notes notes;
  const auto c = parse(
      "distributed: {activation_checkpointing: loop, fsdp_type: full_shard, timeout_s: 5}\nlogging: {acc_freq: 3}\n"
      "data: {load_async: false, tokenizer: {specials: llama3}}\nprofiling: {run: true}\n",
      {}, &notes);
  EXPECT_FALSE(c.data.load_async);
  EXPECT_EQ(c.distributed.activation_checkpointing, "loop");
  EXPECT_EQ(notes.ignored, std::vector<std::string>{"logging.acc_freq=3 (a line a step, after the optimizer)"});
}

TEST(TrainConfig, NumbersMustBeFinite) {
  for (const char* field : {"lr", "weight_decay", "epsilon", "clip", "exp_factor"}) {
    for (const char* value : {".inf", "-.inf", ".nan"})
      EXPECT_NE(error_of(fmt::format("optim: {{{}: {}}}\n", field, value)).find(fmt::format("optim.{} must be", field)),
                std::string::npos)
          << field << " " << value;
  }
  EXPECT_NE(error_of("data: {sources: {a: .inf}}\n").find("data.sources.a must be a finite number"), std::string::npos);
}

TEST(TrainConfig, NsaWindowNullMeans512) {
  EXPECT_EQ(parse("model: {nsa_window_size: null}\n").model.nsa.window_size, 512);
  EXPECT_EQ(parse("model: {nsa_window_size: 0}\n").model.nsa.window_size, 0);
}

TEST(TrainConfig, WrittenCopiesReadBack) {
  auto c = parse(
      "name: '12'\ndump_dir: runs/a b\nsteps: 17\nprobe_freq: 5\ndata:\n  root_dir: ~\n  sources: {x.txt: 0.1, "
      "dclm_1.0: 1e-7, '4:1': 2}\n"
      "model: {dim: 64, n_heads: 4, attention_pattern: 4:1, layer_pattern: 'interleaved:4:1:gdn:full', dsa_sm_scale: "
      "0.35}\n"
      "optim: {lr: 1.5e-4, lr_min_ratio: 1e-6, decay_exempt: [norm, 'layers.*.x']}\n"
      "logging: {wandb: {project: p, tags: [a, 1]}}\n"
      "eval:\n  harness:\n    tasks:\n      - hellaswag\n      - task: nq_open\n        num_fewshot: 5\n  x: 3e-4\n  "
      "y: 4:1\n");
  const auto yaml = to_yaml(c), json = to_json(c);
  EXPECT_EQ(parse(yaml), c) << yaml;
  EXPECT_EQ(parse(json), c) << json;
  EXPECT_EQ(to_yaml(parse(yaml)), yaml);
  EXPECT_NE(yaml.find("  attention_pattern: '4:1'\n"), std::string::npos) << yaml;
  EXPECT_NE(yaml.find("name: '12'\n"), std::string::npos);
  EXPECT_LT(yaml.find("\ndata:"), yaml.find("\noptim:"));
  EXPECT_NE(yaml.find("\n  tokenizer:\n    name: bytes\n"), std::string::npos) << yaml;
  c.dump_dir = "literal ${name} \\${name}";
  c.eval = ConfigTree::quoted("${x}");
  EXPECT_EQ(parse(to_yaml(c)), c);
  EXPECT_EQ(parse(to_json(c)), c);
  c.model.attention_pattern = "1:0";
  EXPECT_NE(parse(yaml), c);
}

TEST(TrainConfig, ModelFromJsonIsLenient) {
  const auto c = model_config_from_json(
      R"({"batch": 2, "length": 33, "kind": "dsa", "window": null, "dim": 32, "n_heads": 4, "n_kv_heads": 1, "dsa_sm_scale": null,
          "dsa_topk": 6, "rope_theta": 500000.0, "norm_eps": 1e-06, "attention_pattern": "4:1", "default_sliding_window": null})",
      "x.safetensors");
  EXPECT_EQ(c.dim, 32);
  EXPECT_EQ(c.n_kv_heads, 1);
  EXPECT_EQ(c.dsa.topk, 6);
  EXPECT_EQ(c.norm_eps, 1e-6);
  EXPECT_EQ(c.attention_pattern, "4:1");
  EXPECT_EQ(c.default_sliding_window, std::nullopt);
  EXPECT_EQ(model_config_from_json(R"({"mixer":"gdn","case":"a","dim":64,"n_heads":4})", "v").layer_pattern, "gdn");

  TrainConfig train;
  train.model.dim = 96;
  train.model.attention_pattern = "2:1";
  EXPECT_EQ(model_config_from_json(to_json(train), "params.json"), train.model);
  try {
    model_config_from_json(R"({"model": {"dim": "abc"}})", "params.json");
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "params.json: dim must be an integer; found \"abc\"");
  }
  EXPECT_THROW(model_config_from_json("[1]", "x"), Error);
}

TEST(TrainConfig, FfnWidth) {
  ModelConfig c;
  c.dim = 1024;
  EXPECT_EQ(ffn_hidden_dim(c), 2816);
  c.dim = 2048;
  EXPECT_EQ(ffn_hidden_dim(c), 5632);
  c.ffn_dim_multiplier = 0.5;
  EXPECT_EQ(ffn_hidden_dim(c), 2816);
}

TEST(TrainConfig, ShippedFilesLoadWithoutNotes) {
  for (const auto* name : {"tiny/hybrid.yaml", "tiny/full.yaml"}) {
    Notes notes;
    auto c = load_train_config(std::string(LT2_SOURCE_DIR "/configs/") + name, {}, &notes);
    EXPECT_TRUE(notes.ignored.empty()) << name;
    EXPECT_TRUE(notes.warnings.empty()) << name;
    validate_model(c.model, notes.where);
    EXPECT_EQ(c.model.head_dim, 48);
  }
}

TEST(TrainConfig, HelpNamesEveryField) {
  TrainConfig config;
  const auto fields = collect_fields(config);
  const auto help = "\n" + field_list(fields, 100);
  for (const auto& field : fields) {
    EXPECT_FALSE(field.help.empty()) << field.key;
    const auto row = "\n  " + field.key + "=";
    const auto at = help.find(row);
    EXPECT_NE(at, std::string::npos) << field.key;
    EXPECT_EQ(help.find(row, at + 1), std::string::npos) << field.key;
  }
}

}  // namespace
}  // namespace lt2
