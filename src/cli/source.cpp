#include "cli/source.h"

#include "base/error.h"
#include "base/log.h"
#include "folders/packed_folder.h"
#include "ops/dtype.h"
#include "tokenizer/tokenizer.h"

namespace lt2 {
namespace {

ModelSource source_of(const ModelFolder& folder, std::shared_ptr<LoopedTransformer> model) {
  ModelSource out{
      .model = std::move(model), .config = folder.run_config(), .where = folder.where.string(), .trained = true};
  // Without a tokenizer the path names the missing file: an error of code that needs the vocabulary then shows it.
  if (!folder.tokenizer)
    out.config.data.tokenizer = {
        .name = "hf", .path = (folder.where / "tokenizer.json").string(), .specials = "lingua"};
  return out;
}

}  // namespace

ModelSource model_source(const std::string& ckpt, const std::string& config_file,
                         const std::vector<std::string>& overrides, const std::optional<std::string>& dtype) {
  LT2_CHECK(!ckpt.empty() || !config_file.empty() || overrides.empty(),
            "unexpected argument {}; give ckpt=DIR (trained weights) or config=FILE (initial weights)",
            overrides.empty() ? "" : overrides[0]);
  LT2_CHECK(ckpt.empty() != config_file.empty(),
            "give either ckpt=DIR (trained weights) or config=FILE (initial weights)");
  const auto type = dtype ? std::optional(parse_dtype(*dtype, "dtype")) : std::nullopt;
  if (!ckpt.empty()) {
    LT2_CHECK(overrides.empty(), "unknown key {}; a checkpoint's configuration cannot be overridden",
              overrides.empty() ? "" : overrides[0]);
    const auto folder = open_model(ckpt);
    return source_of(folder,
                     folder.packed ? load_packed(folder, {}, type.value_or(folder.dtype)) : load_masters(folder, type));
  }
  Notes notes;
  ModelSource out{.model = nullptr,
                  .config = load_train_config(config_file, overrides, &notes),
                  .where = config_file,
                  .trained = false};
  for (const auto& line : notes.warnings) log_warning("{}", line);
  if (out.config.model.vocab_size < 0) {
    out.config.model.vocab_size = make_tokenizer(out.config.data.tokenizer.name, out.config.data.tokenizer.path,
                                                 out.config.data.tokenizer.specials)
                                      ->n_words();
  }
  validate_model(out.config.model, notes.where);
  out.model = std::make_shared<LoopedTransformer>(out.config.model);
  out.model->initialise();
  out.model->compute_type =
      type ? *type : parse_dtype(out.config.distributed.model_dtype, config_file + ": distributed.model_dtype");
  return out;
}

}  // namespace lt2
