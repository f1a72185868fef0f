#pragma once
// What generating commands share: a model with its tokenizer behind an engine.
#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/source.h"
#include "config/generate_config.h"
#include "infer/engine.h"
#include "tokenizer/tokenizer.h"

namespace lt2 {

struct Inference {
  ModelSource source;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<Engine> engine;
  std::vector<int32_t> stop_tokens;

  /// A request as the configuration says, for sample number `index`.
  GenerateRequest request(const GenerateConfig& config, std::vector<int32_t> prompt, int64_t index) const;
  bool is_stop(int32_t token) const;
  /// The session that state= names: its tokens, none if there is no such file yet.
  std::vector<int32_t> resume(const GenerateConfig& config) const;
  /// Writes the session of these tokens to state=, if that is given.
  void keep(const GenerateConfig& config, const std::vector<int32_t>& tokens) const;
  /// Runs until all is done; a signal cancels the requests.
  void run(const std::vector<Engine::Id>& requests) const;
};

/// The session that state= names is this process's alone while the lock is held: another one would save over what this
/// one says. Null without state=. Throws lt2::Error unless it names a file that can be written. Call before anything
/// slow.
std::unique_ptr<FileLock> claim_session(const GenerateConfig& config);

/// Opens what `config` names; `slots` sequences at once, `prefixes` kept. `memory` is the value of --memory, or empty.
Inference open_inference(const GenerateConfig& config, const std::string& memory, int64_t slots, int64_t prefixes);

/// Speed, state, exits and drafts in one or two lines on standard error.
void log_speed(const Engine& engine, const GenerateResult& result, size_t prompt_tokens);

/// A conversation in the terminal, until the end of the input.
int chat(const GenerateConfig& config, const std::string& memory);

}  // namespace lt2
