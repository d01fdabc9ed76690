// Tables on their way into the database, and what the next opening makes of those whose batch never came.
#include "sessions/bulk_tables.h"

#include <gtest/gtest.h>

#include "sessions/store.h"
#include "tests/support/sessions/temp_folder.h"

namespace longhaul::sessions {
namespace {

std::uint64_t n_summaries(const Store& store) {
  std::uint64_t n = 0;
  EXPECT_TRUE(store
                  .scan(Family::kSummaries, summaries_key(0), summaries_key(UINT64_MAX), nullptr,
                        [&](std::string_view, std::string_view) {
                          ++n;
                          return true;
                        })
                  .has_value());
  return n;
}

// Numbers are reserved in blocks, and each reservation says below which of them all is done. It must not count a label
// that was taken and whose tables come only now.
TEST(BulkTables, WithoutTheirBatchTheyAreDroppedThoughNumbersWereReservedBetween) {
  for (const int n_taken_between : {0, 5'000}) {
    test::TempFolder folder;
    const StoreOptions options;
    {
      auto store = Store::open(folder / "store", options);
      ASSERT_TRUE(store.has_value()) << store.error().message;
      auto label = (*store)->take_label();
      ASSERT_TRUE(label.has_value());
      for (int i = 0; i < n_taken_between; ++i) ASSERT_TRUE((*store)->take_number().has_value());
      BulkTables tables(**store, *label);
      const std::string key = summaries_key(*label);
      ASSERT_TRUE(
          tables.put(Family::kSummaries, key, seal(Family::kSummaries, key, ValueKind::kSummaries, "s")).has_value());
      ASSERT_TRUE(tables.finish().has_value());
      ASSERT_TRUE(tables.ingest().has_value());
      EXPECT_EQ(n_summaries(**store), 1U);
    }
    auto store = Store::open(folder / "store", options);
    ASSERT_TRUE(store.has_value()) << store.error().message;
    EXPECT_EQ(n_summaries(**store), 0U) << n_taken_between;
  }
}

}  // namespace
}  // namespace longhaul::sessions
