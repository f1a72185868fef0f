// Weights packed for inference: the same bits where the numbers are the same, near where they are rounded, and a folder
// that gives back what was written.
#include "folders/packed_folder.h"

#include <filesystem>

#include "base/error.h"
#include "base/files.h"
#include "model/accounting.h"
#include "model/packed_weights.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/temp_folder.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

// A checkpoint folder, put together by hand.
class Packed : public ::testing::TestWithParam<test::ModelCase> {
 protected:
  void SetUp() override {
    torch::manual_seed(3);
    tokens = torch::randint(61, {1, 90}, torch::kInt64);
    fs::create_directories(root / "model");
    model = test::make_model(GetParam());
    config = test::config_of(GetParam());
    NamedTensors parameters;
    for (const auto& [name, tensor] : model->official_parameters()) parameters.emplace_back(name, tensor.detach());
    write_safetensors(root / "model" / "model.safetensors", parameters);
    TrainConfig run;
    run.model = config;
    write_file_atomically(root / "model" / "params.json", to_json(run));
  }

  torch::Tensor logits(LoopedTransformer& of) {
    torch::NoGradGuard no_grad;
    auto state = of.make_state(1);
    const auto prefill = of.step(tokens.narrow(1, 0, 80), state, true);
    std::vector<torch::Tensor> parts{prefill};
    for (int64_t i = 80; i < 90; ++i) parts.push_back(of.step(tokens.narrow(1, i, 1), state));
    return torch::cat(parts, 1);
  }

  torch::Tensor tokens;
  test::TempFolder temporary;
  fs::path root = temporary.path();
  std::shared_ptr<LoopedTransformer> model;
  ModelConfig config;
};

TEST_P(Packed, KeepsTheBitsOfItsType) {
  const auto folder = open_model(root / "model");
  for (const auto& [format, type] :
       {std::pair{WeightFormat::kF32, torch::kFloat32}, {WeightFormat::kBf16, torch::kBFloat16}}) {
    model->compute_type = type;
    const auto packed = load_packed(folder, format, type);
    EXPECT_TRUE(test::identical(logits(*packed), logits(*model))) << weight_format_name(format);
    for (const auto& module : packed->modules()) {
      const auto* map = dynamic_cast<const LinearImpl*>(module.get());
      if (map) {
        EXPECT_TRUE(map->is_packed() || !map->weight.is_meta());
      }
    }
  }
}

TEST_P(Packed, IntegersComeNear) {
  const auto folder = open_model(root / "model");
  model->compute_type = torch::kFloat32;
  const auto exact = torch::log_softmax(logits(*model), -1);
  double before = 0;
  for (const auto format : {WeightFormat::kInt8, WeightFormat::kInt4}) {
    const auto packed = load_packed(folder, format, torch::kFloat32);
    const auto near = torch::log_softmax(logits(*packed), -1);
    const double divergence = (exact.exp() * (exact - near)).sum(-1).mean().item<double>();
    EXPECT_LT(divergence, format == WeightFormat::kInt8 ? 0.02 : 1.0);
    EXPECT_GE(divergence, before);
    before = divergence;
  }
}

TEST_P(Packed, AFolderGivesBackWhatWasWritten) {
  const auto folder = open_model(root / "model");
  for (const auto format : {WeightFormat::kBf16, WeightFormat::kInt8, WeightFormat::kInt4}) {
    const auto packed = load_packed(folder, format, torch::kBFloat16);
    const auto out = root / weight_format_name(format);
    write_packed_folder(out, *packed, format, folder);
    const auto opened = open_model(out);
    EXPECT_EQ(opened.format, format);
    const auto again = load_packed(opened, {}, torch::kBFloat16);
    EXPECT_TRUE(test::identical(logits(*again), logits(*packed))) << weight_format_name(format);
    EXPECT_THROW(load_packed(opened, WeightFormat::kF32, torch::kFloat32), Error);
    EXPECT_THROW(write_packed_folder(out, *packed, format, folder), Error);
  }
}

TEST_P(Packed, DamagedFoldersAreRefused) {
  const auto folder = open_model(root / "model");
  write_packed_folder(root / "int8", *load_packed(folder, WeightFormat::kInt8, torch::kFloat32), WeightFormat::kInt8,
                      folder);
  auto bytes = read_file(root / "int8" / "packed.safetensors");
  const auto spoil = [&](const std::string& from, const std::string& to) {
    auto copy = bytes;
    const auto at = copy.find(from);
    ASSERT_NE(at, std::string::npos);
    copy.replace(at, from.size(), to);
    write_file_atomically(root / "int8" / "packed.safetensors", copy);
    EXPECT_THROW(load_packed(open_model(root / "int8"), {}, torch::kFloat32), Error) << from;
  };
  spoil("lt2-packed-1", "lt2-packed-9");
  spoil("\"int8\"", "\"int7\"");
  spoil(".panels", ".panelz");
  spoil("norm.weight", "morm.weight");
}

TEST_P(Packed, InPlace) {
  model->compute_type = torch::kBFloat16;
  const auto expected = logits(*model);
  pack_weights(*model, WeightFormat::kBf16);
  EXPECT_TRUE(test::identical(logits(*model), expected));
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, Packed,
    ::testing::Values(test::ModelCase{.name = "tied", .attention_pattern = "2:1", .gate = true, .tied = true},
                      test::ModelCase{.name = "hybrid", .layer_pattern = "interleaved:2:1:gdn:full"},
                      test::ModelCase{.name = "mla", .layer_pattern = "mla"},
                      test::ModelCase{.name = "dsa_lightning", .layer_pattern = "dsa", .indexer = "lightning"}),
    test::case_name);

}  // namespace
}  // namespace lt2
