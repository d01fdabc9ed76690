// Publishes what the sessions of this process do, for `longhaul top` in another one (store_status.h). A thread of its
// own writes the file, at most four times a second and only when something has changed, so that a step of the model
// never waits for it. A board that cannot write says nothing: nobody's work depends on it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "runtime/events.h"
#include "runtime/store_status.h"

namespace longhaul::runtime {

class StatusBoard {
 public:
  // `in_store` is asked once, on the board's thread, for the sessions that lie in the store. The file is removed when
  // the board goes.
  StatusBoard(std::string store, std::function<std::vector<SessionLine>()> in_store);
  ~StatusBoard();
  StatusBoard(const StatusBoard&) = delete;
  StatusBoard& operator=(const StatusBoard&) = delete;

  // From any thread. Status, turns and tokens are where the session stands.
  void add(const std::string& session, std::string status, std::uint64_t turns, std::uint64_t tokens);
  void on_event(const Event& event);
  void on_progress(const Progress& progress);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Hands everything on, and tells the board. Borrows both.
class BoardSink final : public EventSink {
 public:
  BoardSink(EventSink& next, StatusBoard& board) : next_(next), board_(board) {}
  void on_event(const Event& event) override {
    board_.on_event(event);
    next_.on_event(event);
  }
  void on_progress(const Progress& progress) override {
    board_.on_progress(progress);
    next_.on_progress(progress);
  }

 private:
  EventSink& next_;
  StatusBoard& board_;
};

}  // namespace longhaul::runtime
