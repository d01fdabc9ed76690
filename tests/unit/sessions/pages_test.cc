// Pages in the store: written as runs, read on demand through a cache that sessions share, each checked by itself.
#include <gtest/gtest.h>

#include <thread>

#include "model/page_summary.h"
#include "sessions/lineage.h"
#include "sessions/page_run.h"
#include "sessions/session_manager.h"
#include "sessions/store.h"
#include "tests/support/sessions/fake_clock.h"
#include "tests/support/sessions/fake_model.h"
#include "tests/support/sessions/temp_folder.h"

namespace longhaul::sessions {
namespace {

// small_layout: a page is 2 KiB.
constexpr std::size_t kPageBytes = 2048;

class PagesTest : public ::testing::Test {
 protected:
  void open(std::size_t object_bytes, std::size_t cache_bytes) {
    session_.reset();
    manager_.reset();
    options_.clock = &clock_;
    options_.page_object_bytes = object_bytes;
    options_.page_cache_bytes = cache_bytes;
    auto manager = SessionManager::open(folder_ / "s", options_);
    ASSERT_TRUE(manager.has_value()) << manager.error().message;
    manager_ = std::move(*manager);
  }
  void create(const std::string& name) {
    auto session = manager_->create(name, {identity_, layout_, 7, "{}"});
    ASSERT_TRUE(session.has_value()) << session.error().message;
    session_ = std::move(*session);
  }
  void open_session(const std::string& name) {
    session_.reset();
    auto session = manager_->open_session(name, identity_);
    ASSERT_TRUE(session.has_value()) << session.error().message;
    session_ = std::move(*session);
  }
  // n tokens and a commit.
  void turn(model::SequenceState& state, std::size_t n) {
    std::vector<TokenId> ids(n);
    for (std::size_t i = 0; i < n; ++i) ids[i] = static_cast<TokenId>(state.position() + static_cast<std::int64_t>(i));
    ASSERT_TRUE(session_->feed_tokens(ids).has_value());
    test::feed(state, ids);
    CommitRequest request;
    request.state = &state;
    request.wish = StateWish::kAlways;
    auto report = session_->commit(request);
    ASSERT_TRUE(report.has_value()) << report.error().message;
  }
  model::SequenceState load(std::uint64_t limit = UINT64_MAX) {
    auto loaded = session_->load_state(limit);
    EXPECT_TRUE(loaded.has_value()) << loaded.error().message;
    return loaded && loaded->state ? std::move(*loaded->state) : model::SequenceState(layout_);
  }
  model::SequenceState truth(std::int64_t position) {
    const auto& tokens = session_->context().tokens();
    return test::state_after(layout_, std::span(tokens).first(static_cast<std::size_t>(position)));
  }
  // Changes bytes of a stored value behind the manager's back.
  template <class Change>
  void change(Family family, const std::string& key, Change change) {
    session_.reset();
    manager_.reset();
    auto store = Store::open(folder_ / "s", options_);
    ASSERT_TRUE(store.has_value()) << store.error().message;
    auto value = (*store)->get(family, key);
    ASSERT_TRUE(value.has_value() && value->has_value());
    change(**value);
    Batch batch(**store);
    batch.put(family, key, **value);
    ASSERT_TRUE((*store)->write(batch, true).has_value());
  }
  std::vector<PageRun> runs_of(const std::string& name) {
    session_.reset();
    manager_.reset();
    auto store = Store::open(folder_ / "s", options_);
    EXPECT_TRUE(store.has_value());
    auto entry = find_session(**store, name, nullptr);
    EXPECT_TRUE(entry.has_value());
    auto lineage = read_lineage(**store, entry->head, nullptr);
    EXPECT_TRUE(lineage.has_value());
    auto held = read_holdings(**store, *lineage, nullptr);
    EXPECT_TRUE(held.has_value());
    return held->runs;
  }

  test::TempFolder folder_;
  test::FakeClock clock_;
  StoreOptions options_;
  SessionIdentity identity_{"model", "tag"};
  model::StateLayout layout_ = test::small_layout();
  std::unique_ptr<SessionManager> manager_;
  std::unique_ptr<Session> session_;
};

TEST_F(PagesTest, ALoadReadsNoPageAndAnyCacheGivesTheSameBytes) {
  for (std::size_t object_pages : {1U, 3U, 64U}) {
    for (std::size_t cache : {std::size_t{0}, 3 * kPageBytes, std::size_t{1} << 20}) {
      SCOPED_TRACE(std::to_string(object_pages) + " pages a value, cache " + std::to_string(cache));
      open(object_pages * kPageBytes, cache);
      const std::string name = "s" + std::to_string(object_pages) + "-" + std::to_string(cache);
      create(name);
      model::SequenceState state(layout_);
      for (std::size_t n : {300U, 1000U, 130U, 20U}) turn(state, n);
      open(object_pages * kPageBytes, cache);
      open_session(name);
      const std::uint64_t before = manager_->page_cache().bytes_read;
      model::SequenceState loaded = load();
      EXPECT_EQ(manager_->page_cache().bytes_read, before);
      EXPECT_EQ(loaded.resident_bytes(), layout_.fixed_bytes() + 2 * kPageBytes);  // the open pages
      EXPECT_TRUE(loaded.same_as(state));
      EXPECT_GE(manager_->page_cache().bytes_read - before, 2 * 11 * kPageBytes);
      EXPECT_LE(manager_->page_cache().resident_bytes, std::max(cache, object_pages * kPageBytes));
    }
  }
}

TEST_F(PagesTest, ForksReadThroughOneCacheUpToTheirCut) {
  open(64 * kPageBytes, std::size_t{1} << 20);
  create("a");
  model::SequenceState state(layout_);
  turn(state, 200);
  turn(state, 1000);  // one run of pages 1 to 8
  ASSERT_TRUE(manager_->fork("a", "b", Cut::at_token(700)).has_value());
  open_session("b");
  model::SequenceState fork_state(layout_);
  {
    auto loaded = session_->load_state();
    ASSERT_TRUE(loaded.has_value() && loaded->state);
    fork_state = std::move(*loaded->state);
    test::feed(fork_state, loaded->tokens_to_feed);
  }
  EXPECT_TRUE(fork_state.same_as(truth(700)));
  turn(fork_state, 100);
  EXPECT_TRUE(load().same_as(fork_state));
  // All of it once more costs nothing: the values are the same ones.
  const std::uint64_t read = manager_->page_cache().bytes_read;
  session_.reset();
  ASSERT_TRUE(manager_->fork("b", "c").has_value());
  open_session("c");
  EXPECT_EQ(load().position(), 800);
  auto same = load().compare(fork_state);
  EXPECT_TRUE(same.has_value() && *same) << (same ? "" : same.error().message);
  EXPECT_EQ(manager_->page_cache().bytes_read, read);

  // The parent goes; what the fork needs of the run that crosses its cut stays, and so does the store's order.
  session_.reset();
  ASSERT_TRUE(manager_->remove("a").has_value());
  ASSERT_TRUE(manager_->gc().has_value());
  open(64 * kPageBytes, std::size_t{1} << 20);
  open_session("b");
  EXPECT_TRUE(load().same_as(truth(800)));
  auto report = manager_->verify();
  ASSERT_TRUE(report.has_value());
  for (const Problem& p : report->problems) ADD_FAILURE() << p.session << ": " << p.place << ": " << p.message;
}

TEST_F(PagesTest, SharedPagesLeaveTheStateAndChangeNothing) {
  open(4 * kPageBytes, std::size_t{1} << 20);
  create("a");
  model::SequenceState state(layout_);
  turn(state, 1000);
  const model::SequenceState before = state.clone();
  session_->share_pages(state);
  EXPECT_LT(state.resident_bytes(), before.resident_bytes());
  EXPECT_TRUE(state.same_as(before));
  EXPECT_EQ(manager_->page_cache().bytes_read, 0U);
  turn(state, 500);
  session_->share_pages(state);
  EXPECT_TRUE(state.same_as(truth(1500)));
  EXPECT_TRUE(load().same_as(state));
  // The state may outlive everything; only asking for a page is an error then.
  session_.reset();
  manager_.reset();
  auto page = state.page(0, 0);
  ASSERT_FALSE(page.has_value());
  EXPECT_NE(page.error().message.find("closed"), std::string::npos) << page.error().message;
}

TEST_F(PagesTest, ADamagedPageIsNamedAndTheOthersAreNot) {
  open(64 * kPageBytes, std::size_t{1} << 20);
  create("a");
  model::SequenceState state(layout_);
  turn(state, 1000);
  const std::vector<PageRun> runs = runs_of("a");
  ASSERT_EQ(runs.size(), 1U);
  change(Family::kPages, page_key(runs[0].generation, 1, 0),
         [](std::string& value) { value[8 + 4 + 7 * 8 + 3 * kPageBytes + 100] ^= 4; });
  open(64 * kPageBytes, std::size_t{1} << 20);
  open_session("a");
  model::SequenceState loaded = load();
  for (std::int64_t index = 0; index < 7; ++index) {
    EXPECT_TRUE(loaded.page(0, index).has_value());
    auto page = loaded.page(1, index);
    EXPECT_EQ(page.has_value(), index != 3);
    if (index != 3) continue;
    EXPECT_EQ(page.error().code, ErrorCode::kCorruption);
    EXPECT_NE(page.error().message.find("session a: page 3 of attention layer 1 (tokens 384 to 511"), std::string::npos)
        << page.error().message;
  }
  auto same = loaded.compare(state);
  ASSERT_FALSE(same.has_value());
  auto report = manager_->verify();
  ASSERT_TRUE(report.has_value());
  ASSERT_EQ(report->problems.size(), 1U) << report->problems[1].place << report->problems[1].message;
  EXPECT_NE(report->problems[0].place.find("page 3 of attention layer 1"), std::string::npos);

  // A value that is not there, or not what it says.
  change(Family::kPages, page_key(runs[0].generation, 0, 0), [](std::string& value) { value[9] ^= 1; });
  open(64 * kPageBytes, std::size_t{1} << 20);
  open_session("a");
  auto page = load().page(0, 6);
  ASSERT_FALSE(page.has_value());
  EXPECT_NE(page.error().message.find("page 6 of attention layer 0"), std::string::npos) << page.error().message;
}

TEST_F(PagesTest, SummariesAreReadWithoutThePages) {
  open(2 * kPageBytes, std::size_t{1} << 20);
  create("a");
  model::SequenceState state(layout_);
  for (std::size_t n : {300U, 500U, 200U}) turn(state, n);
  open(2 * kPageBytes, std::size_t{1} << 20);
  open_session("a");
  model::SequenceState loaded = load();
  const std::size_t each = model::summary_bytes(layout_);
  for (std::uint32_t layer = 0; layer < 2; ++layer) {
    auto blocks = loaded.stored()->summaries(layer);
    ASSERT_TRUE(blocks.has_value()) << blocks.error().message;
    std::int64_t next = 0;
    for (const model::SummaryBlock& block : *blocks) {
      EXPECT_EQ(block.first, next);
      for (std::int64_t i = 0; i < block.n; ++i, ++next) {
        std::vector<std::byte> want(each);
        model::summarise_page(layout_, state.page(layer, next)->bytes, want.data());
        EXPECT_EQ(std::memcmp(want.data(), block.bytes + static_cast<std::size_t>(i) * each, each), 0);
      }
    }
    EXPECT_EQ(next, 7);
  }
  EXPECT_EQ(manager_->page_cache().bytes_read, 0U);
  const std::vector<PageRun> runs = runs_of("a");
  change(Family::kSummaries, summaries_key(runs[1].generation), [](std::string& value) { value[30] ^= 1; });
  open(2 * kPageBytes, std::size_t{1} << 20);
  open_session("a");
  loaded = load();
  auto blocks = loaded.stored()->summaries(0);
  ASSERT_FALSE(blocks.has_value());
  EXPECT_NE(blocks.error().message.find("summaries of pages 2 to 5"), std::string::npos) << blocks.error().message;
  auto report = manager_->verify("a");
  ASSERT_TRUE(report.has_value());
  EXPECT_EQ(report->problems.size(), 1U);
}

TEST_F(PagesTest, ReadersOnManyThreadsGetTheSamePages) {
  open(3 * kPageBytes, 10 * kPageBytes);
  create("a");
  model::SequenceState state(layout_);
  turn(state, 4000);
  open(3 * kPageBytes, 10 * kPageBytes);
  open_session("a");
  const model::SequenceState loaded = load();
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (std::int64_t i = 0; i < 200; ++i) {
        const std::int64_t index = (i * (t + 1)) % 31, next = (index + 5) % 31;
        loaded.stored()->prefetch(static_cast<std::uint32_t>(t % 2), {&next, 1});
        auto page = loaded.page(static_cast<std::uint32_t>(t % 2), index);
        auto want = state.page(static_cast<std::uint32_t>(t % 2), index);
        if (!page || std::memcmp(page->bytes, want->bytes, kPageBytes) != 0) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace longhaul::sessions
