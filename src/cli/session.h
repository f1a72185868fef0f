#pragma once
// The code that the generating commands share.
#include <cstddef>
#include <cstdint>

#include "infer/text_session.h"

namespace lt2 {

/// Opens the model that `config` names, as large as its `memory` allows, and reports its folder's recommendations.
TextSession open_session(const GenerateConfig& config, int64_t slots, int64_t prefixes);

/// Speed, state, exits and drafts in one or two lines on standard error.
void log_speed(const Engine& engine, const GenerateResult& result, size_t prompt_tokens);

/// A conversation in the terminal, until the end of the input.
int chat(const GenerateConfig& config);

}  // namespace lt2
