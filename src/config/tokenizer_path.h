#pragma once
// The place of the vocabulary that a configuration names.
#include <filesystem>

#include "config/train_config.h"

namespace lt2 {

/// The tokenizer of a configuration read in `folder`, with a path that can be opened: a relative path names a file next
/// to the configuration, or else one in the working directory.
TokenizerConfig located(TokenizerConfig tokenizer, const std::filesystem::path& folder);

}  // namespace lt2
