#include "ops/pointer.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <regex>

#include "base/error.h"
#include "base/files.h"
#include "tests/support/error_of.h"

namespace lt2 {
namespace {

using test::error_of;

const float* dense(const torch::Tensor& t, int64_t count) { return dense_data<float>(t, count, {"my_op", "weight"}); }

TEST(DenseData, GivesTheFirstNumber) {
  const auto t = torch::arange(12, torch::kFloat32).view({3, 4});
  EXPECT_EQ(dense(t, 12)[11], 11);
  EXPECT_EQ(dense(t[1], 4)[0], 4);                                // an offset
  EXPECT_EQ(dense(t.narrow(0, 1, 2), 8)[7], 11);                  // whole rows of more
  EXPECT_EQ(dense(t.as_strided({1, 4}, {999, 1}, 8), 4)[3], 11);  // the stride of a single row means nothing
  EXPECT_EQ(dense_data(t, torch::kFloat32, 12, {"my_op", "weight"}), t.data_ptr());
  dense(torch::empty({0, 3}), 0);
}

TEST(DenseData, RefusesWhatAKernelWouldMisread) {
  const auto t = torch::zeros({3, 4});
  for (const auto& [name, wrong] : std::vector<std::pair<std::string, torch::Tensor>>{
           {"no tensor", {}},
           {"expanded", torch::zeros({1}).expand({12})},
           {"expanded and reshaped", torch::zeros({1, 1}).expand({1, 12}).reshape(-1)},
           {"transposed", t.t()},
           {"every other number", torch::zeros({3, 8}).slice(1, 0, 8, 2)},
           {"rows of more", torch::zeros({3, 5}).narrow(1, 0, 4)},
           {"another type", t.to(torch::kFloat64)},
           {"half as wide", t.to(torch::kBFloat16)},
           {"too few", t.narrow(0, 0, 2)},
           {"too many", torch::zeros({4, 4})},
           {"no memory", t.to(torch::kMeta)},
           {"sparse", t.to_sparse()},
           {"negated lazily", torch::_neg_view(t)},
       }) {
    const auto message = error_of([&, &wrong = wrong] { dense(wrong, 12); });
    EXPECT_NE(message.find("my_op: weight must be 12 Float side by side"), std::string::npos)
        << name << ": " << message;
  }
}

TEST(DenseData, RefusesAStorageThatShrank) {
  const auto t = torch::zeros({12});
  dense(t, 12);
  t.storage().unsafeGetStorageImpl()->set_nbytes(44);
  EXPECT_NE(error_of([&] { dense(t, 12); }), "");
}

TEST(DenseData, RefusesHalfANumber) {
  alignas(8) static uint8_t bytes[64] = {};
  const auto odd = torch::from_blob(bytes + 2, {4}, torch::kFloat32);
  EXPECT_NE(error_of([&] { dense(odd, 4); }), "");
}

TEST(DenseData, AbsentIsNullOnlyWhereAsked) {
  EXPECT_EQ(dense_data_or_null<float>({}, 12, {"my_op", "bias"}), nullptr);
  EXPECT_NE(error_of([&] { dense_data_or_null<float>(torch::zeros({11}), 12, {"my_op", "bias"}); }), "");
}

// Every other way to a raw pointer trusts the tensor. Rooms whose code only copies bytes of new tensors (checkpoint/,
// distributed/) may.
TEST(Pointers, AreTakenHereOnly) {
  namespace fs = std::filesystem;
  using test::error_of;
  const std::regex pointer("data_ptr|[.>]data<|accessor<|storage\\(\\)\\.data");
  int files = 0;
  for (const char* room : {"ops", "mixers", "model", "infer", "train", "measure", "check"}) {
    for (const auto& entry : fs::recursive_directory_iterator(fs::path(LT2_SOURCE_DIR) / "src" / room)) {
      const auto name = entry.path().filename().string();
      if (!entry.is_regular_file() || name == "pointer.cpp" || name == "pointer.h") continue;
      ++files;
      const auto text = read_file(entry.path());
      std::smatch found;
      EXPECT_FALSE(std::regex_search(text, found, pointer)) << entry.path() << ": " << found.str();
    }
  }
  EXPECT_GT(files, 100);
}

struct View {
  const void* data;
  int64_t batch, row, head;
};

TEST(RowsData, TakesAnyDistanceBetweenRows) {
  const std::vector<int64_t> sizes{2, 3, 5, 4};
  const Argument who{"my_op", "q"};
  const auto take = [&](const torch::Tensor& t) { return rows_data<View>(t, torch::kFloat32, sizes, who); };
  const auto heads_first = take(torch::zeros({2, 5, 3, 4}).transpose(1, 2));
  EXPECT_EQ(heads_first.row, 4);
  EXPECT_EQ(heads_first.head, 12);
  EXPECT_EQ(take(torch::zeros({2, 3, 1, 4}).expand(sizes)).head, 0);
  take(torch::zeros({2, 3, 5, 9}).narrow(3, 5, 4));
  for (const auto& wrong : {torch::zeros({2, 3, 4, 5}).transpose(2, 3), torch::zeros({2, 3, 5, 1}).expand(sizes),
                            torch::zeros({2, 3, 5, 5}), torch::zeros({2, 3, 20}), torch::zeros(sizes, torch::kBFloat16),
                            torch::zeros(sizes, torch::kMeta), torch::_neg_view(torch::zeros(sizes)), torch::Tensor()})
    EXPECT_NE(error_of([&] { take(wrong); }).find("my_op: q must be Float [2, 3, 5, 4]"), std::string::npos);
  auto cut = torch::zeros({2, 5, 3, 4}).transpose(1, 2);
  cut.storage().unsafeGetStorageImpl()->set_nbytes(4 * 119);
  EXPECT_NE(error_of([&] { take(cut); }), "");
}

TEST(RowsData, RowsOfOneNumberHaveNoInnerAxis) {
  const auto t = torch::zeros({2, 5, 3}).transpose(1, 2);
  const auto view = rows_data<View>(t, torch::kFloat32, {2, 3, 5}, {"my_op", "beta"});
  EXPECT_EQ(view.row, 1);
  EXPECT_EQ(view.head, 3);
  // One number wide: where the next one of the row would lie means nothing.
  rows_data<View>(torch::zeros({2, 3, 5, 7}).narrow(3, 2, 1), torch::kFloat32, {2, 3, 5, 1}, {"my_op", "q"});
}

}  // namespace
}  // namespace lt2
