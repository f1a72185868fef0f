#include "ops/linear/pack_cache.h"

namespace lt2 {

void PackedWeight::forget() {
  f32_ = Panels();
  bf16_ = Panels();
}

const Panels& PackedWeight::panels(const torch::Tensor& weight, Element element) {
  const c10::StorageImpl* storage = weight.storage().unsafeGetStorageImpl();
  // A tensor made under InferenceMode counts no versions: nothing tells an old copy from a new one.
  const int64_t version = weight.is_inference() ? -1 : static_cast<int64_t>(weight._version());
  const bool same = version >= 0 && storage_ && storage_->_unsafe_get_target() == storage &&
                    data_ == weight.data_ptr() && version_ == version;
  if (!same) {
    forget();
    storage_ = weight.storage().getWeakStorageImpl();
    data_ = weight.data_ptr();
    version_ = version;
  }
  Panels& panels = element == Element::kF32 ? f32_ : bf16_;
  const int64_t N = weight.size(0), K = weight.size(1);
  if (panels.N != N || panels.K != K || panels.width != linear_panel_width()) {
    panels = linear_pack(weight.data_ptr<float>(), N, K, element);
  }
  return panels;
}

}  // namespace lt2
