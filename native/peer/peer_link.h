// peer_link.h -- the link between the two processes of a pair: listens, connects until the partner is there, settles on
// one connection, notices its end, and begins again.
//
// It has one native thread, on which all of its connections live; it needs no JavaScript. Threads: every method may be
// called from any thread but that one; handler calls and answers come on it.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/turn_listener.h"
#include "fabric/fabric.h"
#include "peer/greeting.h"
#include "peer/peer_connection.h"
#include "peer/status_block.h"

namespace rdmacp::peer {

struct PeerLinkOptions {
  fabric::SocketAddress listen;
  fabric::SocketAddress partner;
  std::string name;               // of the pair
  std::vector<std::byte> secret;  // may be empty
  // What follows is for tests.
  std::uint16_t versionMin = kVersionMin;
  std::uint16_t versionMax = kVersionMax;
  std::optional<BootId> bootId;
  milliseconds handshakeTimeout{2000};
  milliseconds stepTimeout{1000};
  milliseconds probeInterval{100};
};

// What the application says about itself.
struct Published {
  std::string state = "loading";
  std::uint64_t epoch = 0;
  std::uint64_t progress = 0;
};

struct PeerChange {
  // problem: an attempt or a request that failed for another reason than that nobody is there; said once in a row.
  enum class Kind : std::uint8_t { linked, lost, problem };
  Kind kind = Kind::linked;
  BootId partner{};  // linked, lost
  Error error;       // lost, problem
};

struct PeerReport {
  BootId bootId{};
  bool linked = false;
  BootId partner{};              // of the link that stands, or stood last
  std::uint32_t attempts = 0;    // connects begun
  std::uint32_t links = 0;       // handshakes that came to a link
  std::uint32_t refusals = 0;    // connections turned away, with or without a request, or ended before they were a link
  std::optional<Error> problem;  // why there is no link, of the last attempt; of a link that stands nothing
  // System clock, milliseconds since 1970.
  double startedAtMs = 0;
  double linkedAtMs = 0;  // 0: never
  // The handshake of the last link: whether this process connected, and then when each step was over, in milliseconds
  // since the connect began.
  bool connected = false;
  std::array<double, 4> stepMs{};
};

class PeerLinkHandler {
 public:
  virtual ~PeerLinkHandler() = default;
  virtual void onChange(const PeerChange& change) = 0;
};

class PeerLink : public TurnListener {
 public:
  using Answer = PeerConnection::Answer;

  // invalidArgument; systemError with EADDRINUSE and others of the listening socket.
  static Result<std::shared_ptr<PeerLink>> start(std::shared_ptr<fabric::Fabric> fabric, const PeerLinkOptions& options,
                                                 std::shared_ptr<PeerLinkHandler> handler);

  virtual fabric::SocketAddress address() const = 0;
  virtual PeerReport report() const = 0;
  // invalidArgument: the state is not 1 to kMaxState printable characters. localClosed.
  virtual Status publish(const Published& published) = 0;
  // Reads the partner's block. Answered exactly once: without a link at once, with why there is none.
  virtual void readPartner(Answer answer) = 0;
  // Closes the link in order, within a second, and joins the thread. Idempotent.
  virtual void stop() = 0;
};

}  // namespace rdmacp::peer
