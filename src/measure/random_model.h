#pragma once
// The models of the benchmark: the recipes' shapes with random weights, made in seconds.
#include <memory>
#include <string>
#include <vector>

#include "model/looped_transformer.h"

namespace lt2 {

/// A layout of mixers at the size of a recipe.
struct BenchModel {
  std::string shape;   // "0.6B", "1.3B", "plain"; empty: the user's own
  std::string layout;  // "full", "full+gdn", ...
  ModelConfig config;
  std::shared_ptr<LoopedTransformer> model = {};  // the user's own, or null: random weights
};

/// Full loop, window, GDN and hybrids at the 0.6B and the 1.3B shape as their recipes have them (layouts without a
/// recipe: the full+gdn hybrid with other mixers), and a plain transformer of 24 layers that runs once, the shape that
/// other engines are timed with.
std::vector<BenchModel> recipe_models();

/// A model to run: weights of the recipe's distribution, repeated from layer to layer (speed does not depend on them,
/// but every layer has its own memory), packed in `weights` or else in the type of the products.
std::shared_ptr<LoopedTransformer> make_random_model(const ModelConfig& config, torch::ScalarType dtype,
                                                     std::optional<WeightFormat> weights = {});
/// A model to plan with: sizes, without contents.
std::shared_ptr<LoopedTransformer> make_empty_model(const ModelConfig& config, torch::ScalarType dtype);

}  // namespace lt2
