#pragma once
// Linear map y = x W^T, the one every projection and feed-forward of the model goes through.
//
//   y[m, n] = sum_k x[m, k] W[n, k]          W is [out, in], no bias (biases are added by the mixers that have them)
//
// Every y[m, n] is one chain over ascending k, of fp32 multiply-adds or, for bf16, of the steps of the processor's bf16
// unit where it has one (ops/simd/tile_unit.h), whatever the number of rows: results are batch-invariant bit for bit,
// and a split prefill equals a whole one. Weights stay fp32 masters; a packed copy in the type of x (panels of output
// channels, see kernel.h) is made at the first use after the weight changed and then serves all T loops. Sources:
// torch.nn.Linear; docs/architecture.md, "linear".
//
// Cost: with z bytes a number of x, forward takes 2 M N K flops and moves z (M K + N K + M N) bytes (of an int8 weight
// N K, int4 0.53 N K), backward 4 M N K flops and 2 z (M N + M K) + 8 N K bytes. Packing moves (4 + z) N K bytes.
// Error, of the largest absolute value of the fp64 reference tensor (for bf16 with the weight rounded): fp32 2e-6,
// gradients 3e-6; bf16 y and dx 4e-3, fp32 sums and dw 3e-6. Packed int8 and int4 are judged by the numbers they hold:
// 1e-5; bf16 x on a unit for bytes 2e-5 of the root mean square (from K = 64 on).
#include <memory>
#include <optional>
#include <vector>

#include "base/torch.h"
#include "ops/element.h"

namespace lt2 {

struct PackCache;     // pack_cache.h
struct PackedWeight;  // packed_weight.h
class Linear;

/// While one lives, Linear modules made in this thread allocate no weight: it has its sizes and no memory (device meta)
/// until pack() or adopt(). For models whose weights come from a file in another form.
class WithoutWeights {
 public:
  WithoutWeights();
  ~WithoutWeights();
  WithoutWeights(const WithoutWeights&) = delete;
  WithoutWeights& operator=(const WithoutWeights&) = delete;
};

/// A weight and its packed copies. One caller at a time: the copies are made inside forward.
///
/// A changed weight is noticed by torch's version counter, which every in-place op raises, also under NoGradGuard and
/// InferenceMode. Code that writes through a raw pointer or .data() raises it itself: weight.unsafeGetTensorImpl()->
/// bump_version(). A weight created under InferenceMode has no counter and is packed again at every call: create
/// models outside it.
///
/// Module member named as in the official state dict: `wq.weight` is register_module("wq", Linear).
class LinearImpl : public torch::nn::Module {
 public:
  /// Allocates weight [out, in] fp32, uninitialised: the model's initialiser or a checkpoint fills it.
  LinearImpl(int64_t in, int64_t out);

  /// x [.., in] fp32 or bf16 -> [.., out] of the same type. Differentiable (once) in x and weight. With bf16 the weight
  /// is rounded to bf16, sums are fp32, the result is rounded once. Throws lt2::Error if shapes disagree.
  torch::Tensor forward(const torch::Tensor& x);

  /// residual + x W^T in fp32, the sum taken in the product's epilogue. residual [.., out] fp32 -> [.., out] fp32, a
  /// new tensor. Differentiable in x, weight and residual.
  torch::Tensor forward_add(const torch::Tensor& x, const torch::Tensor& residual);

  /// silu(gate) * x W^T, gated in the product's epilogue, bit for bit swiglu(gate, forward(x)). gate [.., out] of x's
  /// type. Differentiable in x, weight and gate.
  torch::Tensor forward_gated(const torch::Tensor& x, const torch::Tensor& gate);

  /// Takes `to` [out, in] fp32 for its weight, in place of the one it has.
  void set_weight(const torch::Tensor& to) { weight = parameters_["weight"] = to; }
  /// Frees the packed copies; the next call makes them again.
  void drop_pack_cache();

  /// Packs `from` [out, in], fp32 or bf16 in any memory, once and for good; `weight` keeps its sizes and loses its
  /// memory (device meta). From then on forward, forward_add, forward_gated and linear_all multiply with these numbers,
  /// without gradients, for x in fp32 or bf16.
  void pack(const torch::Tensor& from, WeightFormat format);
  bool is_packed() const { return packed_ != nullptr; }
  /// Of a packed weight.
  WeightFormat packed_format() const;
  /// The packed weight as tensors for a file, and back: "panels", "layout" and, of int8 and int4, "scales", as
  /// packed_weight.h says. adopt() uses the memory of `parts` in place (a mapped file's pages are shared by all
  /// processes that map it) if they are laid out as this machine multiplies, else it packs them anew. Throws lt2::Error
  /// for parts of another shape.
  std::vector<std::pair<std::string, torch::Tensor>> packed_parts() const;
  void adopt(const std::vector<std::pair<std::string, torch::Tensor>>& parts, WeightFormat format);
  /// Bytes that one product with a packed weight reads of it.
  int64_t packed_weight_bytes() const;

  torch::Tensor weight;  // [out, in] fp32

 private:
  friend std::vector<torch::Tensor> linear_all(const torch::Tensor& x, const std::vector<Linear*>& maps);
  torch::Tensor apply(const torch::Tensor& x, const torch::Tensor& residual, const torch::Tensor& gate);
  void set_packed(std::shared_ptr<const PackedWeight> packed);

  std::shared_ptr<PackCache> cache_;
  std::shared_ptr<const PackedWeight> packed_;
};
TORCH_MODULE(Linear);

/// The result of each map for one x, bit for bit that of forward. Without gradients and for few rows (decode) it costs
/// one parallel region and one reading of x instead of one a map. A map must not be named twice.
std::vector<torch::Tensor> linear_all(const torch::Tensor& x, const std::vector<Linear*>& maps);

/// silu(x Wg^T) * x Wu^T, the two maps of a gated feed-forward: without gradients and for few rows both in one parallel
/// region, else the product of `up` is gated in its epilogue. The same bits either way.
torch::Tensor linear_swiglu(const torch::Tensor& x, Linear& gate, Linear& up);

/// The same map for a weight that belongs to another module (tied embeddings): x [.., in], weight [out, in]. Packs for
/// this call only unless `cache` is given, which the caller keeps with the weight. Without a cache write lt2::linear:
/// torch has an at::linear(x, weight) that argument-dependent lookup finds as well.
torch::Tensor linear(const torch::Tensor& x, const torch::Tensor& weight, std::shared_ptr<PackCache>* cache = nullptr);

/// Plain torch, any type and device, differentiable: the judge of the kernels, and the form that CUDA runs.
torch::Tensor linear_reference(const torch::Tensor& x, const torch::Tensor& weight);

}  // namespace lt2
