// lt2 inspect ckpt=DIR | config=FILE | machine
#include <fmt/format.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <set>

#include "base/cpu.h"
#include "base/error.h"
#include "base/files.h"
#include "base/output.h"
#include "base/threads.h"
#include "base/units.h"
#include "cli/command.h"
#include "cli/options.h"
#include "cli/source.h"
#include "config/inspect_config.h"
#include "measure/speed.h"
#include "model/accounting.h"
#include "ops/simd/byte_unit.h"
#include "ops/simd/isa.h"
#include "ops/simd/tile_unit.h"

namespace lt2 {
namespace {

int inspect_machine(const std::vector<std::string>& words) {
  InspectMachineConfig config;
  read_options(words, "inspect machine", Others::kRefused, config);
  const auto& cpu = cpu_info();
  const auto yes = [](bool has) { return has ? "yes" : "no"; };
  const auto isa = kernel_isa();
  const double memory = static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
  print_out("processor        {}\n", cpu.name);
  print_out("cores allowed    {} (threads in use: {})\n", allowed_cores(), num_threads());
  print_out("caches           L1 {}, L2 {} a core, L3 {}\n", human_bytes(static_cast<double>(cpu.l1_bytes)),
            human_bytes(static_cast<double>(cpu.l2_bytes)), human_bytes(static_cast<double>(cpu.l3_bytes)));
  print_out("memory           {}\n", human_bytes(memory));
  print_out("instructions     AVX2 {}, AVX-512 {}, AVX-512-VNNI {}, AVX-512-BF16 {}, AMX-BF16 {}, AMX-INT8 {}\n",
            yes(cpu.avx2), yes(cpu.avx512), yes(cpu.avx512_vnni), yes(cpu.avx512_bf16), yes(cpu.amx_bf16),
            yes(cpu.amx_int8));
  print_out("CUDA             {}\n\n", torch::cuda::is_available() ? "yes" : "no");
  print_out("{:<44} {}\n", "operation", "uses");
  for (const char* op :
       {"linear fp32", "linear_recurrence", "causal_attention", "rms_norm, short_conv, rope, swiglu, AdamW"}) {
    print_out("{:<44} {}, fp32 multiply-adds\n", op, isa);
  }
  const std::string bf16 = tile_unit() ? std::string(tile_unit()->name) : isa + ", bf16 widened to fp32 multiply-adds";
  print_out("{:<44} {}\n", "linear bf16", bf16);
  const ByteUnit* unit = byte_unit(kManyByteRows);
  print_out("{:<44} {}\n\n", "linear bf16, int8 or int4 weights",
            unit ? std::string(unit->name) : isa + ", weights widened to fp32 multiply-adds");
  const auto limits = measure_machine();
  print_out("measured         {}, {} threads\n", limits.text(), num_threads());
  if (!config.output.empty()) {
    const nlohmann::ordered_json json{{"cpu", cpu.name},
                                      {"cores", allowed_cores()},
                                      {"threads", num_threads()},
                                      {"isa", isa},
                                      {"memory_bytes", memory},
                                      {"fma_gflops", limits.fma_gflops},
                                      {"bf16_gflops", limits.bf16_gflops},
                                      {"bf16_register_gflops", limits.bf16_register_gflops},
                                      {"byte_gflops", limits.byte_gflops},
                                      {"byte_register_gflops", limits.byte_register_gflops},
                                      {"read_gbps", limits.read_gbps}};
    write_file_atomically(config.output, json.dump(2) + "\n");
  }
  return 0;
}

void print_parts(const LoopedTransformer& model) {
  const double total = static_cast<double>(parameter_count(model));
  print_out("parameters\n");
  for (const auto& [name, count] : parameters_by_part(model)) {
    print_out("  {:<28} {:>16} {:>6.1f} %\n", name, count, 100 * static_cast<double>(count) / total);
  }
  print_out("  {:<28} {:>16}\n", "total", parameter_count(model));
}

int inspect_model(const ModelSource& source) {
  const auto& model = *source.model;
  const auto& config = model.config();
  print_out("model            {}\n", source.where);
  print_out("layout           {} loops x {} layers = effective depth {}; layer_pattern {}, attention_pattern \"{}\"\n",
            config.loop_count, config.n_layers, effective_depth(model), config.layer_pattern, config.attention_pattern);
  if (config.model_type == "ouro") {
    const auto exit = config.early_exit_step ? fmt::format("of loop {}, counted from 0", *config.early_exit_step)
                      : config.early_exit_threshold
                          ? fmt::format("of the first loop with exit probability {}", *config.early_exit_threshold)
                          : "of the last loop";
    print_out(
        "family           ouro: norms after mixer and FFN, the last norm in every loop, an exit gate; logits {}\n",
        exit);
  }
  std::string types;
  for (const auto& layer : model.layers) types += (types.empty() ? "" : " ") + layer->type;
  print_out("layers           {}\n", types);
  print_out("sizes            dim {}, heads {} ({} for keys), head_dim {}, feed-forward {}, vocabulary {}\n\n",
            config.dim, *config.n_heads, *config.n_kv_heads, *config.head_dim, ffn_hidden_dim(config),
            config.vocab_size);
  print_parts(model);

  print_out("\n{:<10} {:>20} {:>14} {:>14} {:>20}\n", "context", "FLOPs/token forward", "state fp32", "state bf16",
            "read/token bf16");
  for (const int64_t context : {1024, 4096, 8192, 32768, 65536}) {
    const auto bytes = [](int64_t b) { return human_bytes(static_cast<double>(b)); };
    print_out("{:<10} {:>20} {:>14} {:>14} {:>20}\n", context, human_count(forward_flops_per_token(model, context)),
              bytes(state_bytes(model, context, torch::kFloat32)), bytes(state_bytes(model, context, torch::kBFloat16)),
              human_bytes(weight_bytes_per_token(model, torch::kBFloat16) +
                          static_cast<double>(state_traffic_bytes(model, context, torch::kBFloat16))));
  }
  print_out("\nstate of one layer call, fp32\n");
  std::set<std::string> shown;
  for (const auto& layer : model.layers) {
    if (!shown.insert(layer->type).second) continue;
    const auto bytes = [&](int64_t tokens) {
      return human_bytes(static_cast<double>(layer->mixer->state_bytes(tokens, {}, torch::kFloat32)));
    };
    print_out("  {:<10} {:>12} after 1k tokens, {:>12} after 32k, without a window\n", layer->type, bytes(1024),
              bytes(32768));
  }
  const auto& data = source.config.data;
  print_out("\ntraining memory  batch {} x {} tokens\n", data.batch_size, data.seq_len);
  const auto memory = training_memory(model, data.batch_size, data.seq_len, model.compute_type);
  const auto line = [](const char* name, int64_t bytes) {
    print_out("  {:<28} {:>16}\n", name, human_bytes(static_cast<double>(bytes)));
  };
  line("weights", memory.weights);
  line("packed weights", memory.packed);
  line("gradients", memory.gradients);
  line("AdamW moments", memory.moments);
  line("activations of all loops", memory.activations);
  line("total", memory.total());
  return 0;
}

int run(const Arguments& arguments) {
  const auto& words = arguments.words;
  LT2_CHECK(!words.empty(), "lt2 inspect: give ckpt=DIR, config=FILE or machine");
  if (words[0] == "machine") return inspect_machine({words.begin() + 1, words.end()});
  InspectConfig config;
  const auto options = read_options(words, "inspect", Others::kTrainingKeys, config);
  return inspect_model(model_source(config.ckpt, config.config, options.training_keys, std::nullopt));
}

}  // namespace

Command inspect_command() {
  return {.name = "inspect",
          .summary = "what a model weighs and costs, or what this machine can do",
          .about =
              "Prints a model's parameters by part, effective depth, FLOPs per token, state bytes per context length "
              "and memory plan. `inspect machine` prints what this processor has, what each operation will use, "
              "and the measured limits.",
          .usage = {"inspect ckpt=DIR", "inspect config=FILE [key.sub=value ...]", "inspect machine [output=FILE]"},
          .examples = {"inspect config=configs/tiny/hybrid.yaml"},
          .keys = {keys_with<InspectConfig>("keys"), keys_with<InspectMachineConfig>("keys of inspect machine")},
          .run = run,
          .takes_training_keys = true};
}

}  // namespace lt2
