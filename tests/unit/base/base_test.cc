#include <gtest/gtest.h>

#include <unistd.h>
#include <bit>
#include <cmath>
#include <random>

#include "runtime/base/file.h"
#include "runtime/base/hash.h"
#include "runtime/base/json.h"
#include "runtime/base/rng.h"

namespace longhaul {
namespace {

TEST(Philox, MatchesTheKnownAnswersOfThePaper) {
  // Random123's kat_vectors for philox4x32-10.
  EXPECT_EQ(philox(0, {0, 0, 0, 0}), (PhiloxBlock{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox(~0ULL, {~0U, ~0U, ~0U, ~0U}), (PhiloxBlock{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox(0x299f31d0a4093822ULL, {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}),
            (PhiloxBlock{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Json, KeepsKeyOrderAndRefusesDuplicates) {
  auto value = parse_json(R"({"z":1,"a":[true,null,"x\u00e9"]})");
  ASSERT_TRUE(value);
  EXPECT_EQ(to_json(*value), "{\"z\":1,\"a\":[true,null,\"x\xc3\xa9\"]}");
  EXPECT_EQ(to_json_spaced(*value), "{\"z\": 1, \"a\": [true, null, \"x\xc3\xa9\"]}");
  auto twice = parse_json(R"({"a":1,"b":{"c":1,"c":2}})");
  ASSERT_FALSE(twice);
  EXPECT_NE(twice.error().message.find("\"c\""), std::string::npos);
}

TEST(Json, NamesThePlaceAndTheLimit) {
  EXPECT_FALSE(parse_json("{\"a\":}"));
  EXPECT_FALSE(parse_json("[1] x"));
  EXPECT_FALSE(parse_json("\"\xff\""));
  auto deep = parse_json(std::string(300, '[') + std::string(300, ']'));
  ASSERT_FALSE(deep);
  EXPECT_EQ(deep.error().code, ErrorCode::kResourceExhausted);
}

TEST(Json, DoublesReadBackTheSame) {
  for (double number : {0.1, 2.0, -0.0, 1e300, 5e-324, 123456789.25}) {
    auto back = parse_json(to_json(json::value(number)));
    ASSERT_TRUE(back);
    ASSERT_TRUE(back->is_double()) << number;
    EXPECT_EQ(back->get_double(), number);
  }
  std::mt19937_64 random(1);
  for (int i = 0; i < 20000; ++i) {
    const double number = std::bit_cast<double>(random());
    if (!std::isfinite(number)) continue;
    auto back = parse_json("{\"a\":[1," + to_json(json::value(number)) + "]}");
    ASSERT_TRUE(back);
    EXPECT_EQ(std::bit_cast<std::uint64_t>(back->at("a").at(1).get_double()), std::bit_cast<std::uint64_t>(number));
  }
}

TEST(Json, LargeDoublesHaveNoDigitsOfTheirOwn) {
  EXPECT_EQ(to_json(json::value(8597725201.00026e+9)), "8.59772520100026e+18");
  EXPECT_EQ(to_json(json::value(9007199254740992.0)), "9007199254740992.0");
  EXPECT_EQ(to_json(json::value(1e22)), "1e+22");
}

TEST(Json, NumbersOutOfRangeAreRefused) {
  auto value = parse_json("[1, -1e400]");
  ASSERT_FALSE(value);
  EXPECT_EQ(value.error().message, "number -1e400 is out of range");
  EXPECT_EQ(parse_json("1e-400")->get_double(), 0.0);
}

TEST(Json, SpacedDoublesAreAsPythonWritesThem) {
  for (auto [number, text] : {std::pair{2.0, "2.0"},
                              {100000.0, "100000.0"},
                              {1e15, "1000000000000000.0"},
                              {1e16, "1e+16"},
                              {0.0001, "0.0001"},
                              {0.00001, "1e-05"},
                              {-0.0, "-0.0"},
                              {1.5e300, "1.5e+300"}}) {
    EXPECT_EQ(to_json_spaced(json::value(number)), text);
  }
}

TEST(Hash, ChainDependsOnOrderAndStreamingEqualsWhole) {
  Digest start;
  EXPECT_NE(chain(chain(start, "a"), "b"), chain(chain(start, "b"), "a"));
  Hasher hasher;
  hasher.update("hello ");
  hasher.update("world");
  EXPECT_EQ(hasher.finish(), digest_of("hello world"));
  EXPECT_EQ(digest_of("").hex(), "99aa06d3014798d86001c324468d497f");  // XXH3-128 of nothing
}

TEST(File, WritesWholeAndNamesThePathInErrors) {
  const std::string path = testing::TempDir() + "/longhaul_file_test_" + std::to_string(::getpid());
  ASSERT_TRUE(write_file_atomic(path, "one"));
  ASSERT_TRUE(write_file_atomic(path, "two"));
  EXPECT_EQ(*read_file(path, 10), "two");
  auto large = read_file(path, 2);
  ASSERT_FALSE(large);
  EXPECT_NE(large.error().message.find(path), std::string::npos);
  ::unlink(path.c_str());
  EXPECT_EQ(read_file(path, 10).error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace longhaul
