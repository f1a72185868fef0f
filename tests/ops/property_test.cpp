// What holds for every op, whatever the sizes and however its tensors lie in memory.
#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/ops/op_table.h"
#include "tests/support/compare.h"
#include "tests/support/layouts.h"

namespace lt2 {
namespace {

using test::Op;
using test::Tensor;
using test::Tensors;

// The sizes of the table, each of them one, and all of them one.
std::vector<std::vector<int64_t>> sizes_of(const Op& op) {
  std::vector<std::vector<int64_t>> out{op.sizes};
  for (size_t d = 0; d < op.sizes.size(); ++d) {
    out.push_back(op.sizes);
    out.back()[d] = 1;
  }
  out.emplace_back(op.sizes.size(), 1);
  return out;
}

struct Result {
  Tensors values, gradients;  // gradients of the inputs that have one, of the others undefined
};

using Lay = std::function<Tensor(const Tensor&)>;

// Runs the form forward and, where there is something to differentiate, backward from gradients laid out by `lay`.
Result run(const std::function<Tensors(const Tensors&)>& form, const std::vector<test::OpInput>& inputs,
           const Lay& lay) {
  Tensors given, leaves;
  for (const auto& in : inputs) {
    given.push_back(in.value);
    if (in.constant || !in.value.defined()) continue;
    given.back() = in.value.detach().set_requires_grad(in.value.is_floating_point());  // shares memory and strides
    if (in.value.is_floating_point()) leaves.push_back(given.back());
  }
  const torch::AutoGradMode grad(!leaves.empty());
  Result out{form(given), {}};
  Tensors from, dys;
  for (const auto& y : out.values) {
    if (!y.requires_grad()) continue;
    // The same whatever the layout, the type and who asks.
    const auto dy = torch::cos(torch::arange(y.numel(), torch::kFloat64)).view(y.sizes());
    from.push_back(y);
    dys.push_back(lay(dy.to(y.device(), torch::kBFloat16).to(y.scalar_type())));
  }
  if (!from.empty()) out.gradients = torch::autograd::grad(from, leaves, dys, {}, false, /*allow_unused=*/true);
  return out;
}

// Nothing where the input is refused, as an expanded list of blocks is.
std::optional<Result> attempt(const std::function<Tensors(const Tensors&)>& form,
                              const std::vector<test::OpInput>& inputs, const Lay& lay) {
  try {
    return run(form, inputs, lay);
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

Tensor as_it_lies(const Tensor& t) { return t; }

std::vector<test::OpInput> cast(std::vector<test::OpInput> inputs, torch::ScalarType products) {
  for (auto& in : inputs) {
    if (in.product) in.value = in.value.to(products);
  }
  return inputs;
}

std::vector<test::OpInput> exact(std::vector<test::OpInput> inputs) {
  for (auto& in : inputs) {
    if (in.value.defined() && in.value.is_floating_point()) in.value = in.value.contiguous().to(torch::kFloat64);
  }
  return inputs;
}

::testing::AssertionResult alike(const Result& a, const Result& b, double values, double gradients) {
  const auto compare = [](const Tensor& x, const Tensor& y, double limit) {
    if (x.defined() != y.defined()) return ::testing::AssertionFailure() << "only one is defined";
    if (!x.defined()) return ::testing::AssertionSuccess();
    if (limit == 0) return test::identical(x, y);
    // Relative to the tensor; a tenth for gradients that cancel, as that of a norm of one channel.
    const double largest = y.numel() > 0 ? y.abs().max().item<double>() : 1;
    return test::close(x, y, limit * std::max(1.0, largest > 0 ? 0.1 / largest : 1.0));
  };
  if (a.values.size() != b.values.size() || a.gradients.size() != b.gradients.size())
    return ::testing::AssertionFailure() << "not as many tensors";
  for (size_t i = 0; i < a.values.size(); ++i) {
    if (const auto same = compare(a.values[i], b.values[i], values); !same)
      return ::testing::AssertionFailure() << "result " << i << ": " << same.message();
  }
  for (size_t i = 0; i < a.gradients.size(); ++i) {
    if (const auto same = compare(a.gradients[i], b.gradients[i], gradients); !same)
      return ::testing::AssertionFailure() << "gradient " << i << ": " << same.message();
  }
  return ::testing::AssertionSuccess();
}

class EveryOp : public ::testing::TestWithParam<Op> {
 protected:
  void SetUp() override { torch::manual_seed(11); }
};

TEST_P(EveryOp, MatchesItsReferenceAtEverySizeOfOne) {
  const auto& op = GetParam();
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    const bool fp32 = type == torch::kFloat32;
    for (const auto& sizes : sizes_of(op)) {
      const auto inputs = cast(op.inputs(sizes), type);
      EXPECT_TRUE(alike(run(op.fast, inputs, as_it_lies), run(op.reference, exact(inputs), as_it_lies),
                        fp32 ? 2e-5 : 2e-2, fp32 ? 5e-5 : 3e-2))
          << c10::toString(type) << ' ' << ::testing::PrintToString(sizes);
    }
  }
}

TEST_P(EveryOp, LayoutsOfInputsAndGradientsChangeNothing) {
  const auto& op = GetParam();
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    // Where torch multiplies, its order of summation depends on the layout.
    const double limit = op.exact ? 0 : type == torch::kFloat32 ? 1e-5 : 2e-2;
    for (const auto& sizes : sizes_of(op)) {
      const auto plain = cast(op.inputs(sizes), type);
      for (const auto& layout : test::layouts()) {
        const auto with = [&](size_t begin, size_t end, const Lay& dy) {
          auto laid = plain, same = plain;
          for (size_t i = begin; i < end; ++i) {
            laid[i].value = layout.lay(plain[i].value);
            same[i].value = laid[i].value.clone(torch::MemoryFormat::Contiguous);
          }
          const auto dense = [&](const Tensor& t) { return dy(t).clone(torch::MemoryFormat::Contiguous); };
          const auto a = attempt(op.fast, laid, dy), b = attempt(op.fast, same, dense);
          const auto what = fmt::format("{} of inputs {} to {}, sizes {} in {}", layout.name, begin, end,
                                        ::testing::PrintToString(sizes), c10::toString(type));
          ASSERT_EQ(a.has_value(), b.has_value()) << what;
          if (a) {
            EXPECT_TRUE(alike(*a, *b, limit, limit)) << what;
          }
        };
        const Lay lay = [&](const Tensor& t) { return layout.lay(t); };
        with(0, plain.size(), lay);
        if (sizes != op.sizes) continue;
        for (size_t i = 0; i < plain.size(); ++i) with(i, i + 1, as_it_lies);
        with(0, 0, lay);
      }
    }
  }
}

// Changes of one input that a caller may get wrong.
Tensors wrong_forms(const Tensor& t) {
  Tensors out{Tensor(), t.to(torch::kMeta), t.unsqueeze(0), t.flatten()};
  for (const auto type :
       {torch::kFloat64, torch::kFloat32, torch::kBFloat16, torch::kHalf, torch::kInt64, torch::kInt32})
    out.push_back(t.to(type));
  for (int64_t d = 0; d < t.dim(); ++d) {
    out.push_back(t.narrow(d, 0, t.size(d) - 1));
    out.push_back(t.narrow(d, 0, 1));
    out.push_back(t.narrow(d, 0, 0));
    out.push_back(torch::cat({t, t.narrow(d, 0, 1)}, d));
  }
  return out;
}

std::string describe(const Tensor& t) {
  return t.defined() ? fmt::format("{} [{}] on {}", c10::toString(t.scalar_type()), fmt::join(t.sizes(), ", "),
                                   t.device().str())
                     : "no tensor";
}

// Refused with a message, or computed as the reference computes it; nothing else, and no crash.
TEST_P(EveryOp, WrongInputsAreRefusedOrComputedRight) {
  const auto& op = GetParam();
  const auto plain = op.inputs(op.sizes);
  for (size_t i = 0; i < plain.size(); ++i) {
    for (const auto& wrong : wrong_forms(plain[i].value)) {
      auto inputs = plain;
      inputs[i].value = wrong;
      const auto what = fmt::format("input {} is {}", i, describe(wrong));
      const auto fast = attempt(op.fast, inputs, as_it_lies);
      if (!fast || (wrong.defined() && wrong.is_meta())) continue;  // of meta tensors there are sizes only
      auto judged = exact(inputs);
      if (wrong.defined() && !wrong.is_floating_point() && plain[i].value.is_floating_point()) {
        judged[i].value = wrong.to(torch::kFloat64);  // what counts is what the numbers say; they have no gradient
        judged[i].constant = true;
      }
      const auto reference = attempt(op.reference, judged, as_it_lies);
      if (!reference) {
        ADD_FAILURE() << what << ": taken, which the reference refuses";
      } else {
        EXPECT_TRUE(alike(*fast, *reference, 3e-2, 3e-2)) << what;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, EveryOp, ::testing::ValuesIn(test::all_ops()),
                         [](const auto& c) { return c.param.name; });

// What ops write to is given by the caller.
TEST(ExtendBlockMeans, WritesRowsOfAnyDistanceAndNothingBeside) {
  const auto x = torch::randn({2, 5, 3, 4});
  const auto expected = block_means(x, 2);
  for (const auto& [name, sizes, axes] : std::vector<std::tuple<std::string, std::vector<int64_t>, int64_t>>{
           {"rows of more", {2, 2, 3, 9}, 1}, {"heads first", {2, 3, 2, 4}, 2}}) {
    const auto memory = torch::full(sizes, 7.0F);
    const auto means = axes == 2 ? memory.transpose(1, 2) : memory.narrow(3, 2, 4);
    extend_block_means(x, 0, 2, torch::zeros({2, 3, 4}), means);
    EXPECT_TRUE(test::identical(means, expected)) << name;
    means.fill_(7);
    EXPECT_TRUE(test::identical(memory, torch::full(sizes, 7.0F))) << name;
  }
}

TEST(ExtendBlockMeans, RefusesMemoryThatDoesNotFit) {
  const auto x = torch::randn({2, 5, 3, 4});
  const auto extend = [&](const Tensor& sum, const Tensor& means) { extend_block_means(x, 0, 2, sum, means); };
  const auto sum = torch::zeros({2, 3, 4}), means = torch::zeros({2, 2, 3, 4});
  extend(sum, means);
  EXPECT_THROW(extend(sum.to(torch::kBFloat16), means), Error);
  EXPECT_THROW(extend(sum.to(torch::kFloat64), means), Error);
  EXPECT_THROW(extend(torch::zeros({1, 1, 1}).expand({2, 3, 4}), means), Error);
  EXPECT_THROW(extend(sum, means.to(torch::kBFloat16)), Error);
  EXPECT_THROW(extend(sum, means.to(torch::kMeta)), Error);
  EXPECT_THROW(extend(sum, torch::zeros({1, 2, 3, 4})), Error);
  EXPECT_THROW(extend(sum, torch::zeros({2, 2, 1, 4})), Error);
  EXPECT_THROW(extend(sum, torch::zeros({2, 2, 3, 3})), Error);
  EXPECT_THROW(extend(sum, torch::zeros({2, 2, 3, 8}).slice(3, 0, 8, 2)), Error);
  EXPECT_THROW(extend(sum, torch::zeros({2, 2, 1, 4}).expand({2, 2, 3, 4})), Error);
  EXPECT_THROW(extend_block_means(x, -4, 2, sum, means), Error);
}

}  // namespace
}  // namespace lt2
