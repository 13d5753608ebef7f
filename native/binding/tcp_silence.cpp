// tcp_silence.cpp -- socket options that Node does not set. The JavaScript thread.
#include "binding/tcp_silence.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "binding/argument_reader.h"
#include "binding/native_error.h"

namespace rdmacp::binding {

namespace {

constexpr std::uint64_t kMaxMs = 3'600'000;

bool set(int descriptor, int level, int option, int value) {
  return ::setsockopt(descriptor, level, option, &value, sizeof value) == 0;
}

}  // namespace

Napi::Value boundTcpSilence(const Napi::CallbackInfo& info) {
  ArgumentReader read(info.Env());
  const auto descriptor = static_cast<int>(read.integer(info[0], "descriptor", 0, INT32_MAX));
  const auto ms = static_cast<int>(read.integer(info[1], "ms", 1, kMaxMs));
  if (!read.ok()) return read.fail();
  // Keepalive probes an idle connection; the time-out ends one whose probes, or bytes, the other kernel has not
  // acknowledged for so long. A process that is stopped or busy has a kernel that acknowledges for it.
  const int seconds = std::max(1, ms / 1000);
  const bool done =
      set(descriptor, SOL_SOCKET, SO_KEEPALIVE, 1) && set(descriptor, IPPROTO_TCP, TCP_KEEPIDLE, seconds) &&
      set(descriptor, IPPROTO_TCP, TCP_KEEPINTVL, seconds) && set(descriptor, IPPROTO_TCP, TCP_USER_TIMEOUT, ms);
  if (!done)
    return throwError(info.Env(), {ErrorCode::systemError, "a TCP connection's time-out could not be set", errno});
  return info.Env().Undefined();
}

}  // namespace rdmacp::binding
