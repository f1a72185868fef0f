#include "ops/linear/pack_cache.h"

#include "ops/pointer.h"

namespace lt2 {
namespace {

const float* data_of(const torch::Tensor& weight) {
  return dense_data<float>(weight, weight.size(0) * weight.size(1), {"linear", "weight"});
}

}  // namespace

void PackCache::follow(const torch::Tensor& weight) {
  const c10::StorageImpl* storage = weight.storage().unsafeGetStorageImpl();
  // A tensor made under InferenceMode counts no versions: nothing tells an old copy from a new one.
  const int64_t version = weight.is_inference() ? -1 : static_cast<int64_t>(weight._version());
  const bool same = version >= 0 && storage_ && storage_->_unsafe_get_target() == storage &&
                    data_ == address_of(weight) && version_ == version;
  if (same) return;
  f32_ = Panels();
  bf16_ = Panels();
  backward_ = Panels();
  storage_ = weight.storage().getWeakStorageImpl();
  data_ = address_of(weight);
  version_ = version;
}

const Panels& PackCache::panels(const torch::Tensor& weight, Element element) {
  follow(weight);
  Panels& panels = element == Element::kF32 ? f32_ : bf16_;
  const int64_t N = weight.size(0), K = weight.size(1);
  if (!linear_panels_current(panels, N, K)) panels = linear_pack(data_of(weight), N, K, element);
  return panels;
}

const Panels& PackCache::backward_panels(const torch::Tensor& weight) {
  follow(weight);
  const int64_t N = weight.size(0), K = weight.size(1);
  if (!linear_panels_current(backward_, N, K)) backward_ = linear_pack_backward(data_of(weight), N, K);
  return backward_;
}

}  // namespace lt2
