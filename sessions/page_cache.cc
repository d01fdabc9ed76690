#include "sessions/page_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "sessions/entries.h"
#include "sessions/page_run.h"
#include "sessions/store.h"

namespace longhaul::sessions {
namespace {

// What a thread takes upon itself at a time: long enough that the system reads ahead of it at the disk's sequential
// speed, short enough that another thread can take the next piece. Chosen, not measured.
constexpr std::size_t kReadBytes = std::size_t{4} << 20;

// While one checks and copies what it has read, the other waits for the disk.
constexpr std::size_t kReaders = 2;

std::string key_of(const ObjectKey& key) {
  return page_key(key.generation, key.layer, key.first_page);
}

// The pages of a stored value, each checked.
Result<std::shared_ptr<const PageObject>> unpack(const ObjectRef& ref, std::string_view value) {
  auto run = PageRunValue::open(key_of(ref.key), value, ref.page_bytes);
  if (!run) return run.error();
  if (run->n() < ref.n_pages) return corruption(fmt::format("{} pages, {} are needed", run->n(), ref.n_pages));
  auto object = std::make_shared<PageObject>(run->n(), ref.page_bytes);
  for (std::uint32_t i = 0; i < run->n(); ++i) {
    auto checked = run->check(i);
    if (!checked) object->set_problem(i, checked.error());
    std::memcpy(object->page(i), run->page(i).data(), ref.page_bytes);
  }
  return std::shared_ptr<const PageObject>(std::move(object));
}

Error closed_error() {
  return io_error("the store is closed");
}

}  // namespace

PageObject::PageObject(std::uint32_t n_pages, std::size_t page_bytes)
    : n_pages_(n_pages),
      page_bytes_(page_bytes),
      bytes_(static_cast<std::byte*>(
          ::operator new[](std::max<std::size_t>(1, n_pages* page_bytes), std::align_val_t{64}))) {}

std::shared_ptr<const PageObject> PageCache::find(const ObjectKey& key) {
  const auto it = index_.find(key);
  if (it == index_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, it->second);
  return it->second->object;
}

void PageCache::insert(const ObjectKey& key, const std::shared_ptr<const PageObject>& object) {
  if (const auto it = index_.find(key); it != index_.end()) {  // longer, if it was written on since
    stats_.resident_bytes -= it->second->object->bytes();
    entries_.erase(it->second);
    index_.erase(it);
  }
  entries_.push_front({key, object});
  index_[key] = entries_.begin();
  stats_.resident_bytes += object->bytes();
  for (auto it = entries_.end(); stats_.resident_bytes > budget_ && it != entries_.begin();) {
    --it;
    if (it->object.use_count() > 1) continue;  // somebody computes with it
    stats_.resident_bytes -= it->object->bytes();
    index_.erase(it->key);
    it = entries_.erase(it);
  }
}

void PageCache::claim(Claim& claim, const ObjectRef& ref) {
  claim.refs.push_back(ref);
  claim.pending.push_back(std::make_shared<Pending>());
  pending_[ref.key] = claim.pending.back();
}

// Neighbours in the store, up to one read's length.
bool PageCache::extends(const Claim& claim, const ObjectRef& ref) {
  if (claim.refs.empty()) return true;
  const ObjectRef& last = claim.refs.back();
  return ref.key.generation == last.key.generation && ref.key.layer == last.key.layer &&
         ref.key.first_page == last.key.first_page + last.n_pages &&
         (claim.refs.size() + 1) * last.n_pages * last.page_bytes <= kReadBytes;
}

void PageCache::read_objects(Claim& claim) const {
  const auto give = [](Pending& pending, Result<std::shared_ptr<const PageObject>> object) {
    if (object) {
      pending.object = std::move(*object);
    } else {
      pending.error = object.error();
    }
  };
  for (std::size_t i = 0; i < claim.refs.size(); ++i) {
    Pending& pending = *claim.pending[i];
    rocksdb::PinnableSlice value;
    auto found = store_->get_bulk(Family::kPages, key_of(claim.refs[i].key), value);
    if (!found) {
      pending.error = found.error();
    } else if (!*found) {
      pending.error = corruption("missing");
    } else {
      give(pending, unpack(claim.refs[i], value.ToStringView()));
    }
  }
}

void PageCache::read(Claim& claim, std::unique_lock<std::mutex>& lock) {
  ++active_;
  lock.unlock();
  read_objects(claim);
  lock.lock();
  --active_;
  for (std::size_t i = 0; i < claim.refs.size(); ++i) {
    Pending& pending = *claim.pending[i];
    pending.done = true;
    pending_.erase(claim.refs[i].key);
    if (pending.object == nullptr) continue;
    stats_.bytes_read += pending.object->bytes();
    ++stats_.objects_read;
    if (claim.refs[i].counter != nullptr) *claim.refs[i].counter += pending.object->bytes();
    // What is damaged is read again when it is asked for again: it may have been mended.
    if (pending.object->whole()) insert(claim.refs[i].key, pending.object);
  }
  done_.notify_all();
}

Result<std::vector<std::shared_ptr<const PageObject>>> PageCache::get(std::span<const ObjectRef> refs) {
  std::vector<std::shared_ptr<const PageObject>> out(refs.size());
  std::vector<std::shared_ptr<Pending>> waiting(refs.size());
  std::unique_lock lock(mutex_);
  if (closed_) return closed_error();
  for (std::size_t i = 0; i < refs.size();) {
    if (auto object = find(refs[i].key); object != nullptr && object->n_pages() >= refs[i].n_pages) {
      out[i++] = std::move(object);
      ++stats_.hits;
      continue;
    }
    if (const auto it = pending_.find(refs[i].key); it != pending_.end()) {
      waiting[i++] = it->second;
      ++stats_.hits;
      continue;
    }
    Claim mine;
    const std::size_t first = i;
    while (i < refs.size() && extends(mine, refs[i]) && !index_.contains(refs[i].key) &&
           !pending_.contains(refs[i].key)) {
      claim(mine, refs[i++]);
    }
    if (mine.refs.empty()) claim(mine, refs[i++]);  // in the cache, but too short
    stats_.misses += mine.refs.size();
    read(mine, lock);
    for (std::size_t k = 0; k < mine.refs.size(); ++k) waiting[first + k] = mine.pending[k];
    if (closed_) return closed_error();
  }
  for (std::size_t i = 0; i < refs.size(); ++i) {
    if (waiting[i] == nullptr) continue;
    done_.wait(lock, [&] { return waiting[i]->done; });
    if (waiting[i]->object == nullptr) return waiting[i]->error;
    out[i] = waiting[i]->object;
  }
  return out;
}

void PageCache::prefetch(std::span<const ObjectRef> refs) {
  const std::lock_guard lock(mutex_);
  if (closed_) return;
  for (const ObjectRef& ref : refs) {
    const std::size_t bytes = ref.n_pages * ref.page_bytes;
    // More would push out what was read ahead before it was used.
    if (queued_bytes_ + bytes > budget_ / 2) break;
    if (index_.contains(ref.key) || pending_.contains(ref.key)) continue;
    queue_.push_back(ref);
    queued_bytes_ += bytes;
  }
  if (queue_.empty()) return;
  while (readers_.size() < kReaders) readers_.emplace_back([this] { read_ahead(); });
  wanted_.notify_all();
}

void PageCache::read_ahead() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wanted_.wait(lock, [&] { return closed_ || !queue_.empty(); });
    if (closed_) return;
    Claim mine;
    while (!queue_.empty()) {
      const ObjectRef& ref = queue_.front();
      const bool wanted = !index_.contains(ref.key) && !pending_.contains(ref.key);
      if (wanted && !extends(mine, ref)) break;
      if (wanted) claim(mine, ref);
      queued_bytes_ -= ref.n_pages * ref.page_bytes;
      queue_.pop_front();
    }
    if (!mine.refs.empty()) read(mine, lock);
  }
}

void PageCache::put(const ObjectKey& key, std::shared_ptr<const PageObject> object) {
  const std::lock_guard lock(mutex_);
  if (!closed_) insert(key, object);
}

bool PageCache::contains(const ObjectKey& key) const {
  const std::lock_guard lock(mutex_);
  return index_.contains(key);
}

PageCacheStats PageCache::stats() const {
  const std::lock_guard lock(mutex_);
  PageCacheStats out = stats_;
  out.budget_bytes = budget_;
  return out;
}

Result<std::shared_ptr<const std::string>> PageCache::summaries(std::uint64_t generation) {
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return closed_error();
    ++active_;
  }
  auto value = store_->get(Family::kSummaries, summaries_key(generation));
  {
    const std::lock_guard lock(mutex_);
    --active_;
    done_.notify_all();
  }
  if (!value) return value.error();
  if (!*value) return corruption("missing");
  return std::make_shared<const std::string>(std::move(**value));
}

void PageCache::close() {
  std::unique_lock lock(mutex_);
  closed_ = true;
  queue_.clear();
  queued_bytes_ = 0;
  wanted_.notify_all();
  done_.wait(lock, [&] { return active_ == 0; });
  std::vector<std::thread> readers = std::move(readers_);
  lock.unlock();
  for (std::thread& reader : readers) reader.join();
}

}  // namespace longhaul::sessions
