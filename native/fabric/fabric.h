// fabric.h -- the contract of an RDMA transport: listen, connect, register, write, read, send, fence, close.
//
// Two implementations keep it: iwarp/ (MPA, DDP and RDMAP over TCP in user space) and verbs/ (libibverbs and
// librdmacm). Everything above is written once, against this file. One conformance suite (test/native/conformance)
// checks every implementation of it.
//
// Threads
//   A connection belongs to one EventLoop. All of its handler's calls come from that loop's thread, one at a time.
//   post() may be called from any thread and may transmit on it, without blocking. So may poll(), which does not block
//   either. fence() and close() may be called from any thread; their work happens on the loop. An AcceptHandler is called
//   from several loops at once. No handler call is ever made from within post(), poll(), fence() or close().
//
// Life
//   A Connection is held by shared_ptr. The fabric keeps it (and its handler) alive until onClosed has returned.
//   onClosed comes exactly once and last, for every connection for which connect() succeeded or accept was decided,
//   also for one that was never established. Before it, every posted work request has had its completion, or a call of
//   poll() has found it, which may return later.
//
// What completes when
//   Completions come in the order of posting, those that poll() finds among themselves and the handler's among themselves.
//   write  the local memory may be reused. It says nothing about the other side (an iWARP write to a bad key completes).
//   read   the bytes are in local memory. A read sees every byte of the writes posted before it on its connection:
//          the product's `visible` is a read of at least one byte after the writes.
//   send   the local memory may be reused. The peer handles sends in order, after having placed earlier writes.
//   flush  what writes posted before it on its connection have put into the range is on persistent memory: the RDMA FLUSH
//          operation, carried out by the peer's device. Only where canFlush() says so and the grant has the right.
//   A work request that has not completed by its deadline breaks the connection (timedOut): RDMA has no keepalive. See
//   watchesPeer() for a connection on which nothing is posted.
//   After a break the requests not yet complete complete with the connection's error; their outcome is unknown.
//   Zero-byte operations are allowed everywhere; they check nothing on the other side.
//   Nothing is atomic, not even 8 aligned bytes; there is no order across connections.
//
// Keys
//   A grant is valid on the connection it was made on and nowhere else. Violations by the peer (unknown key, bounds,
//   rights, wrapped address) end that connection only and touch no memory outside of the granted range.
#pragma once

#include <sys/socket.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/dirty_map.h"
#include "base/result.h"
#include "fabric/event_loop.h"

namespace rdmacp::fabric {

using Bytes = std::span<std::byte>;
using ConstBytes = std::span<const std::byte>;

enum class Transport : std::uint8_t { iwarp = 1, verbs = 2 };

// remoteFlush goes with the right to write. It is no right of the data protocol: that says it by a capability.
enum class Access : std::uint8_t { none = 0, remoteRead = 1, remoteWrite = 2, remoteReadWrite = 3, remoteFlush = 4 };

constexpr Access operator|(Access a, Access b) {
  return static_cast<Access>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}
constexpr bool allows(Access rights, Access right) {
  return (static_cast<unsigned>(rights) & static_cast<unsigned>(right)) != 0;
}

// An IPv4 or IPv6 address with a port; IPv6 may carry a scope.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;

  // host: a numeric address, without brackets. Names are resolved above the fabric.
  static Result<SocketAddress> parse(const std::string& host, std::uint16_t port);
  std::string host() const;
  std::uint16_t port() const;
  std::string text() const;  // "127.0.0.1:4791", "[::1]:4791"
  bool isLoopback() const;   // 127.0.0.0/8 or ::1, also as ::ffff:127.0.0.0/104
};

// Private data that a user of the fabric may give to connect, accept and reject. librdmacm carries 56 bytes on
// InfiniBand and RoCE; the fabric keeps 8 of them for a preamble by which two ends of this package know each other:
//   0  4  magic "RDCP"    4  1  preamble version (1)    5  1  Transport of the sender    6  2  zero
// It is put on and taken off by the fabric. A peer without it is a foreign one: it is served in the segment sizes
// that the standards ask for, and its private data is delivered whole.
inline constexpr std::size_t kMaxPrivateData = 48;
inline constexpr std::size_t kPreambleBytes = 8;

struct ConnectionOptions {
  std::uint32_t inboundReads = 16;   // RDMA reads of the peer's in flight at most (IRD); offered, then negotiated down
  std::uint32_t outboundReads = 16;  // ours in flight at most (ORD); more are queued on this side
  std::uint32_t maxMessage = 4096;   // largest message received, in bytes; a larger one is a violation
  std::uint32_t receiveDepth = 64;   // messages the peer may have on the way before onMessage has returned
  std::uint32_t sendDepth = 8192;    // work requests posted and not complete; above it post answers limitReached
  bool crc = true;                   // iwarp: ask for CRC32C; off only when both ends say off. verbs: no meaning
  std::chrono::milliseconds setupTimeout{5000};
};

// A registration of local memory. It gives no remote rights by itself; those come from Connection::grant.
// The memory must outlive it and it must outlive every grant and work request that names it.
class MemoryRegion {
 public:
  virtual ~MemoryRegion() = default;
  virtual Bytes memory() const = 0;
  // Where what peers place is marked, or null; as registerMemory was given it.
  virtual DirtyMap* dirty() const = 0;
};

// What a peer needs to address granted memory: remote address = base + offset, under key.
struct RemoteWindow {
  std::uint32_t key = 0;
  std::uint64_t base = 0;
  std::uint64_t length = 0;
};

// Part of a work request's local memory. registration may be null: then a fabric whose device needs one copies
// through memory of its own; iwarp sends and receives in place either way. The memory must stay valid until the completion, and
// so must the registration, whose memory the segment lies in.
struct LocalSegment {
  std::byte* address = nullptr;
  std::size_t length = 0;
  const MemoryRegion* registration = nullptr;
};

struct WorkRequest {
  enum class Kind : std::uint8_t { write, read, send, flush };
  Kind kind = Kind::write;
  std::uint64_t id = 0;                 // the caller's; comes back in the completion
  std::span<const LocalSegment> local;  // gathered (write, send) or scattered (read); copied by post
  std::uint64_t remoteAddress = 0;      // write, read, flush
  std::uint32_t remoteKey = 0;          // write, read, flush
  Clock::time_point deadline = Clock::time_point::max();
  std::uint32_t flushBytes = 0;  // flush: length of the range, not 0; local is empty
};

struct Completion {
  std::uint64_t id = 0;
  ErrorCode status = ErrorCode::ok;
};

// Who looks for the completions of a batch first: the loop, which sleeps until there are some, or poll().
enum class Lookout : std::uint8_t { loop, poll };

class Connection;

class ConnectionHandler {
 public:
  virtual ~ConnectionHandler() = default;
  // Accepting side, where the set-up takes a while after the accept: from now on fence() and close() end it, and onClosed
  // follows without onEstablished.
  virtual void onAccepted(Connection& connection) { (void)connection; }
  // Private data of the peer, without the preamble (padded with zeros by some devices).
  virtual void onEstablished(Connection& connection, ConstBytes privateData) = 0;
  // The bytes are valid for the call only.
  virtual void onMessage(Connection& connection, ConstBytes message) = 0;
  virtual void onCompletions(Connection& connection, std::span<const Completion> completions) = 0;
  // The peer rejected the set-up with this private data (without the preamble; may be empty). Valid for the call only;
  // onClosed (connectionRefused) follows.
  virtual void onRejected(Connection& connection, ConstBytes privateData) { (void)connection, (void)privateData; }
  // reason.code: connectionClosed (the peer, gracefully), localClosed, connectionRefused, connectionBroken, timedOut,
  // remoteAccess (the peer refused what we did), protocolViolation (the peer's fault), ...
  virtual void onClosed(Connection& connection, const Error& reason) = 0;
};

// Counted where the work is done; read from any thread.
struct ConnectionCounters {
  std::uint64_t bytesIn = 0, bytesOut = 0;        // payload of writes, read responses and sends
  std::uint64_t segmentsIn = 0, segmentsOut = 0;  // FPDUs or work requests
};

class Connection {
 public:
  virtual ~Connection() = default;
  virtual Transport transport() const = 0;
  virtual EventLoop& loop() const = 0;
  virtual SocketAddress peer() const = 0;
  virtual ConnectionCounters counters() const = 0;
  virtual std::uint32_t outboundReads() const = 0;  // after negotiation
  // The fabric itself ends this connection (connectionBroken) when the peer's machine, or the way to it, is gone without a
  // word, also while nothing is transferred. Where it does not, who has to know posts something small now and then: only
  // what is sent is missed.
  virtual bool watchesPeer() const { return false; }
  // This end can post flushes. Whether the peer takes them is for its grant to say.
  virtual bool canFlush() const { return false; }

  // All or none of the batch is accepted. Not before onEstablished.
  // invalidArgument, limitReached (sendDepth), notSupported (a flush without canFlush), connectionBroken/localClosed/...
  // when it is over. lookout: poll only where canPoll() says so, and then the caller calls poll() next.
  virtual Status post(std::span<const WorkRequest> batch, Lookout lookout = Lookout::loop) = 0;

  // A completion queue that any thread may look into.
  virtual bool canPoll() const { return false; }
  // Looks for completions on this thread. What it appends has succeeded and is not told to the handler; everything else is,
  // and may be at the same time. rest: the loop is to look out for what has not completed. Whoever posted with Lookout::poll
  // calls it until all of that has completed, or with rest.
  virtual void poll(std::vector<Completion>& completions, bool rest) { (void)completions, (void)rest; }

  // Lets the peer of this connection use a range of the registration. Loop thread. It takes effect in the order of what is
  // posted: a peer that is told by a message behind it may use it at once (rxe of kernel 6.12 binds a window after this has
  // returned). notSupported: remoteFlush was asked for, and this build, the device, its driver or the memory cannot do it;
  // the same grant without it may be had.
  virtual Result<RemoteWindow> grant(std::shared_ptr<const MemoryRegion> region, std::uint64_t offset,
                                     std::uint64_t length, Access access) = 0;
  // Whether a work request's local memory may name this registration here. What it takes is done at the first call, on this
  // thread, without a lock of the connection's: a device pins the memory. false: the fabric would not use it, or it cannot be
  // had now, and the memory is copied. Any thread.
  virtual bool prepare(const MemoryRegion& memory) { return (void)memory, false; }

  // The part of a grant of all of this registration that takes long, since a device pins the memory. What is returned is
  // called once, on a thread that may wait, and the grant is made when it has returned; an error is what the grant would have
  // answered. The connection may end meanwhile. Empty: nothing takes long. Loop thread.
  virtual std::function<Status()> groundwork(const std::shared_ptr<const MemoryRegion>& region, Access access) {
    return (void)region, (void)access, nullptr;
  }

  // The key is unknown from now on. Loop thread. On iwarp nothing lands under it any more; a device may still place
  // what it was receiving (a few in a thousand on rxe). Who must be sure fences the connection.
  virtual void revoke(std::uint32_t key) = 0;

  // The exact end: runs the design's order (error, free windows, destroy, deregister), and calls done on the loop
  // (or at once on this thread when the connection was already gone) when no byte of the peer can land any more.
  virtual void fence(std::function<void()> done) = 0;

  // Orderly: what was posted is sent (within its deadlines), then the connection ends with localClosed.
  virtual void close() = 0;
};

// What an AcceptHandler answers to a connection request.
struct AcceptDecision {
  bool accept = false;
  std::vector<std::byte> privateData;          // of the accept or of the reject
  std::shared_ptr<ConnectionHandler> handler;  // accept only
};

struct ConnectionRequest {
  ConstBytes privateData;  // without the preamble; valid for the call only
  SocketAddress peer;
  bool sameProduct = false;  // the peer sent a preamble
};

class AcceptHandler {
 public:
  virtual ~AcceptHandler() = default;
  // Called on the loop that will own the connection, if accepted.
  virtual AcceptDecision onRequest(const ConnectionRequest& request) = 0;
};

class Listener {
 public:
  virtual ~Listener() = default;  // stops listening; accepted connections go on
  virtual SocketAddress address() const = 0;
};

struct ListenOptions {
  ConnectionOptions connection;
  std::uint32_t backlog = 1024;
  std::uint32_t maxConnections = 4096;  // accepted ones; above it new ones are closed at once
  // Those that the AcceptHandler has not accepted (yet), iWARP: above it the one that has waited longest is closed. On a device
  // the kernel's connection manager keeps them.
  std::uint32_t maxWaiting = 512;
};

// What a device says by itself, of itself or of a port. What one connection's peer did is not among it.
struct DeviceNews {
  enum class Kind : std::uint8_t {
    failed,       // it transfers nothing any more, and its connections end
    removed,      // it is being taken away, or has been
    queueFailed,  // of one connection, which ends
    portDown,     // connections over it end if it stays so for longer than what they have under way is sent again
    portUp,
    addressesChanged,   // of RoCE and iWARP those of the network interface
    identifierChanged,  // the local identifier, of InfiniBand
    partitionsChanged,
  };
  Kind kind = Kind::failed;
  std::string device;
  std::uint8_t port = 0;  // 0: the device
  std::string text;
};

class Fabric {
 public:
  virtual ~Fabric() = default;
  virtual Transport transport() const = 0;

  // Accepted connections are spread over loops, which must outlive the listener and its connections.
  virtual Result<std::unique_ptr<Listener>> listen(const SocketAddress& address, const ListenOptions& options,
                                                   std::span<EventLoop* const> loops,
                                                   std::shared_ptr<AcceptHandler> handler) = 0;

  // Starts to connect; onEstablished or onClosed follow. An error here means that nothing was started.
  virtual Result<std::shared_ptr<Connection>> connect(const SocketAddress& address, const ConnectionOptions& options,
                                                      ConstBytes privateData, EventLoop& loop,
                                                      std::shared_ptr<ConnectionHandler> handler) = 0;

  // dirty: null, or a map of this memory that outlives the registration. What peers write is marked there before anything
  // that follows the write on its connection is dealt with; of a connection that has ended (fence, onClosed) everything is
  // marked that it has placed, the part of a write included. Where the CPU does not see what is placed (verbs), the map is
  // told at a grant for writing that bytes come unseen.
  // persistent: the bytes are persistent memory itself, so that what a device has written back to it is durable. Without it
  // no grant has remoteFlush.
  virtual Result<std::shared_ptr<MemoryRegion>> registerMemory(Bytes memory, DirtyMap* dirty, bool persistent) = 0;

  // told: what devices say that a listener or a connection of this process uses. Until what is returned is destroyed, and a
  // call that is under way then goes on: told owns what it needs. Any thread; it may not wait, or call into the fabric.
  virtual std::shared_ptr<void> watchDevices(std::function<void(const DeviceNews&)> told) {
    return (void)told, nullptr;
  }
};

// The user-space iWARP fabric; needs nothing installed.
std::shared_ptr<Fabric> makeIwarpFabric();

// RDMA devices through libibverbs and librdmacm. notSupported, with what to install, where the libraries are missing.
Result<std::shared_ptr<Fabric>> makeVerbsFabric();

// A device as the verbs fabric sees it.
struct VerbsDevice {
  std::string name;
  bool iwarp = false;                   // else InfiniBand or RoCE
  bool windows = false;                 // opening a region costs the same for every size
  bool flush = false;                   // RDMA FLUSH to persistent memory
  std::uint32_t queuePairs = 0;         // at most
  std::uint32_t registrations = 0;      // at most
  std::uint32_t reads = 0;              // of the peer's in flight on a connection at most
  std::uint64_t registrationBytes = 0;  // the largest
  std::string problem;                  // why it cannot be used; the limits are 0 then
};
// notSupported as makeVerbsFabric.
Result<std::vector<VerbsDevice>> listVerbsDevices();

}  // namespace rdmacp::fabric
