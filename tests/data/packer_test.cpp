// Sequences of a stream of documents, against slices of the whole stream.
#include "data/packer.h"

#include <gtest/gtest.h>

#include <random>

namespace lt2 {
namespace {

using Ids = std::vector<int32_t>;

/// Documents one after the other; `State` is the number of the next one.
struct Stream {
  std::vector<Ids> documents;
  int64_t at = 0;

  bool operator()(Packer<int64_t>::Document& out) {
    if (at == static_cast<int64_t>(documents.size())) return false;
    out.before = at;
    out.tokens = std::make_shared<const Ids>(documents[static_cast<size_t>(at++)]);
    return true;
  }
  Ids joined() const {
    Ids all;
    for (const auto& document : documents) all.insert(all.end(), document.begin(), document.end());
    return all;
  }
};

Stream numbered(const std::vector<size_t>& lengths) {
  Stream stream;
  int32_t next = 0;
  for (const size_t length : lengths) {
    stream.documents.emplace_back();
    for (size_t i = 0; i < length; ++i) stream.documents.back().push_back(next++);
  }
  return stream;
}

Ids next_of(Packer<int64_t>& packer, Stream& stream, int64_t length) {
  Ids out(static_cast<size_t>(length), -1);
  out.resize(static_cast<size_t>(packer.next(out.data(), stream)));
  return out;
}

TEST(Packer, SequencesAreSlicesOfTheStream) {
  std::mt19937 random(3);
  for (const auto& [length, stride] : {std::pair<int64_t, int64_t>{5, 4}, {5, 5}, {9, 8}, {1, 1}, {2, 1}, {12, 8}}) {
    std::vector<size_t> lengths;
    for (int i = 0; i < 40; ++i) lengths.push_back(1 + random() % 12);
    auto stream = numbered(lengths);
    const auto all = stream.joined();
    Packer<int64_t> packer(length, stride);
    int64_t begin = 0, sequences = 0;
    for (; begin + length <= static_cast<int64_t>(all.size()); begin += stride, ++sequences)
      ASSERT_EQ(next_of(packer, stream, length), Ids(all.begin() + begin, all.begin() + begin + length)) << begin;
    EXPECT_GT(sequences, 10);
  }
}

// The last sequence is as long as what is left, and the next attempt gives the same.
TEST(Packer, TheEndIsShort) {
  auto stream = numbered({3, 4});
  Packer<int64_t> packer(5, 4);
  EXPECT_EQ(next_of(packer, stream, 5), (Ids{0, 1, 2, 3, 4}));
  EXPECT_EQ(next_of(packer, stream, 5), (Ids{4, 5, 6}));
  EXPECT_EQ(next_of(packer, stream, 5), (Ids{4, 5, 6}));
  auto nothing = numbered({});
  Packer<int64_t> empty(5, 4);
  EXPECT_EQ(next_of(empty, nothing, 5), Ids{});
}

TEST(Packer, APositionGivesTheRestAgain) {
  const std::vector<size_t> lengths{3, 1, 1, 9, 2, 4, 4, 7, 1, 6};
  auto stream = numbered(lengths);
  Packer<int64_t> packer(5, 4);
  EXPECT_EQ(packer.position(stream.at).start_token, 0);
  int places = 0;
  for (int i = 0; i < 7; ++i) {
    next_of(packer, stream, 5);
    const auto position = packer.position(stream.at);
    auto again = numbered(lengths);
    again.at = position.stream;
    Packer<int64_t> resumed(5, 4);
    resumed.restart(position.start_token);
    auto rest = stream;
    auto copy = packer;
    EXPECT_EQ(next_of(resumed, again, 5), next_of(copy, rest, 5)) << i;
    places += position.start_token > 0;
  }
  EXPECT_GT(places, 2);  // some lie within a document
}

TEST(Packer, RestartForgetsTheOldDocuments) {
  auto stream = numbered({8, 8});
  Packer<int64_t> packer(4, 4);
  next_of(packer, stream, 4);
  packer.restart(3);
  EXPECT_EQ(next_of(packer, stream, 4), (Ids{11, 12, 13, 14}));
}

}  // namespace
}  // namespace lt2
