// vigil.cpp -- see vigil.h.
#include "fabric/iwarp/vigil.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace rdmacp::fabric::iwarp {
namespace {

constexpr int kAskAfterSeconds = 1;
// The kernel's own end of it, should the loop not look: twice what the loop allows.
constexpr int kAsksOfTheKernel = 5;
// linux/tcp.h from Linux 6.15 on. Else the kernel doubles the time between two tries up to two minutes, and a peer that does not
// read, and is then gone, is noticed that much later.
constexpr int kOptionRtoMaxMs = 44;
constexpr int kRtoMaxMs = 1000;

void set(int socket, int level, int option, int value) {
  (void)::setsockopt(socket, level, option, &value, sizeof value);
}

}  // namespace

void keepAsking(int socket) {
  set(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(socket, IPPROTO_TCP, TCP_KEEPIDLE, kAskAfterSeconds);
  set(socket, IPPROTO_TCP, TCP_KEEPINTVL, kAskAfterSeconds);
  set(socket, IPPROTO_TCP, TCP_KEEPCNT, kAsksOfTheKernel);
  set(socket, IPPROTO_TCP, kOptionRtoMaxMs, kRtoMaxMs);
}

void resetOnClose(int socket) {
  const linger now{.l_onoff = 1, .l_linger = 0};
  (void)::setsockopt(socket, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

std::optional<std::chrono::milliseconds> unansweredFor(int socket) {
  tcp_info info{};
  socklen_t length = sizeof info;
  constexpr std::size_t needed = offsetof(tcp_info, tcpi_last_ack_recv) + sizeof info.tcpi_last_ack_recv;
  if (::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &length) != 0 || length < needed) return std::nullopt;
  const std::chrono::milliseconds silent{std::min(info.tcpi_last_data_recv, info.tcpi_last_ack_recv)};
  // Data that was sent again, or questions without an answer. With neither, the peer has only not been asked for a while.
  const bool asked = info.tcpi_retransmits > 0 || info.tcpi_probes >= 2;
  return asked && silent >= kPeerSilence ? std::optional(silent) : std::nullopt;
}

}  // namespace rdmacp::fabric::iwarp
