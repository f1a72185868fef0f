#include "base/error.h"
#include "ops/linear/op.h"
#include "ops/linear/pack_cache.h"

namespace lt2 {
namespace {

using torch::Tensor;

Element element_of(const Tensor& t) { return t.scalar_type() == torch::kBFloat16 ? Element::kBf16 : Element::kF32; }
Matrix matrix_of(const Tensor& t) { return {t.data_ptr(), element_of(t), static_cast<ptrdiff_t>(t.size(-1))}; }
int64_t rows_of(const Tensor& t) { return t.size(-1) == 0 ? 0 : t.numel() / t.size(-1); }

std::vector<int64_t> with_last(const Tensor& x, int64_t last) {
  auto sizes = x.sizes().vec();
  sizes.back() = last;
  return sizes;
}

// x contiguous; residual contiguous or undefined.
Tensor forward_cpu(const Tensor& x, const Tensor& weight, const Tensor& residual, PackedWeight* cache) {
  PackedWeight for_this_call;
  const Panels& panels = (cache != nullptr ? *cache : for_this_call).panels(weight.contiguous(), element_of(x));
  Tensor y =
      torch::empty(with_last(x, weight.size(0)),
                   x.options().dtype(residual.defined() ? torch::kFloat32 : x.scalar_type()).requires_grad(false));
  linear_forward({rows_of(x), matrix_of(x), &panels, residual.defined() ? residual.data_ptr<float>() : nullptr,
                  y.data_ptr(), element_of(y)});
  return y;
}

// Keeps the packed copies for the backward pass, which may outlive the module.
struct CacheHolder : torch::CustomClassHolder {
  explicit CacheHolder(std::shared_ptr<PackedWeight> held) : cache(std::move(held)) {}
  std::shared_ptr<PackedWeight> cache;
};

struct LinearFunction : torch::autograd::Function<LinearFunction> {
  static Tensor forward(torch::autograd::AutogradContext* ctx, const Tensor& x, const Tensor& weight,
                        const c10::optional<Tensor>& residual, const std::shared_ptr<PackedWeight>& cache) {
    ctx->save_for_backward({x, weight});
    ctx->saved_data["cache"] = c10::IValue::make_capsule(c10::make_intrusive<CacheHolder>(cache));
    ctx->saved_data["has_residual"] = residual.has_value();
    return forward_cpu(x, weight, residual.value_or(Tensor()), cache.get());
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    LT2_CHECK(!torch::GradMode::is_enabled(),
              "linear: its gradient is not differentiable again; call backward with create_graph = false");
    const auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], weight = saved[1].contiguous(), dy = grads[0].contiguous();
    const int64_t M = rows_of(x), N = weight.size(0), K = weight.size(1);
    Tensor dx, dw;
    if (ctx->needs_input_grad(0)) {
      dx = torch::empty(x.sizes(), x.options());
      const bool round = element_of(x) == Element::kBf16;
      const auto holder = c10::static_intrusive_pointer_cast<CacheHolder>(ctx->saved_data["cache"].toCapsule());
      const Panels* packed = holder->cache && linear_backward_input_uses_unit(element_of(dy), round)
                                 ? &holder->cache->backward_panels(weight)
                                 : nullptr;
      linear_backward_input(
          {M, N, K, matrix_of(dy), weight.data_ptr<float>(), round, dx.data_ptr(), element_of(dx), packed});
    }
    if (ctx->needs_input_grad(1)) {
      dw = torch::empty(weight.sizes(), weight.options());
      linear_backward_weight({M, N, K, matrix_of(dy), matrix_of(x), dw.data_ptr<float>()});
    }
    return {dx, dw, ctx->saved_data["has_residual"].toBool() ? grads[0] : Tensor(), Tensor()};
  }
};

bool has_kernel(const Tensor& x, const Tensor& weight, const Tensor& residual) {
  const bool type = x.scalar_type() == torch::kFloat32 || x.scalar_type() == torch::kBFloat16;
  return type && x.is_cpu() && weight.is_cpu() && weight.scalar_type() == torch::kFloat32 &&
         (!residual.defined() || residual.scalar_type() == torch::kFloat32);
}

Tensor apply(const Tensor& x, const Tensor& weight, const Tensor& residual,
             const std::shared_ptr<PackedWeight>& cache) {
  LT2_CHECK(weight.dim() == 2, "linear: weight must be [out, in], found {} dimensions", weight.dim());
  LT2_CHECK(x.dim() >= 1 && x.size(-1) == weight.size(1),
            "linear: x must be [.., {}] for a weight [{}, {}], found [{}]", weight.size(1), weight.size(0),
            weight.size(1), fmt::join(x.sizes(), ", "));
  if (residual.defined()) {
    LT2_CHECK(residual.sizes().vec() == with_last(x, weight.size(0)), "linear: residual must be [{}], found [{}]",
              fmt::join(with_last(x, weight.size(0)), ", "), fmt::join(residual.sizes(), ", "));
  }
  if (!has_kernel(x, weight, residual) || x.numel() == 0 || weight.numel() == 0) {
    const Tensor y = linear_reference(x, weight);
    return residual.defined() ? residual + y.to(residual.scalar_type()) : y;
  }
  const Tensor rows = x.contiguous(), added = residual.defined() ? residual.contiguous() : residual;
  const bool differentiate = torch::GradMode::is_enabled() && (x.requires_grad() || weight.requires_grad() ||
                                                               (residual.defined() && residual.requires_grad()));
  if (!differentiate) return forward_cpu(rows, weight, added, cache.get());
  return LinearFunction::apply(rows, weight, added.defined() ? c10::optional<Tensor>(added) : c10::nullopt, cache);
}

}  // namespace

LinearImpl::LinearImpl(int64_t in, int64_t out) {
  weight = register_parameter("weight", torch::empty({out, in}, torch::kFloat32));
}

Tensor LinearImpl::apply(const Tensor& x, const std::optional<Tensor>& residual) {
  if (!packed_) packed_ = std::make_shared<PackedWeight>();
  return lt2::apply(x, weight, residual.value_or(Tensor()), packed_);
}

Tensor LinearImpl::forward(const Tensor& x) { return apply(x, std::nullopt); }

Tensor LinearImpl::forward_add(const Tensor& x, const Tensor& residual) { return apply(x, residual); }

Tensor linear(const Tensor& x, const Tensor& weight, std::shared_ptr<PackedWeight>* cache) {
  if (cache != nullptr && !*cache) *cache = std::make_shared<PackedWeight>();
  return apply(x, weight, Tensor(), cache != nullptr ? *cache : nullptr);
}

std::vector<Tensor> linear_all(const Tensor& x, const std::vector<Linear*>& maps) {
  std::vector<Tensor> out;
  out.reserve(maps.size());
  bool together = !torch::GradMode::is_enabled() && x.dim() >= 1 && x.numel() > 0;
  for (const Linear* map : maps) {
    const Tensor& weight = (*map)->weight;
    together = together && has_kernel(x, weight, Tensor()) && weight.numel() > 0 && weight.size(1) == x.size(-1);
  }
  if (!together) {
    for (Linear* map : maps) out.push_back((*map)->forward(x));
    return out;
  }
  const Tensor rows = x.contiguous();
  std::vector<LinearForward> products;
  products.reserve(maps.size());
  for (Linear* map : maps) {
    const Tensor& weight = (*map)->weight;
    if (!(*map)->packed_) (*map)->packed_ = std::make_shared<PackedWeight>();
    const Panels& panels = (*map)->packed_->panels(weight.contiguous(), element_of(rows));
    out.push_back(torch::empty(with_last(rows, weight.size(0)), rows.options()));
    products.push_back({rows_of(rows), matrix_of(rows), &panels, nullptr, out.back().data_ptr(), element_of(rows)});
  }
  linear_forward_many(products.data(), static_cast<int64_t>(products.size()));
  return out;
}

}  // namespace lt2
