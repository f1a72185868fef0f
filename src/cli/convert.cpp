// lt2 convert in=PATH out=DIR to=lt2|official|hf
#include "folders/write_model.h"

#include <fmt/format.h>

#include <charconv>

#include "base/error.h"
#include "base/output.h"
#include "base/units.h"
#include "cli/command.h"
#include "cli/source.h"
#include "ops/dtype.h"

namespace lt2 {
namespace {

std::string help() {
  return "usage: lt2 convert in=PATH out=DIR to=lt2|official|hf [dtype=fp32|bf16] [shard_size=5GB]\n\n"
         "Moves a checkpoint between three forms: lt2 (a step folder of a run), official (consolidated.pth and "
         "params.json as PyTorch saves them) and\n"
         "hf (config.json and safetensors, in shards of at most shard_size; models of type ouro in the layout of the "
         "published ones). What PATH is, is found out: a folder of "
         "one of these forms, a run's\n"
         "folder (its latest checkpoint) or a .pth file. Nothing in a .pth file is executed. dtype and shard_size are "
         "hf's; the other forms hold\n"
         "fp32 and the optimizer's state too.\n\n"
         "example: lt2 convert in=runs/demo out=demo-hf to=hf dtype=bf16\n";
}

// "5GB", "500MB", "4096": decimal units, as on the hub.
uint64_t parse_bytes(const std::string& text, const std::string& key) {
  uint64_t value = 0, unit = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string suffix(end, text.data() + text.size());
  if (suffix.empty() || suffix == "B") unit = 1;
  if (suffix == "KB") unit = 1'000;
  if (suffix == "MB") unit = 1'000'000;
  if (suffix == "GB") unit = 1'000'000'000;
  uint64_t bytes = 0;
  LT2_CHECK(error == std::errc() && unit > 0 && value > 0 && !__builtin_mul_overflow(value, unit, &bytes),
            "{} must be a number of bytes such as 5GB, 500MB or 4096; found \"{}\"", key, text);
  return bytes;
}

int run(const Arguments& arguments) {
  auto words = arguments.words;
  const auto in = take_path(words, "in"), out = take_path(words, "out"), to = take_word(words, "to"),
             dtype = take_word(words, "dtype"), shard_size = take_word(words, "shard_size");
  LT2_CHECK(words.empty(), "lt2 convert: unexpected argument {}; usage: lt2 convert in=PATH out=DIR to=lt2|official|hf",
            words.empty() ? "" : words[0]);
  LT2_CHECK(!in.empty() && !out.empty() && !to.empty(),
            "lt2 convert: give in=PATH, out=DIR and to=lt2|official|hf; for example: lt2 convert in=runs/demo "
            "out=demo-hf to=hf");
  WriteOptions options{.to = parse_form(to, "to")};
  const bool hf = options.to == FolderForm::kHf;
  LT2_CHECK(hf || (dtype.empty() && shard_size.empty()),
            "lt2 convert: {} goes with to=hf; the {} form holds fp32 in one file",
            dtype.empty() ? "shard_size" : "dtype", to);
  if (!dtype.empty()) options.dtype = parse_dtype(dtype, "dtype");
  if (!shard_size.empty()) options.shard_bytes = parse_bytes(shard_size, "shard_size");

  const auto checkpoint = open_model(in, {.training_state = true});
  write_model(checkpoint, out, options);
  int64_t parameters = 0;
  for (const auto& [name, tensor] : checkpoint.parameters) parameters += tensor.numel();
  print_out("{} ({})  ->  {} ({})\n", checkpoint.where.string(), form_name(checkpoint.form), out, to);
  print_out("weights          {} tensors, {} parameters\n", checkpoint.parameters.size(),
            human_count(static_cast<double>(parameters)));
  const bool moments = !checkpoint.training.optimizer.empty();
  print_out("optimizer state  {}\n", !moments ? "none in the source"
                                     : hf     ? "left out: hf holds weights only"
                                              : "converted");
  const bool state = checkpoint.training.loaders.has_value();
  print_out("data position    {}\n", !state ? "none in the source" : hf ? "left out: hf holds weights only" : "copied");
  if (options.to == FolderForm::kLt2 && !(moments && state)) {
    print_out("A run cannot be resumed from this; start one from its weights with checkpoint.init_ckpt_path={}\n", out);
  }
  return 0;
}

}  // namespace

Command convert_command() {
  return {"convert", "move a checkpoint to PyTorch's or Hugging Face's form and back", help, run, {}};
}

}  // namespace lt2
