#include "checkpoint/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <functional>

#include "base/error.h"
#include "tests/support/compare.h"
#include "tests/support/error_of.h"
#include "tests/support/temp_folder.h"

namespace lt2 {
namespace {

using test::identical;

class Safetensors : public ::testing::Test {
 protected:
  void SetUp() override { path_ = folder_ / "model.safetensors"; }

  // The reader's message for these bytes; "" when it takes them.
  std::string error_of(const std::string& bytes) {
    // Not write_file_atomically: waiting for the disk takes most of the time of thousands of cases.
    std::ofstream(path_, std::ios::binary) << bytes;
    return test::error_of([&] {
      const SafetensorsFile file(path_);
      for (const std::string& name : file.names()) file.tensor(name);
    });
  }
  test::TempFolder temporary_;
  std::filesystem::path folder_ = temporary_.path(), path_;
};

std::string with_length(const std::string& header, const std::string& data = "") {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + header + data;
}

std::vector<std::pair<std::string, torch::Tensor>> one_of_each_type() {
  torch::manual_seed(1);
  std::vector<std::pair<std::string, torch::Tensor>> tensors;
  for (const auto type : {torch::kBool, torch::kUInt8, torch::kInt8, torch::kInt16, torch::kInt32, torch::kInt64,
                          torch::kFloat16, torch::kBFloat16, torch::kFloat32, torch::kFloat64}) {
    const std::string name = torch::toString(type);
    const auto values = torch::randn({3, 5}) * 100;
    tensors.emplace_back(name, type == torch::kBool ? values > 0 : values.abs().to(type));
    tensors.emplace_back(name + ".scalar", torch::ones({}, type));
    tensors.emplace_back(name + ".empty", torch::ones({4, 0, 2}, type));
  }
  return tensors;
}

TEST_F(Safetensors, RoundTripsEveryType) {
  const auto tensors = one_of_each_type();
  write_safetensors(path_, tensors, {{"format", "pt"}, {"step", "12 \"quoted\" \n"}});
  const SafetensorsFile file(path_);
  EXPECT_EQ(file.names().size(), tensors.size());
  EXPECT_EQ(file.metadata().at("step"), "12 \"quoted\" \n");
  for (const auto& [name, expected] : tensors) {
    ASSERT_TRUE(file.contains(name));
    EXPECT_TRUE(identical(file.tensor(name), expected)) << name;
    EXPECT_TRUE(identical(file.view(name), expected)) << name;
    EXPECT_EQ(file.info(name).shape, expected.sizes().vec());
  }
  EXPECT_FALSE(file.contains("none"));
}

TEST_F(Safetensors, KeepsTheOrder) {
  write_safetensors(path_, {{"b", torch::ones({2})}, {"a", torch::ones({3})}, {"c", torch::ones({1})}});
  EXPECT_EQ(SafetensorsFile(path_).names(), (std::vector<std::string>{"b", "a", "c"}));
  EXPECT_TRUE(SafetensorsFile(path_).metadata().empty());
}

TEST_F(Safetensors, DataBeginsAtAMultipleOfEight) {
  for (const char* name : {"w", "ww", "www", "wwww", "wwwww"}) {
    write_safetensors(path_, {{name, torch::ones({2})}});
    EXPECT_EQ((std::filesystem::file_size(path_) - 8) % 8, 0u);
  }
}

TEST_F(Safetensors, WritesWhatIsNotContiguous) {
  const auto matrix = torch::randn({4, 6}).requires_grad_();
  write_safetensors(path_,
                    {{"t", matrix.t()}, {"column", matrix.select(1, 2)}, {"spread", torch::ones({1}).expand({5})}});
  const SafetensorsFile file(path_);
  EXPECT_TRUE(identical(file.tensor("t"), matrix.t()));
  EXPECT_TRUE(identical(file.tensor("column"), matrix.select(1, 2)));
  EXPECT_TRUE(identical(file.tensor("spread"), torch::ones({5})));
  EXPECT_FALSE(file.tensor("t").requires_grad());
}

TEST_F(Safetensors, NoTensorsAtAll) {
  write_safetensors(path_, {});
  EXPECT_TRUE(SafetensorsFile(path_).names().empty());
}

TEST_F(Safetensors, ViewsOutliveTheFile) {
  const auto expected = torch::randn({100, 10});
  torch::Tensor view, copy;
  {
    write_safetensors(path_, {{"w", expected}});
    const SafetensorsFile file(path_);
    view = file.view("w");
    copy = file.tensor("w");
    EXPECT_EQ(view.data_ptr(), file.view("w").data_ptr());
    EXPECT_NE(copy.data_ptr(), view.data_ptr());
  }
  std::filesystem::remove(path_);
  EXPECT_TRUE(identical(view, expected));
  copy.zero_();  // a copy may be written to
}

TEST_F(Safetensors, MisalignedTensorsAreCopied) {
  const auto expected = torch::randn({7});
  write_safetensors(path_, {{"flag", torch::ones({3}, torch::kBool)}, {"w", expected}});
  const auto view = SafetensorsFile(path_).view("w");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(view.data_ptr()) % 4, 0u);
  EXPECT_TRUE(identical(view, expected));
}

TEST_F(Safetensors, WriterRefuses) {
  const auto one = torch::ones({1});
  const auto message = [&](const std::vector<std::pair<std::string, torch::Tensor>>& tensors) -> std::string {
    return test::error_of([&] { write_safetensors(path_, tensors); });
  };
  const std::string file = path_.string() + ": ";
  EXPECT_EQ(message({{"w", one}, {"w", one}}), file + "\"w\": two tensors have this name");
  EXPECT_EQ(message({{"__metadata__", one}}), file + "\"__metadata__\": a tensor cannot have this name");
  EXPECT_EQ(message({{"w", torch::Tensor()}}), file + "\"w\": cannot save an undefined tensor");
  EXPECT_EQ(message({{"w", torch::ones({1}, torch::kComplexFloat)}}),
            file + "\"w\": the safetensors format has no dtype ComplexFloat");
  EXPECT_EQ(message({{"w", torch::ones({2, 2}).to_sparse()}}), file + "\"w\": cannot save a sparse tensor");
  EXPECT_EQ(message({{"\xff", one}}).rfind(file + "names and metadata must be UTF-8", 0), 0u);
  EXPECT_FALSE(std::filesystem::exists(path_));
}

// Some programs write null where they have nothing to say.
TEST_F(Safetensors, NoMetadataMayBeNull) {
  EXPECT_EQ(error_of(with_length("{\"__metadata__\":null}", "")), "");
  EXPECT_TRUE(SafetensorsFile(path_).metadata().empty());
}

TEST_F(Safetensors, UnknownNameIsAnError) {
  write_safetensors(path_, {{"w", torch::ones({1})}});
  const SafetensorsFile file(path_);
  for (const auto& read :
       std::vector<std::function<void()>>{[&] { file.tensor("v"); }, [&] { file.view("v"); }, [&] { file.info("v"); }})
    EXPECT_THROW(read(), Error);
}

// Every header that must be refused, and a part of what is said about it.
struct Hostile {
  std::string name, header, data, says;
};
std::ostream& operator<<(std::ostream& stream, const Hostile& c) { return stream << c.name; }
class HostileHeader : public Safetensors, public ::testing::WithParamInterface<Hostile> {};

TEST_P(HostileHeader, IsAnErrorOfOneLine) {
  const std::string error = error_of(with_length(GetParam().header, GetParam().data));
  EXPECT_EQ(error.rfind(path_.string() + ": ", 0), 0u) << error;
  EXPECT_NE(error.find(GetParam().says), std::string::npos) << error;
  EXPECT_EQ(error.find('\n'), std::string::npos) << error;
  EXPECT_LT(error.size(), 1200u);
}

std::string w(const std::string& inner) { return "{\"w\":{" + inner + "}}"; }
std::string f32(const std::string& shape, const std::string& offsets) {
  return w("\"dtype\":\"F32\",\"shape\":" + shape + ",\"data_offsets\":" + offsets);
}

INSTANTIATE_TEST_SUITE_P(
    Table, HostileHeader,
    ::testing::Values(
        Hostile{"empty", "", "", "must begin with {"},                                            //
        Hostile{"array", "[]", "", "must begin with {"},                                          //
        Hostile{"space_first", " {}", "", "must begin with {"},                                   //
        Hostile{"not_json", "{\"w\": oops}", "", "not valid JSON"},                               //
        Hostile{"two_values", "{} {}", "", "not valid JSON"},                                     //
        Hostile{"zero_padded", std::string("{}\0\0", 4), "", "not valid JSON"},                   //
        Hostile{"not_utf8", "{\"\xff\xfe\":1}", "", "not valid JSON"},                            //
        Hostile{"line_in_name", w("\"dtype\":\"F3\\n2\""), "", "unknown dtype \"F3\\n2\""},       //
        Hostile{"deep_arrays", w("\"shape\":" + std::string(1000000, '[')), "", "whole number"},  //
        Hostile{"deep_objects",
                [] {
                  std::string s;
                  for (int i = 0; i < 100000; ++i) s += "{\"w\":";
                  return s;
                }(),
                "", "unknown key \"w\""},  //
        Hostile{"same_name_twice",
                "{\"w\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},\"w\":{\"dtype\":\"U8\",\"shape\":[0],"
                "\"data_offsets\":[0,0]}}",
                "", "\"w\" appears twice"},                                                                        //
        Hostile{"metadata_twice", "{\"__metadata__\":{},\"__metadata__\":{}}", "", "appears twice"},               //
        Hostile{"metadata_key_twice", "{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", "", "\"a\" appears twice"},  //
        Hostile{"field_twice", w("\"dtype\":\"U8\",\"dtype\":\"U8\""), "", "\"dtype\" appears twice"},             //
        Hostile{"metadata_number", "{\"__metadata__\":{\"a\":1}}", "", "\"a\" must be a string"},                  //
        Hostile{"metadata_nested", "{\"__metadata__\":{\"a\":{}}}", "", "must be a string"},                       //
        Hostile{"metadata_string", "{\"__metadata__\":\"a\"}", "", "must be an object"},                           //
        Hostile{"tensor_number", "{\"w\":1}", "", "must be an object, found a number"},                            //
        Hostile{"tensor_null", "{\"w\":null}", "", "must be an object, found null"},                               //
        Hostile{"unknown_field", w("\"strides\":[1]"), "", "unknown key \"strides\""},                             //
        Hostile{"no_dtype", w("\"shape\":[],\"data_offsets\":[0,4]"), "1234", "no \"dtype\""},                     //
        Hostile{"no_shape", w("\"dtype\":\"F32\",\"data_offsets\":[0,4]"), "1234", "no \"shape\""},                //
        Hostile{"no_offsets", w("\"dtype\":\"F32\",\"shape\":[1]"), "1234", "no \"data_offsets\""},                //
        Hostile{"unknown_dtype", w("\"dtype\":\"F8_E4M3\",\"shape\":[4],\"data_offsets\":[0,4]"), "1234",
                "unknown dtype \"F8_E4M3\""},  //
        Hostile{"lower_case_dtype", w("\"dtype\":\"f32\",\"shape\":[1],\"data_offsets\":[0,4]"), "1234",
                "unknown dtype"},                                                                             //
        Hostile{"dtype_number", w("\"dtype\":32"), "", "must be a string"},                                   //
        Hostile{"shape_string", w("\"shape\":\"1\""), "", "must be an array"},                                //
        Hostile{"negative_size", f32("[-1]", "[0,4]"), "1234", "found -1"},                                   //
        Hostile{"fraction", f32("[1.5]", "[0,4]"), "1234", "1.5"},                                            //
        Hostile{"above_int64", f32("[9223372036854775808]", "[0,4]"), "1234", "too large"},                   //
        Hostile{"above_uint64", f32("[18446744073709551617]", "[0,4]"), "1234", "whole number"},              //
        Hostile{"product_wraps_to_4", f32("[4294967296,4294967297]", "[0,4]"), "1234", "too large"},          //
        Hostile{"bytes_wrap", f32("[4611686018427387905]", "[0,4]"), "1234", "too large"},                    //
        Hostile{"strides_wrap", f32("[0,4294967296,4294967296]", "[0,0]"), "", "too large"},                  //
        Hostile{"negative_offset", f32("[1]", "[-4,0]"), "1234", "found -4"},                                 //
        Hostile{"three_offsets", f32("[1]", "[0,4,4]"), "1234", "expected 2 data_offsets, found 3"},          //
        Hostile{"one_offset", f32("[1]", "[0]"), "1234", "expected 2 data_offsets, found 1"},                 //
        Hostile{"backwards", f32("[1]", "[4,0]"), "1234", "outside"},                                         //
        Hostile{"beyond_the_end", f32("[2]", "[0,8]"), "1234", "outside"},                                    //
        Hostile{"far_beyond", f32("[1]", "[18446744073709551612,18446744073709551615]"), "1234", "outside"},  //
        Hostile{"wrong_size", f32("[2]", "[0,4]"), "1234", "needs 8 bytes"},                                  //
        Hostile{"gap_first", f32("[1]", "[4,8]"), "12345678", "gap"},                                         //
        Hostile{"bytes_left_over", f32("[1]", "[0,4]"), "12345678", "take 4 bytes, found 8"},                 //
        Hostile{"overlap",
                "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"U8\",\"shape\":[4],"
                "\"data_offsets\":[2,6]}}",
                "123456", "overlapping"},  //
        Hostile{"same_bytes_twice",
                "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"U8\",\"shape\":[4],"
                "\"data_offsets\":[0,4]}}",
                "1234", "overlapping"},  //
        Hostile{"bool_of_two", w("\"dtype\":\"BOOL\",\"shape\":[3],\"data_offsets\":[0,3]"), std::string("\0\1\2", 3),
                "found 2 at 2"}),
    [](const auto& i) { return i.param.name; });

TEST_F(Safetensors, LengthsThatLie) {
  EXPECT_NE(error_of("1234567").find("found 7"), std::string::npos);
  for (const uint64_t length : {uint64_t{3}, uint64_t{100'000'001}, ~uint64_t{0}, ~uint64_t{0} - 7}) {
    std::string bytes = with_length("{}");
    std::memcpy(bytes.data(), &length, 8);
    EXPECT_NE(error_of(bytes), "") << length;
  }
  EXPECT_EQ(error_of(with_length("{}")), "");
}

std::string small_file(const std::filesystem::path& path) {
  write_safetensors(
      path, {{"w", torch::arange(6, torch::kFloat32).reshape({2, 3})}, {"flag", torch::ones({2}, torch::kBool)}},
      {{"format", "pt"}});
  return read_file(path);
}

TEST_F(Safetensors, EveryTruncationIsAnError) {
  const std::string bytes = small_file(path_);
  ASSERT_EQ(error_of(bytes), "");
  for (size_t size = 0; size < bytes.size(); ++size) EXPECT_NE(error_of(bytes.substr(0, size)), "") << size;
  EXPECT_NE(error_of(bytes + "x"), "");
}

// Each file is read or refused with lt2::Error: any other exception, and any crash, fails the test.
TEST_F(Safetensors, EveryFlippedBitIsSurvived) {
  const std::string bytes = small_file(path_);
  size_t refused = 0;
  for (size_t i = 0; i < 8 * bytes.size(); ++i) {
    std::string flipped = bytes;
    flipped[i / 8] = static_cast<char>(flipped[i / 8] ^ 1 << i % 8);
    EXPECT_NO_THROW(refused += !error_of(flipped).empty()) << "bit " << i;
  }
  EXPECT_GT(refused, 0u);
}

TEST_F(Safetensors, MissingFile) { EXPECT_THROW(SafetensorsFile(folder_ / "none"), Error); }

}  // namespace
}  // namespace lt2
