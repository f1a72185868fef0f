// lt2 quantize ckpt=DIR weights=int8 out=DIR: packs weights once and measures the loss of quality.
#include <fmt/format.h>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/output.h"
#include "base/units.h"
#include "base/utf8.h"
#include "cli/command.h"
#include "cli/options.h"
#include "config/quantize_config.h"
#include "folders/packed_folder.h"
#include "measure/quality.h"
#include "model/accounting.h"
#include "ops/dtype.h"
#include "tokenizer/tokenizer.h"

namespace lt2 {
namespace {

std::string size_of(const LoopedTransformer& model) {
  return human_bytes(static_cast<double>(served_bytes(model, model.compute_type)));
}

void measure(const QuantizeConfig& config, const ModelFolder& folder, LoopedTransformer& model) {
  LT2_CHECK(folder.tokenizer, "{}: there is no tokenizer.json, so no text can be measured; leave out text",
            folder.where.string());
  const auto tokenizer = make_tokenizer(folder.tokenizer->name, folder.tokenizer->path, folder.tokenizer->specials);
  auto tokens = tokenizer->encode(without_byte_order_mark(read_stream(*config.text)), folder.add_bos, false);
  LT2_CHECK(tokens.size() >= 2, "{}: holds no text", *config.text);
  tokens.resize(std::min(tokens.size(), static_cast<size_t>(config.tokens)));
  const auto reference = load_packed(folder, WeightFormat::kBf16, model.compute_type);
  const auto quality = compare_quality(*reference, model, tokens, config.window);
  print_out("{} tokens of {}, windows of {}\n", quality.tokens, *config.text, config.window);
  print_out("{:<8} {:>12} {:>14} {:>12} {:>18}\n", "weights", "bytes", "perplexity", "KL (nats)", "same first choice");
  print_out("{:<8} {:>12} {:>14.4f} {:>12} {:>18}\n", "bf16", size_of(*reference), quality.reference_perplexity(), "",
            "");
  print_out("{:<8} {:>12} {:>14.4f} {:>12.5f} {:>17.2f}%\n", config.weights, size_of(model), quality.perplexity(),
            quality.divergence, 100 * quality.same_first_choice);
}

int run(const Arguments& arguments) {
  QuantizeConfig config;
  const auto options = read_options(arguments.words, "quantize", Others::kRefused, config);
  LT2_CHECK(!config.ckpt.empty(), "quantize: ckpt=DIR is required: a checkpoint or a model folder");
  LT2_CHECK(!config.out.empty() || config.text,
            "quantize: there is nothing to do; give out=DIR, a folder to write, or text=FILE, a text to measure on");
  LT2_CHECK(config.out.empty() || !std::filesystem::exists(config.out),
            "quantize: {} exists already; name a folder that does not", config.out);
  if (!config.text) refuse_without_effect(options, "quantize", {"tokens", "window"}, "without text=FILE to measure on");
  const auto folder = open_model(config.ckpt);
  LT2_CHECK(!folder.packed, "quantize: {}: holds {} weights already; take the folder they were made from", config.ckpt,
            weight_format_name(folder.format));
  const auto format = parse_weight_format(config.weights, "weights");
  const auto model = load_packed(folder, format, parse_dtype(config.dtype, "dtype"));
  if (!config.out.empty()) {
    write_packed_folder(config.out, *model, format, folder);
    log_info("{}: {} of {} weights", config.out, size_of(*model), config.weights);
  }
  if (config.text) measure(config, folder, *model);
  return 0;
}

}  // namespace

Command quantize_command() {
  return {
      .name = "quantize",
      .summary = "pack a model's weights for inference: bf16, int8, int4",
      .about =
          "Packs a model's weights in the form they are multiplied in. The folder it writes opens in no time (it is "
          "mapped, not read) and processes that run it share its pages; every command that generates takes it "
          "as ckpt=. With text= it also measures perplexity and KL divergence against bf16 weights. Gates stay "
          "in bf16, and with int4 the output is in int8.",
      .usage = {"quantize ckpt=DIR weights=bf16|int8|int4 out=DIR [text=FILE] [key=value ...]"},
      .examples = {"quantize ckpt=runs/demo weights=int4 out=runs/demo-int4 text=tests/data/prose.txt"},
      .keys = {keys_with<QuantizeConfig>("keys")},
      .run = run};
}

}  // namespace lt2
