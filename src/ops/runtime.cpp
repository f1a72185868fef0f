#include "ops/runtime.h"

#include "base/threads.h"
#include "base/torch.h"
#include "ops/simd/isa.h"
#include "ops/tensor_pool.h"

namespace lt2 {

void init_runtime(int threads) {
  apply_isa_override();
  // Threads inherit the mode of the thread that starts them, so this comes before the first parallel region.
  at::globalContext().setFlushDenormal(true);
  set_num_threads(threads > 0 ? threads : allowed_cores());
  at::set_num_threads(1);  // its pool would compete with ours
  install_tensor_pool();
}

}  // namespace lt2
