#include "train/run_samples.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/output.h"
#include "infer/generate.h"

namespace lt2 {

RunSamples::RunSamples(const TrainConfig& config, const Tokenizer& tokenizer, const RunFiles& files,
                       const StopWatch& stop)
    : config_(config), tokenizer_(tokenizer), files_(files), stop_(stop) {}

void RunSamples::write(Replica& replica, const std::string& when, int64_t step) const {
  if (!config_.val.prompt || (!files_.writes() && !replica.forward_is_collective())) return;
  GenerateRequest request{.prompt = tokenizer_.encode(*config_.val.prompt, config_.data.add_bos, false),
                          .max_gen_len = config_.val.sample_len,
                          .stop_tokens = {tokenizer_.eos_id()},
                          .sampling = {.temperature = 0.8, .top_p = {}, .top_k = 40},
                          .seed = static_cast<uint64_t>(config_.seed)};
  bool cut = stop_.stopped(replica.forward_is_collective());
  if (cut) return;
  request.on_token = [&](const GeneratedToken&) {
    cut = stop_.stopped(replica.forward_is_collective());
    return !cut;
  };
  const auto result = generate(replica.model(), request);
  if (cut || !files_.writes()) return;
  const auto text = tokenizer_.decode_after(request.prompt, result.ids());
  show(when, step, text);
  keep(when, step, text);
}

void RunSamples::show(const std::string& when, int64_t step, const std::string& text) const {
  try {
    print_out("--- sample {} (step {}) ---\n{}{}\n---\n", when, step, *config_.val.prompt, text);
    flush_out();
  } catch (const OutputClosed&) {
    // Standard output has no reader any more; the run continues without printing samples.
  } catch (const Error& error) {
    log_warning("{}; the sample is in samples.json", error.what());
  }
}

// Samples of this step and later ones are of a run that died after its last checkpoint.
void RunSamples::keep(const std::string& when, int64_t step, const std::string& text) const {
  const auto path = files_.dump_dir() / "samples.json";
  auto samples = nlohmann::ordered_json::array();
  if (is_there(path)) {
    const auto old = nlohmann::ordered_json::parse(read_file(path), nullptr, /*allow_exceptions=*/false);
    for (const auto& item : old) {
      if (!item.is_object()) continue;
      const auto at = item.find("step");
      if (at == item.end() || (at->is_number() && at->get<double>() < static_cast<double>(step)))
        samples.push_back(item);
    }
  }
  samples.push_back({{"when", when}, {"step", step}, {"prompt", *config_.val.prompt}, {"text", text}});
  // Half a character at the end of a byte sample must not stop the run.
  write_file_atomically(path, samples.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

}  // namespace lt2
