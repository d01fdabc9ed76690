// The database under the session manager: families, envelopes, atomic writes, numbers, ingestion, the high-water mark.
// It knows keys and bytes; it does not know what a turn is. Internal to this room: the only header with RocksDB in it.
//
// Folder: FORMAT (magic, version, store id), high-water (high_water.h), db/ (RocksDB), ingest/ (tables on their way).
// One process owns it; inside the process every method may be called from any thread.
#pragma once

#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/write_batch.h>

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <shared_mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/clock.h"
#include "runtime/base/result.h"
#include "sessions/entries.h"
#include "sessions/group_commit.h"
#include "sessions/high_water.h"
#include "sessions/options.h"
#include "sessions/ownership.h"
#include "sessions/session_manager.h"
#include "sessions/stale_writes.h"
#include "sessions/store_format.h"

namespace longhaul::sessions {

// What opening a database writes, with room to spare: options, manifest, a new log. Chosen, not measured.
inline constexpr std::uint64_t kSpareBytes = 1 << 20;

class GuardFs;
class Store;

// RocksDB's own warnings, among our debug lines. Not in a file LOG of its own: a store that is only looked at writes
// nothing, and librocksdb 7.8 ends the process when it logs again after a write to LOG met a full disk.
std::shared_ptr<rocksdb::Logger> database_log();

// A view of the whole store at one moment; reads through it agree with each other.
class View {
 public:
  explicit View(const Store& store);
  ~View();
  View(const View&) = delete;
  View& operator=(const View&) = delete;
  const rocksdb::Snapshot* get() const { return snapshot_; }

 private:
  const Store& store_;
  const rocksdb::Snapshot* snapshot_;
};

// Sealed values to be written at once.
class Batch {
 public:
  explicit Batch(const Store& store);  // begins with the owner's stamp, for the log
  void put(Family family, std::string_view key, std::string_view sealed_value);
  // Key by key, never a range: a compaction that is cut off, by a full disk or by closing, while its output holds only
  // deleted ranges ends the process in librocksdb 7.8 (an assertion on the output's smallest key).
  void erase(Family family, std::string_view key);
  // The last journal record of the batch, for the mark.
  void set_tip(std::uint64_t branch, std::uint64_t sequence, std::uint64_t link) {
    branch_ = branch;
    sequence_ = sequence;
    link_ = link;
  }
  // The tables that were ingested under this label are named by the batch: once it is written they are no orphans.
  void set_bulk(std::uint64_t label) { bulk_ = label; }
  std::size_t bytes() const { return batch_.GetDataSize(); }

 private:
  friend class Store;
  // One after the other in one; `n_bytes` of them together.
  static rocksdb::WriteBatch merge(std::span<Batch* const> batches, std::size_t n_bytes);

  const Store& store_;
  rocksdb::WriteBatch batch_;
  std::uint64_t branch_ = 0, sequence_ = 0, link_ = 0;
  std::optional<std::uint64_t> bulk_;
};

class Store {
 public:
  // kConflict: another process has it, or (of any write, later) has taken it in spite of our lock. kVersionMismatch: a
  // format from the future. kCorruption: damaged, or behind its high-water mark (both numbers named). kNotFound without
  // create_if_missing. Every message names the store.
  static Result<std::unique_ptr<Store>> open(const std::string& path, const StoreOptions& options);
  // Whether nothing can be written there: no right, or no space even to open it. Says why; empty: it can be.
  static std::string unwritable(const std::string& path);
  // For repair: reads what can be read of a store that may be damaged, and writes nothing into it. `notes` gets what
  // was found wrong with it as a whole, the mark's word on its end among it. A database that does not open at all is
  // copied into the folder `work`, which is made, and put together again there. kConflict: in use. kVersionMismatch:
  // from the future.
  static Result<std::unique_ptr<Store>> open_for_rescue(const std::string& path, const std::string& work,
                                                        const StoreOptions& options, std::vector<std::string>& notes);
  // Puts the store that stands finished in `path`/rebuilt in the place of the one in `path`, whose database is kept in
  // `path`/damaged. Can be cut off anywhere: open() goes on with it.
  static Result<void> take_rebuilt(const std::string& path);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  const std::string& path() const { return path_; }
  const StoreOptions& options() const { return options_; }
  Clock& clock() const { return *clock_; }
  const Digest& id() const { return id_; }
  const Owner& owner() const { return ownership_->owner(); }
  // What was found at opening that is healed now and harmed nobody, in words.
  const std::vector<std::string>& notes() const { return notes_; }

  // The sealed value, or nullopt. kCorruption and kIo name the store and the key.
  Result<std::optional<std::string>> get(Family family, std::string_view key, const View* view = nullptr) const;
  // Large values, read once: past the block cache. The bytes are the database's until `value` goes; false: there is
  // none. Blocks are checked as everywhere: a damaged one would meet asserts of the database before our checksum.
  Result<bool> get_bulk(Family family, std::string_view key, rocksdb::PinnableSlice& value,
                        const View* view = nullptr) const;
  // Calls `visit(key, value)` for keys in [from, to), in order, until it returns false. `to` empty: to the end.
  template <class Visit>
  Result<void> scan(Family family, std::string_view from, std::string_view to, const View* view, Visit visit) const;

  // Backwards from before `to` (not empty) while keys are at or behind `from`: gets behind damage that ended a scan.
  template <class Visit>
  Result<void> scan_back(Family family, std::string_view from, std::string_view to, const View* view,
                         Visit visit) const;

  // All of it or nothing. With `sync` it survives power loss when this returns. What threads write at the same time
  // goes to the disk together (group_commit.h), and fails together. kIo: as far as this process can see nothing was
  // written; what was acknowledged before is still there and can be read. Writing is then refused until the store is
  // opened anew, which goes well as soon as the reason (a full disk, said as such) is gone. As after a crash, the write
  // that failed may then turn out to be there, whole.
  Result<void> write(Batch& batch, bool sync);
  Result<void> sync();

  // A number never given out before, not even by a process that died.
  Result<std::uint64_t> take_number();
  // The same, for BulkTables to be labelled with, which take it over: until they end, the next opening looks for what
  // has it or a later number. One step, since between two a reservation would count the number among those that are
  // done.
  Result<std::uint64_t> take_label();
  std::uint64_t next_number() const;  // all taken so far are below
  // A commit that was cut off: the next opening for writing deletes it. (One that writes has done so.)
  bool is_orphan(std::uint64_t generation) const { return !read_only_.empty() && generation >= clean_; }
  // Of a new store that takes over what another one has numbered. For the batch that makes it whole.
  void reserve_numbers(std::uint64_t end, Batch& batch);

  Result<std::uint64_t> disk_bytes() const;  // of the whole folder
  StoreCounters counters() const;
  void count_sampled(std::uint64_t n_tokens) { tokens_sampled_ += n_tokens; }
  // After deletions: compacts what has changed. On a full disk, tables that hold nothing but these generations are
  // dropped first, which takes no space.
  Result<void> give_back_space(const std::vector<std::uint64_t>& dead_generations);
  Result<void> check_files() const;  // every block and file checksum of the database
  Result<void> forget_tip();
  // kIo if the file system has not `bytes` to spare. A full disk is noticed here, before RocksDB meets it: its failed
  // writer would have to be closed, which Debian's build, with its asserts on, may answer by ending the process.
  Result<void> check_space(std::uint64_t bytes) const;

  // gc holds it alone, whatever adds branches or manifests holds it shared.
  std::shared_mutex& structure_mutex() const { return structure_mutex_; }
  // Sessions open in this process, by name.
  bool mark_open(const std::string& name);
  void mark_closed(const std::string& name);

 private:
  friend class Batch;
  friend class BulkTables;
  friend class StoredRows;
  friend class View;
  Store();

  static Result<std::unique_ptr<Store>> open_to_write(const std::string& path, const StoreOptions& options);
  static Result<std::unique_ptr<Store>> open_to_look(const std::string& path, const StoreOptions& options,
                                                     std::string reason);
  Result<void> open_database(bool create);
  Result<void> keep_reserve();
  void give_up_reserve();
  Result<void> fits_mark(const Mark& mark) const;
  // The write up to which the database must hold everything.
  std::uint64_t promised(const Mark& mark) const;
  Result<Numbers> read_numbers() const;
  rocksdb::DBOptions database_options(bool owned);  // makes guard_ and env_
  std::vector<rocksdb::ColumnFamilyDescriptor> families() const;
  void compare_with_mark(std::vector<std::string>& notes) const;
  bool started_anew_since(const Mark& mark) const;  // the machine
  bool cut_torn_manifest();
  bool torn_by_power_loss(const rocksdb::DBOptions& db_options,
                          const std::vector<rocksdb::ColumnFamilyDescriptor>& families) const;
  Result<void> check_high_water(bool created);
  Result<void> drop_orphans();
  Result<void> find_orphans(const Numbers& numbers, Batch& batch, bool& found);
  rocksdb::Options table_options(Family family) const;
  Result<std::uint64_t> take_number_locked();
  void end_bulk(std::uint64_t label);
  Result<void> ingest_tables(const std::vector<rocksdb::IngestExternalFileArg>& arguments);
  rocksdb::ColumnFamilyHandle* handle(Family family) const { return handles_[static_cast<std::size_t>(family)]; }
  template <class Visit>
  Result<void> scan_with(rocksdb::ReadOptions& options, Family family, std::string_view from, std::string_view to,
                         Visit visit) const;
  Error error_of(const rocksdb::Status& status, std::string_view doing) const;
  Result<void> writable() const;
  Result<void> write_group(std::span<Batch* const> batches, bool sync);
  // Between a write and its acknowledgement (ownership.h).
  Result<void> still_owned();
  Error write_failed(const rocksdb::Status& status, std::string_view doing);

  std::string path_;
  StoreOptions options_;
  Clock* clock_ = nullptr;
  Digest id_;
  std::unique_ptr<Ownership> ownership_;  // not raised in a store that is only read
  StaleWrites stale_writes_;
  std::vector<std::string> notes_;
  std::shared_ptr<GuardFs> guard_;
  std::unique_ptr<rocksdb::Env> env_;  // guard_'s; outlives the database
  std::unique_ptr<rocksdb::DB> db_;
  std::array<rocksdb::ColumnFamilyHandle*, kFamilies> handles_{};
  std::unique_ptr<HighWater> high_water_;
  GroupCommit group_commit_;
  std::string read_only_;              // why nothing is written; empty: something may be
  rocksdb::FileLock* lock_ = nullptr;  // of a store that is only looked at, where it could be had
  std::shared_ptr<rocksdb::Statistics> statistics_;
  std::atomic<std::uint64_t> writes_{0}, synced_writes_{0}, groups_{0}, batch_bytes_{0}, ingest_bytes_{0},
      tokens_sampled_{0};
  std::atomic<bool> mark_failed_{false};
  std::atomic<bool> no_space_{false};
  bool short_of_space_ = false;      // when it was opened
  std::atomic<bool> failed_{false};  // a write failed: only reading until the store is opened anew

  mutable std::mutex numbers_mutex_;
  std::uint64_t next_number_ = 1, numbers_end_ = 1;  // [next, end) are reserved and unused
  std::uint64_t clean_ = 1;
  std::set<std::uint64_t>
      bulk_in_flight_;  // labels of tables whose manifest is not written yet: nothing below is orphaned

  mutable std::shared_mutex structure_mutex_;
  std::mutex open_mutex_;
  std::set<std::string> open_names_;
};

template <class Visit>
Result<void> Store::scan(Family family, std::string_view from, std::string_view to, const View* view,
                         Visit visit) const {
  rocksdb::ReadOptions options;
  if (view != nullptr) options.snapshot = view->get();
  return scan_with(options, family, from, to, visit);
}

template <class Visit>
Result<void> Store::scan_with(rocksdb::ReadOptions& options, Family family, std::string_view from, std::string_view to,
                              Visit visit) const {
  const rocksdb::Slice upper(to.data(), to.size());
  if (!to.empty()) options.iterate_upper_bound = &upper;
  const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(options, handle(family)));
  for (it->Seek(rocksdb::Slice(from.data(), from.size())); it->Valid(); it->Next()) {
    if (!visit(it->key().ToStringView(), it->value().ToStringView())) return {};
  }
  if (!it->status().ok()) return error_of(it->status(), std::string("reading ").append(family_name(family)));
  return {};
}

template <class Visit>
Result<void> Store::scan_back(Family family, std::string_view from, std::string_view to, const View* view,
                              Visit visit) const {
  rocksdb::ReadOptions options;
  if (view != nullptr) options.snapshot = view->get();
  const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(options, handle(family)));
  it->SeekForPrev(rocksdb::Slice(to.data(), to.size()));
  for (; it->Valid() && it->key().ToStringView() >= from; it->Prev()) {
    if (it->key().ToStringView() == to) continue;
    if (!visit(it->key().ToStringView(), it->value().ToStringView())) return {};
  }
  if (!it->status().ok()) return error_of(it->status(), std::string("reading ").append(family_name(family)));
  return {};
}

}  // namespace longhaul::sessions
