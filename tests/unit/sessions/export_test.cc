// A session as a file: what goes in comes out, whatever is wrong with the file is said and changes nothing.
#include <gtest/gtest.h>
#include <rocksdb/db.h>

#include <filesystem>
#include <random>

#include "runtime/base/file.h"
#include "sessions/export_content.h"
#include "sessions/file_checksum.h"
#include "sessions/session_manager.h"
#include "tests/support/sessions/fake_clock.h"
#include "tests/support/sessions/fake_model.h"
#include "tests/support/sessions/temp_folder.h"

namespace longhaul::sessions {
namespace {

namespace fs = std::filesystem;

class ExportTest : public ::testing::Test {
 protected:
  void SetUp() override {
    here_ = open("here");
    there_ = open("there");
  }

  std::unique_ptr<SessionManager> open(const std::string& name) {
    StoreOptions options;
    options.clock = &clock_;
    options.state_policy.tokens_min = 1;
    options.ingest_bytes_min = 2000;  // some kinds of rows go into tables, the others into the batch
    auto manager = SessionManager::open(folder_ / name, options);
    EXPECT_TRUE(manager.has_value()) << manager.error().message;
    return std::move(*manager);
  }

  std::unique_ptr<Session> session(SessionManager& manager, const std::string& name) {
    auto session = manager.open_session(name, identity_);
    EXPECT_TRUE(session.has_value()) << session.error().message;
    return std::move(*session);
  }

  // Turns of fed and drawn tokens, with the tokens the fake model would draw.
  void turns(Session& session, int n, std::uint64_t n_tokens = 150) {
    auto loaded = session.load_state();
    ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
    model::SequenceState state = loaded->state ? std::move(*loaded->state) : model::SequenceState(session.layout());
    test::feed(state, loaded->tokens_to_feed);
    for (int i = 0; i < n; ++i) {
      clock_.now_ms += 1000;
      ASSERT_TRUE(session.append(UserMessage{"go on"}).has_value());
      std::vector<TokenId> ids(n_tokens, static_cast<TokenId>(session.context().next_turn()));
      ASSERT_TRUE(session.feed_tokens(ids).has_value());
      test::feed(state, ids);
      for (int k = 0; k < 5; ++k) {
        const TokenId id = test::draw_token(state, session.context().seed(), session.context().n_draws());
        ASSERT_TRUE(session.sample_token(id, session.context().n_draws()).has_value());
        test::feed(state, std::span(&id, 1));
      }
      CommitRequest request;
      request.state = &state;
      ASSERT_TRUE(session.commit(request).has_value());
    }
  }

  std::unique_ptr<Session> make(const std::string& name, int n_turns) {
    auto made = here_->create(name, {identity_, test::small_layout(), 7, "{\"x\":1}"});
    EXPECT_TRUE(made.has_value()) << made.error().message;
    turns(**made, n_turns);
    return std::move(*made);
  }

  std::string export_of(const std::string& name, std::optional<std::uint64_t> since = std::nullopt) {
    const std::string path = folder_ / (name + std::to_string(n_files_++) + ".lhx");
    auto report = here_->export_session(name, path, since);
    EXPECT_TRUE(report.has_value()) << report.error().message;
    if (report) {
      EXPECT_EQ(report->bytes, fs::file_size(path));
    }
    return path;
  }

  static void expect_sound(SessionManager& manager) {
    auto report = manager.verify();
    ASSERT_TRUE(report.has_value()) << report.error().message;
    for (const Problem& p : report->problems) ADD_FAILURE() << p.session << ": " << p.place << ": " << p.message;
  }

  // Same journal, same context, a state that is that of the tokens; and every turn of the past can be gone back to.
  void expect_same(const std::string& a, const std::string& b) {
    std::vector<std::string> journals[2];
    int i = 0;
    for (const auto& [manager, name] : {std::pair(here_.get(), a), std::pair(there_.get(), b)}) {
      auto walked = manager->for_each_record(name, [&](const JournalEntry& entry) -> Result<void> {
        journals[i].push_back(std::to_string(entry.sequence) + " " + std::to_string(entry.time_ms) + " " +
                              std::string(kind_name(kind_of(entry.record))) + encode_payload(entry.record));
        return {};
      });
      ASSERT_TRUE(walked.has_value()) << walked.error().message;
      ++i;
    }
    ASSERT_EQ(journals[0], journals[1]);
    auto left = here_->show(a), right = there_->show(b);
    ASSERT_TRUE(left.has_value() && right.has_value());
    EXPECT_EQ(left->context.tokens(), right->context.tokens());
    EXPECT_EQ(left->context.digest(), right->context.digest());
    EXPECT_EQ(left->n_pages, right->n_pages);
    EXPECT_EQ(left->entry.n_turns, right->entry.n_turns);
    for (std::uint64_t turn = 0; turn <= right->context.turns().size(); ++turn) {
      const std::string name = "back" + std::to_string(n_files_++);
      auto forked = there_->fork(b, name, Cut::at_turn(turn));
      ASSERT_TRUE(forked.has_value()) << forked.error().message;
      auto back = session(*there_, name);
      auto loaded = back->load_state();
      ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
      model::SequenceState state =
          loaded->state ? std::move(*loaded->state) : model::SequenceState(test::small_layout());
      test::feed(state, loaded->tokens_to_feed);
      EXPECT_TRUE(state.same_as(test::state_after(test::small_layout(), back->context().tokens()))) << turn;
      back.reset();
      ASSERT_TRUE(there_->remove(name).has_value());
    }
    expect_sound(*there_);
  }

  // The store as a user sees it.
  static std::string everything(SessionManager& manager) {
    std::string out;
    for (const SessionSummary& each : *manager.list()) out += each.name + encode(each.entry);
    return out;
  }

  // The import fails with this code, and nothing has changed.
  Error expect_refused(const std::string& path, ErrorCode code, const std::string& as = {}) {
    const std::string before = everything(*there_);
    auto report = there_->import_session(path, as);
    EXPECT_FALSE(report.has_value());
    if (report) return {};
    EXPECT_EQ(report.error().code, code) << report.error().message;
    EXPECT_EQ(everything(*there_), before);
    std::error_code ec;
    EXPECT_TRUE(!fs::exists(folder_ / "there/ingest", ec) || fs::is_empty(folder_ / "there/ingest", ec));
    return report.error();
  }

  test::TempFolder folder_;
  test::FakeClock clock_;
  SessionIdentity identity_{"model", "tag"};
  std::unique_ptr<SessionManager> here_, there_;
  int n_files_ = 0;
};

TEST_F(ExportTest, WhatGoesInComesOut) {
  auto a = make("a", 9);
  const std::string path = export_of("a");  // while it is open
  a.reset();
  auto report = there_->import_session(path);
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_EQ(report->name, "a");
  EXPECT_EQ(report->n_turns, 9U);
  EXPECT_FALSE(report->moved_on);
  expect_same("a", "a");
  EXPECT_EQ(here_->show("a")->n_states, there_->show("a")->n_states);
  // It goes on as the original does.
  auto left = session(*here_, "a"), right = session(*there_, "a");
  turns(*left, 3);
  turns(*right, 3);
  EXPECT_EQ(left->context().tokens(), right->context().tokens());
  EXPECT_EQ(left->context().digest(), right->context().digest());
}

// The checksum of a whole table is taken while it is written; the database is not to read it again.
TEST_F(ExportTest, TablesTakenInAreInTheDatabasesListWithTheirChecksum) {
  make("a", 3);
  ASSERT_TRUE(there_->import_session(export_of("a")).has_value());
  there_.reset();
  const rocksdb::DBOptions options;
  std::vector<std::string> names;
  ASSERT_TRUE(rocksdb::DB::ListColumnFamilies(options, folder_ / "there/db", &names).ok());
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  for (const std::string& name : names) families.emplace_back(name, rocksdb::ColumnFamilyOptions());
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  ASSERT_TRUE(rocksdb::DB::OpenForReadOnly(options, folder_ / "there/db", families, &handles, &db).ok());
  std::vector<rocksdb::LiveFileMetaData> files;
  db->GetLiveFilesMetaData(&files);
  EXPECT_GE(files.size(), 2U);
  const auto factory = file_checksum_factory();
  for (const rocksdb::LiveFileMetaData& each : files) {
    auto bytes = read_file(each.db_path + each.name, std::size_t{1} << 30);
    ASSERT_TRUE(bytes.has_value());
    const auto generator = factory->CreateFileChecksumGenerator({});
    generator->Update(bytes->data(), bytes->size());
    generator->Finalize();
    EXPECT_EQ(each.file_checksum_func_name, generator->Name());
    EXPECT_EQ(each.file_checksum, generator->GetChecksum()) << each.name;
  }
  for (auto* handle : handles) db->DestroyColumnFamilyHandle(handle);
  delete db;
}

TEST_F(ExportTest, ForksResetsRewindsAndAnotherModelComeAlong) {
  auto a = make("a", 4);
  ASSERT_TRUE(a->reset_context(300, "reasoning").has_value());
  turns(*a, 2);
  a.reset();
  ASSERT_TRUE(here_->fork("a", "b", Cut::at_token(470)).has_value());  // in the middle of a message
  auto b = session(*here_, "b");
  turns(*b, 3);
  ASSERT_TRUE(b->rewind(Cut::at_turn(6), 99).has_value());
  turns(*b, 1);
  ASSERT_TRUE(b->reset_context(200, "more").has_value());
  ASSERT_TRUE(b->reset_context(100, "and more").has_value());
  b.reset();
  ASSERT_TRUE(here_->fork("b", "c").has_value());  // a branch without a record of its own
  ASSERT_TRUE(there_->import_session(export_of("c")).has_value());
  expect_same("c", "c");
  ASSERT_TRUE(there_->import_session(export_of("a"), "other").has_value());
  expect_same("a", "other");

  identity_ = {"another model", "tag"};
  {
    auto adopted = here_->adopt("a", identity_, test::small_layout());
    ASSERT_TRUE(adopted.has_value()) << adopted.error().message;
    turns(**adopted, 2);
  }
  ASSERT_TRUE(there_->import_session(export_of("a"), "adopted").has_value());
  auto adopted = session(*there_, "adopted");
  auto loaded = adopted->load_state();
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
  EXPECT_TRUE(loaded->state->same_as(test::state_after(test::small_layout(), adopted->context().tokens())));
  adopted.reset();
  expect_sound(*there_);
}

TEST_F(ExportTest, ADeltaGoesOnFromABaseThatBothHave) {
  auto a = make("a", 4);
  const std::string whole = export_of("a");
  turns(*a, 2);
  ASSERT_TRUE(a->reset_context(400, "reasoning").has_value());
  turns(*a, 3);
  a.reset();
  const std::string delta = export_of("a", 4);
  EXPECT_LT(fs::file_size(delta), fs::file_size(export_of("a")));
  const Error missing = expect_refused(delta, ErrorCode::kNotFound);
  EXPECT_NE(missing.message.find("turn 4 of session a"), std::string::npos) << missing.message;

  ASSERT_TRUE(there_->import_session(whole).has_value());
  // Under another name: a session that shares its past with the one that is there.
  auto report = there_->import_session(delta, "b");
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_FALSE(report->moved_on);
  expect_same("a", "b");
  EXPECT_EQ(there_->show("a")->context.turns().size(), 4U);
  // Under its own: that session moves on.
  report = there_->import_session(delta);
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_TRUE(report->moved_on);
  expect_same("a", "a");
  const Error again = expect_refused(delta, ErrorCode::kConflict);
  EXPECT_NE(again.message.find("already holds"), std::string::npos) << again.message;
  ASSERT_TRUE(there_->gc().has_value());
  expect_same("a", "a");
  // There and back: what was added there comes here the same way.
  auto right = session(*there_, "a");
  turns(*right, 2);
  right.reset();
  const std::string back = folder_ / "back.lhx";
  ASSERT_TRUE(there_->export_session("a", back, 9).has_value());
  auto moved = here_->import_session(back);
  ASSERT_TRUE(moved.has_value()) << moved.error().message;
  EXPECT_TRUE(moved->moved_on);
  expect_same("a", "a");
}

// A session that has gone back and been cleaned up has the base's records, but not all of its pages any more.
TEST_F(ExportTest, ADeltaGoesOnFromTheSessionThatHasTheBasesPages) {
  auto a = make("a", 2);
  ASSERT_TRUE(here_->import_session(export_of("a"), "z").has_value());
  ASSERT_TRUE(a->reset_context(20, "reasoning").has_value());
  turns(*a, 1);
  a.reset();
  ASSERT_TRUE(here_->gc().has_value());
  const std::string delta = export_of("z", 1);
  auto report = here_->import_session(delta, "n");
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_EQ(here_->show("n")->n_pages, here_->show("z")->n_pages);
  expect_sound(*here_);
  // Where nobody has them, nothing can be done.
  ASSERT_TRUE(there_->import_session(export_of("a")).has_value());
  ASSERT_TRUE(there_->gc().has_value());
  const Error missing = expect_refused(delta, ErrorCode::kNotFound);
  EXPECT_NE(missing.message.find("import the session whole"), std::string::npos) << missing.message;
}

// A fork in the midst of a turn uses pages that the turn's commit stored, behind all that the base's records tell of.
TEST_F(ExportTest, ADeltaBringsPagesOfTheBaseThatWereStoredLater) {
  auto a = make("a", 1);
  ASSERT_TRUE(there_->import_session(export_of("a")).has_value());
  ASSERT_TRUE(a->feed_tokens(std::vector<TokenId>(400, 3)).has_value());
  auto state = test::state_after(test::small_layout(), a->context().tokens());
  CommitRequest request;
  request.state = &state;
  ASSERT_TRUE(a->commit(request).has_value());
  a.reset();
  ASSERT_TRUE(here_->fork("a", "b", Cut::at_token(450)).has_value());
  auto b = session(*here_, "b");
  turns(*b, 2);
  b.reset();
  const std::string delta = export_of("b", 1);
  auto report = there_->import_session(delta);
  ASSERT_TRUE(report.has_value()) << report.error().message;
  expect_same("b", "b");
  // And once more from there.
  auto right = session(*there_, "b");
  turns(*right, 1);
  right.reset();
  const std::string back = folder_ / "back.lhx";
  ASSERT_TRUE(there_->export_session("b", back, 2).has_value());
  auto moved = here_->import_session(back);
  ASSERT_TRUE(moved.has_value()) << moved.error().message;
  expect_same("b", "b");
}

TEST_F(ExportTest, ADeltaForASessionThatWentItsOwnWayIsRefused) {
  auto a = make("a", 3);
  ASSERT_TRUE(there_->import_session(export_of("a")).has_value());
  turns(*a, 2);
  a.reset();
  auto own = session(*there_, "a");
  ASSERT_TRUE(own->append(UserMessage{"something else"}).has_value());
  turns(*own, 1);
  own.reset();
  const std::string delta = export_of("a", 3);
  const Error refused = expect_refused(delta, ErrorCode::kConflict);
  EXPECT_NE(refused.message.find("its own way"), std::string::npos) << refused.message;
  ASSERT_TRUE(there_->import_session(delta, "b").has_value());
  expect_same("a", "b");
}

TEST_F(ExportTest, NamesAndTurnsThatCannotBeAreRefused) {
  make("a", 2);
  const std::string path = export_of("a");
  ASSERT_TRUE(there_->import_session(path).has_value());
  expect_refused(path, ErrorCode::kConflict);
  expect_refused(path, ErrorCode::kInvalidArgument, "../x");
  expect_refused(path, ErrorCode::kInvalidArgument, std::string(1 << 20, 'x'));
  expect_refused(folder_ / "none", ErrorCode::kNotFound);
  expect_refused(folder_.path(), ErrorCode::kIo);
  EXPECT_EQ(here_->export_session("none", folder_ / "x").error().code, ErrorCode::kNotFound);
  for (const std::uint64_t turn : {0U, 2U, 3U}) {
    EXPECT_EQ(here_->export_session("a", folder_ / "x", turn).error().code, ErrorCode::kInvalidArgument) << turn;
  }
  EXPECT_FALSE(fs::exists(folder_ / "x"));
  // Another kind of file is not written over; an older export and an empty file are.
  ASSERT_TRUE(write_file_atomic(folder_ / "diary", "dear diary").has_value());
  EXPECT_EQ(here_->export_session("a", folder_ / "diary").error().code, ErrorCode::kConflict);
  EXPECT_EQ(*read_file(folder_ / "diary", 100), "dear diary");
  EXPECT_TRUE(here_->export_session("a", path).has_value());
  ASSERT_TRUE(write_file_atomic(folder_ / "empty", "").has_value());
  EXPECT_TRUE(here_->export_session("a", folder_ / "empty").has_value());
  EXPECT_EQ(here_->export_session("a", folder_ / "no/such/folder").error().code, ErrorCode::kIo);
}

TEST_F(ExportTest, EveryDamageToTheFileIsNoticed) {
  auto a = make("a", 3);
  a.reset();
  const std::string whole = *read_file(export_of("a"), 1 << 24);
  const std::string path = folder_ / "damaged.lhx";
  const auto refused = [&](const std::string& bytes, const std::string& what) {
    ASSERT_TRUE(write_file_atomic(path, bytes).has_value());
    auto report = there_->import_session(path);
    ASSERT_FALSE(report.has_value()) << what;
    EXPECT_NE(report.error().message.find(path), std::string::npos) << report.error().message;
    ASSERT_TRUE(there_->list()->empty()) << what;
  };
  std::mt19937_64 random(1);
  for (std::size_t i = 0; i < whole.size() && !HasFailure(); i += i < 400 ? 1 : 1 + random() % 400) {
    std::string bytes = whole;
    bytes[i] = static_cast<char>(bytes[i] ^ (1 << (random() % 8)));
    refused(bytes, "bit flipped at " + std::to_string(i));
  }
  for (std::size_t n = 0; n < whole.size() && !HasFailure(); n += 1 + random() % 2000) {
    refused(whole.substr(0, n), "cut to " + std::to_string(n));
  }
  refused(whole + std::string(1, '\0'), "a byte more");
  refused(whole + whole, "twice");
  refused(whole.substr(0, whole.size() / 2) + whole.substr(whole.size() / 2 + 64), "a piece cut out");
  ASSERT_TRUE(write_file_atomic(path, whole).has_value());
  EXPECT_TRUE(there_->import_session(path).has_value());
}

TEST_F(ExportTest, AVersionFromTheFutureIsRefusedNamingBoth) {
  make("a", 1);
  std::string bytes = *read_file(export_of("a"), 1 << 24);
  bytes[kExportMagic.size()] = 9;
  ASSERT_TRUE(write_file_atomic(folder_ / "future.lhx", bytes).has_value());
  const Error error = expect_refused(folder_ / "future.lhx", ErrorCode::kVersionMismatch);
  EXPECT_NE(error.message.find("version 9"), std::string::npos) << error.message;
  EXPECT_NE(error.message.find("version 1"), std::string::npos) << error.message;
}

// Files whose every checksum is right and whose content is not.
TEST_F(ExportTest, AHostileFileWithRightChecksumsIsRefused) {
  make("a", 3);
  auto source = open_export(export_of("a"));
  ASSERT_TRUE(source.has_value());
  auto reader = ExportReader::open(**source);
  ASSERT_TRUE(reader.has_value());
  const ExportHeader header = (*reader)->header();
  std::vector<std::pair<SectionType, std::string>> sections;
  while (true) {
    auto next = (*reader)->next();
    ASSERT_TRUE(next.has_value()) << next.error().message;
    if (!*next) break;
    sections.emplace_back((*next)->type, std::string((*next)->bytes));
  }
  ASSERT_EQ(sections.size(), 4U + 5U);  // states and pages take turns; the first three are branches, records, manifests
  const auto build = [&](const ExportHeader& h, const auto& list) {
    std::string out = encode_preamble(h);
    std::uint32_t n = 0;
    for (const auto& [type, bytes] : list) out += encode_section(type, n++, bytes, SectionEncoding::kZstd);
    return out + encode_footer(n, out.size(), digest_of(std::string_view(out)));
  };
  const auto refused = [&](const ExportHeader& h, const auto& list, const std::string& what) {
    SCOPED_TRACE(what);
    ASSERT_TRUE(write_file_atomic(folder_ / "hostile.lhx", build(h, list)).has_value());
    // A record's kind or flags may have become one of the future.
    const std::string before = everything(*there_);
    auto report = there_->import_session(folder_ / "hostile.lhx");
    ASSERT_FALSE(report.has_value());
    EXPECT_TRUE(report.error().code == ErrorCode::kCorruption || report.error().code == ErrorCode::kVersionMismatch)
        << report.error().message;
    EXPECT_EQ(everything(*there_), before);
  };
  {
    ASSERT_TRUE(write_file_atomic(folder_ / "same.lhx", build(header, sections)).has_value());
    ASSERT_TRUE(there_->import_session(folder_ / "same.lhx", "same").has_value());
  }
  ExportHeader h = header;
  h.layout.n_mamba_layers = 0xFFFFFFFF;
  refused(h, sections, "layout");
  h = header;
  h.layout.head_dim *= 2;
  refused(h, sections, "another layout");
  h = header;
  h.name = "../up";
  refused(h, sections, "name");
  h = header;
  h.n_branches = UINT64_MAX;
  refused(h, sections, "branches");
  h = header;
  h.n_manifests = UINT64_MAX;
  refused(h, sections, "manifests");
  h = header;
  h.end_sequence = UINT64_MAX;
  refused(h, sections, "records");
  h = header;
  h.bulk_bytes = UINT64_MAX;
  refused(h, sections, "bulk");
  h = header;
  h.identity.model_fingerprint = "other";
  refused(h, sections, "identity");
  h = header;
  h.end_chain.low ^= 1;
  refused(h, sections, "chain");
  for (std::size_t i = 0; i < sections.size(); ++i) {
    auto list = sections;
    list.erase(list.begin() + static_cast<std::ptrdiff_t>(i));
    refused(header, list, "without section " + std::to_string(i));
    list = sections;
    list.insert(list.begin() + static_cast<std::ptrdiff_t>(i), sections[i]);
    refused(header, list, "section twice " + std::to_string(i));
    std::mt19937_64 random(i);
    for (int k = 0; k < 40; ++k) {
      // A page's bits are anything: nothing but the file's own digest speaks of them.
      if (sections[i].first == SectionType::kPages) continue;
      list = sections;
      std::string& bytes = list[i].second;
      const std::size_t at = random() % bytes.size();
      // When a branch was made is a word about it, not structure.
      if (i == 0 && at % 41 >= 33) continue;
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << (random() % 8)));
      if (i == 2) {
        // So are the times of manifests and what thinning goes by: taken or refused, the store stays sound.
        ASSERT_TRUE(write_file_atomic(folder_ / "hostile.lhx", build(header, list)).has_value());
        auto report = there_->import_session(folder_ / "hostile.lhx", "taken");
        if (!report) {
          EXPECT_EQ(report.error().code, ErrorCode::kCorruption) << report.error().message;
          continue;
        }
        expect_sound(*there_);
        ASSERT_TRUE(session(*there_, "taken")->load_state().has_value());
        ASSERT_TRUE(there_->remove("taken").has_value());
        continue;
      }
      refused(header, list, "section " + std::to_string(i) + " flipped at " + std::to_string(at));
      if (HasFailure()) return;
    }
  }
  expect_sound(*there_);
}

}  // namespace
}  // namespace longhaul::sessions
