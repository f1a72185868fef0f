#pragma once
// Where the vocabulary that a configuration names lies.
#include <filesystem>

#include "config/train_config.h"

namespace lt2 {

/// The tokenizer of a configuration read in `folder`, its path so that it can be opened: a relative one names a file
/// beside the configuration, or else one from the working directory.
TokenizerConfig located(TokenizerConfig tokenizer, const std::filesystem::path& folder);

}  // namespace lt2
