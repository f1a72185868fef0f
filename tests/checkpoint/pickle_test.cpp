#include "checkpoint/pickle.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <limits>

#include "base/error.h"
#include "base/files.h"
#include "tests/support/error_of.h"

namespace lt2 {
namespace {

using Kind = PickleValue::Kind;

std::string data_file(const std::string& name) {
  return read_file(std::filesystem::path(LT2_TEST_DATA) / "checkpoint" / name);
}

// The reader's message for these bytes; "" when it takes them.
std::string error_of(const std::string& bytes) {
  return test::error_of([&] { Pickle::read(bytes, "file"); });
}

std::string le(uint64_t value, size_t bytes) { return {reinterpret_cast<const char*>(&value), bytes}; }
std::string integer(int64_t value) { return "\x8a\x08" + le(static_cast<uint64_t>(value), 8); }
std::string text(const std::string& value) { return "X" + le(value.size(), 4) + value; }
std::string program(const std::string& body) { return "\x80\x02" + body + "."; }
// ('storage', torch.FloatStorage, '0', 'cpu', elements) as a storage
std::string storage(int64_t elements) {
  return "(" + text("storage") + "ctorch\nFloatStorage\n" + text("0") + text("cpu") + integer(elements) + "tQ";
}
std::string tensor(int64_t elements, int64_t offset, const std::vector<int64_t>& shape,
                   const std::vector<int64_t>& stride) {
  std::string out = "ctorch._utils\n_rebuild_tensor_v2\n(" + storage(elements) + integer(offset) + "(";
  for (const int64_t size : shape) out += integer(size);
  out += "t(";
  for (const int64_t step : stride) out += integer(step);
  return out + "t\x89" + "ccollections\nOrderedDict\n)RtR";
}

TEST(Pickle, WhatIsWrittenIsRead) {
  Pickle built;
  const auto max = std::numeric_limits<int64_t>::max(), min = std::numeric_limits<int64_t>::min();
  const auto root = built.dict(
      {{"none", built.none()},
       {"yes", built.boolean(true)},
       {"integers", built.list({built.integer(0), built.integer(-1), built.integer(INT32_MAX),
                                built.integer(int64_t{INT32_MAX} + 1), built.integer(max), built.integer(min)})},
       {"real", built.real(-0.1)},
       {"tuple", built.tuple({built.text("a\nb \xc3\xa9"), built.tuple({})})},
       {"w", built.tensor({.storage = {"BF16", "7", 12}, .offset = 2, .shape = {3, 2}, .stride = {4, 1}})}});
  const Pickle read = Pickle::read(built.write(root), "file");
  const PickleValue& dict = *read.root();
  EXPECT_TRUE(dict.find("none")->is(Kind::kNone));
  EXPECT_TRUE(dict.find("yes")->is(Kind::kBool) && dict.find("yes")->integer == 1);
  std::vector<int64_t> integers;
  for (const auto item : dict.find("integers")->items) integers.push_back(item->integer);
  EXPECT_EQ(integers, (std::vector<int64_t>{0, -1, INT32_MAX, int64_t{INT32_MAX} + 1, max, min}));
  EXPECT_EQ(dict.find("real")->real, -0.1);
  EXPECT_EQ(dict.find("tuple")->items[0]->text, "a\nb \xc3\xa9");
  EXPECT_TRUE(dict.find("tuple")->items[1]->is(Kind::kTuple) && dict.find("tuple")->items[1]->items.empty());
  const TensorView& view = *dict.find("w")->tensor;
  EXPECT_EQ(view.storage.dtype, "BF16");
  EXPECT_EQ(view.storage.key, "7");
  EXPECT_EQ(view.storage.elements, 12u);
  EXPECT_EQ(view.offset, 2u);
  EXPECT_EQ(view.shape, (std::vector<int64_t>{3, 2}));
  EXPECT_EQ(view.stride, (std::vector<int64_t>{4, 1}));
  EXPECT_EQ(dict.find("absent"), nullptr);
}

TEST(Pickle, OfEqualKeysTheLastCounts) {
  const Pickle read = Pickle::read(program("}(" + text("a") + "K\1" + text("a") + "K\2u"), "file");
  EXPECT_EQ(read.root()->find("a")->integer, 2);
}

TEST(Pickle, SharedValuesStayShared) {
  const Pickle read = Pickle::read(program("(]q\1h\1t"), "file");
  ASSERT_EQ(read.root()->items.size(), 2u);
  EXPECT_EQ(read.root()->items[0], read.root()->items[1]);
}

TEST(Pickle, NothingIsExecuted) {
  const std::string error = error_of(data_file("calls_system.pkl"));
  EXPECT_EQ(
      error,
      "file: byte 2: the file asks for posix system, which is no part of a checkpoint of tensors; nothing was run");
  EXPECT_NE(error_of(program(text("builtins") + text("eval") + "\x93")).find("builtins eval"), std::string::npos);
  EXPECT_NE(error_of(program("cnumpy.core.multiarray\nscalar\n")).find("numpy.core.multiarray scalar"),
            std::string::npos);
  // Names that mean a tensor elsewhere are still no functions here.
  EXPECT_NE(error_of(program("ctorch\nFloatStorage\n)R")).find("torch FloatStorage cannot be called"),
            std::string::npos);
}

struct Hostile {
  std::string name, bytes, says;
};
std::ostream& operator<<(std::ostream& stream, const Hostile& c) { return stream << c.name; }
class HostilePickle : public ::testing::TestWithParam<Hostile> {};

TEST_P(HostilePickle, IsAnErrorOfOneLine) {
  const std::string error = error_of(GetParam().bytes);
  EXPECT_NE(error.find(GetParam().says), std::string::npos) << error;
  EXPECT_EQ(error.rfind("file: ", 0), 0u) << error;
  EXPECT_EQ(error.find('\n'), std::string::npos) << error;
  EXPECT_LT(error.size(), 1000u);
}

constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();

INSTANTIATE_TEST_SUITE_P(
    Table, HostilePickle,
    ::testing::Values(
        Hostile{"empty", "", "more bytes"},                                                                  //
        Hostile{"text", "hello", "not a pickle"},                                                            //
        Hostile{"protocol_0", "(dp0\n.", "not a pickle"},                                                    //
        Hostile{"protocol_9", "\x80\x09N.", "protocol 9"},                                                   //
        Hostile{"no_stop", "\x80\x02N", "more bytes"},                                                       //
        Hostile{"two_values", program("NN"), "2 values on its stack"},                                       //
        Hostile{"no_value", program(""), "0 values on its stack"},                                           //
        Hostile{"open_mark", program("N("), "1 values on its stack"},                                        //
        Hostile{"unknown_operation", program("\xff"), "operation 0xff"},                                     //
        Hostile{"new_object", program("N)\x81"), "operation 0x81"},                                          //
        Hostile{"stack_empty", program("a"), "the stack is empty"},                                          //
        Hostile{"below_the_mark", program("](N0a"), "the stack is empty"},                                   //
        Hostile{"no_mark", program("]e"), "no mark"},                                                        //
        Hostile{"pop_nothing", program("0"), "no mark"},                                                     //
        Hostile{"append_to_dict", program("}Na"), "append to a dict"},                                       //
        Hostile{"set_in_list", program("](NNu"), "item set in a list"},                                      //
        Hostile{"odd_dict", program("}(Nu"), "a key but no value"},                                          //
        Hostile{"list_as_key", program("}]Ns"), "a list as the key"},                                        //
        Hostile{"memo_unknown", program("h\5"), "memo entry 5"},                                             //
        Hostile{"long_text", program("X\xff\xff\xff\xff"), "expected 4294967295 more bytes"},                //
        Hostile{"longer_text", program("\x8d" + le(~0ull, 8)), "expected 18446744073709551615 more bytes"},  //
        Hostile{"long_frame", program("\x95" + le(~0ull, 8)), "a frame beyond the end"},                     //
        Hostile{"large_integer", program("\x8a\x09" + std::string(9, '\1')), "integer of 9 bytes"},          //
        Hostile{"long4", program("\x8b\xff\xff\xff\x7f"), "expected 2147483647 more bytes"},                 //
        Hostile{"name_without_end",
                "\x80\x02"
                "cposix",
                "a name without end"},                                                                         //
        Hostile{"long_name", program("c" + std::string(100000, 'x') + "\n\n"), "xxx..."},                      //
        Hostile{"call_of_a_list", program("])R"), "a call of a list"},                                         //
        Hostile{"call_without_tuple", program("ccollections\nOrderedDict\n]R"), "a call with a list"},         //
        Hostile{"ordered_dict_of_none", program("ccollections\nOrderedDict\nN\x85R"), "OrderedDict of None"},  //
        Hostile{"attributes_of_a_list", program("]}b"), "attributes for a list"},                              //
        Hostile{"persistent_none", program("NQ"), "no tuple of 5"},                                            //
        Hostile{"negative_storage", program(storage(-1)), "expected a persistent id"},                         //
        Hostile{"huge_storage", program(storage(kHuge)), "a storage of 9223372036854775807"},                  //
        Hostile{"outside", program(tensor(4, 0, {5}, {1})), "reaches element 4 of a storage of 4"},            //
        Hostile{"offset_outside", program(tensor(4, 4, {1}, {1})), "reaches element 4"},                       //
        Hostile{"empty_outside", program(tensor(4, 5, {0}, {1})), "of a storage of 4"},                        //
        Hostile{"negative_offset", program(tensor(4, -1, {1}, {1})), "offset -1"},                             //
        Hostile{"negative_size", program(tensor(4, 0, {-1}, {1})), "size of -1"},                              //
        Hostile{"negative_stride", program(tensor(4, 3, {4}, {-1})), "stride of -1"},                          //
        Hostile{"stride_overflow", program(tensor(4, 0, {3}, {kHuge})), "too large"},                          //
        Hostile{"offset_overflow", program(tensor(4, kHuge, {2}, {1})), "too large"},                          //
        Hostile{"size_overflow", program(tensor(4, 0, {1ll << 40, 1ll << 40}, {0, 0})), "too large"},          //
        Hostile{"empty_overflow", program(tensor(4, 0, {0, kHuge, kHuge}, {1, 1, 1})), "too large"},           //
        Hostile{"repeated_too_often", program(tensor(4, 0, {1ll << 40}, {0})), "repeats a storage"},           //
        Hostile{"stride_missing", program(tensor(4, 0, {2, 2}, {1})), "2 sizes but 1 strides"},                //
        Hostile{"rank_65", program(tensor(4, 0, std::vector<int64_t>(65, 1), std::vector<int64_t>(65, 1))),
                "65 dimensions"},                                                                        //
        Hostile{"holds_itself", data_file("holds_itself.pkl"), "a list that holds itself"},              //
        Hostile{"dict_holds_itself", program("}q\1" + text("a") + "h\1s"), "a dict that holds itself"},  //
        Hostile{"deep", program(std::string(100000, ']') + std::string(99999, 'a')), "nested more than"}),
    [](const auto& i) { return i.param.name; });

TEST(Pickle, SharingMakesNoBillionLaughs) {
  // Each level holds the one before ten times: 10^30 paths, 31 values.
  std::string body = "]q\1";
  for (int i = 0; i < 30; ++i) {
    body += "0](";
    for (int k = 0; k < 10; ++k) body += std::string("h") + static_cast<char>(i + 1);
    body += std::string("eq") + static_cast<char>(i + 2);
  }
  EXPECT_EQ(error_of(program(body)), "");
}

TEST(Pickle, EveryTruncationIsAnError) {
  Pickle built;
  const std::string whole = built.write(built.dict(
      {{"w", built.tensor({.storage = {"F32", "0", 6}, .shape = {2, 3}, .stride = {3, 1}})}, {"x", built.real(2)}}));
  for (size_t size = 0; size < whole.size(); ++size) EXPECT_NE(error_of(whole.substr(0, size)), "") << size;
  EXPECT_EQ(error_of(whole), "");
}

TEST(Pickle, DamagedBytesNeverCrash) {
  Pickle built;
  const std::string whole = built.write(built.dict(
      {{"w", built.tensor({.storage = {"F32", "0", 6}, .shape = {2, 3}, .stride = {3, 1}})}, {"x", built.real(2)}}));
  for (size_t at = 0; at < whole.size(); ++at) {
    for (int value = 0; value < 256; value += 5) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(value);
      error_of(damaged);
    }
  }
}

}  // namespace
}  // namespace lt2
