// responder.h -- the unit's data plane: tokens, data and session connections, flushes, fences. No JavaScript runs here.
//
// Threads: every method may be called from any thread. Connections live on the responder's own event loops; flushes run
// on its flush threads. Callbacks given to fence, makeDurable, removeRegion and stop are called on one of those threads.
// Locks: one mutex a region guards its epoch, its connections and its unspent tokens (the fence is exact under it).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "fabric/fabric.h"
#include "media/medium.h"
#include "protocol/messages.h"
#include "unit/ids.h"
#include "unit/responder_options.h"
#include "unit/session_state.h"

namespace rdmacp::unit {

struct TokenRequest {
  protocol::ConnectionKind kind = protocol::ConnectionKind::data;
  RegionId region = 0;                           // data
  HandleId handle = 0;                           // data
  SessionId session = 0;                         // both
  fabric::Access rights = fabric::Access::none;  // data
  std::uint64_t epoch = 0;                       // data; a write token below the region's epoch is refused (fenced)
  std::uint32_t lifeMs = 0;                      // 0: the default
};

struct ResponderCounters {
  std::uint64_t connectionsOpen = 0, connectionsAccepted = 0, connectionsRefused = 0, connectionsViolated = 0;
  // Ended for others: closed before they had asked for anything (silent, no MPA, no room); had a token, said no hello, and gave way.
  std::uint64_t connectionsUnheard = 0, connectionsYielded = 0;
  std::uint64_t sessionsOpen = 0, tokensOutstanding = 0, flushes = 0, flushesFailed = 0, fences = 0;
  // Of connections past and present, as in fabric::ConnectionCounters.
  std::uint64_t bytesIn = 0, bytesOut = 0, segmentsIn = 0, segmentsOut = 0;
};

class Responder {
 public:
  static Result<std::unique_ptr<Responder>> create(const ResponderOptions& options,
                                                   std::shared_ptr<media::Medium> medium);
  virtual ~Responder() = default;  // stops and joins

  virtual Result<fabric::SocketAddress> listen(fabric::Fabric& fabric, const fabric::SocketAddress& address) = 0;

  // Extents of the pool, back to back, block-aligned; length in bytes may end inside of the last one.
  // readOnly: no write token is ever accepted (the pool's tables).
  virtual Status addRegion(RegionId id, std::span<const media::ByteRange> extents, std::uint64_t length,
                           std::uint64_t epoch, bool readOnly) = 0;
  // Fences every connection of the region and forgets it; then done.
  virtual void removeRegion(RegionId id, std::function<void(Status)> done) = 0;

  // Raises the region's epoch and ends every writer below it: epoch, tokens, half-open and open write connections, in
  // the design's order; done when no byte of theirs can land. Their sessions are told (Fenced). An epoch lower than
  // the region's is invalidArgument.
  virtual void fence(RegionId id, std::uint64_t epoch, std::function<void(Status)> done) = 0;
  // Ends the connections and tokens of one open only (a reconnect, a close); done when none of its bytes can land.
  virtual void dropHandle(RegionId id, HandleId handle, std::function<void(Status)> done) = 0;

  // Makes durable what writers have placed in the region and no flush has made durable; done when it is. For after a fence,
  // before a new owner is admitted: a writer that is connected may place more meanwhile. ok where the medium keeps nothing.
  virtual void makeDurable(RegionId id, std::function<void(Status)> done) = 0;

  virtual Status addSession(SessionId session) = 0;
  // Ends the session's connections and tokens.
  virtual void removeSession(SessionId session) = 0;
  virtual std::vector<SessionState> sessions() const = 0;
  // On the clock of leases, which stands still while the unit does; from the responder's creation on.
  virtual std::chrono::milliseconds leaseTime() const = 0;

  virtual Result<protocol::Token> issueToken(const TokenRequest& request) = 0;

  virtual ResponderCounters counters() const = 0;

  // Stops listening, ends every connection, joins the threads. Blocks: never on a responder thread.
  virtual void stop() = 0;
};

}  // namespace rdmacp::unit
