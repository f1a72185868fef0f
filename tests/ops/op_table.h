#pragma once
// Every differentiable or choosing op with inputs of any sizes: what the property tests run over.
#include <algorithm>
#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "ops/block_selection/op.h"
#include "ops/causal_attention/op.h"
#include "ops/cross_entropy/op.h"
#include "ops/fan_out/op.h"
#include "ops/gates/op.h"
#include "ops/head_linear/op.h"
#include "ops/index_loss/op.h"
#include "ops/index_topk/op.h"
#include "ops/linear/op.h"
#include "ops/linear_recurrence/op.h"
#include "ops/per_channel/op.h"
#include "ops/rms_norm/op.h"
#include "ops/rope/op.h"
#include "ops/selected_attention/op.h"
#include "ops/short_conv/op.h"
#include "ops/swiglu/op.h"

namespace lt2::test {

using torch::Tensor;
using Tensors = std::vector<Tensor>;

struct OpInput {
  Tensor value;
  bool product = false;   // of the type of products: fp32 or bf16. Others stay fp32
  bool constant = false;  // has no gradient
};

struct Op {
  std::string name;
  std::vector<int64_t> sizes;
  std::function<std::vector<OpInput>(const std::vector<int64_t>& sizes)> inputs;
  std::function<Tensors(const Tensors&)> fast, reference;
  bool exact = true;  // its bits do not depend on how an input lies in memory: false where torch multiplies
};
inline std::ostream& operator<<(std::ostream& out, const Op& op) { return out << op.name; }

inline OpInput product(Tensor t) { return {std::move(t), true, false}; }
inline OpInput parameter(Tensor t) { return {std::move(t), false, false}; }
inline OpInput constant(Tensor t) { return {std::move(t), false, true}; }
inline OpInput constant_product(Tensor t) { return {std::move(t), true, true}; }

using Sizes = std::vector<int64_t>;
using Inputs = std::vector<OpInput>;

inline void add_gates(std::vector<Op>& ops) {
  const Sizes sizes{2, 3, 3, 5};  // B, L, H, channels of a head
  const auto inputs = [](const Sizes& n) -> Inputs {
    return {product(3 * torch::randn({n[0], n[1], n[2] * n[3]})), parameter(torch::randn({n[2]})),
            parameter(torch::randn({n[2] * n[3]}))};
  };
  const auto gate = [&](const char* name, auto fast, auto reference, size_t used) {
    ops.push_back({name, sizes,
                   [=](const Sizes& n) {
                     auto all = inputs(n);
                     if (used < 3) all.erase(all.begin() + 1);
                     all.resize(std::min(used, all.size()));
                     return all;
                   },
                   fast, reference});
  };
  using In = const Tensors&;
  gate(
      "log_decay", [](In t) { return Tensors{log_decay(t[0], t[1], t[2])}; },
      [](In t) { return Tensors{log_decay_reference(t[0], t[1], t[2])}; }, 3);
  gate(
      "log_sigmoid", [](In t) { return Tensors{log_sigmoid(t[0], 16, t[1])}; },
      [](In t) { return Tensors{log_sigmoid_reference(t[0], 16, t[1])}; }, 2);
  gate(
      "step_size", [](In t) { return Tensors{step_size(t[0], t[1])}; },
      [](In t) { return Tensors{step_size_reference(t[0], t[1])}; }, 2);
  gate(
      "write_strength", [](In t) { return Tensors{write_strength(t[0], 2)}; },
      [](In t) { return Tensors{write_strength_reference(t[0], 2)}; }, 1);
  gate(
      "one_minus_sigmoid", [](In t) { return Tensors{one_minus_sigmoid(t[0])}; },
      [](In t) { return Tensors{one_minus_sigmoid_reference(t[0])}; }, 1);
  gate(
      "swish", [](In t) { return Tensors{swish(t[0])}; }, [](In t) { return Tensors{swish_reference(t[0])}; }, 1);
}

inline void add_rows(std::vector<Op>& ops) {
  using In = const Tensors&;
  const Sizes rows{2, 3, 5};  // B, L, D
  const auto x = [](const Sizes& n) { return product(torch::randn({n[0], n[1], n[2]})); };
  const auto weight = [](const Sizes& n) { return parameter(torch::randn({n[2]})); };
  ops.push_back({"rms_norm", rows,
                 [=](const Sizes& n) -> Inputs {
                   return {x(n), weight(n)};
                 },
                 [](In t) { return Tensors{rms_norm(t[0], t[1], 1e-5, torch::kFloat32)}; },
                 [](In t) { return Tensors{rms_norm_reference(t[0], t[1], 1e-5, torch::kFloat64)}; }});
  ops.push_back({"rms_norm_silu_gate", rows,
                 [=](const Sizes& n) -> Inputs {
                   return {x(n), x(n), weight(n)};
                 },
                 [](In t) { return Tensors{rms_norm_silu_gate(t[0], t[1], t[2], 1e-5)}; },
                 [](In t) { return Tensors{rms_norm_silu_gate_reference(t[0], t[1], t[2], 1e-5)}; }});
  ops.push_back({"l2_norm", rows, [=](const Sizes& n) -> Inputs { return {x(n)}; },
                 [](In t) { return Tensors{l2_norm(t[0])}; }, [](In t) { return Tensors{l2_norm_reference(t[0])}; }});
  ops.push_back({"swiglu", rows,
                 [=](const Sizes& n) -> Inputs {
                   return {x(n), x(n)};
                 },
                 [](In t) { return Tensors{swiglu(t[0], t[1])}; },
                 [](In t) { return Tensors{swiglu_reference(t[0], t[1])}; }});
  ops.push_back({"fan_out", rows, [=](const Sizes& n) -> Inputs { return {x(n)}; },
                 [](In t) { return Tensors(fan_out(t[0], 3)); },
                 [](In t) {
                   return Tensors{t[0], t[0], t[0]};
                 }});
  ops.push_back({"sigmoid_gate", rows,
                 [=](const Sizes& n) -> Inputs {
                   return {x(n), x(n)};
                 },
                 [](In t) { return Tensors{sigmoid_gate(t[0], t[1])}; },
                 [](In t) { return Tensors{sigmoid_gate_reference(t[0], t[1])}; }});
  for (const auto layout : {RopeLayout::kPairs, RopeLayout::kHalves}) {
    ops.push_back({layout == RopeLayout::kPairs ? "rope_pairs" : "rope_halves",
                   {2, 3, 2, 3},
                   [](const Sizes& n) -> Inputs {
                     return {product(torch::randn({n[0], n[1], n[2], 2 * n[3]}))};
                   },
                   [=](In t) { return Tensors{rope(t[0], 10000, 5, layout)}; },
                   [=](In t) { return Tensors{rope_reference(t[0], 10000, 5, layout)}; }});
  }
  const auto per_channel_input = [](In t) {
    return PerChannelInput{.x = t[0], .weight = t[1], .bias = t[2], .base = t[3]};
  };
  ops.push_back({"per_channel",
                 {2, 3, 3, 5},  // B, L, H, channels of a number
                 [](const Sizes& n) -> Inputs {
                   const Sizes like_x{n[0], n[1], n[2] * n[3]};
                   return {product(torch::randn(like_x)), parameter(torch::randn({n[2]})),
                           parameter(torch::randn({n[2] * n[3]})), parameter(torch::randn(like_x))};
                 },
                 [=](In t) { return Tensors{per_channel(per_channel_input(t), torch::kFloat32)}; },
                 [=](In t) { return Tensors{per_channel_reference(per_channel_input(t), torch::kFloat64)}; }});
  ops.push_back({"repeat_for_heads", rows, [=](const Sizes& n) -> Inputs { return {x(n)}; },
                 [](In t) { return Tensors{repeat_for_heads(t[0], 3)}; },
                 [](In t) {
                   return Tensors{t[0].unsqueeze(2).expand({-1, -1, 3, -1})};
                 }});
  for (const bool all : {false, true}) {  // with a bias and the inputs before
    const auto call = [=](In t) {
      return ShortConvInput{.x = t[0], .weight = t[1], .bias = all ? t[2] : Tensor(), .tail = all ? t[3] : Tensor()};
    };
    ops.push_back({all ? "short_conv_after_a_tail" : "short_conv",
                   {2, 5, 3},
                   [=](const Sizes& n) -> Inputs {
                     Inputs in{product(torch::randn({n[0], n[1], n[2]})), parameter(torch::randn({n[2], 1, 4}))};
                     if (!all) return in;
                     in.push_back(parameter(torch::randn({n[2]})));
                     in.push_back(constant_product(torch::randn({n[0], 3, n[2]})));
                     return in;
                   },
                   [=](In t) { return Tensors{short_conv(call(t))}; },
                   [=](In t) { return Tensors{short_conv_reference(call(t))}; }});
  }
}

inline void add_products(std::vector<Op>& ops) {
  using In = const Tensors&;
  const Sizes sizes{2, 3, 5, 7};  // B, L, in, out
  const auto x = [](const Sizes& n) { return product(torch::randn({n[0], n[1], n[2]})); };
  const auto weight = [](const Sizes& n) { return parameter(torch::randn({n[3], n[2]})); };
  const auto y = [](const Sizes& n) { return torch::randn({n[0], n[1], n[3]}); };
  const auto map = [](const Tensor& w) {
    Linear linear(w.size(1), w.size(0));
    linear->set_weight(w);
    return linear;
  };
  ops.push_back({"linear", sizes,
                 [=](const Sizes& n) -> Inputs {
                   return {x(n), weight(n)};
                 },
                 [](In t) { return Tensors{lt2::linear(t[0], t[1])}; },
                 [](In t) { return Tensors{linear_reference(t[0], t[1])}; }});
  ops.push_back({"linear_added", sizes,
                 [=](const Sizes& n) -> Inputs {
                   return {x(n), weight(n), parameter(y(n))};
                 },
                 [=](In t) { return Tensors{map(t[1])->forward_add(t[0], t[2])}; },
                 [](In t) { return Tensors{linear_reference(t[0], t[1]) + t[2]}; }});
  ops.push_back({"linear_gated", sizes,
                 [=](const Sizes& n) -> Inputs {
                   return {x(n), weight(n), product(y(n))};
                 },
                 [=](In t) { return Tensors{map(t[1])->forward_gated(t[0], t[2])}; },
                 [](In t) { return Tensors{swiglu_reference(t[2], linear_reference(t[0], t[1]))}; }});
  ops.push_back(
      {"head_linear",
       {2, 3, 2, 5, 7},
       [](const Sizes& n) -> Inputs {
         return {constant_product(torch::randn({n[0], n[1], n[2], n[3]})), constant(torch::randn({n[2], n[3], n[4]}))};
       },
       [](In t) { return Tensors{head_linear(t[0], t[1])}; },
       [](In t) {
         return Tensors{torch::einsum("blhk,hkn->blhn", {t[0], t[1]})};
       }});
  ops.push_back({"linear_cross_entropy", sizes,
                 [=](const Sizes& n) -> Inputs {
                   return {x(n), weight(n), constant(torch::randint(n[3], {n[0], n[1]}, torch::kInt64))};
                 },
                 [](In t) { return Tensors{linear_cross_entropy(t[0], t[1], t[2])}; },
                 [](In t) { return Tensors{linear_cross_entropy_reference(t[0], t[1], t[2])}; }});
  for (const bool delta : {false, true}) {
    for (const int decay : {0, 3, 4}) {  // none, or the axes of g
      // g comes before beta, beta before state; those that an op does not have are left out.
      const auto call = [=](In t) {
        size_t next = 3;
        LinearRecurrenceInput in{.q = t[0], .k = t[1], .v = t[2], .scale = 0.5, .position = 60};
        if (decay > 0) in.g = t[next++];
        if (delta) in.beta = t[next++];
        in.state = t[next];
        return in;
      };
      const auto outputs = [](const LinearRecurrenceOutput& out) { return Tensors{out.o, out.state}; };
      const char* names[] = {"none", "scalar", "vector"};
      ops.push_back({fmt::format("linear_recurrence_{}_{}", names[decay == 0 ? 0 : decay - 2], delta ? "delta" : "add"),
                     {2, 13, 2, 3, 5},  // B, L (over a chunk border), H, K, V
                     [=](const Sizes& n) -> Inputs {
                       const Sizes key{n[0], n[1], n[2], n[3]}, head{n[0], n[1], n[2]};
                       Inputs in{product(torch::randn(key)), product(l2_norm(torch::randn(key))),
                                 product(torch::randn({n[0], n[1], n[2], n[4]}))};
                       if (decay > 0) in.push_back(parameter(-torch::rand(decay == 3 ? head : key)));
                       if (delta) in.push_back(parameter(torch::rand(head)));
                       in.push_back(parameter(torch::randn({n[0], n[2], n[3], n[4]})));
                       return in;
                     },
                     [=](In t) { return outputs(linear_recurrence(call(t))); },
                     [=](In t) { return outputs(linear_recurrence_reference(call(t))); }});
    }
  }
}

inline void add_attention(std::vector<Op>& ops) {
  using In = const Tensors&;
  const Sizes sizes{2, 5, 3, 2, 2, 3, 4};  // B, L, earlier keys, Hk, heads of a group, E, Ev
  const auto qkv = [](const Sizes& n) -> Inputs {
    const int64_t S = n[1] + n[2];
    return {product(torch::randn({n[0], n[1], n[3] * n[4], n[5]})), product(torch::randn({n[0], S, n[3], n[5]})),
            product(torch::randn({n[0], S, n[3], n[6]}))};
  };
  for (const bool windowed : {false, true}) {
    const auto call = [=](In t) {
      CausalAttentionInput in{.q = t[0], .k = t[1], .v = t[2], .scale = 0.7};
      if (windowed) in.window = 3;
      return in;
    };
    ops.push_back({windowed ? "causal_attention_windowed" : "causal_attention", sizes, qkv,
                   [=](In t) { return Tensors{causal_attention(call(t))}; },
                   [=](In t) { return Tensors{causal_attention_reference(call(t))}; }});
  }
  const auto selected = [](In t) {
    return SelectedAttentionInput{
        .q = t[0], .k = t[1], .v = t[2], .blocks = t[3], .block_size = 2, .scale = 0.7, .first_query = {}};
  };
  for (const auto type : {torch::kInt32, torch::kInt64}) {
    ops.push_back({type == torch::kInt32 ? "selected_attention" : "selected_attention_long_lists", sizes,
                   [=](const Sizes& n) -> Inputs {
                     auto in = qkv(n);
                     // The query's own block and, where there are two, the first.
                     const auto own = torch::div(torch::arange(n[2], n[2] + n[1], torch::kInt64), 2, "floor");
                     const auto second = own.masked_fill(own == 0, -1);
                     const auto lists = torch::stack({torch::zeros_like(own), second}, 1).view({1, n[1], 1, 2});
                     in.push_back(constant(lists.expand({n[0], n[1], n[3], 2}).to(type).contiguous()));
                     return in;
                   },
                   [=](In t) { return Tensors{selected_attention(selected(t))}; },
                   [=](In t) { return Tensors{selected_attention_reference(selected(t))}; }});
  }
  ops.push_back({"block_means",
                 {2, 7, 2, 3},
                 [](const Sizes& n) -> Inputs {
                   return {product(torch::randn({n[0], n[1], n[2], n[3]}))};
                 },
                 [](In t) { return Tensors{block_means(t[0], 2)}; },
                 [](In t) { return Tensors{block_means_reference(t[0], 2)}; }});
  const auto blocks = [](In t) {
    return BlockSelectionInput{
        .q = t[0], .k_mean = t[1], .v_mean = t[2], .first_position = 4, .block_size = 2, .count = 2, .scale = 0.7};
  };
  ops.push_back({"block_selection",
                 {2, 5, 2, 2, 3, 4},  // B, L, Hk, heads of a group, E, Ev
                 [](const Sizes& n) -> Inputs {
                   const int64_t N = (4 + n[1]) / 2;
                   return {product(torch::randn({n[0], n[1], n[2] * n[3], n[4]})),
                           parameter(torch::randn({n[0], N, n[2], n[4]})),
                           parameter(torch::randn({n[0], N, n[2], n[5]}))};
                 },
                 [=](In t) {
                   const auto out = block_selection(blocks(t));
                   return Tensors{out.o, out.blocks};
                 },
                 [=](In t) {
                   const auto out = block_selection_reference(blocks(t));
                   return Tensors{out.o, out.blocks};
                 }});
}

inline void add_index(std::vector<Op>& ops) {
  using In = const Tensors&;
  const Sizes index_sizes{2, 5, 3, 2, 3};  // B, L, earlier keys, J, F
  for (const bool weighted : {false, true}) {
    const auto call = [=](In t) {
      return IndexTopkInput{.q = t[0], .k = t[1], .weights = weighted ? t[2] : Tensor(), .count = 3};
    };
    ops.push_back({weighted ? "index_topk_weighted" : "index_topk", index_sizes,
                   [=](const Sizes& n) -> Inputs {
                     Inputs in{constant_product(torch::randn({n[0], n[1], n[3], n[4]})),
                               constant_product(torch::randn({n[0], n[1] + n[2], n[4]}))};
                     if (weighted) in.push_back(constant(torch::randn({n[0], n[1], n[3]})));
                     return in;
                   },
                   [=](In t) { return Tensors{index_topk(call(t))}; },
                   [=](In t) { return Tensors{index_topk_reference(call(t))}; }});
  }
  for (const bool sparse : {false, true}) {
    const auto call = [=](In t) {
      IndexLossInput in{.index = {.q = t[0], .k = t[1], .weights = t[2]}, .scale = 0.7};
      (sparse ? in.indices : in.queries) = t[3];
      (sparse ? in.probabilities : in.keys) = t[4];
      return in;
    };
    ops.push_back({sparse ? "index_loss_sparse" : "index_loss_dense",
                   {2, 5, 2, 3, 2},  // B, L, J, F, H
                   [=](const Sizes& n) -> Inputs {
                     Inputs in{product(torch::randn({n[0], n[1], n[2], n[3]})),
                               product(torch::randn({n[0], n[1], n[3]})), parameter(torch::rand({n[0], n[1], n[2]}))};
                     if (sparse) {  // every query's own key
                       const auto own = torch::arange(n[1], torch::kInt32).view({1, n[1], 1});
                       in.push_back(constant(own.expand({n[0], n[1], 1}).contiguous()));
                       in.push_back(constant(torch::ones({n[0], n[1], 1})));
                     } else {
                       in.push_back(constant_product(torch::randn({n[0], n[1], n[4], n[3]})));
                       in.push_back(constant_product(torch::randn({n[0], n[1], n[3]})));
                     }
                     return in;
                   },
                   [=](In t) { return Tensors{index_loss(call(t))}; },
                   [=](In t) { return Tensors{index_loss_reference(call(t))}; },
                   /*exact=*/false});
  }
}

inline std::vector<Op> all_ops() {
  std::vector<Op> ops;
  add_gates(ops);
  add_rows(ops);
  add_products(ops);
  add_attention(ops);
  add_index(ops);
  return ops;
}

}  // namespace lt2::test
