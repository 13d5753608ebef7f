// receiver.cpp -- see receiver.h. Loop thread of the connection.
#include "fabric/iwarp/receiver.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/big_endian.h"
#include "base/crc32c.h"
#include "fabric/iwarp/mpa.h"

namespace rdmacp::fabric::iwarp {
namespace {

constexpr std::size_t kStashBytes = 16 * 1024;
// Behind a large payload: its trailer and the next header, and hardly any payload, which would have to be copied.
constexpr std::size_t kSmallStash = 64;
constexpr std::size_t kLargePayload = 4096;
constexpr std::size_t kMaxPieces = 256;
constexpr std::size_t kDiscardBytes = 64 * 1024;

// Payload of a refused frame. Never read but for its checksum, each on the thread that received it.
std::byte* discardBuffer() {
  static thread_local std::vector<std::byte> buffer(kDiscardBytes);
  return buffer.data();
}

}  // namespace

void PlacementTarget::advance(std::size_t bytes) {
  while (bytes > 0) {
    iovec& piece = pieces_[next_];
    const std::size_t step = std::min(bytes, piece.iov_len);
    piece.iov_base = static_cast<std::byte*>(piece.iov_base) + step;
    piece.iov_len -= step;
    bytes -= step;
    if (piece.iov_len == 0) ++next_;
  }
}

Receiver::Receiver(FrameHandler& handler, bool crc) : handler_(handler), crcOn_(crc), stash_(kStashBytes) {}

void Receiver::preload(std::span<const std::byte> bytes) {
  const std::size_t count = std::min(bytes.size(), stash_.size());
  std::copy_n(bytes.begin(), count, stash_.begin());
  stashBegin_ = 0;
  stashEnd_ = count;
}

Receiver::Outcome Receiver::receive(int socket, std::size_t budget) {
  for (std::size_t used = 0;;) {
    for (;;) {
      if (stopped_) return Outcome::stopped;
      const Step step = parse();
      if (step == Step::violation) return Outcome::violation;
      if (step == Step::needBytes) break;
    }
    if (used >= budget) return Outcome::drained;
    const ssize_t got = fill(socket);
    if (got == 0) {
      const bool between = state_ == State::header && stashed() == 0;
      return between ? Outcome::ended : Outcome::truncated;
    }
    if (got < 0) {
      if (errno == EAGAIN || errno == EWOULDBLOCK) return Outcome::drained;
      if (errno == EINTR) continue;
      systemError_ = errno;
      return Outcome::failed;
    }
    used += static_cast<std::size_t>(got);
    // Less than there was room for: the socket is empty, which the loop will notice when it changes.
    if (static_cast<std::size_t>(got) < asked_) budget = 0;
  }
}

void Receiver::refuseRest(std::uint32_t stag) {
  if (state_ != State::payload || pending_ || !header_.tagged || header_.stag != stag) return;
  if (static_cast<rdmap::Opcode>(header_.opcode) != rdmap::Opcode::write) return;
  pending_ = rdmap::terminate_code::kTaggedInvalidStag;
  target_.reset();
  target_.add(discardBuffer(), payloadLeft_);
}

ssize_t Receiver::fill(int socket) {
  vector_.clear();
  asked_ = 0;
  if (state_ == State::payload) {
    const auto pieces = target_.remaining();
    for (const iovec& piece : pieces.first(std::min(pieces.size(), kMaxPieces))) {
      vector_.push_back(piece);
      asked_ += piece.iov_len;
    }
  }
  if (stashBegin_ == stashEnd_) stashBegin_ = stashEnd_ = 0;
  if (asked_ == (state_ == State::payload ? payloadLeft_ : 0)) {  // the stash comes after the whole payload
    const bool large = state_ == State::payload ? payloadLeft_ >= kLargePayload : expectLarge_;
    if (stash_.size() - stashEnd_ < kSmallStash) {
      std::memmove(stash_.data(), stash_.data() + stashBegin_, stashed());
      stashEnd_ -= stashBegin_;
      stashBegin_ = 0;
    }
    const std::size_t room = stash_.size() - stashEnd_;
    vector_.push_back({stash_.data() + stashEnd_, large ? std::min(room, kSmallStash) : room});
    asked_ += vector_.back().iov_len;
  }
  msghdr message{};
  message.msg_iov = vector_.data();
  message.msg_iovlen = vector_.size();
  const ssize_t got = ::recvmsg(socket, &message, MSG_DONTWAIT);
  if (got > 0) {
    const std::size_t placed = state_ == State::payload ? std::min(static_cast<std::size_t>(got), payloadLeft_) : 0;
    checksumPlaced(placed);
    stashEnd_ += static_cast<std::size_t>(got) - placed;
  }
  return got;
}

// Checksums what has just been placed, while it is still in the cache.
void Receiver::checksumPlaced(std::size_t bytes) {
  payloadLeft_ -= bytes;
  while (bytes > 0) {
    const iovec& piece = target_.remaining().front();
    const std::size_t step = std::min(bytes, piece.iov_len);
    if (crcOn_) crc_ = crc32c(crc_, {static_cast<const std::byte*>(piece.iov_base), step});
    target_.advance(step);
    bytes -= step;
  }
}

Receiver::Step Receiver::parse() {
  switch (state_) {
    case State::header:
      return parseHeader();
    case State::payload:
      placeFromStash();
      if (payloadLeft_ != 0) return Step::needBytes;
      state_ = State::trailer;
      [[fallthrough]];
    case State::trailer:
      return stashed() < trailer_ ? Step::needBytes : finishFrame();
  }
  return Step::needBytes;
}

Receiver::Step Receiver::parseHeader() {
  constexpr std::size_t kLeast = mpa::kLengthBytes + ddp::kControlBytes;
  if (stashed() < kLeast) return Step::needBytes;
  const std::byte* bytes = stash_.data() + stashBegin_;
  const std::size_t ulpdu = loadBigEndian<std::uint16_t>(bytes);
  const std::size_t headerLength = ddp::headerBytes(ddp::isTagged(bytes[mpa::kLengthBytes]));
  if (ulpdu < headerLength) {
    current_ = {};
    violation_ = rdmap::terminate_code::kLengthMismatch;
    return Step::violation;
  }
  if (stashed() < mpa::kLengthBytes + headerLength) return Step::needBytes;

  header_ = ddp::parseHeader(bytes + mpa::kLengthBytes);
  current_ = {};
  current_.segmentLength = static_cast<std::uint16_t>(ulpdu);
  current_.headerLength = headerLength;
  std::copy_n(bytes + mpa::kLengthBytes, headerLength, current_.header.begin());
  payload_ = payloadLeft_ = ulpdu - headerLength;
  trailer_ = mpa::padding(ulpdu) + mpa::kCrcBytes;
  expectLarge_ = payload_ >= kLargePayload;
  crc_ = crcOn_ ? crc32c(0, {bytes, mpa::kLengthBytes + headerLength}) : 0;
  stashBegin_ += mpa::kLengthBytes + headerLength;

  target_.reset();
  pending_ = handler_.onHeader(header_, payload_, target_);
  if (pending_) {
    target_.reset();
    target_.add(discardBuffer(), payload_);
  }
  state_ = State::payload;
  return Step::again;
}

void Receiver::placeFromStash() {
  while (payloadLeft_ != 0 && stashed() != 0) {
    const iovec& piece = target_.remaining().front();
    const std::size_t step = std::min(piece.iov_len, stashed());
    const std::span<const std::byte> source(stash_.data() + stashBegin_, step);
    auto* place = static_cast<std::byte*>(piece.iov_base);
    if (crcOn_) {
      crc_ = copyCrc32c(crc_, place, source);
    } else {
      std::memcpy(place, source.data(), step);
    }
    target_.advance(step);
    payloadLeft_ -= step;
    stashBegin_ += step;
  }
}

Receiver::Step Receiver::finishFrame() {
  const std::byte* trailer = stash_.data() + stashBegin_;
  stashBegin_ += trailer_;
  state_ = State::header;
  if (crcOn_) {
    const std::size_t pad = trailer_ - mpa::kCrcBytes;
    crc_ = crc32c(crc_, {trailer, pad});
    std::uint32_t sent = 0;
    for (std::size_t i = mpa::kCrcBytes; i-- > 0;) {
      sent = (sent << 8) | std::to_integer<std::uint32_t>(trailer[pad + i]);
    }
    if (sent != crc_) {
      current_ = {};  // RFC 5040 section 4.8: what was damaged is not sent back
      violation_ = rdmap::terminate_code::kCrcMismatch;
      return Step::violation;
    }
  }
  if (!pending_) {
    ++frames_;
    pending_ = handler_.onFrame(header_, payload_);
    if (!pending_) return Step::again;
  }
  violation_ = *pending_;
  pending_.reset();
  return Step::violation;
}

}  // namespace rdmacp::fabric::iwarp
