#include "folders/companions.h"

#include <algorithm>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "config/tokenizer_path.h"
#include "tokenizer/tokenizer.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

constexpr const char *kHfVocabulary = "tokenizer.json", *kOtherVocabulary = "tokenizer.model",
                     *kGeneration = "generation_config.json";
// The one list. With a tokenizer.json go the names of its special tokens, its chat template, and its parts for other
// programs.
constexpr const char* kBesideVocabulary[] = {
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
};

// The file of a vocabulary, and the name that it has next to weights.
struct Vocabulary {
  fs::path file;
  std::string name;
};
std::optional<Vocabulary> vocabulary_of(const std::optional<TokenizerConfig>& tokenizer) {
  if (!tokenizer || !tokenizer->path || tokenizer->name == "bytes") return std::nullopt;
  const fs::path path = *tokenizer->path;
  if (tokenizer->name != "hf") return Vocabulary{path, kOtherVocabulary};
  std::error_code none;
  return Vocabulary{fs::is_directory(path, none) ? path / kHfVocabulary : path, kHfVocabulary};
}

void add(Companions& out, const fs::path& file, const std::string& name) {
  std::error_code none;  // what cannot be looked at is not there
  if (fs::is_regular_file(file, none) && !out.find(name)) out.files.emplace_back(name, read_file(file));
}

void take_marks(Companions& out, const TokenizerConfig& tokenizer) {
  const auto opened = make_tokenizer(tokenizer.name, tokenizer.path, tokenizer.specials);
  out.bos_id = opened->bos_id();
  out.eos_id = opened->eos_id();
  out.pad_id = opened->pad_id();
}

void take_vocabulary(Companions& out, const TokenizerConfig& tokenizer) {
  out.tokenizer = tokenizer;
  const auto vocabulary = vocabulary_of(tokenizer);
  if (!vocabulary) return;
  add(out, vocabulary->file, vocabulary->name);
  if (!out.find(vocabulary->name)) return;
  out.tokenizer->path = vocabulary->name;
  if (vocabulary->name != kHfVocabulary) return;
  for (const char* name : kBesideVocabulary) add(out, vocabulary->file.parent_path() / name, name);
}

}  // namespace

const std::string* Companions::find(const std::string& name) const {
  const auto found = std::find_if(files.begin(), files.end(), [&](const auto& file) { return file.first == name; });
  return found == files.end() ? nullptr : &found->second;
}

void Companions::write(const fs::path& folder) const {
  for (const auto& [name, content] : files) write_file_atomically(folder / name, content);
}

TrainConfig Companions::beside(TrainConfig config) const {
  if (tokenizer) config.data.tokenizer = *tokenizer;
  return config;
}

std::optional<TokenizerConfig> find_tokenizer(const fs::path& folder, const std::optional<TrainConfig>& run) {
  const auto named = run ? std::optional(located(run->data.tokenizer, folder)) : std::nullopt;
  if (named && *named != run->data.tokenizer) return named;
  std::error_code none;
  if (fs::exists(folder / kHfVocabulary, none))
    return TokenizerConfig{.name = "hf", .path = (folder / kHfVocabulary).string(), .specials = "lingua"};
  return named;
}

std::vector<std::string> companion_names() {
  std::vector<std::string> names{kHfVocabulary, kOtherVocabulary, kGeneration};
  names.insert(names.end(), std::begin(kBesideVocabulary), std::end(kBesideVocabulary));
  return names;
}

Companions companions_of(const fs::path& folder, const std::optional<TokenizerConfig>& tokenizer) {
  Companions out;
  const auto vocabulary = vocabulary_of(tokenizer);
  std::error_code none;  // of a path that is not there
  const bool inside = !vocabulary || fs::equivalent(fs::absolute(vocabulary->file).parent_path(),
                                                    fs::absolute(folder / "x").parent_path(), none);
  try {
    if (tokenizer) take_marks(out, *tokenizer);
    if (tokenizer) take_vocabulary(out, *tokenizer);
  } catch (const Error& error) {
    log_warning("{}; what is written can make no text", error.what());
    if (tokenizer && inside) take_vocabulary(out, *tokenizer);
  }
  add(out, folder / kGeneration, kGeneration);
  // Other files there belong to the model, but not to a vocabulary from elsewhere.
  if (!inside) return out;
  for (const char* name : {kHfVocabulary, kOtherVocabulary}) add(out, folder / name, name);
  for (const char* name : kBesideVocabulary) add(out, folder / name, name);
  return out;
}

Companions companions_of_run(const TokenizerConfig& tokenizer) {
  Companions out;
  take_vocabulary(out, tokenizer);
  return out;
}

}  // namespace lt2
