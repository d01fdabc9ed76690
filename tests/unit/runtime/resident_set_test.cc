#include "runtime/resident_set.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <vector>

namespace longhaul::runtime {
namespace {

struct Room : ResidentSet::Tenant {
  std::string name;
  bool resident = false, refuses = false;
  int parked = 0;
  std::string tenant_name() const override { return name; }
  Result<void> park() override {
    if (refuses) return io_error("the disk is full");
    resident = false;
    ++parked;
    return {};
  }
};

TEST(ResidentSet, ParksTheLeastRecentlyUsed) {
  ResidentSet set(100);
  std::deque<Room> rooms(4);
  for (Room& room : rooms) room.name = "r" + std::to_string(&room - &rooms[0]);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(set.use(rooms[static_cast<std::size_t>(i)], 30));
  ASSERT_TRUE(set.use(rooms[0], 35));  // now the newest
  ASSERT_TRUE(set.use(rooms[3], 30));
  EXPECT_EQ(rooms[1].parked, 1);
  EXPECT_EQ(rooms[0].parked + rooms[2].parked + rooms[3].parked, 0);
  EXPECT_EQ(set.resident_bytes(), 95U);
  ASSERT_TRUE(set.use(rooms[3], 100));
  EXPECT_EQ(set.n_resident(), 1U);
  EXPECT_EQ(set.n_parked(), 3U);
  ASSERT_TRUE(set.use(rooms[3], 0));
  EXPECT_EQ(set.resident_bytes(), 0U);
}

TEST(ResidentSet, MemoryIsSplitBetweenStatesAndPages) {
  constexpr std::uint64_t kMax = std::uint64_t{1} << 30;
  for (const std::uint64_t bytes : {std::uint64_t{3}, std::uint64_t{512} << 20, std::uint64_t{64} << 30}) {
    const MemorySplit split = split_memory(bytes, kMax);
    EXPECT_EQ(split.states + split.page_cache, bytes);
    EXPECT_EQ(split.page_cache, std::min(bytes / 4, kMax));
  }
  EXPECT_EQ(split_memory(0, kMax).states, 0U);  // no bound
  EXPECT_EQ(split_memory(0, kMax).page_cache, kMax);
}

TEST(ResidentSet, OneThatIsLargerThanTheBudgetIsNamed) {
  ResidentSet set(100);
  Room small, large;
  large.name = "huge";
  ASSERT_TRUE(set.use(small, 60));
  auto refused = set.use(large, 101);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kResourceExhausted);
  EXPECT_NE(refused.error().message.find("huge"), std::string::npos);
  EXPECT_EQ(small.parked, 0);  // nobody else suffers for it
}

TEST(ResidentSet, AFailureToParkIsAnErrorAndNobodyIsLost) {
  ResidentSet set(100);
  Room stuck, next;
  stuck.refuses = true;
  ASSERT_TRUE(set.use(stuck, 60));
  EXPECT_FALSE(set.use(next, 60));
  EXPECT_EQ(set.resident_bytes(), 60U);
  stuck.refuses = false;
  EXPECT_TRUE(set.use(next, 60));
  EXPECT_EQ(stuck.parked, 1);
}

TEST(ResidentSet, WithoutABudgetNobodyIsParked) {
  ResidentSet set(0);
  std::deque<Room> rooms(50);
  for (Room& room : rooms) ASSERT_TRUE(set.use(room, 1ULL << 40));
  EXPECT_EQ(set.n_parked(), 0U);
  for (Room& room : rooms) set.leave(room);
  EXPECT_EQ(set.resident_bytes(), 0U);
}

}  // namespace
}  // namespace longhaul::runtime
