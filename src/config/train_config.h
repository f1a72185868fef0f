#pragma once
// The configuration of a training run: official key names, one struct per group. Fields marked "ours" are extensions;
// the others are those of the official YAML files, which load unchanged.
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "config/fields.h"
#include "config/model_config.h"

namespace lt2 {

struct TokenizerConfig {
  std::string name = "bytes";
  std::optional<std::string> path;
  std::string specials = "lingua";

  bool operator==(const TokenizerConfig&) const = default;

  template <class Visit>
  void fields(Visit&& visit) {
    visit("name", name, defines_model(one_of({"bytes", "sp", "tiktoken", "hf"})), "kind of tokenizer");
    visit("path", path, any_path(), "its vocabulary file");
    visit("specials", specials, defines_model(one_of({"lingua", "llama3", "cl100k", "gpt2"})),
          "ours: names of tiktoken's special tokens");
  }
};

struct DataConfig {
  std::optional<std::string> root_dir;
  Weights sources;
  int64_t batch_size = 2, seq_len = 2048, n_views = 2, seed = 42;
  bool add_bos = true, add_eos = true, load_async = true;
  int64_t prefetch_size = 64;
  bool allow_unread_chunks = false;
  TokenizerConfig tokenizer;

  bool operator==(const DataConfig&) const = default;

  template <class Visit>
  void fields(Visit&& visit) {
    visit("root_dir", root_dir, any_path(), "folder of the sources");
    visit("sources", sources, Check{.min = 0, .path = true},
          "source: weight; a folder of *.chunk.*.jsonl files or (ours) one .txt or .jsonl file");
    visit("batch_size", batch_size, at_least(1), "sequences per rank and micro-step");
    visit("seq_len", seq_len, at_least(1), "tokens per sequence");
    visit("n_views", n_views, at_least(2), "shifted copies per sequence: inputs, labels");
    visit("seed", seed, at_least(0), "seed of source choice and shuffling");
    visit("add_bos", add_bos, any(), "begin every document with BOS");
    visit("add_eos", add_eos, any(), "end every document with EOS");
    visit("load_async", load_async, any(), "load in the background; the data is the same");
    visit("prefetch_size", prefetch_size, at_least(1), "batches in the shuffle buffer");
    visit("allow_unread_chunks", allow_unread_chunks, any(),
          "ours: a folder may have more chunk files than there are ranks; those left over are never read");
    visit("tokenizer", tokenizer, any(), "");
  }
};

struct OptimConfig {
  double lr = 3e-4, weight_decay = 0.1, epsilon = 1e-8, beta1 = 0.9, beta2 = 0.95, clip = 1.0;
  std::string scheduler = "cosine";
  int64_t warmup = 2000;
  double lr_min_ratio = 0.1, cycle_length = 1.0, cosine_theta = 1.0;
  int64_t annealing_step = 1000;
  double decay_fraction = 0.1, exp_factor = 0.5;
  std::string nan_policy = "stop";
  std::vector<std::string> decay_exempt;

  bool operator==(const OptimConfig&) const = default;

  template <class Visit>
  void fields(Visit&& visit) {
    visit("lr", lr, at_least(0), "peak learning rate");
    visit("weight_decay", weight_decay, at_least(0), "decoupled decay of all parameters");
    visit("epsilon", epsilon, above(0), "AdamW epsilon");
    visit("beta1", beta1, from_below(0, 1), "AdamW beta 1");
    visit("beta2", beta2, from_below(0, 1), "AdamW beta 2");
    visit("clip", clip, above(0), "largest norm of the whole gradient");
    visit("scheduler", scheduler, one_of({"constant", "linear", "inv_sqrt", "cosine", "wsd"}),
          "learning-rate schedule");
    visit("warmup", warmup, at_least(0), "steps from 0 to the peak");
    visit("lr_min_ratio", lr_min_ratio, within(0, 1), "floor as a share of lr");
    visit("cycle_length", cycle_length, above(0), "cosine, wsd: cycle as a share of the run");
    visit("cosine_theta", cosine_theta, above(0), "cosine: exponent on the progress");
    visit("annealing_step", annealing_step, ignored(), "never read");
    visit("decay_fraction", decay_fraction, at_least(0), "wsd: share of the cycle spent decaying");
    visit("exp_factor", exp_factor, any(), "inv_sqrt: exponent");
    visit("nan_policy", nan_policy, one_of({"stop", "skip"}), "ours: what a step with a non-finite gradient does");
    visit("decay_exempt", decay_exempt, any(),
          "ours: parameters without decay, as regular expressions (Ruby's) found in their names");
  }
};

struct DistributedConfig {
  int64_t dp_shard = 1, dp_replicate = 1, tp_size = 1;
  bool selective_activation_checkpointing = false, compile = false;
  std::string fsdp_type = "no_shard", model_dtype = "bf16";
  std::optional<std::string> float8_recipe;
  std::string float8_filter = "layers\\.[0-9]+\\.";
  bool matmul_allow_tf32 = false, detect_anomaly = false;
  int64_t compile_cache_size_limit = 8;
  std::string spawn_method = "forkserver";
  std::string activation_checkpointing = "none";
  double timeout_s = 600;

  bool operator==(const DistributedConfig&) const = default;

  template <class Visit>
  void fields(Visit&& visit) {
    visit("dp_shard", dp_shard, at_least(1), "ranks that share weights and optimizer state");
    visit("dp_replicate", dp_replicate, at_least(1), "replicas; corrected to fit the number of ranks");
    visit("tp_size", tp_size, at_least(1), "tensor parallel ranks");
    visit("selective_activation_checkpointing", selective_activation_checkpointing, any(),
          "recompute activations; here: activation_checkpointing layer");
    visit("compile", compile, ignored(), "torch.compile");
    visit("fsdp_type", fsdp_type, one_of({"no_shard", "full_shard", "zero1", "zero2"}),
          "what the ranks share out: nothing, weights and all, (ours) moments, moments and gradients");
    visit("model_dtype", model_dtype, defines_model(one_of({"fp32", "bf16"})),
          "type of the products; master weights are fp32");
    visit("float8_recipe", float8_recipe, ignored(one_of({"rowwise"})), "float8 products");
    visit("float8_filter", float8_filter, ignored(), "layers in float8");
    visit("matmul_allow_tf32", matmul_allow_tf32, ignored(), "TF32 products");
    visit("detect_anomaly", detect_anomaly, ignored(), "autograd debugging");
    visit("compile_cache_size_limit", compile_cache_size_limit, ignored(), "torch.compile");
    visit("spawn_method", spawn_method, ignored(), "how Python starts processes");
    visit("activation_checkpointing", activation_checkpointing, one_of({"none", "loop", "block", "layer"}),
          "ours: what is recomputed in the backward pass");
    visit("timeout_s", timeout_s, within(1, 1e6), "ours: seconds a rank waits for the others");
  }
};

struct EnvConfig {
  std::string MKL_SERVICE_FORCE_INTEL = "GNU", OMP_NUM_THREADS = "1", MKL_NUM_THREADS = "1",
              ENABLE_INTRA_NODE_COMM = "1";
  std::string TORCH_NCCL_AVOID_RECORD_STREAMS = "1", NCCL_IB_TIMEOUT = "22", NCCL_DEBUG = "INFO";
  std::string TORCH_NCCL_ASYNC_ERROR_HANDLING = "1";

  bool operator==(const EnvConfig&) const = default;

  template <class Visit>
  void fields(Visit&& visit) {
    visit("MKL_SERVICE_FORCE_INTEL", MKL_SERVICE_FORCE_INTEL, ignored(), "environment of the official program");
    // A GPU recipe's "1" must not throttle a CPU run: only the command line's value counts (Where::on_command_line).
    visit("OMP_NUM_THREADS", OMP_NUM_THREADS, ignored("set it on the command line to limit the threads"),
          "threads, from the command line only");
    visit("MKL_NUM_THREADS", MKL_NUM_THREADS, ignored(), "environment of the official program");
    visit("ENABLE_INTRA_NODE_COMM", ENABLE_INTRA_NODE_COMM, ignored(), "environment of the official program");
    visit("TORCH_NCCL_AVOID_RECORD_STREAMS", TORCH_NCCL_AVOID_RECORD_STREAMS, ignored(),
          "environment of the official program");
    visit("NCCL_IB_TIMEOUT", NCCL_IB_TIMEOUT, ignored(), "environment of the official program");
    visit("NCCL_DEBUG", NCCL_DEBUG, ignored(), "environment of the official program");
    visit("TORCH_NCCL_ASYNC_ERROR_HANDLING", TORCH_NCCL_ASYNC_ERROR_HANDLING, ignored(),
          "environment of the official program");
  }
};

struct SaveConfig {
  int64_t every = 1000, keep = 0;

  bool operator==(const SaveConfig&) const = default;

  template <class Visit>
  void fields(Visit&& visit) {
    visit("every", every, at_least(1), "save every n steps");
    visit("keep", keep, any(), "checkpoints of this kind to keep; 0 or less: all");
  }
};

struct CheckpointConfig {
  SaveConfig dump, eval;
  std::optional<std::string> path;
  std::optional<std::string> init_ckpt_path;
  bool continue_training_from_init = false;
  bool allow_model_change = false;

  bool operator==(const CheckpointConfig&) const = default;

  template <class Visit>
  void fields(Visit&& visit) {
    visit("dump", dump, any(), "");
    visit("eval", eval, any(), "");
    visit("path", path, any_path(), "folder of the checkpoints; null: dump_dir/checkpoints");
    visit("init_ckpt_path", init_ckpt_path, any_path(), "weights to start from");
    visit("continue_training_from_init", continue_training_from_init, ignored(), "never read");
    visit("allow_model_change", allow_model_change, any(),
          "ours: this start may use weights that were trained as another model of the same shapes");
  }
};

struct ProfilingConfig {
  bool run = false;
  std::string trace_folder = "profiling";
  int64_t mem_warmup = 100, mem_steps = 2, profile_warmup = 102, profile_steps = 2;

  bool operator==(const ProfilingConfig&) const = default;

  template <class Visit>
  void fields(Visit&& visit) {
    visit("run", run, any(), "write a Chrome trace of some steps");
    visit("trace_folder", trace_folder, any_path(), "where to, under dump_dir");
    visit("mem_warmup", mem_warmup, ignored("the trace holds memory, too"), "first step of the memory trace");
    visit("mem_steps", mem_steps, ignored("the trace holds memory, too"), "its steps");
    visit("profile_warmup", profile_warmup, at_least(0), "first step of the trace, from 0");
    visit("profile_steps", profile_steps, at_least(1), "its steps");
  }
};

struct LoggingConfig {
  int64_t freq = 10;
  std::optional<int64_t> acc_freq;
  ConfigTree wandb;

  bool operator==(const LoggingConfig&) const = default;

  template <class Visit>
  void fields(Visit&& visit) {
    visit("freq", freq, at_least(1), "log every n steps");
    visit("acc_freq", acc_freq, ignored(at_least(1), "a line a step, after the optimizer"),
          "also log every n micro-steps of those steps");
    visit("wandb", wandb,
          ignored(keys_of({"job_type",
                           "dir",
                           "project",
                           "entity",
                           "tags",
                           "group",
                           "name",
                           "notes",
                           "config_exclude_keys",
                           "config_include_keys",
                           "anonymous",
                           "mode",
                           "allow_val_change",
                           "resume",
                           "force",
                           "tensorboard",
                           "sync_tensorboard",
                           "monitor_gym",
                           "save_code",
                           "id",
                           "fork_from",
                           "resume_from"})),
          "Weights & Biases");
  }
};

/// Loss on held-back data while training; ours.
struct ValConfig {
  int64_t every = 0, steps = 10;
  std::optional<std::string> source;
  double fraction = 0.05;
  std::optional<std::string> prompt;
  int64_t sample_len = 200;

  bool operator==(const ValConfig&) const = default;

  template <class Visit>
  void fields(Visit&& visit) {
    visit("every", every, at_least(0), "ours: measure the validation loss every n steps; 0: never");
    visit("steps", steps, at_least(1), "ours: batches per measurement");
    visit("source", source, any_path(),
          "ours: a source as in data.sources; null: the text that val.fraction holds back");
    visit("prompt", prompt, verbatim_prose(),
          "ours: continue this text before and after training, into samples.json; null: no samples");
    visit("sample_len", sample_len, at_least(1), "ours: tokens of a sample");
    visit("fraction", fraction, from_below(0, 1), "ours: share at the end of each source file that is not trained on");
  }
};

struct TrainConfig {
  std::string name = "lingua", dump_dir;
  int64_t seed = 42, grad_acc_steps = 1, gc_collect_freq = 1000;
  std::optional<int64_t> probe_freq;
  int64_t steps = 1000;
  DataConfig data;
  OptimConfig optim;
  ModelConfig model;
  DistributedConfig distributed;
  EnvConfig env;
  CheckpointConfig checkpoint;
  ProfilingConfig profiling;
  LoggingConfig logging;
  ValConfig val;
  std::optional<int64_t> async_eval_gpus;
  ConfigTree eval;

  bool operator==(const TrainConfig&) const = default;

  template <class Visit>
  void fields(Visit&& visit) {
    visit("name", name, any(), "name of the run");
    visit("dump_dir", dump_dir, any_path(), "folder of the run; required");
    visit("seed", seed, at_least(0),
          "seed of the samples that val.prompt asks for; weights: model.seed, data: data.seed");
    visit("grad_acc_steps", grad_acc_steps, at_least(1), "micro-steps per optimizer step");
    visit("gc_collect_freq", gc_collect_freq, ignored(), "Python garbage collection");
    visit("probe_freq", probe_freq, ignored(at_least(1), "there is no activation probe"),
          "activation statistics every n steps");
    visit("steps", steps, at_least(1), "optimizer steps of the run");
    visit("data", data, any(), "");
    visit("optim", optim, any(), "");
    visit("model", model, defines_model(), "");
    visit("distributed", distributed, any(), "");
    visit("env", env, any(), "");
    visit("checkpoint", checkpoint, any(), "");
    visit("profiling", profiling, any(), "");
    visit("logging", logging, any(), "");
    visit("val", val, any(), "");
    visit("async_eval_gpus", async_eval_gpus, ignored(), "GPUs of separate evaluation jobs");
    visit("eval", eval, ignored("no task suites run while training; val.every measures the loss"),
          "evaluation while training");
  }
};

/// Messages of loading for the user. Print all of them once, at start.
struct Notes {
  std::vector<std::string> ignored;   // official keys without effect here: "eval=... (why)"; see ignored_line
  std::vector<std::string> unused;    // whole lines: keys without effect in this combination, from validate()
  std::vector<std::string> warnings;  // whole lines, without "warning:"
  Where where;
};

/// All of notes.ignored as one line, empty if there is none.
std::string ignored_line(const Notes& notes);

/// Defaults, then the YAML (or JSON) file, then the key=value arguments. This checks types, ranges and key names;
/// validate() checks how fields fit together. README spellings (mixer, gated_attn) and lingua's sliding_window become
/// canonical fields. The file's data.tokenizer.path is looked up next to the file first (located()). Throws lt2::Error
/// "FILE:LINE: model.dim must be an integer; found "abc"" or "command line: model.dim=abc: ...".
TrainConfig load_train_config(const std::string& file, const std::vector<std::string>& overrides,
                              Notes* notes = nullptr);

/// The same for text that is not in a file; `name` stands for the file.
TrainConfig parse_train_config(const std::string& text, const std::string& name,
                               const std::vector<std::string>& overrides, Notes* notes = nullptr);

/// The properties of the run's machine that decide what is valid.
struct ValidateOptions {
  int64_t world_size = 1;
  bool dry_run = false;  // nothing will be read: files of data and vocabulary that are missing are warnings
};

/// Checks everything that can be known before the first allocation; throws lt2::Error. Fills in the fields that follow
/// from others: heads, model.max_seqlen, checkpoint.path, distributed.dp_replicate, activation_checkpointing. `notes`
/// gives line numbers for errors and receives warnings and the keys without effect in this combination. A
/// model.vocab_size of -1 stays: the tokenizer knows the size.
void validate(TrainConfig& config, Notes* notes = nullptr, const ValidateOptions& options = {});

/// All fields in declaration order, under canonical names; reading either text back gives the same struct.
std::string to_yaml(const TrainConfig& config);
std::string to_json(const TrainConfig& config);

/// The path of a source of data.sources or val.source: under root_dir if it exists there, else as given. Throws
/// lt2::Error naming both places.
std::filesystem::path resolve_source(const DataConfig& config, const std::string& source);

}  // namespace lt2
