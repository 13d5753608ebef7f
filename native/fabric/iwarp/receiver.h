// receiver.h -- takes FPDUs (RFC 5044) from a socket: headers through a small stash, payload from the socket straight
// to where it belongs, checksum as it arrives. What a frame means is the FrameHandler's business.
//
// Loop thread of the connection. Owns the stash; not the socket.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "fabric/iwarp/ddp.h"
#include "fabric/iwarp/rdmap.h"

namespace rdmacp::fabric::iwarp {

// Where the payload of a frame goes; refilled for each frame.
class PlacementTarget {
 public:
  void reset() { pieces_.clear(), next_ = 0; }
  void add(std::byte* address, std::size_t length) {
    if (length != 0) pieces_.push_back({address, length});
  }
  std::span<iovec> remaining() { return std::span(pieces_).subspan(next_); }
  void advance(std::size_t bytes);

 private:
  std::vector<iovec> pieces_;
  std::size_t next_ = 0;
};

class FrameHandler {
 public:
  virtual ~FrameHandler() = default;
  // The header is there, the payload of so many bytes follows: says where it goes, or what is wrong. What is placed
  // may turn out to be damaged; nothing else may happen before onFrame.
  virtual std::optional<rdmap::TerminateCode> onHeader(const ddp::Header& header, std::size_t payload,
                                                       PlacementTarget& target) = 0;
  // The payload is in place and the checksum was right.
  virtual std::optional<rdmap::TerminateCode> onFrame(const ddp::Header& header, std::size_t payload) = 0;
};

class Receiver {
 public:
  enum class Outcome : std::uint8_t {
    drained,    // the socket has no more for now, or the turn's share is used up
    ended,      // the peer closed between two frames
    truncated,  // the peer closed inside of a frame
    failed,     // systemError()
    violation,  // violationCode()
    stopped     // by stop()
  };

  Receiver(FrameHandler& handler, bool crc);
  // Bytes that came together with the set-up frame.
  void preload(std::span<const std::byte> bytes);
  Outcome receive(int socket, std::size_t budget);
  void stop() { stopped_ = true; }
  // The key is no longer valid: what is still to come of a write under it goes nowhere, and its frame is a violation.
  void refuseRest(std::uint32_t stag);

  int systemError() const { return systemError_; }
  rdmap::TerminateCode violationCode() const { return violation_; }
  // The headers of the frame that is being received, or was last.
  const rdmap::Culprit& current() const { return current_; }
  // A violation is known, and the rest of its frame is awaited to see whether the checksum explains it.
  bool violationPending() const { return pending_.has_value(); }
  rdmap::TerminateCode pendingViolation() const { return *pending_; }
  std::uint64_t frames() const { return frames_; }

 private:
  enum class State : std::uint8_t { header, payload, trailer };
  enum class Step : std::uint8_t { again, needBytes, violation };

  Step parse();
  Step parseHeader();
  Step finishFrame();
  void placeFromStash();
  ssize_t fill(int socket);
  void checksumPlaced(std::size_t bytes);
  std::size_t stashed() const { return stashEnd_ - stashBegin_; }

  FrameHandler& handler_;
  const bool crcOn_;
  State state_ = State::header;
  bool stopped_ = false;
  bool expectLarge_ = false;
  std::vector<std::byte> stash_;
  std::size_t stashBegin_ = 0;
  std::size_t stashEnd_ = 0;
  std::size_t asked_ = 0;

  ddp::Header header_;
  std::size_t payload_ = 0;
  std::size_t payloadLeft_ = 0;
  std::size_t trailer_ = 0;
  std::uint32_t crc_ = 0;
  PlacementTarget target_;
  std::vector<iovec> vector_;
  rdmap::Culprit current_;
  std::optional<rdmap::TerminateCode> pending_;
  rdmap::TerminateCode violation_;
  int systemError_ = 0;
  std::uint64_t frames_ = 0;
};

}  // namespace rdmacp::fabric::iwarp
