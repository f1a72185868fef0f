// The reference vectors, as `lt2 check` judges them; and wrong values, which the judge must reject.
#include "check/check.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "checkpoint/safetensors.h"
#include "tests/support/temp_folder.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using Status = CheckedFile::Status;

std::string explain(const CheckedFile& file) {
  std::string text = file.path.string() + ": " + file.note;
  for (const auto& t : file.tensors) {
    if (!t.ok()) text += fmt::format("\n  {} error {} limit {}", t.name, t.error, t.limit);
  }
  return text;
}

class Vectors : public ::testing::TestWithParam<fs::path> {};

TEST_P(Vectors, WithinTolerance) {
  const auto result = check_file(GetParam(), {});
  EXPECT_EQ(result.status, Status::kPassed) << explain(result);
}

TEST_P(Vectors, WithinToleranceBf16) {
  if (GetParam().extension() == ".json") return;
  const auto result = check_file(GetParam(), {.dtype = torch::kBFloat16});
  EXPECT_EQ(result.status, Status::kPassed) << explain(result);
}

INSTANTIATE_TEST_SUITE_P(All, Vectors, ::testing::ValuesIn(vector_files({LT2_TEST_DATA "/vectors"})),
                         [](const auto& c) {
                           auto name = c.param.parent_path().filename().string() + "_" + c.param.stem().string();
                           for (auto& letter : name)
                             letter = std::isalnum(static_cast<unsigned char>(letter)) ? letter : '_';
                           return name;
                         });

class Judge : public ::testing::Test {
 protected:
  // A copy of a vector file with one tensor changed.
  fs::path tampered(const std::string& source, const std::string& tensor,
                    const std::function<void(torch::Tensor&)>& change) {
    const SafetensorsFile file(std::string(LT2_TEST_DATA "/vectors/") + source);
    std::vector<std::pair<std::string, torch::Tensor>> tensors;
    for (const auto& name : file.names()) {
      tensors.emplace_back(name, file.tensor(name));
      if (name == tensor) change(tensors.back().second);
    }
    const auto path = folder_ / "tampered.safetensors";
    write_safetensors(path, tensors, file.metadata());
    return path;
  }
  test::TempFolder temporary_;
  fs::path folder_ = temporary_.path();
};

TEST_F(Judge, OneWrongElementFails) {
  EXPECT_EQ(
      check_file(tampered("attention/full_gqa.safetensors", "y", [](auto& t) { t.view(-1)[7] += 1e-3; }), {}).status,
      Status::kFailed);
  EXPECT_EQ(
      check_file(tampered("linear/gdn/layer_a.safetensors", "grad.A_log", [](auto& t) { t.mul_(-1); }), {}).status,
      Status::kFailed);
  EXPECT_EQ(
      check_file(tampered("linear/gdn/op_b.safetensors", "init.S", [](auto& t) { t.view(-1)[0] = NAN; }), {}).status,
      Status::kFailed);
  EXPECT_EQ(check_file(tampered("model/train_full.safetensors", "loss", [](auto& t) { t[3] += 1e-4; }), {}).status,
            Status::kFailed);
}

TEST_F(Judge, Bf16LimitsFollowChannelsAndSelection) {
  const CheckOptions bf16{.dtype = torch::kBFloat16};
  const auto limit_of = [&](const std::string& source, const std::string& name) {
    for (const auto& t : check_file(std::string(LT2_TEST_DATA "/vectors/") + source, bf16).tensors) {
      if (t.name == name) return t.limit;
    }
    return -1.0;
  };
  EXPECT_EQ(limit_of("linear/kda/layer_single_head.safetensors", "y"), 3e-2);   // 32 channels
  EXPECT_EQ(limit_of("attention/full_mqa_wide_heads.safetensors", "y"), 3e-2);  // 48
  EXPECT_EQ(limit_of("attention/full_theta500k.safetensors", "y"), 2e-2);
  EXPECT_EQ(limit_of("linear/kda/op_a.safetensors", "zero.o"), 2e-2);
  EXPECT_EQ(limit_of("model/nsa_mla.safetensors", "loss"), 2e-2);
  EXPECT_EQ(limit_of("model/dsa.safetensors", "loss"), 2e-2);
  EXPECT_EQ(limit_of("model/hybrid_gdn.safetensors", "loss"), 1e-2);
  EXPECT_EQ(limit_of("model/train_full.safetensors", "loss before the first update"), 1e-2);
}

TEST_F(Judge, WrongShapeOrMissingTensorFailsWithANote) {
  const auto result = check_file(tampered("attention/full_mha.safetensors", "param.wq.weight",
                                          [](auto& t) { t = t.narrow(0, 0, 3).contiguous(); }),
                                 {});
  EXPECT_EQ(result.status, Status::kFailed);
  EXPECT_FALSE(result.note.empty());
}

TEST_F(Judge, UnknownKindIsSkippedWithAReason) {
  write_safetensors(folder_ / "other.safetensors", {{"x", torch::zeros({2})}}, {{"format", "something-else"}});
  const auto result = check_file(folder_ / "other.safetensors", {});
  EXPECT_EQ(result.status, Status::kSkipped);
  EXPECT_NE(result.note.find("something-else"), std::string::npos);
}

TEST(VectorFiles, MissingPathIsAnError) { EXPECT_THROW(vector_files({"/nowhere/at/all"}), Error); }

}  // namespace
}  // namespace lt2
