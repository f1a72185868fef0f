#pragma once
// What a run will be, before anything of it exists: the text of `lt2 train --dry-run`.
#include <string>

#include "model/accounting.h"
#include "tokenizer/tokenizer.h"
#include "train/replica.h"

namespace lt2 {

/// The share of a single source file that validation holds back from training.
double held_back(const TrainConfig& config);

/// Words of `tokenizer`. Throws lt2::Error if model.vocab_size gives another number.
int64_t vocabulary_size(const TrainConfig& config, const Tokenizer& tokenizer);

/// Bytes that one of `world` ranks holds in training at most, as Replica shares them out. The largest of the layers
/// stands for those gathered in full_shard, which recomputes layers whatever the configuration says.
TrainingMemory rank_memory(const LoopedTransformer& model, const TrainConfig& config, Sharding sharding,
                           Recompute recompute, int64_t world);

/// Parameters by part, depth, FLOPs, tokens, sources and the memory plan of one of `world` ranks. `config` must be
/// validated. Refuses sources as a start does, but not for being absent. Takes the vocabulary's size from
/// model.vocab_size where the tokenizer's file is missing; throws lt2::Error if that is -1. Touches no weights, so the
/// largest model costs neither memory nor time.
std::string training_plan(const TrainConfig& config, int64_t world);

}  // namespace lt2
