#include "infer/prefix_store.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "checkpoint/safetensors.h"
#include "model/accounting.h"
#include "ops/pointer.h"

namespace lt2 {
namespace {

constexpr const char* kTokens = "prefix.tokens";
constexpr const char* kLogits = "prefix.logits";
constexpr const char* kModel = "prefix.model";
constexpr const char* kExit = "prefix.exit";

constexpr const char *kRule = "exit_rule", *kWeights = "weights";  // metadata

// Rules of one name give a token the same logits.
std::string name_of(const ExitRule& rule, const LoopedTransformer& model) {
  if (rule.step) {
    return *rule.step + 1 == model.config().loop_count ? "all loops" : fmt::format("early_exit_step={}", *rule.step);
  }
  return rule.threshold ? fmt::format("early_exit_threshold={}", *rule.threshold) : "all loops";
}

bool begins_with(const std::vector<int32_t>& text, const std::vector<int32_t>& start) {
  return text.size() >= start.size() && std::equal(start.begin(), start.end(), text.begin());
}

// A few weights that distinguish trained models: every norm, and the first embedding.
torch::Tensor fingerprint(const LoopedTransformer& model) {
  std::vector<torch::Tensor> parts{model.tok_embeddings[0].to(torch::kFloat32).to(torch::kCPU)};
  for (const auto& [name, tensor] : model.official_parameters()) {
    if (tensor.dim() == 1 && !tensor.is_meta()) parts.push_back(tensor.detach().to(torch::kFloat32).to(torch::kCPU));
  }
  // Weights kept in another form give other states.
  const auto form = weight_format_name(model);
  for (const char letter : form) parts.push_back(torch::full({1}, static_cast<float>(letter)));
  return torch::cat(parts).clone();
}

}  // namespace

int64_t Prefix::bytes() const {
  return state.bytes() + static_cast<int64_t>(4 * tokens.size() + (logits.defined() ? logits.nbytes() : 0));
}

void PrefixStore::add(Prefix prefix, size_t most, int64_t budget) {
  prefixes_.remove_if([&](const Prefix& old) { return old.tokens == prefix.tokens; });
  prefixes_.push_front(std::move(prefix));
  while (prefixes_.size() > most) prefixes_.pop_back();
  shrink(budget);
}

const Prefix* PrefixStore::longest(const std::vector<int32_t>& prompt) {
  auto best = prefixes_.end();
  for (auto it = prefixes_.begin(); it != prefixes_.end(); ++it) {
    if (it->tokens.size() == prompt.size() && !it->logits.defined()) continue;
    if (begins_with(prompt, it->tokens) && (best == prefixes_.end() || it->tokens.size() > best->tokens.size()))
      best = it;
  }
  if (best == prefixes_.end()) return nullptr;
  prefixes_.splice(prefixes_.begin(), prefixes_, best);
  return &prefixes_.front();
}

void PrefixStore::shrink(int64_t budget) {
  const auto weigh = [&] {
    bytes_ = 0;
    for (const auto& prefix : prefixes_) bytes_ += prefix.bytes();
    return bytes_;
  };
  while (weigh() > budget && !prefixes_.empty()) prefixes_.pop_back();
}

void save_prefix(const std::filesystem::path& path, const Prefix& prefix, const LoopedTransformer& model,
                 const ExitRule& rule) {
  prefix.state.save(path,
                    {{kTokens, torch::tensor(prefix.tokens, torch::kInt32)},
                     {kLogits, prefix.logits},
                     {kExit, torch::tensor({prefix.exit}, torch::kInt32)},
                     {kModel, fingerprint(model)}},
                    {{kRule, name_of(rule, model)}, {kWeights, weight_format_name(model)}});
}

Prefix load_prefix(const std::filesystem::path& path, const LoopedTransformer& model, const ExitRule& rule) {
  const SafetensorsFile file(path);
  const auto found = [&](const char* name, torch::ScalarType type) {
    LT2_CHECK(file.contains(name), "{}: {} is missing. Not a session saved by this program?", path.string(), name);
    const auto tensor = file.tensor(name);
    LT2_CHECK(tensor.scalar_type() == type && tensor.dim() == 1, "{}: {} is {} [{}], expected {} with one axis",
              path.string(), name, c10::toString(tensor.scalar_type()), fmt::join(tensor.sizes(), ", "),
              c10::toString(type));
    return tensor;
  };
  const auto noted = [&](const char* key) {
    const auto at = file.metadata().find(key);
    return at == file.metadata().end() ? std::string() : at->second;
  };
  const auto mine = fingerprint(model), saved = found(kModel, torch::kFloat32);
  const auto weights = noted(kWeights), now = weight_format_name(model);
  LT2_CHECK(torch::equal(mine, saved),
            "{}: saved with another model than this one{}; a session continues only with the model that wrote it",
            path.string(),
            weights.empty() || weights == now
                ? ""
                : fmt::format(": its weights were kept in {}, these are in {} (weights, dtype)", weights, now));
  const auto tokens = found(kTokens, torch::kInt32);
  const auto* ids = dense_data<int32_t>(tokens, tokens.numel(), {"session", kTokens});
  Prefix prefix{
      .tokens = {ids, ids + tokens.numel()}, .state = model.make_state(1), .logits = found(kLogits, torch::kFloat32)};
  LT2_CHECK(prefix.logits.numel() == model.config().vocab_size, "{}: {} logits, this model's vocabulary has {}",
            path.string(), prefix.logits.numel(), model.config().vocab_size);
  prefix.state.load(path);  // checks the number of loops too
  const auto exit = found(kExit, torch::kInt32);
  LT2_CHECK(exit.numel() == 1 && exit[0].item<int64_t>() >= 0 && exit[0].item<int64_t>() < model.config().loop_count,
            "{}: {} must be one loop of the model's {}", path.string(), kExit, model.config().loop_count);
  prefix.exit = exit[0].item<int64_t>();
  for (const auto& rows : prefix.state.pending) {
    LT2_CHECK(!rows.defined() || (rows.size(2) == model.config().dim && rows.scalar_type() == torch::kFloat32),
              "{}: waiting tokens must have {} channels in fp32", path.string(), model.config().dim);
  }
  LT2_CHECK(prefix.state.position == tokens.numel(), "{}: holds {} tokens, its state has seen {}", path.string(),
            tokens.numel(), prefix.state.position);
  if (const auto before = noted(kRule), rule_now = name_of(rule, model); before != rule_now) {
    log_info("{}: saved with {}, continued with {}; its tokens are read again unless some are added", path.string(),
             before.empty() ? "an unknown exit rule" : before, rule_now);
    prefix.logits = torch::Tensor();
  }
  return prefix;
}

}  // namespace lt2
