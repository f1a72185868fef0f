#include "checkpoint/hf_folder.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "tests/support/compare.h"
#include "tests/support/error_of.h"
#include "tests/support/temp_folder.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using test::identical;

class HfFolderTest : public ::testing::Test {
 protected:
  std::string error_of() {
    return test::error_of([&] {
      const HfFolder folder(folder_);
      for (const auto& name : folder.names()) folder.tensor(name);
    });
  }
  void put(const std::string& name, const std::string& content) { std::ofstream(folder_ / name) << content; }
  void put_index(const std::string& map, const std::string& metadata = "{}") {
    put("model.safetensors.index.json", "{\"metadata\": " + metadata + ", \"weight_map\": " + map + "}");
  }
  // Three tensors of 24, 400 and 8 bytes, in two shards.
  void write_two_shards() {
    write_hf_folder(folder_, "{}", {{"a", torch::ones({6})}, {"b", torch::ones({100})}, {"c", torch::ones({2})}},
                    torch::kFloat32, 430);
    ASSERT_EQ(error_of(), "");
  }
  test::TempFolder temporary_;
  fs::path folder_ = temporary_.path();
};

TEST_F(HfFolderTest, OneFile) {
  torch::manual_seed(1);
  const auto w = torch::randn({3, 5}), ids = torch::arange(4);
  write_hf_folder(folder_, "{\"model_type\": \"any\"}", {{"w", w}, {"ids", ids}}, torch::kFloat32, 1 << 20);
  EXPECT_TRUE(HfFolder::is_one(folder_));
  EXPECT_FALSE(fs::exists(folder_ / "model.safetensors.index.json"));
  const HfFolder folder(folder_);
  EXPECT_EQ(folder.config(), "{\"model_type\": \"any\"}");
  EXPECT_EQ(folder.names(), (std::vector<std::string>{"w", "ids"}));
  EXPECT_TRUE(identical(folder.tensor("w"), w));
  EXPECT_TRUE(identical(folder.view("ids"), ids));
  EXPECT_FALSE(folder.contains("v"));
  EXPECT_THROW(folder.tensor("v"), Error);
}

TEST_F(HfFolderTest, RoundsFloatingPointOnly) {
  const auto w = torch::randn({3, 5}), ids = torch::arange(4);
  write_hf_folder(folder_, "{}", {{"w", w}, {"ids", ids}}, torch::kBFloat16, 1 << 20);
  const HfFolder folder(folder_);
  EXPECT_TRUE(identical(folder.tensor("w"), w.to(torch::kBFloat16)));
  EXPECT_TRUE(identical(folder.tensor("ids"), ids));
}

TEST_F(HfFolderTest, ShardsHoldAtMostTheirSize) {
  for (const uint64_t shard_bytes : {1, 48, 447, 448, 10000}) {
    const auto place = folder_ / std::to_string(shard_bytes);
    fs::create_directories(place);
    std::vector<std::pair<std::string, torch::Tensor>> tensors;
    for (int i = 0; i < 6; ++i) tensors.emplace_back("t" + std::to_string(i), torch::randn({i % 3 == 2 ? 100 : 6}));
    write_hf_folder(place, "{}", tensors, torch::kFloat32, shard_bytes);
    const HfFolder folder(place);
    ASSERT_EQ(folder.names().size(), tensors.size());
    for (size_t i = 0; i < tensors.size(); ++i) {
      EXPECT_EQ(folder.names()[i], tensors[i].first);  // in the order given
      EXPECT_TRUE(identical(folder.tensor(tensors[i].first), tensors[i].second));
      const auto& shard = folder.shard(tensors[i].first);
      uint64_t bytes = 0;
      for (const auto& name : shard.names()) bytes = std::max(bytes, shard.info(name).end);
      EXPECT_TRUE(bytes <= shard_bytes || shard.names().size() == 1) << shard_bytes;
    }
  }
}

TEST_F(HfFolderTest, TheIndexCountsItsBytes) {
  write_two_shards();
  const auto index = nlohmann::json::parse(read_file(folder_ / "model.safetensors.index.json"));
  EXPECT_EQ(index.at("metadata").at("total_size"), 432);
  EXPECT_EQ(index.at("weight_map").at("a"), "model-00001-of-00002.safetensors");
  EXPECT_EQ(index.at("weight_map").at("c"), "model-00002-of-00002.safetensors");
}

const std::string kFirst = "\"model-00001-of-00002.safetensors\"", kSecond = "\"model-00002-of-00002.safetensors\"";
const std::string kMap = "{\"a\": " + kFirst + ", \"b\": " + kFirst + ", \"c\": " + kSecond + "}";

TEST_F(HfFolderTest, MissingFiles) {
  EXPECT_NE(error_of().find("config.json does not exist"), std::string::npos);
  put("config.json", "{}");
  EXPECT_FALSE(HfFolder::is_one(folder_));
  EXPECT_NE(error_of().find("expected model.safetensors or model.safetensors.index.json"), std::string::npos);
  write_two_shards();
  fs::remove(folder_ / "model-00002-of-00002.safetensors");
  EXPECT_NE(error_of().find("shard " + kSecond + " is missing"), std::string::npos);
}

TEST_F(HfFolderTest, IndexAndShardsMustAgree) {
  write_two_shards();
  put_index(kMap);
  EXPECT_EQ(error_of(), "");
  put_index(kMap, "{\"total_size\": 432}");
  EXPECT_EQ(error_of(), "");
  put_index(kMap, "{\"total_size\": 432.0}");
  EXPECT_EQ(error_of(), "");
  // What programs that changed the folder left there: nothing hangs on it.
  for (const char* stale : {"431", "-1", "1e300", "\"432\"", "null", "\"large\"", "{}"}) {
    put_index(kMap, std::string("{\"total_size\": ") + stale + "}");
    ::testing::internal::CaptureStderr();
    EXPECT_EQ(error_of(), "") << stale;
    const auto said = ::testing::internal::GetCapturedStderr();
    EXPECT_EQ(said.find("total_size is ") == std::string::npos, std::string(stale) == "\"432\"") << said;
  }
  put_index("{\"a\": " + kFirst + ", \"b\": " + kFirst + ", \"c\": " + kSecond + ", \"d\": " + kSecond + "}");
  EXPECT_NE(error_of().find("\"d\" should be in " + kSecond + ", but is not there"), std::string::npos);
  put_index("{\"a\": " + kFirst + ", \"b\": " + kSecond + ", \"c\": " + kSecond + "}");
  EXPECT_NE(error_of().find("\"b\" should be in " + kSecond + ", but is in model-00001"), std::string::npos);
  put_index("{\"a\": " + kFirst + ", \"c\": " + kSecond + "}");
  EXPECT_NE(error_of().find("the index does not list it"), std::string::npos);
  write_safetensors(folder_ / "model-00002-of-00002.safetensors", {{"c", torch::ones({2})}, {"a", torch::ones({1})}});
  put_index(kMap);
  EXPECT_NE(error_of().find("\"a\" is in model-00001-of-00002.safetensors and in model-00002"), std::string::npos);
}

TEST_F(HfFolderTest, BothFormsAtOnce) {
  write_two_shards();
  write_safetensors(folder_ / "model.safetensors", {{"c", torch::ones({2})}});
  EXPECT_NE(error_of().find("holds both"), std::string::npos);
}

TEST_F(HfFolderTest, HostileIndex) {
  write_two_shards();
  for (const std::string map : {"{\"a\": \"../x.safetensors\"}", "{\"a\": \"/etc/passwd\"}", "{\"a\": \"..\"}",
                                "{\"a\": \"\"}", "{\"a\": 1}", "{\"a\": null}", "{\"a\": {}}"}) {
    put_index(map);
    EXPECT_NE(error_of().find("expected the name of a file next to it"), std::string::npos) << map;
  }
  put_index("{\"a\": \"" + std::string(100000, 'x') + "\"}");
  EXPECT_NE(error_of().find("is missing"), std::string::npos);
  put_index("{\"a\": " + kFirst + ", \"a\": " + kSecond + "}");
  EXPECT_NE(error_of().find("the key \"a\" appears twice"), std::string::npos);
  for (const std::string index : {"", "[]", "{", "{}", "{\"weight_map\": {}}", "{\"weight_map\": []}", "\xff"}) {
    put("model.safetensors.index.json", index);
    EXPECT_NE(error_of(), "") << index;
  }
  put("model.safetensors.index.json", std::string(1000000, '['));
  EXPECT_NE(error_of().find("nested more than"), std::string::npos);
  put_index(kMap);
  put("config.json", "[]");
  EXPECT_NE(error_of().find("config.json: expected a JSON object"), std::string::npos);
}

TEST_F(HfFolderTest, ADamagedShardIsNamed) {
  write_two_shards();
  fs::resize_file(folder_ / "model-00002-of-00002.safetensors", 60);
  EXPECT_NE(error_of().find("model-00002-of-00002.safetensors"), std::string::npos);
}

}  // namespace
}  // namespace lt2
