#include "sandbox/wire.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <sys/socket.h>

#include <thread>

#include "sandbox/drive.h"
#include "tests/unit/sandbox/sandbox_fixture.h"

namespace longhaul::sandbox {
namespace {

using Kind = CallOutcome::Kind;
using ::testing::HasSubstr;

TEST(Wire, FramesComeOutAsTheyWentIn) {
  const std::string bytes = encode_frame(FrameKind::kLog, "one") + encode_frame(FrameKind::kDone, "") +
                            encode_frame(FrameKind::kCall, std::string(100'000, 'x'));
  for (std::size_t piece : {std::size_t{1}, std::size_t{7}, bytes.size()}) {
    FrameReader reader;
    std::vector<Frame> frames;
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
      reader.feed(std::string_view(bytes).substr(at, piece));
      for (;;) {
        auto frame = reader.next();
        ASSERT_TRUE(frame.has_value());
        if (!frame->has_value()) break;
        frames.push_back(std::move(**frame));
      }
    }
    ASSERT_EQ(frames.size(), 3U);
    EXPECT_EQ(frames[0].payload, "one");
    EXPECT_EQ(frames[1].kind, FrameKind::kDone);
    EXPECT_EQ(frames[2].payload.size(), 100'000U);
    EXPECT_EQ(reader.buffered(), 0U);
  }
}

TEST(Wire, BadFramesAreNamedAndStayBad) {
  const auto error = [](std::string bytes) {
    FrameReader reader;
    reader.feed(bytes);
    auto frame = reader.next();
    EXPECT_FALSE(frame.has_value());
    reader.feed(encode_frame(FrameKind::kLog, "fine"));
    EXPECT_FALSE(reader.next().has_value());
    return frame.error().message;
  };
  std::string good = encode_frame(FrameKind::kLog, "x");
  EXPECT_EQ(error("XX" + good.substr(2)), "frame: begins with 58 58");
  EXPECT_EQ(error(good.substr(0, 2) + '\x09' + good.substr(3)), "frame: version 9, expected 1");
  EXPECT_EQ(error(good.substr(0, 3) + '\x63' + good.substr(4)), "frame: unknown kind 99");
  EXPECT_EQ(error(good.substr(0, 4) + "\xff\xff\xff\xff"), "frame: of 4294967295 bytes, at most 14680064");
}

TEST(Wire, HostCallsAreCheckedFieldByField) {
  const auto error = [](const std::string& payload) {
    auto message = decode_worker_frame({FrameKind::kHostCall, payload});
    return message ? std::string("fine") : message.error().message;
  };
  EXPECT_EQ(error(R"({"id":1,"power":"notes","op":"get","args":["k"]})"), "fine");
  EXPECT_EQ(error(R"({"id":0,"power":"notes","op":"get","args":["k"]})"), "host_call: id 0 is not positive");
  EXPECT_EQ(error(R"({"id":"1","power":"notes","op":"get","args":["k"]})"), "host_call: id is no integer");
  EXPECT_EQ(error(R"({"id":1,"power":"net","op":"get","args":["k"]})"), "host_call: there is no operation net.get");
  EXPECT_EQ(error(R"({"id":1,"power":"files","op":"remove","args":["k"]})"),
            "host_call: there is no operation files.remove");
  EXPECT_EQ(error(R"({"id":1,"power":"notes","op":"get","args":[]})"),
            "host_call: notes.get with 0 arguments, takes 1");
  EXPECT_EQ(error(R"({"id":1,"power":"notes","op":"get","args":[7]})"),
            "host_call: an argument of notes.get is no string");
  EXPECT_THAT(error(R"({"id":1,"power":"notes","op":"get","args":[")" + std::string(2 << 20, 'x') + "\"]}"),
              HasSubstr("has 2097152 bytes, at most 1048576"));
  EXPECT_EQ(error("[]"), "host_call: not an object");
  EXPECT_THAT(error("{"), HasSubstr("host_call: not JSON"));
  EXPECT_THAT(error(R"({"id":1,"id":2,"power":"notes","op":"list","args":[]})"), HasSubstr("duplicate key"));
  EXPECT_THAT(error(std::string(10'000, '[')), HasSubstr("nested deeper"));
}

TEST(Wire, DoneIsConsistent) {
  const auto error = [](const std::string& payload) {
    auto message = decode_worker_frame({FrameKind::kDone, payload});
    return message ? std::string("fine") : message.error().message;
  };
  EXPECT_EQ(error(R"({"status":"ok","limit":"none","text":"","cpu_us":1})"), "fine");
  EXPECT_EQ(error(R"({"status":"ok","limit":"cpu","text":"","cpu_us":1})"),
            "done: status and limit do not fit each other");
  EXPECT_EQ(error(R"({"status":"great","limit":"none","text":"","cpu_us":1})"), "done: unknown status");
  EXPECT_EQ(error(R"({"status":"ok","limit":"none","text":"","cpu_us":-1})"), "done: cpu_us -1 is negative");
  EXPECT_EQ(error(R"({"status":"ok","limit":"none","cpu_us":1})"), "done: text is no string");
}

TEST(Wire, WorkersDoNotSendTheHostsKinds) {
  for (FrameKind kind : {FrameKind::kLoad, FrameKind::kCall, FrameKind::kHostAnswer, FrameKind::kBrokerAnswer}) {
    EXPECT_FALSE(decode_worker_frame({kind, "{}"}).has_value());
  }
}

TEST(Wire, Utf8IsCheckedStrictly) {
  for (const char* good : {"", "a", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
                           "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(is_utf8(good)) << good;
  }
  for (const char* bad : {"\x80", "\xc0\x80", "\xc1\xbf", "\xc2", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
                          "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xe2\x82", "a\xe2\x82"}) {
    EXPECT_FALSE(is_utf8(bad)) << bad;
  }
}

TEST(Wire, RecordedHostCallsSurviveTheirJson) {
  for (const RecordedHostCall& recorded :
       {RecordedHostCall{{"files", "read", {"a\n\"b"}}, HostAnswer::of("text")},
        RecordedHostCall{{"files", "read", {"x"}}, HostAnswer::failure("file not found: x")},
        RecordedHostCall{{"notes", "list", {}}, HostAnswer::of(json::array{"a", "b"})}}) {
    auto value = parse_json(to_json(to_json_value(recorded)));
    ASSERT_TRUE(value.has_value());
    auto again = recorded_host_call(*value);
    ASSERT_TRUE(again.has_value()) << again.error().message;
    EXPECT_EQ(again->call, recorded.call);
    EXPECT_EQ(again->answer, recorded.answer);
  }
  for (const char* bad : {"1", "{}", R"({"power":"a","op":"b"})", R"({"power":"a","op":"b","args":[1],"ok":1})",
                          R"({"power":"a","op":"b","args":[]})"}) {
    EXPECT_FALSE(recorded_host_call(*parse_json(bad)).has_value()) << bad;
  }
}

// A worker that was taken over by its plugin can send anything; here the peer is this test.
class HostilePeer : public ::testing::Test {
 protected:
  CallOutcome drive(const std::function<void(int socket)>& peer, const Grants& grants = {},
                    std::int64_t wall_ms = 5'000) {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    Fd ours(ends[0]);
    ::fcntl(ours.get(), F_SETFL, O_NONBLOCK);
    std::thread thread([&] {
      Fd theirs(ends[1]);
      peer(theirs.get());
    });
    Channel channel(ours.get());
    limits_.wall_ms = wall_ms;
    Drive drive(channel, limits_, Deadline::in_ms(wall_ms), nullptr);
    CallOutcome outcome = drive.run(FrameKind::kCall, "{}", grants, &powers_);
    ours.reset();
    thread.join();
    return outcome;
  }
  static void put(int socket, const std::string& bytes) {
    for (std::size_t at = 0; at < bytes.size();) {
      const ssize_t sent = ::send(socket, bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
      if (sent <= 0) return;
      at += static_cast<std::size_t>(sent);
    }
  }
  static void drain(int socket) {
    char bytes[4096];
    while (::recv(socket, bytes, sizeof bytes, 0) > 0) {
    }
  }
  static std::string host_call(int id, const std::string& rest) {
    return encode_frame(FrameKind::kHostCall, "{\"id\":" + std::to_string(id) + "," + rest + "}");
  }

  Limits limits_;
  ScriptedPowers powers_;
};

TEST_F(HostilePeer, GarbageIsAProtocolOutcome) {
  const CallOutcome outcome = drive([](int socket) {
    put(socket, "HTTP/1.1 200 OK\r\n\r\n");
    drain(socket);
  });
  EXPECT_EQ(outcome.kind, Kind::kProtocol);
  EXPECT_EQ(outcome.text, "frame: begins with 48 54");
}

TEST_F(HostilePeer, UngrantedCallsAreNotPerformed) {
  const CallOutcome outcome = drive([](int socket) {
    put(socket, host_call(1, R"("power":"files","op":"write","args":["a","b"])"));
    put(socket, encode_frame(FrameKind::kDone, R"({"status":"ok","limit":"none","text":"x","cpu_us":1})"));
    drain(socket);
  });
  EXPECT_EQ(outcome.kind, Kind::kOk) << shown(outcome);
  EXPECT_EQ(powers_.n_calls, 0);
  EXPECT_EQ(outcome.n_effects, 0);
}

TEST_F(HostilePeer, CallIdsMustCount) {
  Grants grants;
  grants.notes = Access::kRead;
  const CallOutcome outcome = drive(
      [](int socket) {
        put(socket, host_call(1, R"("power":"notes","op":"list","args":[])"));
        put(socket, host_call(3, R"("power":"notes","op":"list","args":[])"));
        drain(socket);
      },
      grants);
  EXPECT_EQ(outcome.kind, Kind::kProtocol);
  EXPECT_EQ(outcome.text, "host call 3, expected 2");
  EXPECT_EQ(powers_.n_calls, 1);
}

TEST_F(HostilePeer, AnEndlessLogRunsIntoTheDeadline) {
  const CallOutcome outcome = drive(
      [](int socket) {
        const std::string frame = encode_frame(FrameKind::kLog, "{\"text\":\"" + std::string(50'000, 'x') + "\"}");
        for (;;) {
          const ssize_t sent = ::send(socket, frame.data(), frame.size(), MSG_NOSIGNAL);
          if (sent != static_cast<ssize_t>(frame.size())) return;
        }
      },
      {}, 200);
  EXPECT_EQ(outcome.kind, Kind::kTimeout) << shown(outcome);
  EXPECT_LE(outcome.log.size(), static_cast<std::size_t>(limits_.log_bytes) + 128);
}

TEST_F(HostilePeer, ATricklingFrameRunsIntoTheDeadline) {
  const CallOutcome outcome = drive(
      [](int socket) {
        put(socket, encode_frame(FrameKind::kLog, std::string(1'000'000, 'x')).substr(0, 500'000));
        while (::send(socket, "x", 1, MSG_NOSIGNAL) == 1) std::this_thread::yield();
      },
      {}, 200);
  // A peer that is fast enough finishes its frame, which is no JSON then.
  EXPECT_TRUE(outcome.kind == Kind::kTimeout || outcome.kind == Kind::kProtocol) << shown(outcome);
}

TEST_F(HostilePeer, APeerThatReadsNothingRunsIntoTheDeadline) {
  Grants grants;
  grants.notes = Access::kRead;
  powers_.on_call = [](const HostCall&) { return HostAnswer::of(std::string(4 << 20, 'x')); };
  const CallOutcome outcome = drive(
      [](int socket) {
        put(socket, host_call(1, R"("power":"notes","op":"list","args":[])"));
        // Waits for the host to hang up, without reading.
        pollfd hung_up{socket, 0, 0};
        ::poll(&hung_up, 1, 10'000);
      },
      grants, 200);
  EXPECT_EQ(outcome.kind, Kind::kTimeout) << shown(outcome);
}

TEST_F(HostilePeer, AResultBeyondItsLimitIsNotTaken) {
  const CallOutcome outcome = drive([](int socket) {
    put(socket, encode_frame(FrameKind::kDone, R"({"status":"ok","limit":"none","cpu_us":1,"text":")" +
                                                   std::string(500'000, 'x') + "\"}"));
    drain(socket);
  });
  EXPECT_EQ(outcome.kind, Kind::kProtocol);
  EXPECT_EQ(outcome.text, "a result beyond its limit");
}

TEST_F(HostilePeer, ASecondHelloIsNotTaken) {
  const CallOutcome outcome = drive([](int socket) {
    put(socket, encode_frame(FrameKind::kHello, R"({"layers":[],"plugins_allowed":true,"reason":""})"));
    drain(socket);
  });
  EXPECT_EQ(outcome.kind, Kind::kProtocol);
}

TEST_F(HostilePeer, HangingUpIsADeath) {
  EXPECT_EQ(drive([](int) {}).kind, Kind::kWorkerDied);
}

TEST(Powers, ReplayAnswersAsRecordedAndNamesTheDifference) {
  ScriptedPowers inner;
  inner.on_call = [](const HostCall& call) { return HostAnswer::of(call.op); };
  std::vector<RecordedHostCall> record;
  RecordingPowers recording(inner, [&](const HostCall& call, const HostAnswer& answer) {
    record.push_back({call, answer});
  });
  const HostCall first{"notes", "get", {"a"}}, second{"notes", "list", {}};
  recording.answer(first);
  recording.answer(second);
  ASSERT_EQ(record.size(), 2U);
  ReplayPowers replay(record);
  EXPECT_EQ(replay.answer(first), HostAnswer::of("get"));
  EXPECT_EQ(replay.answer(second), HostAnswer::of("list"));
  EXPECT_EQ(replay.diverged(), "");
  EXPECT_FALSE(replay.answer(first).ok);
  EXPECT_EQ(replay.diverged(), "host call 3 is notes.get(1 bytes), the record has 2");
  ReplayPowers other(record);
  EXPECT_FALSE(other.answer(second).ok);
  EXPECT_EQ(other.diverged(), "host call 1 is notes.list(), recorded was notes.get(1 bytes)");
}

TEST(Powers, NotesHaveBounds) {
  NoteLimits limits;
  limits.notes = 2;
  Notes notes({{"a", "1"}}, limits);
  EXPECT_TRUE(notes.answer({"notes", "put", {"b", "2"}}).ok);
  EXPECT_EQ(notes.answer({"notes", "put", {"c", "3"}}).error, "there are 2 notes already, no more fit");
  EXPECT_TRUE(notes.answer({"notes", "put", {"a", "4"}}).ok);
  EXPECT_EQ(notes.answer({"notes", "put", {std::string(300, 'k'), "3"}}).error, "the key has 300 bytes, at most 256");
  EXPECT_EQ(to_json(notes.answer({"notes", "list", {}}).value), R"(["a","b"])");
  EXPECT_EQ(notes.delta().size(), 2U);
}

}  // namespace
}  // namespace longhaul::sandbox
