#pragma once
// What all code that generates text shares: a folder's model with its vocabulary and an engine, requests from a
// configuration, and sessions in files.
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/files.h"
#include "config/generate_config.h"
#include "folders/chat_source.h"
#include "folders/model_folder.h"
#include "infer/engine.h"
#include "tokenizer/tokenizer.h"

namespace lt2 {

struct SessionOptions {
  std::optional<int64_t> memory;  // bytes for weights, scratch, states and prefixes; none: what the machine has free
  int64_t slots = 1;              // sequences at once
  int64_t prefixes = 0;           // prompts and texts whose states are kept
};

class TextSession {
 public:
  /// Opens config.ckpt for inference. While this object lives it locks the session that config.state names: another
  /// process would overwrite what this one saves. Throws lt2::Error if anything does not fit, before anything large is
  /// loaded.
  TextSession(GenerateConfig config, const SessionOptions& options);

  const GenerateConfig& config() const { return config_; }
  LoopedTransformer& model() const { return *model_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  Engine& engine() const { return *engine_; }
  const std::string& where() const { return where_; }
  const GenerationDefaults& generation() const { return generation_; }
  /// The folder's chat template; null: it has none, or config.chat is not set.
  const ChatSource* chat() const { return chat_ ? &*chat_ : nullptr; }
  /// Whether BOS stands before the first text.
  bool add_bos() const { return add_bos_; }

  /// The tokens of `text` after those of `before`: BOS stands only at the start, and a later text is encoded as a
  /// continuation.
  std::vector<int32_t> tokens_after(const std::vector<int32_t>& before, const std::string& text) const;
  /// A request as the configuration says, for sample number `index`. Throws lt2::Error if the prompt is too long.
  GenerateRequest request(std::vector<int32_t> prompt, int64_t index = 0) const;
  const std::vector<int32_t>& stop_tokens() const { return stop_tokens_; }
  bool is_stop(int32_t token) const;
  /// More tokens that end an answer.
  void stop_at(const std::vector<int32_t>& tokens);
  /// Runs until all is done; a signal cancels the requests.
  void run(const std::vector<Engine::Id>& requests) const;

  /// The tokens of the session in config.state; none if there is no such file yet.
  std::vector<int32_t> resume() const;
  /// Writes the session of these tokens to config.state, if that is set.
  void keep(const std::vector<int32_t>& tokens) const;

 private:
  GenerateConfig config_;
  std::unique_ptr<FileLock> lock_;
  std::string where_;
  GenerationDefaults generation_;
  std::optional<ChatSource> chat_;
  bool add_bos_ = false;
  std::shared_ptr<LoopedTransformer> model_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::vector<int32_t> stop_tokens_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace lt2
