// raw_peer.h -- a peer that is nothing but a socket and bytes: it speaks MPA, DDP and RDMAP as well or as badly as a
// test wants. It shares no code with the fabric but the CRC, so that both cannot be wrong in the same way.
#pragma once

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <optional>
#include <string>
#include <vector>

#include "base/crc32c.h"
#include "base/file_descriptor.h"
#include "check.h"
#include "fabric/fabric.h"

namespace raw {

using namespace rdmacp;
using Buffer = std::vector<std::byte>;

inline Buffer fromHex(const std::string& text) {
  Buffer bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    bytes.push_back(static_cast<std::byte>(std::stoul(text.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

inline void put(Buffer& bytes, std::uint64_t value, std::size_t width) {
  for (std::size_t i = width; i-- > 0;)
    bytes.push_back(static_cast<std::byte>((value >> (8 * i)) & 0xffU));
}

inline const std::string kRequestKey = "4d504120494420526571204672616d65";
inline const std::string kReplyKey = "4d504120494420526570204672616d65";

// Length, ULPDU, padding, CRC (RFC 5044 section 4.1).
inline Buffer fpdu(const Buffer& ulpdu, bool goodCrc = true) {
  Buffer bytes;
  put(bytes, ulpdu.size(), 2);
  bytes.insert(bytes.end(), ulpdu.begin(), ulpdu.end());
  while (bytes.size() % 4 != 0)
    bytes.push_back(std::byte{0});
  const std::uint32_t crc = crc32c(0, bytes) ^ (goodCrc ? 0U : 1U);
  for (int i = 0; i < 4; ++i)
    bytes.push_back(static_cast<std::byte>((crc >> (8 * i)) & 0xffU));
  return bytes;
}

inline Buffer tagged(unsigned ddp, unsigned rdmap, std::uint32_t stag, std::uint64_t offset, const Buffer& payload) {
  Buffer bytes;
  put(bytes, ddp, 1);
  put(bytes, rdmap, 1);
  put(bytes, stag, 4);
  put(bytes, offset, 8);
  bytes.insert(bytes.end(), payload.begin(), payload.end());
  return bytes;
}

struct Untagged {
  unsigned ddp = 0x41;
  unsigned rdmap = 0x43;
  std::uint32_t queue = 0;
  std::uint32_t sequence = 1;
  std::uint32_t offset = 0;
  std::uint32_t stag = 0;
};

inline Buffer untagged(const Untagged& header, const Buffer& payload) {
  Buffer bytes;
  put(bytes, header.ddp, 1);
  put(bytes, header.rdmap, 1);
  put(bytes, header.stag, 4);
  put(bytes, header.queue, 4);
  put(bytes, header.sequence, 4);
  put(bytes, header.offset, 4);
  bytes.insert(bytes.end(), payload.begin(), payload.end());
  return bytes;
}

inline Buffer readRequest(std::uint32_t length, std::uint32_t stag, std::uint64_t offset) {
  Buffer bytes;
  put(bytes, 0x77777777U, 4);
  put(bytes, 0x1000, 8);
  put(bytes, length, 4);
  put(bytes, stag, 4);
  put(bytes, offset, 8);
  return bytes;
}

class Socket {
 public:
  Socket() = default;
  explicit Socket(int fd) : fd_(fd) {}
  // smallBuffer: the peer's answers soon find no room.
  static Socket connect(const fabric::SocketAddress& address, bool smallBuffer = false) {
    Socket socket(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int bytes = 4096;
    if (smallBuffer) ::setsockopt(socket.fd_.get(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    CHECK(::connect(socket.fd_.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.length) == 0);
    return socket;
  }

  void send(const Buffer& bytes) {
    std::size_t sent = 0;
    while (sent < bytes.size()) {
      const ssize_t step = ::send(fd_.get(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (step <= 0) return;  // the other side has closed: what it said is read next
      sent += static_cast<std::size_t>(step);
    }
  }
  void finishSending() { ::shutdown(fd_.get(), SHUT_WR); }

  // At most so many bytes; fewer when the stream ends or nothing comes for the patience.
  Buffer receive(std::size_t count, int patienceMs = 20000) {
    Buffer bytes(count);
    std::size_t got = 0;
    while (got < count) {
      pollfd wanted{fd_.get(), POLLIN, 0};
      if (::poll(&wanted, 1, patienceMs) <= 0) break;
      const ssize_t step = ::recv(fd_.get(), bytes.data() + got, count - got, 0);
      if (step <= 0) {
        ended_ = true;
        break;
      }
      got += static_cast<std::size_t>(step);
    }
    bytes.resize(got);
    return bytes;
  }
  Buffer receiveAll() { return receive(1 << 20); }
  bool ended() const { return ended_; }

  // One FPDU without its length, padding and CRC; empty at the end of the stream. The CRC must be right.
  Buffer receiveUlpdu() {
    const Buffer length = receive(2);
    if (length.size() < 2) return {};
    const std::size_t ulpdu = std::to_integer<std::size_t>(length[0]) << 8 | std::to_integer<std::size_t>(length[1]);
    Buffer rest = receive((2 + ulpdu + 3) / 4 * 4 - 2 + 4);
    if (rest.size() < ulpdu) return {};
    rest.resize(ulpdu);
    return rest;
  }

  // Sends the request and takes the reply; the private data of the reply is dropped.
  Buffer setUp(const std::string& request) {
    send(fromHex(request));
    Buffer reply = receive(20);
    if (reply.size() == 20) {
      const auto rest = receive(std::to_integer<std::size_t>(reply[18]) << 8 | std::to_integer<std::size_t>(reply[19]));
      reply.insert(reply.end(), rest.begin(), rest.end());
    }
    return reply;
  }

  // Reads frames until a Terminate or the end: the three bytes of what it says, as "1100".
  std::string receiveTerminate() {
    for (;;) {
      const Buffer ulpdu = receiveUlpdu();
      if (ulpdu.empty()) return "";
      if (ulpdu.size() < 22 || ulpdu[1] != std::byte{0x47}) continue;
      char text[8];
      std::snprintf(text, sizeof text, "%02x%02x", std::to_integer<unsigned>(ulpdu[18]),
                    std::to_integer<unsigned>(ulpdu[19]));
      return text;
    }
  }

 private:
  FileDescriptor fd_;
  bool ended_ = false;
};

}  // namespace raw
