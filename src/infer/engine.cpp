#include "infer/engine.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <iterator>
#include <limits>

#include "base/error.h"
#include "base/threads.h"
#include "base/units.h"
#include "ops/pointer.h"

namespace lt2 {
namespace {

using Clock = std::chrono::steady_clock;

// Tokens of a sequence that may wait for a loop at once, over all loops (model/walks.cpp lets 256 wait for each).
constexpr int64_t kMostWaiting = 256;
// After this many verifications a request knows whether drafting pays.
constexpr int64_t kTrialRounds = 16;
// The cost of a round besides its passes over the weights, in passes: the shared head once a draft, and rewinding.
constexpr double kRoundOverhead = 0.05;

const float* logits_of(const torch::Tensor& logits, int64_t rows, int64_t vocab) {
  return dense_data<float>(logits, rows * vocab, {"generate", "logits"});
}

// p minus q where positive, normalised: the distribution that replaces a rejected draft.
Candidates residual(const Candidates& p, const Candidates& q) {
  std::map<int32_t, double> drafted;
  for (size_t i = 0; i < q.tokens.size(); ++i) drafted[q.tokens[i]] = q.probability[i];
  Candidates out;
  double sum = 0;
  for (size_t i = 0; i < p.tokens.size(); ++i) {
    const auto found = drafted.find(p.tokens[i]);
    const double left = p.probability[i] - (found == drafted.end() ? 0 : found->second);
    if (left <= 0) continue;
    out.tokens.push_back(p.tokens[i]);
    out.probability.push_back(left);
    sum += left;
  }
  if (out.tokens.empty()) return p;  // equal except for rounding
  for (double& x : out.probability) x /= sum;
  return out;
}

double probability_of(const Candidates& candidates, int32_t token) {
  const auto found = std::find(candidates.tokens.begin(), candidates.tokens.end(), token);
  return found == candidates.tokens.end()
             ? 0
             : candidates.probability[static_cast<size_t>(found - candidates.tokens.begin())];
}

}  // namespace

Speculation parse_speculation(const std::string& text, const std::string& field) {
  Speculation out;
  const auto number = [&](const std::string& item) {
    int64_t value = 0;
    const auto [end, error] = std::from_chars(item.data(), item.data() + item.size(), value);
    LT2_CHECK(error == std::errc() && end == item.data() + item.size() && value >= 1,
              "{} must look like loops:1,k:4 (loops that draft, tokens per draft); found \"{}\"", field, text);
    return value;
  };
  bool loops = false, tokens = false;
  for (size_t begin = 0; begin <= text.size();) {
    const auto comma = std::min(text.find(',', begin), text.size());
    const auto item = text.substr(begin, comma - begin);
    if (item.rfind("loops:", 0) == 0 && !loops) {
      out.loops = number(item.substr(6)), loops = true;
    } else if (item.rfind("k:", 0) == 0 && !tokens) {
      out.tokens = number(item.substr(2)), tokens = true;
    } else {
      number("");
    }
    begin = comma + 1;
  }
  LT2_CHECK(loops && tokens, "{} must name both, as in loops:1,k:4; found \"{}\"", field, text);
  return out;
}

std::vector<int32_t> GenerateResult::ids() const {
  std::vector<int32_t> out;
  for (const auto& token : tokens) out.push_back(token.id);
  return out;
}

struct Engine::Sequence {
  Id id;
  GenerateRequest request;
  Sampler sampler;
  GenerateResult result = {};
  SequenceState state = {};
  torch::Tensor logits = {};  // of the last token read, on the CPU
  int64_t exit = 0;           // the loop they come from
  int64_t bytes = 0;          // that its state may grow to
  bool done = false;
  bool drafting = false;
  Clock::time_point started = {}, decoding = {};
  int64_t rounds = 0, accepted = 0;
  // The current round.
  std::vector<int32_t> drafts = {};
  std::vector<Candidates> proposals = {};
  int64_t wanted_drafts = 0;

  // Whether tokens wait for their loops (a session that was begun with ExitRule::defer).
  bool waits() const {
    return std::any_of(state.pending.begin(), state.pending.end(),
                       [](const auto& rows) { return rows.defined() && rows.size(1) > 0; });
  }
  bool reading() const { return state.position < static_cast<int64_t>(request.prompt.size()); }
  // The place in the prompt of the next token to score; past its end if there is none.
  int64_t unscored() const {
    return request.score_from ? *request.score_from + static_cast<int64_t>(result.scored.size())
                              : static_cast<int64_t>(request.prompt.size());
  }
  // The part of the prompt that a prefix can replace. Scored tokens must be read, except the first one: its logits are
  // those of the prefix before it.
  std::vector<int32_t> reusable() const {
    if (!request.score_from) return request.prompt;
    return {request.prompt.begin(), request.prompt.begin() + *request.score_from};
  }
  int64_t left() const { return request.max_gen_len - static_cast<int64_t>(result.tokens.size()); }
  int32_t last() const { return result.tokens.back().id; }
  // Prompt and text, as far as the state has seen them.
  std::vector<int32_t> seen() const {
    auto out = request.prompt;
    for (const auto& token : result.tokens) out.push_back(token.id);
    out.resize(static_cast<size_t>(state.position));
    return out;
  }
};

Engine::Engine(LoopedTransformer& model, const EngineOptions& options) : model_(model), options_(options) {
  const int64_t T = model.config().loop_count;
  LT2_CHECK(options.slots >= 1, "slots must be >= 1; found {}", options.slots);
  LT2_CHECK(
      options.prefill_chunk >= 64 && options.prefill_chunk % 64 == 0 && kPrefillChunk % options.prefill_chunk == 0,
      "the prefill chunk must be a multiple of 64 that divides {}; found {}", kPrefillChunk, options.prefill_chunk);
  counts_.exits.resize(static_cast<size_t>(T));
  int64_t outputs = options.slots;
  if (const auto& speculate = options.speculate) {
    LT2_CHECK(speculate->loops < T, "speculate: loops must be fewer than the model's {} loops, found {}", T,
              speculate->loops);
    LT2_CHECK(speculate->tokens < kMostRewound, "speculate: k must be at most {}, found {}", kMostRewound - 1,
              speculate->tokens);
    LT2_CHECK(!options.exit.exits_early(),
              "speculate verifies drafts with all loops; it cannot be combined with early_exit_step or "
              "early_exit_threshold");
    LT2_CHECK(!model.config().legacy_iteration_weights && model.config().state_carry == "none" &&
                  model.make_state(1).draws.size() == 1,
              "speculate needs loops that can wait: no legacy_iteration_weights, state_carry or random attention "
              "pattern");
    outputs *= speculate->tokens + 1;
  }
  const int64_t budget = options.memory > 0 ? options.memory : std::numeric_limits<int64_t>::max() / 2;
  const int64_t waiting = options.exit.defer ? options.slots * kMostWaiting : 0;
  const int64_t rows = outputs + 1 + (options.scores ? kLogitRows : 0);
  plan_ = plan_memory(model, budget, std::max(kPrefillChunk, outputs + options.prefill_chunk) + waiting, rows);
}

Engine::~Engine() = default;

int64_t Engine::request_bytes(int64_t prompt_tokens, int64_t max_gen_len) const {
  const int64_t waiting = options_.exit.defer ? 4 * kMostWaiting * model_.config().loop_count * model_.config().dim : 0;
  return waiting +
         sequence_bytes(model_, prompt_tokens + max_gen_len, options_.speculate ? options_.speculate->tokens + 1 : 0);
}

Engine::Id Engine::submit(GenerateRequest request) {
  LT2_CHECK(!request.prompt.empty(),
            "generate: the prompt has no token; give a prompt or a tokenizer with a BOS token");
  const int64_t least = request.score_from ? 0 : 1;
  LT2_CHECK(request.max_gen_len >= least, "generate: max_gen_len must be >= {}; found {}", least, request.max_gen_len);
  LT2_CHECK(!request.score_from || options_.scores, "generate: this engine was created without scores");
  LT2_CHECK(!request.score_from ||
                (*request.score_from >= 1 && *request.score_from <= static_cast<int64_t>(request.prompt.size())),
            "generate: scores begin at a token from 1 to the prompt's {}; found {}", request.prompt.size(),
            request.score_from.value_or(0));
  const int64_t vocab = model_.config().vocab_size;
  validate(request.sampling, vocab);
  for (const int32_t token : request.prompt) {
    LT2_CHECK(token >= 0 && token < vocab, "generate: prompt token {} is outside the model's vocabulary of {}", token,
              vocab);
  }
  const auto prompt = static_cast<int64_t>(request.prompt.size());
  const int64_t bytes = request_bytes(prompt, request.max_gen_len);
  LT2_CHECK(bytes <= plan_.for_states(),
            "the request does not fit: {} tokens of prompt and up to {} new ones need {} of state, and {} of {} are "
            "left next to weights ({}) and scratch ({}). Lower max_gen_len, shorten the prompt, or give more memory",
            prompt, request.max_gen_len, human_bytes(bytes), human_bytes(plan_.for_states()), human_bytes(plan_.budget),
            human_bytes(plan_.weights), human_bytes(plan_.scratch));
  Sampler sampler(request.sampling, request.seed);
  sampler.read(request.prompt);
  queue_.push_back(std::make_unique<Sequence>(
      Sequence{.id = next_id_, .request = std::move(request), .sampler = std::move(sampler), .bytes = bytes}));
  return next_id_++;
}

void Engine::cancel(Id id) {
  const auto is_it = [&](const std::unique_ptr<Sequence>& sequence) { return sequence->id == id; };
  if (const auto queued = std::find_if(queue_.begin(), queue_.end(), is_it); queued != queue_.end()) {
    (*queued)->result.finish = Finish::kCancelled;
    done_.push_back(std::move(*queued));
    queue_.erase(queued);
    return;
  }
  const auto found = std::find_if(running_.begin(), running_.end(), is_it);
  if (found == running_.end() || (*found)->done) return;
  (*found)->done = true;
  (*found)->result.finish = Finish::kCancelled;
}

bool Engine::finished(Id id) const {
  return std::any_of(done_.begin(), done_.end(), [&](const auto& sequence) { return sequence->id == id; });
}

GenerateResult Engine::take(Id id) {
  const auto found = std::find_if(done_.begin(), done_.end(), [&](const auto& s) { return s->id == id; });
  LT2_CHECK(found != done_.end(), "request {} is not finished, or its result was taken already", id);
  auto result = std::move((*found)->result);
  done_.erase(found);
  return result;
}

int64_t Engine::committed() const {
  int64_t sum = 0;
  for (const auto& sequence : running_) sum += sequence->bytes;
  return sum;
}

torch::Tensor Engine::as_tokens(const int32_t* ids, int64_t count) const {
  return torch::from_blob(const_cast<int32_t*>(ids), {count}, torch::kInt32)
      .to(torch::kInt64)
      .to(model_.tok_embeddings.device());
}

// Starts from a known prefix or from an empty state. False: it waits for a sequence that is reading the same prompt.
bool Engine::start(Sequence& sequence) {
  const auto& prompt = sequence.request.prompt;
  if (options_.prefixes > 0 && sequence.reusable().size() == prompt.size()) {
    for (const auto& other : running_) {
      if (other->reading() && other->request.prompt == prompt) return false;
    }
  }
  const int64_t tokens = static_cast<int64_t>(prompt.size()) + sequence.request.max_gen_len;
  sequence.started = Clock::now();
  if (const Prefix* prefix = options_.prefixes > 0 ? store_.longest(sequence.reusable()) : nullptr) {
    sequence.state = prefix->state.clone(tokens);
    sequence.logits = prefix->logits;
    sequence.exit = prefix->exit;
    sequence.result.reused_tokens = prefix->state.position;
    if (sequence.unscored() == prefix->state.position) score(sequence, sequence.logits.view({1, -1}), {sequence.exit});
  } else {
    sequence.state = model_.make_state(1, tokens);
  }
  sequence.drafting = options_.speculate.has_value();
  return true;
}

void Engine::admit() {
  while (!queue_.empty() && static_cast<int64_t>(running_.size()) < options_.slots) {
    const int64_t left = plan_.for_states() - committed() - queue_.front()->bytes;
    if (left < 0) return;
    store_.longest(queue_.front()->reusable());  // makes it the last to be dropped
    store_.shrink(left);
    if (!start(*queue_.front())) return;
    auto& sequence = *running_.emplace_back(std::move(queue_.front()));
    queue_.pop_front();
    // The whole prompt was known: its first token needs no pass.
    if (!sequence.reading()) begin_text(sequence);
  }
}

// The sequence's last token, or as much of its prompt as `room` allows; nullopt if nothing fits.
std::optional<Continuation> Engine::next_of(Sequence& sequence, int64_t room) {
  if (!sequence.reading()) {
    const int32_t token = sequence.last();
    return Continuation{.state = &sequence.state, .tokens = as_tokens(&token, 1)};
  }
  const auto& prompt = sequence.request.prompt;
  const auto size = static_cast<int64_t>(prompt.size()), at = sequence.state.position;
  // A prompt is cut at absolute multiples of 64 tokens, which are chunk borders of every op.
  int64_t end = std::min(size, at + room);
  if (end < size) end -= end % 64;
  if (end <= at) return {};
  const int64_t count = end - at;
  Continuation next{.state = &sequence.state, .tokens = as_tokens(prompt.data() + at, count)};
  // The logits after a token score the next one.
  const int64_t first = std::max(at, sequence.unscored() - 1);
  if (sequence.unscored() >= size || first >= at + count) return next;
  next.all_positions = true;
  next.from = first - at;
  next.on_logits = [this, &sequence](const torch::Tensor& rows, const std::vector<int64_t>& exits) {
    score(sequence, rows.to(torch::kCPU).contiguous(), exits);
  };
  return next;
}

// Scores the prompt's next tokens, one by each row of logits [n, vocab]; the row after the prompt's end scores nothing.
void Engine::score(Sequence& sequence, const torch::Tensor& logits, const std::vector<int64_t>& exits) {
  const auto& request = sequence.request;
  const int64_t vocab = model_.config().vocab_size, first = sequence.unscored();
  const int64_t count = std::min(logits.size(0), static_cast<int64_t>(request.prompt.size()) - first);
  if (count <= 0) return;
  if (request.on_score_logits) request.on_score_logits(logits.narrow(0, 0, count));
  const float* rows = logits_of(logits, logits.size(0), vocab);
  std::vector<ScoredToken> scored(static_cast<size_t>(count));
  parallel_for(count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* row = rows + i * vocab;
      check_logits(row, vocab);
      auto& out = scored[static_cast<size_t>(i)];
      out.id = request.prompt[static_cast<size_t>(first + i)];
      out.exit = exits[static_cast<size_t>(i)];
      out.log_probability = log_probability(row, vocab, out.id);
      out.greedy = std::max_element(row, row + vocab) == row + out.id;
      if (request.logprobs) out.likeliest = top_log_probabilities(row, vocab, *request.logprobs);
    }
  });
  std::move(scored.begin(), scored.end(), std::back_inserter(sequence.result.scored));
}

// Adds a token to the text. False: it was the last one.
bool Engine::emit(Sequence& sequence, int32_t token, const float* logits, int64_t exit) {
  const auto& request = sequence.request;
  const int64_t vocab = model_.config().vocab_size;
  GeneratedToken out{.id = token, .log_probability = 0, .likeliest = {}, .exit = exit};
  if (request.logprobs) {
    out.log_probability = log_probability(logits, vocab, token);
    out.likeliest = top_log_probabilities(logits, vocab, *request.logprobs);
  }
  ++counts_.exits[static_cast<size_t>(exit)];
  sequence.result.tokens.push_back(out);
  const auto end = [&](Finish why) {
    sequence.done = true;
    sequence.result.finish = why;
    return false;
  };
  if (request.on_token && !request.on_token(sequence.result.tokens.back())) return end(Finish::kHook);
  const auto& stops = request.stop_tokens;
  if (std::find(stops.begin(), stops.end(), token) != stops.end()) return end(Finish::kStop);
  return sequence.left() > 0 || end(Finish::kLength);
}

// Begins the text after a prompt that has been read or was known: its logits give the first token.
void Engine::begin_text(Sequence& sequence) {
  sequence.result.prefill_s = seconds_since(sequence.started);
  sequence.decoding = Clock::now();
  if (sequence.request.max_gen_len == 0) {
    sequence.done = true;
    return;
  }
  next_token(sequence);
}

void Engine::next_token(Sequence& sequence) {
  const int64_t vocab = model_.config().vocab_size;
  const float* logits = logits_of(sequence.logits, 1, vocab);
  emit(sequence, sequence.sampler.next(logits, vocab), logits, sequence.exit);
}

// Takes a pass's result for a sequence that read a prefill chunk or its last token.
void Engine::took(Sequence& sequence, const Continued& result) {
  if (sequence.reading()) return;
  sequence.logits = result.logits.select(0, 0).to(torch::kCPU).contiguous();
  sequence.exit = result.exits.back();
  if (!sequence.result.tokens.empty()) return next_token(sequence);
  if (options_.prefixes > 0 && sequence.request.max_gen_len > 0 &&
      store_.bytes() + sequence.state.bytes() <= plan_.for_states() - committed()) {
    store_.add(
        {.tokens = sequence.seen(), .state = sequence.state.clone(0), .logits = sequence.logits, .exit = sequence.exit},
        static_cast<size_t>(options_.prefixes), plan_.for_states() - committed());
  }
  begin_text(sequence);
}

// The next tokens of `decoding`, then chunks of `reading`'s prompts, `room` tokens in all: the first come first.
Engine::Members Engine::gather(const std::vector<Sequence*>& decoding, const std::vector<Sequence*>& reading,
                               int64_t room) {
  Members out{.sequences = decoding, .next = {}};
  for (auto* sequence : decoding) out.next.push_back(*next_of(*sequence, 0));
  for (auto* sequence : reading) {
    auto next = next_of(*sequence, room);
    if (!next) continue;
    room -= next->tokens.size(0);
    out.sequences.push_back(sequence);
    out.next.push_back(std::move(*next));
  }
  return out;
}

void Engine::plain_pass(const Members& members) {
  const auto results = model_.advance(members.next, options_.exit);
  ++counts_.passes;
  for (size_t i = 0; i < results.size(); ++i) took(*members.sequences[i], results[i]);
}

// Drafts for `drafting`, then one pass that verifies the drafts and also runs `others`.
void Engine::speculate(const std::vector<Sequence*>& drafting, const Members& others) {
  const int64_t vocab = model_.config().vocab_size;
  const auto newest = [&](const Sequence& s) { return s.drafts.empty() ? s.last() : s.drafts.back(); };
  int64_t most = 0;
  for (auto* sequence : drafting) {
    sequence->state.mark();
    sequence->drafts.clear();
    sequence->proposals.clear();
    // The verification gives one token more than it accepts.
    sequence->wanted_drafts = std::min(options_.speculate->tokens, sequence->left() - 1);
    most = std::max(most, sequence->wanted_drafts);
  }
  const ExitRule draft{.step = options_.speculate->loops - 1, .threshold = {}, .defer = true};
  for (int64_t k = 0; k < most; ++k) {
    std::vector<Continuation> next;
    std::vector<Sequence*> who;
    for (auto* sequence : drafting) {
      if (k >= sequence->wanted_drafts) continue;
      const int32_t token = newest(*sequence);
      next.push_back({.state = &sequence->state, .tokens = as_tokens(&token, 1)});
      who.push_back(sequence);
    }
    const auto results = model_.advance(next, draft);
    for (size_t i = 0; i < who.size(); ++i) {
      const auto logits = results[i].logits.to(torch::kCPU).contiguous();
      auto candidates = who[i]->sampler.candidates(logits_of(logits, 1, vocab), vocab);
      who[i]->drafts.push_back(who[i]->sampler.draw(candidates));
      who[i]->sampler.write(who[i]->drafts.back());
      who[i]->proposals.push_back(std::move(candidates));
    }
  }
  std::vector<Continuation> all;
  for (auto* sequence : drafting) {
    const int32_t token = newest(*sequence);
    all.push_back({.state = &sequence->state, .tokens = as_tokens(&token, 1), .all_positions = false, .waiting = true});
  }
  all.insert(all.end(), others.next.begin(), others.next.end());
  const auto results = model_.advance(all);
  ++counts_.passes;
  for (size_t i = 0; i < drafting.size(); ++i) verify(*drafting[i], results[i]);
  for (size_t i = 0; i < others.next.size(); ++i) took(*others.sequences[i], results[drafting.size() + i]);
}

void Engine::verify(Sequence& sequence, const Continued& result) {
  const int64_t vocab = model_.config().vocab_size;
  const auto logits = result.logits.to(torch::kCPU).contiguous();
  const auto drafts = static_cast<int64_t>(sequence.drafts.size());
  for (const int32_t token : sequence.drafts) sequence.sampler.unwrite(token);
  counts_.drafted += drafts;
  const float* rows = logits_of(logits, drafts + 1, vocab);
  int64_t kept = 0;
  for (bool accepted = true; accepted; ++kept) {
    const float* row = rows + kept * vocab;
    auto target = sequence.sampler.candidates(row, vocab);
    int32_t token = 0;
    accepted = kept < drafts;
    if (accepted) {
      token = sequence.drafts[static_cast<size_t>(kept)];
      const auto& proposal = sequence.proposals[static_cast<size_t>(kept)];
      const double ratio = probability_of(target, token) / probability_of(proposal, token);
      accepted = ratio >= 1 || (ratio > 0 && sequence.sampler.uniform() < ratio);
      if (!accepted) target = residual(target, proposal);
      counts_.accepted += accepted;
      sequence.accepted += accepted;
    }
    if (!accepted) token = sequence.sampler.draw(target);
    sequence.sampler.write(token);
    sequence.logits = logits.select(0, kept).clone();
    sequence.exit = model_.config().loop_count - 1;
    accepted = emit(sequence, token, row, model_.config().loop_count - 1) && accepted;
  }
  // The last token that was emitted has not been read: the state holds the `kept` tokens before it.
  sequence.state.rewind(kept);
  if (++sequence.rounds != kTrialRounds || sequence.done) return;
  const auto rounds = static_cast<double>(sequence.rounds), loops = static_cast<double>(options_.speculate->loops);
  const double passes =
      1 + kRoundOverhead +
      static_cast<double>(options_.speculate->tokens) * loops / static_cast<double>(model_.config().loop_count);
  sequence.drafting = (static_cast<double>(sequence.accepted) + rounds) / rounds >= passes;
  counts_.gave_up_drafting += !sequence.drafting;
}

bool Engine::step() {
  torch::InferenceMode inference;
  admit();
  retire();  // a known prompt may already have ended
  if (running_.empty()) return !queue_.empty();
  std::vector<Sequence*> decoding, drafting, reading;
  for (auto& sequence : running_) {
    const bool drafts = sequence->drafting && sequence->left() > 1 && !sequence->waits();
    (sequence->reading() ? reading : drafts ? drafting : decoding).push_back(sequence.get());
  }
  const bool idle = decoding.empty() && drafting.empty();
  const auto members = gather(decoding, reading, idle ? kPrefillChunk : options_.prefill_chunk);
  if (drafting.empty()) {
    plain_pass(members);
  } else {
    speculate(drafting, members);
  }
  retire();
  return true;
}

void Engine::run() {
  while (step()) {
  }
}

void Engine::keep(Sequence& sequence) {
  const int64_t room = plan_.for_states() - committed();
  // A text that was only scored is no prefix of another one.
  const bool only_scored = sequence.request.max_gen_len == 0;
  if (options_.prefixes == 0 || only_scored || !sequence.logits.defined() || sequence.reading() ||
      sequence.state.bytes() > room)
    return;
  store_.add(
      {.tokens = sequence.seen(), .state = std::move(sequence.state), .logits = sequence.logits, .exit = sequence.exit},
      static_cast<size_t>(options_.prefixes), room);
}

void Engine::retire() {
  const auto first_done =
      std::stable_partition(running_.begin(), running_.end(), [](const auto& sequence) { return !sequence->done; });
  Running ended(std::make_move_iterator(first_done), std::make_move_iterator(running_.end()));
  running_.erase(first_done, running_.end());
  for (auto& sequence : ended) {
    if (!sequence->result.tokens.empty()) sequence->result.decode_s = seconds_since(sequence->decoding);
    sequence->result.state_bytes = sequence->state.bytes();
    keep(*sequence);
    sequence->state = {};
    done_.push_back(std::move(sequence));
  }
}

int64_t Engine::save(const std::filesystem::path& path, const std::vector<int32_t>& tokens) {
  const Prefix* prefix = store_.longest(tokens);
  if (!tokens.empty() && (!prefix || prefix->tokens.size() < tokens.size())) {
    // The last token of a text has been drawn but not read yet.
    const Id id = submit({.prompt = tokens, .max_gen_len = 1});
    run();
    take(id);
    prefix = store_.longest(tokens);
  }
  LT2_CHECK(prefix, "{}: there is no state to save: nothing was generated yet, or it did not fit the memory",
            path.string());
  save_prefix(path, *prefix, model_, options_.exit);
  return static_cast<int64_t>(prefix->tokens.size());
}

std::vector<int32_t> Engine::load(const std::filesystem::path& path) {
  LT2_CHECK(options_.prefixes > 0, "{}: the engine keeps no prefixes", path.string());
  auto prefix = load_prefix(path, model_, options_.exit);
  const int64_t room = plan_.for_states() - committed();
  LT2_CHECK(prefix.bytes() <= room, "{}: its state of {} does not fit into the remaining {}", path.string(),
            human_bytes(prefix.bytes()), human_bytes(room));
  auto tokens = prefix.tokens;
  store_.add(std::move(prefix), static_cast<size_t>(options_.prefixes), room);
  return tokens;
}

}  // namespace lt2
