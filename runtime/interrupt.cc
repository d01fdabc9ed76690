#include "runtime/interrupt.h"

#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <string_view>
#include <thread>

namespace longhaul::runtime {

namespace asio = boost::asio;

struct InterruptWatch::Impl {
  asio::io_context context{1};
  asio::signal_set signals{context, SIGINT, SIGTERM};
  std::atomic<bool> begun{false};
  std::atomic<bool> flag{false};
  sandbox::CancelToken token;
  std::thread thread;

  void wait() {
    signals.async_wait([this](const boost::system::error_code& ec, int) {
      if (ec) return;
      if (flag.exchange(true)) ::_exit(130);
      if (!begun) {
        static constexpr std::string_view kSaid = "longhaul: interrupted before the first step\n";
        if (::write(STDERR_FILENO, kSaid.data(), kSaid.size()) < 0) ::_exit(130);
        ::_exit(130);
      }
      token.cancel();
      wait();
    });
  }
};

InterruptWatch::InterruptWatch() : impl_(std::make_unique<Impl>()) {
  struct ::sigaction hangup = {};
  if (::sigaction(SIGHUP, nullptr, &hangup) == 0 && hangup.sa_handler != SIG_IGN) impl_->signals.add(SIGHUP);
  impl_->wait();
  impl_->thread = std::thread([this] { impl_->context.run(); });
}

InterruptWatch::~InterruptWatch() {
  impl_->context.stop();
  impl_->thread.join();
}

void InterruptWatch::begin() {
  impl_->begun = true;
}

const std::atomic<bool>& InterruptWatch::flag() const {
  return impl_->flag;
}
sandbox::CancelToken& InterruptWatch::token() {
  return impl_->token;
}

}  // namespace longhaul::runtime
