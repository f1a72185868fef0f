#include "ops/linear/packed_weight.h"

#include "base/error.h"
#include "ops/kernel_dispatch.h"
#include "ops/pointer.h"

namespace lt2 {
namespace {

using torch::Tensor;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

bool quantised(WeightFormat format) { return format == WeightFormat::kInt8 || format == WeightFormat::kInt4; }

// What a part of a weight [N, K] must be. Panels of fp32 and bf16 have their size from their layout.
struct Part {
  const char* name;
  torch::Dtype type;
  std::vector<int64_t> sizes;
};
Part panels_part(WeightFormat format, int64_t N, int64_t K) {
  return {"panels", torch::kUInt8, {divide_up(N, kQuantWidth), quant_words(format, K), kQuantWidth, 4}};
}
Part scales_part(WeightFormat format, int64_t N, int64_t K) {
  const int64_t panels = divide_up(N, kQuantWidth);
  if (format == WeightFormat::kInt8) return {"scales", torch::kFloat32, {panels, kQuantWidth}};
  return {"scales", torch::kBFloat16, {panels, divide_up(K, kQuantGroup), kQuantWidth}};
}
Part numbers_part(WeightFormat format, const PanelLayout& layout, int64_t N, int64_t K) {
  return {"panels", torch_type(format), {linear_panel_numbers(layout, N, K)}};
}

// Memory in large pages, which torch's own allocator does not ask for: panels are read front to back at every token.
Tensor hold(AlignedBytes bytes, const Part& part) {
  std::byte* data = bytes.release();
  return torch::from_blob(
      data, part.sizes, [](void* p) { AlignedFree()(static_cast<std::byte*>(p)); }, part.type);
}
int64_t numbers_in(const Part& part) {
  int64_t count = 1;
  for (const int64_t size : part.sizes) count *= size;
  return count;
}
Tensor allocate(const Part& part) {
  return hold(aligned_bytes(static_cast<size_t>(numbers_in(part)) * torch::elementSize(part.type)), part);
}
void* data_of(const Tensor& t, const Part& part) {
  return dense_data(t, part.type, numbers_in(part), {"linear", part.name});
}

Tensor find(const PackedParts& parts, const char* name, WeightFormat format) {
  for (const auto& [key, tensor] : parts) {
    if (key == name && tensor.defined()) return tensor;
  }
  std::vector<std::string> names;
  for (const auto& part : parts) names.push_back(part.first);
  fail("linear: a packed {} weight needs a part \"{}\", found {}. Quantise the model again", weight_format_name(format),
       name, names.empty() ? "no parts" : fmt::format("{}", fmt::join(names, ", ")));
}

// The tensor as it is, or a copy where the kernels could not read it.
Tensor check_part(const Tensor& found, const Part& part, WeightFormat format, int64_t N, int64_t K) {
  LT2_CHECK(
      found.device().is_cpu() && found.scalar_type() == part.type && found.sizes() == at::IntArrayRef(part.sizes),
      "linear: part \"{}\" of a packed {} weight [{}, {}] must be {} [{}] on the CPU, found {} [{}] on {}. Was it "
      "made for another shape or by another version?",
      part.name, weight_format_name(format), N, K, torch::toString(part.type), fmt::join(part.sizes, ", "),
      torch::toString(found.scalar_type()), fmt::join(found.sizes(), ", "), found.device().str());
  const Tensor whole = found.detach().contiguous();
  const auto grain = std::max<size_t>(sizeof(float), whole.element_size());
  const bool aligned = reinterpret_cast<uintptr_t>(address_of(whole)) % grain == 0;
  return aligned ? whole : whole.clone();
}

// How kernel.h lays int8 and int4 out; another number there was another way.
constexpr int64_t kQuantLayout = 2;

// [5]: out, in, width, vector or group, tiles or kQuantLayout.
Tensor layout_of(WeightFormat format, const PanelLayout& layout, int64_t N, int64_t K) {
  const std::vector<int64_t> quant{N, K, kQuantWidth, format == WeightFormat::kInt4 ? kQuantGroup : 0, kQuantLayout};
  const std::vector<int64_t> plain{N, K, layout.width, layout.vector, int64_t{layout.tiles}};
  return torch::tensor(quantised(format) ? quant : plain, torch::kInt64);
}

// Of fp32 and bf16, the layout that the panels have.
PanelLayout read_layout(const PackedParts& parts, WeightFormat format, int64_t N, int64_t K) {
  const Tensor found = check_part(find(parts, "layout", format), {"layout", torch::kInt64, {5}}, format, N, K);
  const int64_t* v = dense_data<int64_t>(found, 5, {"linear", "layout"});
  LT2_CHECK(v[0] == N && v[1] == K, "linear: a packed {} weight [{}, {}] does not fit a map whose weight is [{}, {}]",
            weight_format_name(format), v[0], v[1], N, K);
  constexpr int64_t kWidest = 4096;  // far beyond any machine's; keeps products of sizes in range
  const PanelLayout layout{v[2], v[3], v[4] == 1};
  const bool panels = v[4] == 0 && v[3] >= 1 && v[2] >= v[3] && v[2] <= kWidest && v[2] % v[3] == 0;
  const bool tiles = format == WeightFormat::kBf16 && layout == linear_tile_layout();
  const bool sound = quantised(format) ? found.equal(layout_of(format, {}, N, K)) : panels || tiles;
  LT2_CHECK(
      sound,
      "linear: part \"layout\" of a packed {} weight holds {}, which is no layout that this version knows. Quantise "
      "the model again",
      weight_format_name(format), fmt::join(v, v + 5, ", "));
  return layout;
}

std::shared_ptr<PackedWeight> make(WeightFormat format, int64_t N, int64_t K, Tensor panels, Tensor scales,
                                   Tensor layout) {
  auto out = std::make_shared<PackedWeight>();
  out->format = format;
  out->panels = std::move(panels);
  out->scales = std::move(scales);
  out->layout = std::move(layout);
  out->view.N = N;
  out->view.K = K;
  out->view.element = format;
  if (quantised(format)) {
    out->view.view = data_of(out->panels, panels_part(format, N, K));
    out->view.scales = data_of(out->scales, scales_part(format, N, K));
  } else {
    const PanelLayout lies = linear_panel_layout(out->view.element);
    out->view.view = data_of(out->panels, numbers_part(format, lies, N, K));
    out->view.width = linear_panel_width();
    out->view.unit = linear_unit(out->view.element);
  }
  return out;
}

}  // namespace

std::string weight_format_name(WeightFormat format) {
  switch (format) {
    case WeightFormat::kF32:
      return "fp32";
    case WeightFormat::kBf16:
      return "bf16";
    case WeightFormat::kInt8:
      return "int8";
    case WeightFormat::kInt4:
      return "int4";
  }
  fail("linear: {} is no weight format", static_cast<int>(format));
}

std::shared_ptr<const PackedWeight> pack_weight(const Tensor& from, WeightFormat format) {
  LT2_CHECK(
      from.defined() && from.dim() == 2 && from.numel() > 0 && from.is_floating_point() && kernel_takes("linear", from),
      "linear: a weight to pack must be [out, in] in fp32 or bf16 on the CPU, found {}",
      from.defined() ? fmt::format("{} [{}] on {}", torch::toString(from.scalar_type()), fmt::join(from.sizes(), ", "),
                                   from.device().str())
                     : "none");
  const int64_t N = from.size(0), K = from.size(1);
  const Tensor rows = from.detach().contiguous();
  const Matrix matrix{dense_data(rows, from.scalar_type(), N * K, {"linear", "weight"}), element_of(rows),
                      static_cast<ptrdiff_t>(K)};
  if (!quantised(format)) {
    const PanelLayout layout = linear_panel_layout(format);
    Panels packed = linear_pack(matrix, N, K, format);
    return make(format, N, K, hold(std::move(packed.data), numbers_part(format, layout, N, K)), {},
                layout_of(format, layout, N, K));
  }
  const Tensor panels = allocate(panels_part(format, N, K)), scales = allocate(scales_part(format, N, K));
  const int64_t odd = linear_quantise(matrix, N, K, format, data_of(panels, panels_part(format, N, K)),
                                      data_of(scales, scales_part(format, N, K)));
  LT2_CHECK(odd < 0, "linear: row {} of a weight [{}, {}] holds a number that is not finite; {} cannot express it", odd,
            N, K, weight_format_name(format));
  return make(format, N, K, panels, scales, layout_of(format, {}, N, K));
}

PackedParts packed_weight_parts(const PackedWeight& weight) {
  PackedParts parts{{"panels", weight.panels}, {"layout", weight.layout}};
  if (quantised(weight.format)) parts.emplace_back("scales", weight.scales);
  return parts;
}

std::shared_ptr<const PackedWeight> adopt_weight(const PackedParts& parts, WeightFormat format, int64_t N, int64_t K) {
  LT2_CHECK(N > 0 && K > 0, "linear: a packed weight must have channels, found [{}, {}]", N, K);
  const PanelLayout layout = read_layout(parts, format, N, K);
  if (quantised(format)) {
    const Tensor panels = check_part(find(parts, "panels", format), panels_part(format, N, K), format, N, K);
    const Tensor scales = check_part(find(parts, "scales", format), scales_part(format, N, K), format, N, K);
    LT2_CHECK(scales.isfinite().all().item<bool>(), "linear: scales of a packed {} weight [{}, {}] are not all finite",
              weight_format_name(format), N, K);
    return make(format, N, K, panels, scales, layout_of(format, layout, N, K));
  }
  const Tensor panels = check_part(find(parts, "panels", format), numbers_part(format, layout, N, K), format, N, K);
  if (layout == linear_panel_layout(format)) {
    return make(format, N, K, panels, {}, layout_of(format, layout, N, K));
  }
  const Tensor rows = torch::empty({N, K}, panels.options());
  linear_unpack(layout, data_of(panels, numbers_part(format, layout, N, K)),
                static_cast<int64_t>(panels.element_size()), N, K,
                dense_data(rows, panels.scalar_type(), N * K, {"linear", "weight"}));
  return pack_weight(rows, format);
}

}  // namespace lt2
