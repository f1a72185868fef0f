#pragma once
// Translates the command lines of the official code, as its users type them.
#include <string>
#include <vector>

namespace lt2 {

/// `words` are what follows `lt2`; the result begins with the name of a command of ours.
///
///     -m apps.LT2.train config=FILE            train config=FILE          (written for: python -m ...)
///     torchrun --nproc-per-node 8 -m MODULE    launch --nproc 8 -- NAME
///     stool, -m lingua.stool                   launch --slurm
///     benchmark_prefill --config F --seq-len N bench mode=prefill,decode --config F --seq-len N
///
/// Everything else comes back unchanged. Throws lt2::Error for an official program without a counterpart here.
std::vector<std::string> from_official(std::vector<std::string> words);

}  // namespace lt2
