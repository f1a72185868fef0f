// Containers and files of torch.save: fixtures written by Python's own pickle and zipfile in torch.save's layout, and
// LibTorch as the second reader and writer.
#include "checkpoint/torch_zip.h"

#include <gtest/gtest.h>
#include <torch/serialize.h>
#include <zlib.h>

#include <cstring>
#include <fstream>

#include "base/error.h"
#include "checkpoint/torch_file.h"
#include "tests/support/compare.h"
#include "tests/support/error_of.h"
#include "tests/support/temp_folder.h"

namespace lt2 {
namespace {

using test::identical;
using Kind = PickleValue::Kind;

std::filesystem::path data_file(const std::string& name) {
  return std::filesystem::path(LT2_TEST_DATA) / "checkpoint" / name;
}

SharedBytes in_memory(const std::string& bytes) {
  // Its own block of memory, so that a sanitizer sees the first byte read beyond it.
  std::shared_ptr<uint8_t> copy(new uint8_t[bytes.size()], std::default_delete<uint8_t[]>());
  std::memcpy(copy.get(), bytes.data(), bytes.size());
  return {copy, bytes.size()};
}

// Reads everything that is in the file.
std::string error_of(const std::string& bytes) {
  return test::error_of([&] {
    const ZipArchive zip(in_memory(bytes), "file");
    for (const auto& entry : zip.entries()) zip.read(entry);
    const TorchArchive file(in_memory(bytes), "file");
    std::vector<PickleRef> todo{file.root()};
    while (!todo.empty()) {
      const PickleRef value = todo.back();
      todo.pop_back();
      if (value->is(Kind::kTensor)) tensor_of(file, *value).sum();
      todo.insert(todo.end(), value->items.begin(), value->items.end());
    }
  });
}

std::string zip_of(const std::vector<std::pair<std::string, std::string>>& files, uint64_t zip64_from = 0xffffffff) {
  std::string out;
  ZipWriter zip([&](const void* data, size_t bytes) { out.append(static_cast<const char*>(data), bytes); }, zip64_from);
  for (const auto& [name, content] : files) zip.add(name, content.data(), content.size());
  zip.finish();
  return out;
}

std::string small_pickle() {
  Pickle values;
  return values.write(values.dict(
      {{"w", values.tensor({.storage = {"F32", "0", 4}, .offset = 0, .shape = {2, 2}, .stride = {2, 1}})}}));
}

std::string small_file(uint64_t zip64_from = 0xffffffff) {
  std::string out;
  TorchArchiveWriter file([&](const void* data, size_t bytes) { out.append(static_cast<const char*>(data), bytes); },
                          small_pickle(), zip64_from);
  const float numbers[] = {1, 2, 3, 4};
  file.add_storage(numbers, sizeof(numbers));
  file.finish();
  return out;
}

class TorchFile : public ::testing::Test {
 protected:
  void SetUp() override { path_ = folder_ / "file.pth"; }
  test::TempFolder temporary_;
  std::filesystem::path folder_ = temporary_.path(), path_;
};

class PythonFile : public ::testing::TestWithParam<const char*> {};

TEST_P(PythonFile, GivesEveryTypeAndView) {
  const TorchArchive file(data_file(GetParam()));
  const PickleValue& model = *file.root()->find("model");
  const auto get = [&](const char* name) { return tensor_of(file, *model.find(name)); };
  const auto base = torch::arange(12, torch::kFloat32);
  EXPECT_TRUE(identical(get("matrix"), base.view({3, 4})));
  EXPECT_TRUE(identical(get("transposed"), base.view({3, 4}).t()));
  EXPECT_FALSE(get("transposed").is_contiguous());
  EXPECT_TRUE(identical(get("row"), base.narrow(0, 4, 4)));
  EXPECT_TRUE(identical(get("column"), base.view({3, 4}).select(1, 2)));
  EXPECT_TRUE(identical(get("scalar"), torch::tensor(11.f)));
  EXPECT_TRUE(identical(get("spread"), torch::full({2, 3}, 5.f)));
  EXPECT_TRUE(identical(get("empty"), torch::empty({0, 4})));
  EXPECT_TRUE(identical(get("param"), torch::tensor({1.5f, -2.5f})));
  EXPECT_TRUE(identical(get("f64"), torch::tensor({1.0 / 3, -1e300}, torch::kFloat64)));
  EXPECT_TRUE(identical(get("f16"), torch::tensor({1.f, -0.5f, 65504.f}).to(torch::kFloat16)));
  EXPECT_TRUE(identical(get("bf16").narrow(0, 0, 2), torch::tensor({1.f, -3.140625f}).to(torch::kBFloat16)));
  EXPECT_TRUE(identical(get("i64"), torch::tensor({INT64_MIN, int64_t{1} << 62}, torch::kInt64)));
  EXPECT_TRUE(identical(get("i32"), torch::tensor({-5, 7}, torch::kInt32)));
  EXPECT_TRUE(identical(get("i16"), torch::tensor({-5, 7}, torch::kInt16)));
  EXPECT_TRUE(identical(get("i8"), torch::tensor({-5, 7}, torch::kInt8)));
  EXPECT_TRUE(identical(get("u8"), torch::tensor({250, 7}, torch::kUInt8)));
  EXPECT_TRUE(identical(get("bool"), torch::tensor({true, false, true})));

  const PickleValue& plain = *file.root()->find("plain");
  EXPECT_TRUE(plain.find("none")->is(Kind::kNone));
  EXPECT_EQ(plain.find("int")->integer, -7);
  EXPECT_EQ(plain.find("large")->integer, int64_t{1} << 40);
  EXPECT_EQ(plain.find("negative")->integer, -(int64_t{1} << 40));
  EXPECT_EQ(plain.find("minimum")->integer, INT64_MIN);
  EXPECT_EQ(plain.find("float")->real, 0.1);
  EXPECT_EQ(plain.find("tuple")->items.size(), 4u);
  EXPECT_EQ(plain.find("again"), plain.find("list"));
  EXPECT_EQ(plain.find("list")->items[1]->items[1]->text, "x");
  EXPECT_EQ(plain.find("text")->text, "caf\xc3\xa9");
  EXPECT_TRUE(plain.find("nested")->find("a")->find("b")->is(Kind::kTuple));
}

INSTANTIATE_TEST_SUITE_P(Protocols, PythonFile,
                         ::testing::Values("types_p2.pth", "types_p3.pth", "types_p4.pth", "types_p5.pth"),
                         [](const auto& i) { return std::string(i.param).substr(6, 2); });

std::vector<torch::Tensor> tensors_of_every_type() {
  torch::manual_seed(3);
  std::vector<torch::Tensor> out{torch::randn({4, 6}).t(), torch::randn({5, 7}).select(1, 3),
                                 torch::ones({1}).expand({3})};
  for (const auto type : {torch::kBool, torch::kUInt8, torch::kInt8, torch::kInt16, torch::kInt32, torch::kInt64,
                          torch::kFloat16, torch::kBFloat16, torch::kFloat32, torch::kFloat64}) {
    const auto values = (torch::randn({3, 5}) * 100).abs();
    out.push_back(type == torch::kBool ? values > 50 : values.to(type));
    out.push_back(torch::ones({}, type));
    out.push_back(torch::empty({2, 0, 3}, type));
  }
  return out;
}

std::vector<char> chars_of(const std::filesystem::path& path) {
  const std::string bytes = read_file(path);
  return {bytes.begin(), bytes.end()};
}

TEST_F(TorchFile, LibTorchReadsWhatWeWrite) {
  const auto tensors = tensors_of_every_type();
  TorchFileBuilder builder;
  std::vector<PickleRef> refs;
  for (const auto& tensor : tensors) refs.push_back(builder.tensor(tensor));
  Pickle& values = builder.values;
  builder.write(path_, values.dict({{"tensors", values.list(refs)},
                                    {"pair", values.tuple({values.real(0.9), values.integer(int64_t{1} << 40)})},
                                    {"flag", values.boolean(true)},
                                    {"nothing", values.none()}}));

  const auto dict = torch::pickle_load(chars_of(path_)).toGenericDict();
  const auto list = dict.at("tensors").toListRef();
  ASSERT_EQ(list.size(), tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) EXPECT_TRUE(identical(list[i].toTensor(), tensors[i])) << i;
  EXPECT_EQ(dict.at("pair").toTupleRef().elements()[0].toDouble(), 0.9);
  EXPECT_EQ(dict.at("pair").toTupleRef().elements()[1].toInt(), int64_t{1} << 40);
  EXPECT_TRUE(dict.at("flag").toBool());
  EXPECT_TRUE(dict.at("nothing").isNone());

  const TorchArchive again(path_);
  for (size_t i = 0; i < tensors.size(); ++i)
    EXPECT_TRUE(identical(tensor_of(again, *again.root()->find("tensors")->items[i]), tensors[i])) << i;
}

TEST_F(TorchFile, WeReadWhatLibTorchWrites) {
  std::vector<c10::IValue> tensors;
  for (const auto& tensor : tensors_of_every_type()) tensors.emplace_back(tensor);
  const auto matrix = torch::randn({3, 4});
  tensors.emplace_back(matrix);
  tensors.emplace_back(matrix.t());  // of the same storage
  const auto bytes = torch::pickle_save(c10::ivalue::Tuple::create(tensors));
  std::ofstream(path_, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  const TorchArchive file(path_);
  ASSERT_EQ(file.root()->items.size(), tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i)
    EXPECT_TRUE(identical(tensor_of(file, *file.root()->items[i]), tensors[i].toTensor())) << i;
}

TEST_F(TorchFile, TensorsLieAlignedAndOutliveTheArchive) {
  torch::Tensor view;
  {
    TorchFileBuilder builder;
    const auto expected = torch::randn({17});
    const auto odd = builder.tensor(torch::ones({3}, torch::kBool)), w = builder.tensor(expected);
    builder.write(path_, builder.values.list({odd, w}));
    const TorchArchive file(path_);
    view = tensor_of(file, *file.root()->items[1]);
    EXPECT_TRUE(identical(view, expected));
    EXPECT_EQ(view.data_ptr(), tensor_of(file, *file.root()->items[1]).data_ptr());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(view.data_ptr()) % 64, 0u);
  }
  std::filesystem::remove(path_);
  EXPECT_TRUE(std::isfinite(view.sum().item<float>()));
}

TEST_F(TorchFile, MisalignedTensorsAreCopied) {
  // Python's zipfile pads nothing.
  const TorchArchive file(data_file("types_p2.pth"));
  for (const char* name : {"f64", "i64", "param"}) {
    const auto tensor = tensor_of(file, *file.root()->find("model")->find(name));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.data_ptr()) % tensor.element_size(), 0u) << name;
  }
}

TEST(Zip, ReadsWhatItWritesIncludingZip64) {
  const std::string large(100000, 'x');
  for (const uint64_t zip64_from : {uint64_t{0xffffffff}, uint64_t{0}, uint64_t{50}, uint64_t{1000}}) {
    const ZipArchive zip(in_memory(zip_of({{"a", "one"}, {"b/c", ""}, {"d", large}}, zip64_from)), "file");
    ASSERT_EQ(zip.entries().size(), 3u);
    EXPECT_EQ(zip.read(*zip.find("a")).view(), "one");
    EXPECT_EQ(zip.read(*zip.find("b/c")).view(), "");
    EXPECT_EQ(zip.read(*zip.find("d")).view(), large);
    for (const auto& entry : zip.entries()) EXPECT_EQ(entry.data % 64, 0u);
    EXPECT_EQ(zip.find("e"), nullptr);
  }
}

TEST(Zip, TorchFileWithZip64) {
  for (const uint64_t zip64_from : {uint64_t{0}, uint64_t{20}, uint64_t{100}, uint64_t{300}})
    EXPECT_EQ(error_of(small_file(zip64_from)), "") << zip64_from;
}

TEST(Zip, NoEntries) { EXPECT_NE(error_of(zip_of({})).find("not a zip archive"), std::string::npos); }

// A zip of one deflated entry, with whatever size it claims.
std::string deflated(const std::string& content, uint32_t claimed) {
  std::vector<char> packed(content.size() + 1000);
  z_stream stream{};
  deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 9, Z_DEFAULT_STRATEGY);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  deflate(&stream, Z_FINISH);

  deflateEnd(&stream);
  std::string out = zip_of({{"archive/data.pkl", {packed.data(), packed.size() - stream.avail_out}}});
  const auto directory = out.rfind("PK\1\2");
  const uint32_t crc = static_cast<uint32_t>(
      crc32(0, reinterpret_cast<const Bytef*>(content.data()), static_cast<uInt>(content.size())));
  out[directory + 10] = 8;
  std::memcpy(out.data() + directory + 16, &crc, 4);
  std::memcpy(out.data() + directory + 24, &claimed, 4);
  return out;
}

TEST(Zip, DeflatedEntriesMustGiveTheirSize) {
  const std::string content = small_pickle();
  const auto size = static_cast<uint32_t>(content.size());
  EXPECT_NE(error_of(deflated(content, size)).find("no entry archive/data/0"), std::string::npos);
  EXPECT_NE(error_of(deflated(content, size - 1)).find("packed data does not give"), std::string::npos);
  EXPECT_NE(error_of(deflated(content, size + 1)).find("packed data does not give"), std::string::npos);
  EXPECT_NE(error_of(deflated(content, 0xfffffff0)).find("more than deflate can pack"), std::string::npos);
  // A megabyte of zeros that says it were ten bytes is not unpacked beyond them.
  EXPECT_NE(error_of(deflated(std::string(1 << 20, '\0'), 10)).find("packed data does not give"), std::string::npos);
}

TEST(Zip, Hostile) {
  const std::string good = small_file();
  ASSERT_EQ(error_of(good), "");
  const auto directory = good.find("PK\1\2"), end = good.rfind("PK\5\6");
  const auto with = [&](size_t at, uint64_t value, size_t bytes) {
    std::string out = good;
    std::memcpy(out.data() + at, &value, bytes);
    return error_of(out);
  };
  EXPECT_NE(with(directory + 8, 1, 2).find("encrypted"), std::string::npos);
  EXPECT_NE(with(directory + 10, 12, 2).find("method 12"), std::string::npos);
  EXPECT_NE(with(directory + 16, 1, 4).find("expected CRC-32 00000001"), std::string::npos);
  EXPECT_NE(with(directory + 20, 1, 4).find("is stored, but takes"), std::string::npos);
  EXPECT_NE(with(directory + 28, 0xffff, 2).find("beyond the directory"), std::string::npos);
  EXPECT_NE(with(directory + 42, 0x7fffffff, 4).find("no entry at byte"), std::string::npos);
  EXPECT_NE(with(directory + 42, 7, 4).find("no entry at byte 7"), std::string::npos);
  EXPECT_NE(with(end + 4, 1, 2).find("several parts"), std::string::npos);
  EXPECT_NE(with(end + 10, 9999, 2).find("do not fit"), std::string::npos);
  EXPECT_NE(with(end + 10, 1, 2).find("besides its 1 entries"), std::string::npos);
  EXPECT_NE(with(end + 16, 0x7fffffff, 4).find("zip directory should take"), std::string::npos);
  EXPECT_NE(error_of("x" + good).find("not a zip archive"), std::string::npos);
  EXPECT_NE(error_of(good + "x").find("has no end"), std::string::npos);
  EXPECT_NE(error_of("\x80\x02\x8a\x0al").find("before PyTorch 1.6"), std::string::npos);
  // The second entry's header copied over the first's place: two entries of the same bytes.
  const auto second = good.find("PK\1\2", directory + 4);
  std::string overlap = good;
  overlap.replace(second + 42, 4, good.substr(directory + 42, 4));
  EXPECT_NE(error_of(overlap).find("inside the entry before"), std::string::npos);

  EXPECT_NE(error_of(zip_of({{"a", "x"}, {"a", "y"}})).find("two entries a"), std::string::npos);
  EXPECT_NE(error_of(zip_of({{"a", "x"}})).find("no NAME/data.pkl"), std::string::npos);
  EXPECT_NE(error_of(zip_of({{"a/data.pkl", "x"}, {"b/data.pkl", "x"}})).find("expected one data.pkl"),
            std::string::npos);
  const auto torch_zip = [](const std::string& storage, const std::string& order) {
    return error_of(zip_of({{"a/data.pkl", small_pickle()}, {"a/byteorder", order}, {"a/data/0", storage}}));
  };
  EXPECT_EQ(torch_zip(std::string(16, '\0'), "little"), "");
  EXPECT_EQ(torch_zip(std::string(15, '\0'), "little"), "file: a/data/0: 4 elements of F32 need 16 bytes, found 15");
  EXPECT_NE(torch_zip(std::string(17, '\0'), "little").find("need 16 bytes, found 17"), std::string::npos);
  EXPECT_NE(torch_zip(std::string(16, '\0'), "big").find("big-endian"), std::string::npos);
  EXPECT_NE(error_of(zip_of({{"a/data.pkl", small_pickle()}})).find("no entry a/data/0, which a tensor needs"),
            std::string::npos);
}

TEST(Zip, BooleansAreZeroOrOne) {
  Pickle values;
  const auto pickle =
      values.write(values.tensor({.storage = {"BOOL", "0", 2}, .offset = 0, .shape = {2}, .stride = {1}}));
  const auto file = [&](const std::string& bytes) {
    return error_of(zip_of({{"a/data.pkl", pickle}, {"a/data/0", bytes}}));
  };
  EXPECT_EQ(file(std::string("\0\1", 2)), "");
  EXPECT_NE(file("\1\2").find("must be 0 or 1"), std::string::npos);
}

TEST(Zip, EveryTruncationIsAnError) {
  for (const std::string& whole :
       {small_file(), small_file(0), read_file(data_file("types_p4.pth")), read_file(data_file("types_p5.pth"))})
    for (size_t size = 0; size < whole.size(); ++size) EXPECT_NE(error_of(whole.substr(0, size)), "") << size;
}

TEST(Zip, DamagedBytesNeverCrash) {
  const std::string whole = small_file(0);
  for (size_t at = 0; at < whole.size(); ++at) {
    for (const int value : {0x00, 0x01, 0x7f, 0x80, 0xff}) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(value);
      error_of(damaged);
    }
  }
}

}  // namespace
}  // namespace lt2
