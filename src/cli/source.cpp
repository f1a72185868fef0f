#include "cli/source.h"

#include <algorithm>
#include <charconv>

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
  // Without a tokenizer there is still a place where one is looked for: who needs it names the missing file.
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

std::string take_word(std::vector<std::string>& words, const std::string& key) {
  const auto is_key = [&](const std::string& word) { return word.rfind(key + "=", 0) == 0; };
  const auto found = std::find_if(words.begin(), words.end(), is_key);
  if (found == words.end()) return "";
  const auto value = found->substr(key.size() + 1);
  words.erase(found);
  LT2_CHECK(std::none_of(words.begin(), words.end(), is_key), "{} is given twice; keep one", key);
  return value;
}

std::string take_path(std::vector<std::string>& words, const std::string& key) {
  return expand_home(take_word(words, key), key);
}

std::vector<int64_t> parse_counts(const std::string& text, const std::string& key) {
  std::vector<int64_t> counts;
  for (size_t begin = 0; begin <= text.size();) {
    const auto comma = std::min(text.find(',', begin), text.size());
    const auto item = text.substr(begin, comma - begin);
    int64_t value = 0;
    const auto [end, error] = std::from_chars(item.data(), item.data() + item.size(), value);
    const bool kilo = end + 1 == item.data() + item.size() && (*end == 'k' || *end == 'K');
    LT2_CHECK(error == std::errc() && value >= 1 && (kilo || end == item.data() + item.size()),
              "{} must be numbers >= 1 with commas between, for example 1k,4k,32k; found \"{}\"", key, text);
    counts.push_back(kilo ? value * 1024 : value);
    begin = comma + 1;
  }
  return counts;
}

}  // namespace lt2
