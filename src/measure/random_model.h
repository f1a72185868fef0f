#pragma once
// The models of the benchmark: the recipes' shapes with random weights, made in seconds.
#include <memory>
#include <string>
#include <vector>

#include "model/looped_transformer.h"

namespace lt2 {

/// A layout of mixers at the size of a recipe.
struct BenchModel {
  std::string shape;   // "0.6B", "1.3B", "plain"; empty: the user's model
  std::string layout;  // "full", "full+gdn", ...
  ModelConfig config;
  std::shared_ptr<LoopedTransformer> model = {};  // the user's model; null: random weights
};

/// Full loop, window, GDN and hybrids at the 0.6B and the 1.3B shape as their recipes have them, and a plain
/// transformer of 24 layers that runs once, the shape with which other engines are timed. A layout without a recipe is
/// the full+gdn hybrid with other mixers.
std::vector<BenchModel> recipe_models();

/// A model to run. Its weights have the recipe's distribution and repeat from layer to layer: speed does not depend on
/// them, but every layer has its own memory. They are packed in `weights` or else in the type of the products.
std::shared_ptr<LoopedTransformer> make_random_model(const ModelConfig& config, torch::ScalarType dtype,
                                                     std::optional<WeightFormat> weights = {});
/// A model to plan with: it has sizes and no contents.
std::shared_ptr<LoopedTransformer> make_empty_model(const ModelConfig& config, torch::ScalarType dtype);

}  // namespace lt2
