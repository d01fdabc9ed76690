// KV pages in memory, for all sessions of a store: what was read or just written stays as long as a budget of bytes
// allows, least recently used first out. Forks ask for the same values, so they share them here.
//
// The unit is the value of the store (page_run.h). What somebody holds (a PagePin) is not given up and counts; so
// memory is the budget plus what computing holds at the moment. Two threads of its own read ahead: while one checks
// what it has read, the other waits for the disk. Every method may be called from any thread. Internal.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "runtime/base/result.h"
#include "sessions/session_manager.h"

namespace longhaul::sessions {

class Store;

// One value of the `pages` family.
struct ObjectKey {
  std::uint64_t generation = 0;
  std::uint32_t layer = 0;
  std::uint64_t first_page = 0;
  friend auto operator<=>(const ObjectKey&, const ObjectKey&) = default;
};

struct ObjectRef {
  ObjectKey key;
  std::uint32_t n_pages = 0;  // at least; more may be stored
  std::size_t page_bytes = 0;
  std::shared_ptr<std::atomic<std::uint64_t>> counter;  // gets the bytes read
};

// Pages in memory, checked one by one: what is wrong with one does not touch the others.
class PageObject {
 public:
  PageObject(std::uint32_t n_pages, std::size_t page_bytes);
  std::byte* page(std::uint32_t i) { return bytes_.get() + std::size_t{i} * page_bytes_; }
  const std::byte* page(std::uint32_t i) const { return bytes_.get() + std::size_t{i} * page_bytes_; }
  std::uint32_t n_pages() const { return n_pages_; }
  std::size_t bytes() const { return n_pages_ * page_bytes_; }
  void set_problem(std::uint32_t i, Error error) { problems_[i] = std::move(error); }
  bool whole() const { return problems_.empty(); }
  const Error* problem(std::uint32_t i) const {
    const auto it = problems_.find(i);
    return it == problems_.end() ? nullptr : &it->second;
  }

 private:
  struct Free {
    void operator()(std::byte* bytes) const { ::operator delete[](bytes, std::align_val_t{64}); }
  };
  std::uint32_t n_pages_;
  std::size_t page_bytes_;
  std::unique_ptr<std::byte[], Free> bytes_;
  std::map<std::uint32_t, Error> problems_;
};

class PageCache {
 public:
  PageCache(const Store& store, std::size_t budget_bytes) : store_(&store), budget_(budget_bytes) {}
  ~PageCache() { close(); }
  PageCache(const PageCache&) = delete;
  PageCache& operator=(const PageCache&) = delete;

  // The objects, in the order asked for; neighbours in the store are read together. The error is the first object's
  // that could not be read at all; problems of single pages are in the objects.
  Result<std::vector<std::shared_ptr<const PageObject>>> get(std::span<const ObjectRef> refs);
  void prefetch(std::span<const ObjectRef> refs);
  // What was just stored.
  void put(const ObjectKey& key, std::shared_ptr<const PageObject> object);
  bool contains(const ObjectKey& key) const;

  std::size_t budget() const { return budget_; }
  PageCacheStats stats() const;
  // Before the store goes away: waits for reads under way; later ones are refused.
  void close();
  // A value of the store that stands beside pages; kIo after close.
  Result<std::shared_ptr<const std::string>> summaries(std::uint64_t generation);

 private:
  struct Pending {  // a read under way, for whoever else wants the object
    bool done = false;
    std::shared_ptr<const PageObject> object;
    Error error;
  };
  struct Entry {
    ObjectKey key;
    std::shared_ptr<const PageObject> object;
  };
  struct Claim {
    std::vector<ObjectRef> refs;
    std::vector<std::shared_ptr<Pending>> pending;
  };

  std::shared_ptr<const PageObject> find(const ObjectKey& key);  // under the lock
  void claim(Claim& claim, const ObjectRef& ref);                // under the lock
  static bool extends(const Claim& claim, const ObjectRef& ref);
  void read(Claim& claim, std::unique_lock<std::mutex>& lock);
  void read_objects(Claim& claim) const;
  void insert(const ObjectKey& key, const std::shared_ptr<const PageObject>& object);  // under the lock
  void read_ahead();

  const Store* store_;
  const std::size_t budget_;
  mutable std::mutex mutex_;
  std::condition_variable done_, wanted_;
  std::list<Entry> entries_;  // most recently used first
  std::map<ObjectKey, std::list<Entry>::iterator> index_;
  std::map<ObjectKey, std::shared_ptr<Pending>> pending_;
  std::deque<ObjectRef> queue_;
  std::size_t queued_bytes_ = 0;
  int active_ = 0;  // users of the store at this moment
  bool closed_ = false;
  PageCacheStats stats_;
  std::vector<std::thread> readers_;
};

}  // namespace longhaul::sessions
