#include "base/error.h"
#include "ops/fan_out/op.h"
#include "ops/kernel_dispatch.h"
#include "ops/linear/op.h"
#include "ops/linear/pack_cache.h"
#include "ops/linear/packed_weight.h"
#include "ops/pointer.h"
#include "ops/swiglu/kernel.h"
#include "ops/swiglu/op.h"

namespace lt2 {
namespace {

using torch::Tensor;

// [M, N] of the type of `like`.
void* matrix_data(const Tensor& t, const Tensor& like, int64_t M, int64_t N, const char* name) {
  return dense_data(t, like.scalar_type(), M * N, {"linear", name});
}
Matrix matrix_of(const Tensor& t, int64_t M, int64_t N, const char* name) {
  return {matrix_data(t, t, M, N, name), element_of(t), static_cast<ptrdiff_t>(N)};
}
float* weight_data(const Tensor& t, int64_t N, int64_t K, const char* name) {
  return dense_data<float>(t, N * K, {"linear", name});
}
int64_t rows_of(const Tensor& t) { return t.size(-1) == 0 ? 0 : t.numel() / t.size(-1); }

std::vector<int64_t> with_last(const Tensor& x, int64_t last) {
  auto sizes = x.sizes().vec();
  sizes.back() = last;
  return sizes;
}

// What is done to the product x W^T. At most one is defined.
struct Finish {
  Tensor residual;  // fp32: y = residual + product
  Tensor gate;      // of x's type: y = silu(gate) * product
};

// x and the finish contiguous. `product`, if given, takes the product before it is gated.
Tensor forward_panels(const Tensor& x, const Panels& panels, const Finish& finish, Tensor* product = nullptr) {
  const auto options =
      x.options().dtype(finish.residual.defined() ? torch::kFloat32 : x.scalar_type()).requires_grad(false);
  Tensor y = torch::empty(with_last(x, panels.N), options);
  if (product != nullptr) *product = torch::empty_like(y);
  const int64_t M = rows_of(x), N = panels.N;
  const auto data = [&](const Tensor& t, const char* name) { return matrix_data(t, y, M, N, name); };
  linear_forward({M,
                  matrix_of(x, M, panels.K, "x"),
                  &panels,
                  {.y = data(y, "y"),
                   .y_element = element_of(y),
                   .residual = dense_data_or_null<float>(finish.residual, M * N, {"linear", "residual"}),
                   .gate = finish.gate.defined() ? data(finish.gate, "gate") : nullptr,
                   .product = product != nullptr ? data(*product, "product") : nullptr}});
  return y;
}

Tensor forward_cpu(const Tensor& x, const Tensor& weight, const Finish& finish, PackCache* cache,
                   Tensor* product = nullptr) {
  PackCache for_this_call;
  const Panels& panels = (cache != nullptr ? *cache : for_this_call).panels(weight.contiguous(), element_of(x));
  return forward_panels(x, panels, finish, product);
}

// Keeps the packed copies for the backward pass, which may outlive the module.
struct CacheHolder : torch::CustomClassHolder {
  explicit CacheHolder(std::shared_ptr<PackCache> held) : cache(std::move(held)) {}
  std::shared_ptr<PackCache> cache;
};

struct LinearFunction : torch::autograd::Function<LinearFunction> {
  static Tensor forward(torch::autograd::AutogradContext* ctx, const Tensor& x, const Tensor& weight,
                        const c10::optional<Tensor>& residual, const c10::optional<Tensor>& gate,
                        const std::shared_ptr<PackCache>& cache) {
    ctx->saved_data["cache"] = c10::IValue::make_capsule(c10::make_intrusive<CacheHolder>(cache));
    ctx->saved_data["has_residual"] = residual.has_value();
    Tensor product;
    const Tensor y = forward_cpu(x, weight, {residual.value_or(Tensor()), gate.value_or(Tensor())}, cache.get(),
                                 gate ? &product : nullptr);
    ctx->save_for_backward({x, weight, gate.value_or(Tensor()), product});
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    LT2_CHECK(!torch::GradMode::is_enabled(),
              "linear: its gradient is not differentiable again; call backward with create_graph = false");
    const auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], weight = saved[1].contiguous(), gate = saved[2];
    const bool residual = ctx->saved_data["has_residual"].toBool(), unit = linear_uses_unit(element_of(x));
    const int64_t M = rows_of(x), N = weight.size(0), K = weight.size(1);
    Tensor dy = grads[0].contiguous(), dgate;
    if (gate.defined()) {
      const Tensor &product = saved[3], dproduct = torch::empty_like(product);
      dgate = torch::empty_like(gate);
      const auto data = [&](const Tensor& t, const char* name) { return matrix_data(t, gate, M, N, name); };
      gated_product_backward(GateActivation::kSilu, element_of(gate), data(gate, "gate"), data(product, "product"),
                             data(dy, "gradient of y"), data(dgate, "gradient of gate"),
                             data(dproduct, "gradient of product"), M * N);
      dy = dproduct;
    }
    if (unit) dy = dy.to(torch::kBFloat16);
    Tensor dx, dw;
    const Matrix dy_matrix = matrix_of(dy, M, N, "gradient of y");
    if (ctx->needs_input_grad(0)) {
      dx = torch::empty(x.sizes(), x.options());
      const auto holder = c10::static_intrusive_pointer_cast<CacheHolder>(ctx->saved_data["cache"].toCapsule());
      const Panels* packed = holder->cache && unit ? &holder->cache->backward_panels(weight) : nullptr;
      linear_backward_input({M, N, K, dy_matrix, weight_data(weight, N, K, "weight"),
                             /*round_weight=*/element_of(x) == Element::kBf16,
                             matrix_data(dx, x, M, K, "gradient of x"), element_of(dx), packed});
    }
    if (ctx->needs_input_grad(1)) {
      dw = torch::empty(weight.sizes(), weight.options());
      linear_backward_weight(
          {M, N, K, dy_matrix, matrix_of(x, M, K, "x"), weight_data(dw, N, K, "gradient of weight")});
    }
    return {dx, dw, residual ? grads[0] : Tensor(), dgate, Tensor()};
  }
};

bool has_kernel(const Tensor& x, const Tensor& weight) {
  return kernel_takes("linear", x) && kernel_takes_fp32(weight) && x.numel() > 0 && weight.numel() > 0;
}

// Up to this many rows a call waits for memory and for the threads to start, not for arithmetic.
constexpr int64_t kFewRows = 8;

void check_operand(const char* name, const Tensor& operand, const Tensor& x, const Tensor& weight) {
  LT2_CHECK(operand.sizes().vec() == with_last(x, weight.size(0)), "linear: {} must be [{}], found [{}]", name,
            fmt::join(with_last(x, weight.size(0)), ", "), fmt::join(operand.sizes(), ", "));
}

void check_shapes(const Tensor& x, const Tensor& weight, const Finish& finish) {
  LT2_CHECK(weight.dim() == 2, "linear: weight must be [out, in], found {} dimensions", weight.dim());
  LT2_CHECK(x.dim() >= 1 && x.size(-1) == weight.size(1),
            "linear: x must be [.., {}] for a weight [{}, {}], found [{}]", weight.size(1), weight.size(0),
            weight.size(1), fmt::join(x.sizes(), ", "));
  if (finish.residual.defined()) check_operand("residual", finish.residual, x, weight);
  if (finish.gate.defined()) check_operand("gate", finish.gate, x, weight);
}

Tensor contiguous(const Tensor& t) { return t.defined() ? t.contiguous() : t; }

Tensor apply(const Tensor& x, const Tensor& weight, const Finish& finish, const std::shared_ptr<PackCache>& cache) {
  const auto& [residual, gate] = finish;
  check_shapes(x, weight, finish);
  LT2_CHECK(!weight.is_meta() || x.is_meta(),
            "linear: the weight [{}] has no memory yet; pack() or adopt() one before the first product",
            fmt::join(weight.sizes(), ", "));
  if (!has_kernel(x, weight) || (residual.defined() && residual.scalar_type() != torch::kFloat32) ||
      (gate.defined() && gate.scalar_type() != x.scalar_type())) {
    const Tensor y = linear_reference(x, weight);
    if (gate.defined()) return swiglu(gate, y);
    return residual.defined() ? residual + y.to(residual.scalar_type()) : y;
  }
  const auto optional = [](const Tensor& t) { return t.defined() ? c10::optional<Tensor>(t) : c10::nullopt; };
  const Finish rows{contiguous(residual), contiguous(gate)};
  if (!needs_gradient({x, weight, residual, gate})) return forward_cpu(x.contiguous(), weight, rows, cache.get());
  return LinearFunction::apply(x.contiguous(), weight, optional(rows.residual), optional(rows.gate), cache);
}

void check_packed(const Tensor& x, const PackedWeight& packed, const Finish& finish) {
  LT2_CHECK(!needs_gradient({x, finish.residual, finish.gate}),
            "linear: a packed weight gives no gradients; use torch::NoGradGuard, or a model that was not packed");
  LT2_CHECK(kernel_takes("linear", x), "linear: a packed weight takes x in fp32 or bf16 on the CPU, found {} on {}",
            torch::toString(x.scalar_type()), x.device().str());
  LT2_CHECK(packed.view.scales != nullptr || linear_panels_current(packed.view, packed.view.N, packed.view.K),
            "linear: the weight was packed for another instruction set than the one in use; set LT2_ISA before");
}

Tensor apply_packed(const Tensor& x, const Tensor& weight, const Finish& finish, const PackedWeight& packed) {
  const auto& [residual, gate] = finish;
  check_shapes(x, weight, finish);
  check_packed(x, packed, finish);
  LT2_CHECK(!residual.defined() || kernel_takes_fp32(residual),
            "linear: residual must be fp32 on the CPU, found {} on {}", torch::toString(residual.scalar_type()),
            residual.device().str());
  LT2_CHECK(!gate.defined() || (kernel_takes("linear", gate) && gate.scalar_type() == x.scalar_type()),
            "linear: gate must be {} on the CPU like x, found {} on {}", torch::toString(x.scalar_type()),
            torch::toString(gate.scalar_type()), gate.device().str());
  if (x.numel() == 0)
    return residual.defined() ? residual.clone() : torch::empty(with_last(x, weight.size(0)), x.options());
  return forward_panels(x.contiguous(), packed.view, {contiguous(residual), contiguous(gate)});
}

thread_local int without_weights = 0;

}  // namespace

WithoutWeights::WithoutWeights() { ++without_weights; }
WithoutWeights::~WithoutWeights() { --without_weights; }

LinearImpl::LinearImpl(int64_t in, int64_t out) : cache_(std::make_shared<PackCache>()) {
  const auto options = torch::TensorOptions(torch::kFloat32).device(without_weights > 0 ? torch::kMeta : torch::kCPU);
  weight = register_parameter("weight", torch::empty({out, in}, options));
}

Tensor LinearImpl::apply(const Tensor& x, const Tensor& residual, const Tensor& gate) {
  return packed_ ? apply_packed(x, weight, {residual, gate}, *packed_)
                 : lt2::apply(x, weight, {residual, gate}, cache_);
}

Tensor LinearImpl::forward(const Tensor& x) { return apply(x, {}, {}); }
Tensor LinearImpl::forward_add(const Tensor& x, const Tensor& residual) {
  LT2_CHECK(residual.defined() && residual.is_floating_point(), "linear: residual must be a tensor of floats, found {}",
            residual.defined() ? torch::toString(residual.scalar_type()) : "none");
  return apply(x, residual, {});
}
Tensor LinearImpl::forward_gated(const Tensor& x, const Tensor& gate) {
  LT2_CHECK(gate.defined(), "linear: no gate is given");
  return apply(x, {}, gate);
}

void LinearImpl::drop_pack_cache() { cache_ = std::make_shared<PackCache>(); }

void LinearImpl::pack(const Tensor& from, WeightFormat format) {
  LT2_CHECK(from.defined() && from.sizes() == weight.sizes(), "linear: a weight [{}] cannot be packed from {}",
            fmt::join(weight.sizes(), ", "),
            from.defined() ? fmt::format("[{}]", fmt::join(from.sizes(), ", ")) : "none");
  set_packed(pack_weight(from, format));
}

void LinearImpl::adopt(const std::vector<std::pair<std::string, Tensor>>& parts, WeightFormat format) {
  set_packed(adopt_weight(parts, format, weight.size(0), weight.size(1)));
}

void LinearImpl::set_packed(std::shared_ptr<const PackedWeight> packed) {
  packed_ = std::move(packed);
  drop_pack_cache();
  set_weight(torch::empty(weight.sizes(), torch::TensorOptions(torch::kFloat32).device(torch::kMeta)));
}

std::vector<std::pair<std::string, Tensor>> LinearImpl::packed_parts() const {
  LT2_CHECK(is_packed(), "linear: the weight [{}] is not packed and has no parts", fmt::join(weight.sizes(), ", "));
  return packed_weight_parts(*packed_);
}

WeightFormat LinearImpl::packed_format() const {
  LT2_CHECK(is_packed(), "linear: the weight [{}] is not packed and has no format", fmt::join(weight.sizes(), ", "));
  return packed_->format;
}

int64_t LinearImpl::packed_weight_bytes() const {
  if (!is_packed()) return 0;
  return static_cast<int64_t>(packed_->panels.nbytes() + (packed_->scales.defined() ? packed_->scales.nbytes() : 0));
}

Tensor linear(const Tensor& x, const Tensor& weight, std::shared_ptr<PackCache>* cache) {
  if (cache != nullptr && !*cache) *cache = std::make_shared<PackCache>();
  return lt2::apply(x, weight, {}, cache != nullptr ? *cache : nullptr);
}

Tensor linear_swiglu(const Tensor& x, Linear& gate, Linear& up) {
  if (rows_of(x) > kFewRows || torch::GradMode::is_enabled()) {
    const auto each = fan_out(x, 2);
    return up->forward_gated(each[0], gate->forward(each[1]));
  }
  const auto both = linear_all(x, {&gate, &up});
  return swiglu(both[0], both[1]);
}

std::vector<Tensor> linear_all(const Tensor& x, const std::vector<Linear*>& maps) {
  std::vector<Tensor> out;
  out.reserve(maps.size());
  bool together = !torch::GradMode::is_enabled() && x.dim() >= 1 && x.numel() > 0 && !maps.empty();
  for (const Linear* map : maps) {
    const Tensor& weight = (*map)->weight;
    const PackedWeight *packed = (*map)->packed_.get(), *first = (*maps[0])->packed_.get();
    const bool alike = packed == nullptr
                           ? first == nullptr && has_kernel(x, weight)
                           : first != nullptr && first->format == packed->format && kernel_takes("linear", x);
    together = together && alike && weight.size(1) == x.size(-1);
  }
  if (!together) {
    const auto each = fan_out(x, static_cast<int64_t>(maps.size()));
    for (size_t i = 0; i < maps.size(); ++i) out.push_back((*maps[i])->forward(each[i]));
    return out;
  }
  const Tensor rows = x.contiguous();
  const int64_t M = rows_of(rows);
  const Matrix x_matrix = matrix_of(rows, M, rows.size(-1), "x");
  std::vector<LinearForward> products;
  products.reserve(maps.size());
  for (Linear* map : maps) {
    const Tensor& weight = (*map)->weight;
    const PackedWeight* packed = (*map)->packed_.get();
    if (packed != nullptr) check_packed(rows, *packed, {});
    const Panels& panels =
        packed != nullptr ? packed->view : (*map)->cache_->panels(weight.contiguous(), element_of(rows));
    out.push_back(torch::empty(with_last(rows, weight.size(0)), rows.options()));
    products.push_back({M, x_matrix, &panels, {matrix_data(out.back(), rows, M, panels.N, "y"), element_of(rows)}});
  }
  linear_forward_many(products.data(), static_cast<int64_t>(products.size()));
  return out;
}

}  // namespace lt2
