// The power `notes`: key-value texts kept in the session. This class only holds one call's view: the session hands in
// what it has, and takes the puts of a finished call from delta() to record them together with the call's result, so
// that a fork or a rewind sees the notes of its own past and a call that failed half way leaves none.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "sandbox/powers/powers.h"

namespace longhaul::sandbox {

using NoteMap = std::map<std::string, std::string>;

struct NoteLimits {
  std::size_t key_bytes = 256;
  std::size_t value_bytes = 64 << 10;
  std::size_t notes = 4'096;
};

// Confined to one thread. get: text or null; put: true; list: the keys, sorted.
class Notes : public Power {
 public:
  explicit Notes(NoteMap notes, NoteLimits limits = {}) : notes_(std::move(notes)), limits_(limits) {}
  HostAnswer answer(const HostCall& call) override;

  // Puts since the last call of clear_delta, in order.
  const std::vector<std::pair<std::string, std::string>>& delta() const { return delta_; }
  void clear_delta() { delta_.clear(); }
  const NoteMap& notes() const { return notes_; }

 private:
  HostAnswer put(const std::string& key, const std::string& value);

  NoteMap notes_;
  NoteLimits limits_;
  std::vector<std::pair<std::string, std::string>> delta_;
};

}  // namespace longhaul::sandbox
