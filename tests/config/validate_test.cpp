#include <gtest/gtest.h>
#include <unistd.h>
#include <functional>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "config/train_config.h"
#include "tests/support/error_of.h"
#include "tests/support/temp_folder.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

// A folder with one usable source of each kind.
class Validate : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(root_ / "chunks");
    fs::create_directories(root_ / "nothing");
    write("a.txt", "text");
    write("empty.txt", "");
    write("a.csv", "1,2");
    write("chunks/a.chunk.00.jsonl", "{}");
  }

  void write(const std::string& name, const std::string& content) const { std::ofstream(root_ / name) << content; }

  TrainConfig load(std::vector<std::string> overrides, Notes* notes, const ValidateOptions& options = {}) const {
    const std::string yaml =
        "dump_dir: runs/x\ndata:\n  root_dir: " + root_.string() +
        "\n  sources: {a.txt: 1, chunks: 2}\nmodel:\n  dim: 64\n  n_heads: 8\noptim: {warmup: 10}\n";
    auto config = parse_train_config(yaml, "f.yaml", overrides, notes);
    validate(config, notes, options);
    return config;
  }
  TrainConfig load(std::vector<std::string> overrides = {}) const {
    Notes notes;
    return load(std::move(overrides), &notes);
  }
  std::string error_of(std::vector<std::string> overrides) const {
    return test::error_of([&] { load(std::move(overrides)); });
  }
  bool rejects(std::vector<std::string> overrides, const std::string& part) const {
    const auto message = error_of(std::move(overrides));
    if (message.find(part) != std::string::npos) return true;
    ADD_FAILURE() << "expected \"..." << part << "...\", got \"" << message << "\"";
    return false;
  }

  test::TempFolder temporary_;
  fs::path root_ = temporary_.path();
};

TEST_F(Validate, FillsWhatFollows) {
  const auto c = load({"data.seq_len=128"});
  EXPECT_EQ(c.model.n_heads, 8);
  EXPECT_EQ(c.model.head_dim, 8);
  EXPECT_EQ(c.model.n_kv_heads, 8);
  EXPECT_EQ(c.model.max_seqlen, 128);
  EXPECT_EQ(c.checkpoint.path, "runs/x/checkpoints");
  EXPECT_EQ(load({"model.n_heads=null", "model.head_dim=16"}).model.n_heads, 4);
  EXPECT_EQ(load({"distributed.selective_activation_checkpointing=true"}).distributed.activation_checkpointing,
            "layer");
  EXPECT_EQ(load({"distributed.selective_activation_checkpointing=true", "distributed.activation_checkpointing=loop"})
                .distributed.activation_checkpointing,
            "loop");
  // A resolved configuration resolves to itself.
  auto again = parse_train_config(to_yaml(c), "config.yaml", {});
  validate(again);
  EXPECT_EQ(again, c);
}

TEST_F(Validate, HeadsMustFit) {
  EXPECT_EQ(error_of({"model.n_kv_heads=3"}),
            "command line: model.n_kv_heads=3: model.n_kv_heads must divide model.n_heads; found n_kv_heads = 3, "
            "n_heads = 8. Use one of 1, 2, 4, 8");
  EXPECT_EQ(error_of({"model.dim=60"}),
            "f.yaml:7: model.n_heads must divide model.dim; found n_heads = 8, dim = 60. Use one of 1, 2, 3, 4, 5, 6, "
            "10, 12, 15, 20, 30, 60");
  EXPECT_TRUE(rejects({"model.n_heads=null"}, "model.n_heads or model.head_dim must be given"));
  EXPECT_TRUE(rejects({"model.n_heads=null", "model.head_dim=24"}, "model.head_dim must divide model.dim"));
  EXPECT_TRUE(
      rejects({"model.head_dim=7"}, "model.head_dim must be even for the rotary embedding of full layers; found 7"));
  EXPECT_EQ(load({"model.head_dim=24"}).model.head_dim, 24);  // n_heads * head_dim need not be dim
}

TEST_F(Validate, MixersMustFit) {
  EXPECT_TRUE(rejects({"model.layer_pattern=gdn", "model.dim=72"},
                      "model.n_heads must divide int(0.75 dim) = 54 in gdn layers"));
  load({"model.layer_pattern=gdn", "model.dim=72", "model.gdn_head_dim=5", "model.gdn_expand_v=1"});
  EXPECT_TRUE(rejects({"model.layer_pattern=gdn", "model.gdn_expand_v=0.7"},
                      "model.gdn_expand_v must give a whole number of value channels"));
  EXPECT_TRUE(rejects({"model.layer_pattern=kda", "model.kda_expand_v=1.3"},
                      "model.kda_expand_v must give a whole number of value channels"));
  load({"model.layer_pattern=kda", "model.kda_expand_v=1.5"});
  load({"model.layer_pattern=kda", "model.dim=20", "model.n_heads=4", "model.kda_expand_v=0.6"});  // 3.0000000000000004
  EXPECT_TRUE(rejects({"model.layer_pattern=retnet", "model.dim=40"},
                      "retnet layers need an even model.dim / model.n_heads of at most 256"));
  EXPECT_TRUE(rejects({"model.layer_pattern=retnet", "model.dim=4096"},
                      "retnet layers need an even model.dim / model.n_heads of at most 256"));
  EXPECT_TRUE(
      rejects({"model.layer_pattern=gla", "model.dim=72"}, "model.n_heads must divide dim / 2 = 36 in gla layers"));
  EXPECT_TRUE(
      rejects({"model.layer_pattern=mla", "model.mla_qk_rope_head_dim=7"}, "model.mla_qk_rope_head_dim must be even"));
  EXPECT_TRUE(rejects({"model.layer_pattern=dsa", "model.dsa_indexer=lightning", "model.dsa_index_rope_dim=66"},
                      "model.dsa_index_rope_dim must be at most model.dsa_index_head_dim = 64; found 66"));
  load({"model.layer_pattern=dsa", "model.dsa_index_rope_dim=66"});  // not in use
  EXPECT_TRUE(
      rejects({"model.layer_pattern=cot_gdp"}, "command line: model.layer_pattern=cot_gdp: model.layer_pattern names"));
  EXPECT_TRUE(rejects({"model.attention_pattern=0:0"},
                      "command line: model.attention_pattern=0:0: model.attention_pattern takes a:b"));
  EXPECT_TRUE(rejects({"model.default_sliding_window=null"}, "needs model.default_sliding_window, which is null"));
}

TEST_F(Validate, ModelAloneNamesItsPlace) {
  ModelConfig c;
  c.n_heads = 3;
  try {
    validate_model(c, "checkpoints/0000000010/params.json");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()).find("checkpoints/0000000010/params.json: model.n_heads must divide model.dim"), 0u)
        << e.what();
  }
}

TEST_F(Validate, Data) {
  EXPECT_TRUE(rejects({"data.sources={gone: 1}"},
                      "data source \"gone\" does not exist: neither " + (root_ / "gone").string() + " nor "));
  EXPECT_TRUE(
      rejects({"data.sources.gone=1"}, "command line: data.sources.gone=1: data source \"gone\" does not exist"));
  EXPECT_TRUE(rejects({"data.sources={nothing: 1}"}, "has no *.chunk.*.jsonl files"));
  EXPECT_TRUE(rejects({"data.sources={a.csv: 1}"},
                      "must be a folder of *.chunk.*.jsonl files or a .txt or .jsonl file; found extension \".csv\""));
  EXPECT_TRUE(rejects({"data.sources={empty.txt: 1}"}, "is empty"));
  EXPECT_TRUE(rejects({"data.sources={a.txt: 0, chunks: 0}"}, "must add up to more than 0"));
  EXPECT_TRUE(rejects({"data.sources={a.txt: -1}"}, "data.sources.a.txt must be at least 0; found -1"));
  EXPECT_TRUE(rejects({"val.source=gone"}, "command line: val.source=gone: data source \"gone\" does not exist"));
  EXPECT_TRUE(rejects({"data.tokenizer.name=tiktoken"},
                      "data.tokenizer.path must name the vocabulary of tokenizer \"tiktoken\"; found null"));
  EXPECT_TRUE(rejects({"data.tokenizer.name=mock"},
                      "data.tokenizer.name must be one of bytes, sp, tiktoken, hf; found \"mock\""));
  EXPECT_TRUE(
      rejects({"data.tokenizer={name: hf, path: /no/such/file}"}, "data.tokenizer.path /no/such/file does not exist"));

  DataConfig data;
  data.root_dir = root_.string();
  EXPECT_EQ(resolve_source(data, "a.txt"), root_ / "a.txt");
  EXPECT_EQ(resolve_source(data, (root_ / "a.txt").string()), root_ / "a.txt");
  data.root_dir.reset();
  EXPECT_THROW(resolve_source(data, "no such source"), Error);
}

TEST_F(Validate, Schedule) {
  EXPECT_TRUE(rejects({"optim.scheduler=wsd", "optim.decay_fraction=1"},
                      "optim.decay_fraction must be below optim.cycle_length"));
  EXPECT_TRUE(rejects({"optim.scheduler=wsd", "optim.lr_min_ratio=0"}, "optim.lr_min_ratio must be above 0 for wsd"));
  EXPECT_TRUE(rejects({"optim.scheduler=wsd", "steps=3", "optim.cycle_length=0.3", "optim.warmup=1"},
                      "steps * optim.cycle_length must be at least 1"));
  EXPECT_TRUE(
      rejects({"optim.scheduler=linear", "steps=10"}, "optim.warmup must differ from steps for linear; both are 10"));
  EXPECT_TRUE(rejects({"steps=10"}, "optim.warmup must differ from steps for cosine"));
  EXPECT_TRUE(rejects({"optim.scheduler=inv_sqrt", "optim.warmup=0"}, "optim.warmup must be at least 1 for inv_sqrt"));
  EXPECT_TRUE(rejects({"optim.scheduler=cosin"}, "did you mean cosine?"));
  Notes notes;
  load({"steps=5"}, &notes);
  ASSERT_EQ(notes.warnings.size(), 1u);
  EXPECT_NE(notes.warnings[0].find("the learning rate never reaches its peak"), std::string::npos);
}

TEST_F(Validate, DecayExemptHoldsPatterns) {
  EXPECT_TRUE(rejects({"optim.decay_exempt=[norm, '[']"}, "optim.decay_exempt: \"[\": no regular expression: "));
  EXPECT_EQ(load({"optim.decay_exempt=['A_log$']"}).optim.decay_exempt.size(), 1u);
}

TEST_F(Validate, Machine) {
  EXPECT_EQ(error_of({"distributed.model_dtype=fp16"}),
            "command line: distributed.model_dtype=fp16: distributed.model_dtype fp16 is not offered: its range is too "
            "small to train without loss scaling. Use bf16 or fp32");
  EXPECT_TRUE(rejects({"distributed.dp_shard=8"},
                      "distributed.dp_shard must be 1 with distributed.fsdp_type no_shard; found 8"));

  Notes notes;  // a recipe for 8 GPUs on one machine
  const auto c = load({"distributed.fsdp_type=full_shard", "distributed.dp_shard=8", "distributed.tp_size=2"}, &notes);
  EXPECT_EQ(c.distributed.dp_shard, 1);
  EXPECT_EQ(c.distributed.dp_replicate, 1);
  EXPECT_EQ(notes.warnings.size(), 3u);  // tensor parallelism, 8 ranks, nothing to share out
  Notes two;
  EXPECT_EQ(load({}, &two, {.world_size = 2}).distributed.dp_replicate, 2);
  EXPECT_TRUE(two.warnings.empty());
  Notes three;
  EXPECT_EQ(load({"distributed.dp_replicate=3"}, &three, {.world_size = 2}).distributed.dp_replicate, 2);
  EXPECT_EQ(three.warnings.size(), 1u);
  Notes full;
  EXPECT_EQ(load({"distributed.fsdp_type=full_shard"}, &full, {.world_size = 2}).distributed.activation_checkpointing,
            "layer");
  EXPECT_EQ(full.warnings.size(), 2u);  // layers are recomputed; dp_shard = 1 does not keep weights whole
}

TEST_F(Validate, DumpDir) {
  EXPECT_TRUE(rejects({"dump_dir=''"}, "dump_dir must be set"));
  EXPECT_TRUE(rejects({"dump_dir=" + (root_ / "a.txt").string()}, "exists and is not a folder"));
  EXPECT_TRUE(rejects({"checkpoint.init_ckpt_path=/no/such"}, "checkpoint.init_ckpt_path /no/such does not exist"));
}

TEST_F(Validate, OuroModelsHaveTheirOwnLoops) {
  const std::string ouro = "model.model_type=ouro", loop = "model.use_residual=false",
                    block = "model.use_block_residual=false";
  const auto c = load({ouro, loop, block, "model.loop_count=4", "model.early_exit_step=3", "model.intermediate_size=88",
                       "model.early_exit_threshold=1.0"});
  EXPECT_EQ(ffn_hidden_dim(c.model), 88);
  EXPECT_TRUE(rejects({ouro, block}, "model.use_residual must be false for model.model_type ouro"));
  EXPECT_TRUE(rejects({ouro, loop}, "model.use_block_residual must be false for model.model_type ouro"));
  EXPECT_TRUE(
      rejects({ouro, loop, block, "model.legacy_iteration_weights=true"}, "model.legacy_iteration_weights must"));
  EXPECT_TRUE(rejects({ouro, loop, block, "model.loop_count=4", "model.early_exit_step=4"},
                      "must be below model.loop_count = 4; found 4"));
  EXPECT_TRUE(rejects({"model.early_exit_threshold=0.5"}, "needs the exit gate of model.model_type ouro"));
  EXPECT_TRUE(rejects({ouro, "model.early_exit_threshold=0"}, "model.early_exit_threshold must be"));
  EXPECT_TRUE(rejects({"model.model_type=llama"}, "model.model_type must be one of lt2, ouro"));
  EXPECT_TRUE(rejects({"model.intermediate_size=88", "model.ffn_dim_multiplier=1.5"},
                      "model.ffn_dim_multiplier must then be null, found 1.5"));
  EXPECT_TRUE(rejects({"model.early_exit_step=0", "model.legacy_iteration_weights=true"}, "mixes all loops"));
}

TEST(ValidateSizes, AbsurdOnesNameTheirField) {
  const std::vector<std::pair<std::string, std::function<void(ModelConfig&)>>> cases{
      {"model.mamba2_expand", [](ModelConfig& c) { c.mamba2.expand = int64_t{1} << 62; }},
      {"model.nsa_block_counts", [](ModelConfig& c) { c.nsa.block_counts = int64_t{1} << 57; }},
      {"model.nsa_block_size", [](ModelConfig& c) { c.nsa.block_size = INT64_MAX; }},
      {"model.kda_expand_v", [](ModelConfig& c) { c.kda.expand_v = 1e30; }},
      {"model.mla_kv_lora_rank", [](ModelConfig& c) { c.mla.kv_lora_rank = int64_t{1} << 62; }},
      {"model.intermediate_size", [](ModelConfig& c) { c.intermediate_size = int64_t{1} << 62; }},
      {"model.head_dim", [](ModelConfig& c) { c.head_dim = int64_t{1} << 62; }},
      {"model.dsa_topk", [](ModelConfig& c) { c.dsa.topk = INT64_MAX; }}};
  for (const auto& [field, change] : cases) {
    ModelConfig config;
    config.dim = 48;
    config.n_layers = 1;
    config.n_heads = 4;
    config.vocab_size = 10;
    change(config);
    try {
      validate_model(config);
      FAIL() << field;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(field), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace lt2
