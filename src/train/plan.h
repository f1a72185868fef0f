#pragma once
// The plan of a run before it starts: the text of `lt2 train --dry-run`.
#include <string>

#include "model/accounting.h"
#include "tokenizer/tokenizer.h"
#include "train/replica.h"

namespace lt2 {

/// The share of a single source file that is kept for validation and not trained on.
double held_back(const TrainConfig& config);

/// The vocabulary's size of `tokenizer`. Throws lt2::Error if model.vocab_size gives another number.
int64_t vocabulary_size(const TrainConfig& config, const Tokenizer& tokenizer);

/// The most bytes that one of `world` ranks holds in training, as Replica shares them out. full_shard gathers one layer
/// at a time, counted as the largest, and recomputes layers whatever the configuration says.
TrainingMemory rank_memory(const LoopedTransformer& model, const TrainConfig& config, Sharding sharding,
                           Recompute recompute, int64_t world);

/// Parameters by part, depth, FLOPs, tokens, sources and the memory plan of one of `world` ranks. `config` must be
/// validated. Refuses sources as a start does, but accepts missing ones. Takes the vocabulary's size from
/// model.vocab_size if the tokenizer's file is missing; throws lt2::Error if that is -1. Touches no weights, so even
/// the largest model costs neither memory nor time.
std::string training_plan(const TrainConfig& config, int64_t world);

}  // namespace lt2
