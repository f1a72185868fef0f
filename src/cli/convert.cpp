// lt2 convert in=PATH out=DIR to=lt2|official|hf
#include "folders/write_model.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/output.h"
#include "base/units.h"
#include "cli/command.h"
#include "cli/options.h"
#include "config/convert_config.h"
#include "ops/dtype.h"

namespace lt2 {
namespace {

int run(const Arguments& arguments) {
  ConvertConfig config;
  const auto given = read_options(arguments.words, "convert", Others::kRefused, config);
  LT2_CHECK(!config.in.empty() && !config.out.empty() && !config.to.empty(),
            "lt2 convert: give in=PATH, out=DIR and to=lt2|official|hf; for example: lt2 convert in=runs/demo "
            "out=demo-hf to=hf");
  const WriteOptions options{.to = parse_form(config.to, "to"),
                             .dtype = parse_dtype(config.dtype, "dtype"),
                             .shard_bytes = static_cast<uint64_t>(config.shard_size)};
  const bool hf = options.to == FolderForm::kHf;
  if (!hf)
    refuse_without_effect(given, "convert", {"dtype", "shard_size"},
                          fmt::format("with to={}, which holds fp32 in one file", config.to));

  const auto checkpoint = open_model(config.in, {.training_state = true});
  write_model(checkpoint, config.out, options);
  int64_t parameters = 0;
  for (const auto& [name, tensor] : checkpoint.parameters) parameters += tensor.numel();
  print_out("{} ({})  ->  {} ({})\n", checkpoint.where.string(), form_name(checkpoint.form), config.out, config.to);
  print_out("weights          {} tensors, {} parameters\n", checkpoint.parameters.size(),
            human_count(static_cast<double>(parameters)));
  const bool moments = !checkpoint.training.optimizer.empty();
  print_out("optimizer state  {}\n", !moments ? "none in the source"
                                     : hf     ? "left out: hf holds weights only"
                                              : "converted");
  const bool state = checkpoint.training.loaders.has_value();
  print_out("data position    {}\n", !state ? "none in the source" : hf ? "left out: hf holds weights only" : "copied");
  if (options.to == FolderForm::kLt2 && !(moments && state)) {
    print_out("A run cannot be resumed from this; start one from its weights with checkpoint.init_ckpt_path={}\n",
              config.out);
  }
  return 0;
}

}  // namespace

Command convert_command() {
  return {.name = "convert",
          .summary = "move a checkpoint to PyTorch's or Hugging Face's form and back",
          .about =
              "Moves a checkpoint between three forms: lt2 (a step folder of a run), official (consolidated.pth and "
              "params.json as PyTorch saves them) and hf (config.json and safetensors in shards; models of type "
              "ouro in the layout of the published ones). What PATH is, is found out: a folder of one of these "
              "forms, a run's folder (its latest checkpoint) or a .pth file, in which nothing is executed.",
          .usage = {"convert in=PATH out=DIR to=lt2|official|hf [dtype=fp32|bf16] [shard_size=5GB]"},
          .examples = {"convert in=runs/demo out=demo-hf to=hf dtype=bf16"},
          .keys = {keys_with<ConvertConfig>("keys")},
          .run = run};
}

}  // namespace lt2
