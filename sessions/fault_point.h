// Named places where a test may end the process, as `kill -9` would: every step between "nothing happened yet" and
// "it is durable" has one, so that recovery from each can be tried on purpose and not only by luck.
//
// LONGHAUL_FAULT=name:n in the environment (or arm_fault_point) sends SIGKILL at the n-th time the named place is
// reached (n from 1). Unset, a place costs one load and one branch.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <span>
#include <string_view>

namespace longhaul::sessions {

// The one list. A test enumerates it; a name not in it does not compile.
inline constexpr auto kFaultPoints = std::to_array<std::string_view>({
    "store.format_written",     // a new store: the format file is there, the database not yet
    "store.db_created",         // the database is there, the high-water mark not yet
    "store.created",            // all three are there
    "owner.before_raise",       // opening: the lock is held, the owner's number not raised yet
    "owner.after_raise",        // raised; nothing of the database read yet
    "store.orphan_found",       // opening: a generation without manifest was seen, not deleted yet
    "store.orphans_deleted",    // opening: deleted
    "ids.before_reserve",       // a block of branch and generation numbers is needed
    "ids.after_reserve",        // the block is durable, no number of it used yet
    "append.before_write",      // any records but those with a name of their own
    "append.after_write",       //
    "tokens.before_write",      // sampled or fed tokens
    "tokens.after_write",       //
    "intent.before_write",      // a call's intent
    "intent.after_write",       // durable; the tool not called yet
    "result.before_write",      // the tool has run; its result is in memory only
    "result.after_write",       // durable; the model has not seen it
    "approval.before_write",    // a call waits for a person, or the person's word on it
    "approval.after_write",     //
    "step.before_write",        // a step inside a call is done; its value is in memory only
    "step.after_write",         // durable; the tool has not got it
    "sleep.before_write",       // a call wants to sleep
    "sleep.after_write",        // durable; its worker still lives
    "wake.before_write",        // the intent of a call that slept, or was settled as retry, once more
    "wake.after_write",         //
    "commit.begin",             // nothing written yet
    "commit.before_tables",     // large commits: before the sorted tables of states and pages are written
    "commit.tables_written",    // written and synced beside the database
    "commit.tables_ingested",   // part of the database, but no manifest names them
    "commit.before_batch",      //
    "commit.after_batch",       // the commit point is behind us
    "commit.done",              // the high-water mark too
    "write.before_ownership",   // any write is in the log, and not known yet to be the owner's
    "reserve.created",          // opening: the file for bad days is there, without its space
    "high_water.before_write",  // the write is durable, the mark is the old one
    "high_water.after_write",   //
    "branch.before_batch",      // create, fork, rewind, reset
    "branch.after_batch",       //
    "delete.before_batch",      //
    "delete.after_batch",       //
    "gc.before_batch",          // once for each branch with something to free
    "gc.after_batch",           //
    "gc.before_compaction",     // all is deleted, the bytes not given back yet
    "export.before_rename",     // the file is written under another name
    "import.tables_written",    // everything is checked and stands in tables beside the database
    "import.tables_ingested",   // part of the database, but nothing names them
    "import.before_batch",      //
    "import.after_batch",       // the session is there
    "repair.before_rename",     // the new store is whole under another name
    "repair.old_moved",         // the damaged database is away, the new one not in its place yet
    "repair.new_moved",         // it is; the high-water mark is the old one
});

inline std::span<const std::string_view> fault_points() {
  return kFaultPoints;
}

consteval int fault_point_index(std::string_view name) {
  for (std::size_t i = 0; i < kFaultPoints.size(); ++i) {
    if (kFaultPoints[i] == name) return static_cast<int>(i);
  }
  throw "no such fault point";  // not a constant expression: the call does not compile
}

// From inside a test (in a forked child). False for a name that is not in the list or n == 0.
bool arm_fault_point(std::string_view name, std::uint64_t n);

// How often the place was reached in this process while anything was armed.
std::uint64_t fault_point_hits(std::string_view name);

namespace internal {
extern std::atomic<bool> fault_armed;
void fault_point_reached(int index);
}  // namespace internal

}  // namespace longhaul::sessions

#define LONGHAUL_FAULT_POINT(name)                                                                        \
  do {                                                                                                    \
    if (::longhaul::sessions::internal::fault_armed.load(std::memory_order_relaxed)) {                    \
      ::longhaul::sessions::internal::fault_point_reached(::longhaul::sessions::fault_point_index(name)); \
    }                                                                                                     \
  } while (false)
