#pragma once
// The engine generates text for users: requests run in slots, and each pass over the weights serves all of them.
//
// A pass holds the next token of every sequence that decodes and at most one prefill chunk, so that a long prompt does
// not delay the others. A chunk holds the next part of one prompt, and whole or partial further prompts while they fit;
// if no sequence decodes, the chunk is large. A request's result depends only on its own tokens, options and seed:
// products and states have the same bits whatever else is in the pass, and prompts are cut at absolute multiples of 64
// tokens.
//
// Loop self-speculation: the first loops and the shared head draft tokens; one pass of the remaining loops over all
// drafts verifies them (the drafts wait before the remaining loops, see ExitRule::defer, so nothing is computed twice).
// Drafts are accepted by speculative sampling: the text has the same distribution as without drafts. Source: arXiv
// 2211.17192.
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "infer/memory_plan.h"
#include "infer/prefix_store.h"
#include "infer/sampler.h"

namespace lt2 {

struct Speculation {
  int64_t loops = 1;   // that draft
  int64_t tokens = 4;  // drafted before each verification
};

/// "loops:1,k:4". Throws lt2::Error naming `field`.
Speculation parse_speculation(const std::string& text, const std::string& field);

struct EngineOptions {
  int64_t slots = 1;            // sequences at once
  int64_t memory = 0;           // bytes for weights, scratch, states and prefixes; 0: no limit
  int64_t prefixes = 0;         // prompts and texts whose states are kept for later requests
  int64_t prefill_chunk = 256;  // tokens of prompts in a pass that also decodes, a multiple of 64
  ExitRule exit;
  std::optional<Speculation> speculate;
  bool scores = false;  // requests may ask for scores: scratch for kLogitRows rows of logits
};

/// Tokens of prompts in a pass that does not decode.
inline constexpr int64_t kPrefillChunk = 2048;

struct GeneratedToken {
  int32_t id;
  double log_probability = 0;                         // of the model, before penalties and cuts; with `logprobs`
  std::vector<std::pair<int32_t, double>> likeliest;  // the `logprobs` likeliest, likewise
  int64_t exit = 0;                                   // the loop that gave its logits
};

/// Called with each token as soon as it is drawn; false ends the generation.
using TokenHook = std::function<bool(const GeneratedToken& token)>;

struct GenerateRequest {
  std::vector<int32_t> prompt;  // at least one token
  int64_t max_gen_len = 512;
  std::vector<int32_t> stop_tokens;  // end after one of these (it is returned)
  SamplingOptions sampling;
  uint64_t seed = 0;
  std::optional<int64_t> logprobs;  // log probabilities of each token and of this many likeliest ones
  /// Scores the prompt's own tokens from this one on (>= 1: no token precedes the first): GenerateResult::scored. With
  /// it max_gen_len may be 0.
  std::optional<int64_t> score_from = {};
  /// Gets the logits fp32 [n, vocab] that the scores come from, in the order of the tokens, n <= kLogitRows at a time.
  /// What it throws leaves step(), after which the engine must not be used.
  std::function<void(const torch::Tensor& logits)> on_score_logits = {};
  TokenHook on_token = {};
};

/// The score of one token of a prompt.
struct ScoredToken {
  int32_t id;
  double log_probability = 0;                         // of the model, given all tokens before it
  bool greedy = false;                                // it was the likeliest (of equals the one with the smallest id)
  std::vector<std::pair<int32_t, double>> likeliest;  // with `logprobs`
  int64_t exit = 0;                                   // the loop that gave the logits
};

enum class Finish { kStop, kLength, kHook, kCancelled };

struct GenerateResult {
  std::vector<GeneratedToken> tokens;  // the generated ones
  std::vector<ScoredToken> scored;     // of the prompt, from `score_from` on
  Finish finish = Finish::kLength;
  int64_t reused_tokens = 0;           // of the prompt, not read again
  double prefill_s = 0, decode_s = 0;  // decode_s: of tokens.size() - 1 tokens, the first comes out of the prefill
  int64_t state_bytes = 0;             // at the end

  std::vector<int32_t> ids() const;
};

/// What an engine has done so far.
struct EngineCounts {
  int64_t passes = 0;
  std::vector<int64_t> exits;         // tokens by the loop they were drawn from
  int64_t drafted = 0, accepted = 0;  // tokens
  int64_t gave_up_drafting = 0;       // requests that stopped, because drafts did not pay
};

class Engine {
 public:
  using Id = int64_t;

  /// `model` must outlive the engine, and only the engine may use it meanwhile. Throws lt2::Error if the model does not
  /// fit the memory, or cannot do what the options ask.
  Engine(LoopedTransformer& model, const EngineOptions& options);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Queues a request. Throws lt2::Error with the numbers if it can never fit, and for tokens outside the vocabulary.
  Id submit(GenerateRequest request);
  /// Ends a request after the current pass; its result is what it has so far.
  void cancel(Id id);
  /// Admits the requests that fit and runs one pass. False: there was nothing to do.
  bool step();
  /// Runs until nothing is left to do.
  void run();
  bool finished(Id id) const;
  /// The result of a finished request, once.
  GenerateResult take(Id id);

  /// Writes the state after `tokens` to a file, and first reads those of them whose state is not known. Returns how
  /// many tokens the file holds: all, unless the memory does not allow it. Throws lt2::Error if there is no such state
  /// (prefixes = 0).
  int64_t save(const std::filesystem::path& path, const std::vector<int32_t>& tokens);
  /// Later requests that begin with the file's tokens continue from there. Returns these tokens.
  std::vector<int32_t> load(const std::filesystem::path& path);

  const EngineCounts& counts() const { return counts_; }
  const MemoryPlan& plan() const { return plan_; }
  const ExitRule& exit_rule() const { return options_.exit; }
  /// Bytes that one request needs for its state, at most.
  int64_t request_bytes(int64_t prompt_tokens, int64_t max_gen_len) const;

 private:
  struct Sequence;
  using Running = std::vector<std::unique_ptr<Sequence>>;

  void admit();
  bool start(Sequence& sequence);
  struct Members {  // of a pass
    std::vector<Sequence*> sequences;
    std::vector<Continuation> next;  // one each
  };
  Members gather(const std::vector<Sequence*>& decoding, const std::vector<Sequence*>& reading, int64_t room);
  void speculate(const std::vector<Sequence*>& drafting, const Members& others);
  void plain_pass(const Members& members);
  std::optional<Continuation> next_of(Sequence& sequence, int64_t room);
  void took(Sequence& sequence, const Continued& result);
  void begin_text(Sequence& sequence);
  void next_token(Sequence& sequence);
  void score(Sequence& sequence, const torch::Tensor& logits, const std::vector<int64_t>& exits);
  void verify(Sequence& sequence, const Continued& result);
  bool emit(Sequence& sequence, int32_t token, const float* logits, int64_t exit);
  void retire();
  void keep(Sequence& sequence);
  int64_t committed() const;
  torch::Tensor as_tokens(const int32_t* ids, int64_t count) const;

  LoopedTransformer& model_;
  EngineOptions options_;
  MemoryPlan plan_;
  EngineCounts counts_;
  PrefixStore store_;
  Id next_id_ = 0;
  std::deque<std::unique_ptr<Sequence>> queue_;
  Running running_;
  std::vector<std::unique_ptr<Sequence>> done_;
};

}  // namespace lt2
