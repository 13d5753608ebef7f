// connection_setup.cpp -- the connecting side's MPA set-up (RFC 5044 section 7.1, RFC 6581), and the step into the full
// operation that both sides share. Loop thread, but for startConnecting.
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include <netinet/in.h>
#include <netinet/tcp.h>

#include "fabric/iwarp/connection.h"
#include "fabric/iwarp/vigil.h"
#include "fabric/preamble.h"

namespace rdmacp::fabric::iwarp {
namespace {

// Two ends of this package use the length field to its end; 65534 makes length and ULPDU a multiple of four.
constexpr std::size_t kOwnUlpdu = 65534;
constexpr std::size_t kSetupRead = 4096;
constexpr std::chrono::milliseconds kFirstNudge{10};

std::size_t segmentSize(int socket) {
  int bytes = 0;
  socklen_t length = sizeof bytes;
  if (::getsockopt(socket, IPPROTO_TCP, TCP_MAXSEG, &bytes, &length) != 0 || bytes <= 0) return 536;
  return static_cast<std::size_t>(bytes);
}

std::uint16_t depth(std::uint32_t reads) {
  return static_cast<std::uint16_t>(std::min<std::uint32_t>(reads, mpa::kMaxDepth));
}

}  // namespace

Status IwarpConnection::startConnecting(ConstBytes privateData, std::uint8_t revision) {
  mpa::SetupFrame request;
  request.crc = options_.crc;
  request.revision = revision_ = revision;
  if (revision == 2) request.enhanced = mpa::Enhanced{depth(options_.inboundReads), depth(options_.outboundReads)};
  request.privateData = preamble::prepend(Transport::iwarp, privateData);
  setupOut_ = mpa::encodeSetup(request);
  if (!loop_.post([self = shared_from_this()] { self->beginConnecting(); })) {
    return Error{ErrorCode::stopped, "the event loop has stopped", 0};
  }
  return {};
}

void IwarpConnection::beginConnecting() {
  if (phase_ == Phase::over) return;
  keepAlive();
  setupTimer_ = loop_.after(options_.setupTimeout, [self = shared_from_this()] {
    if (self->phase_ == Phase::established) return;
    self->finish({ErrorCode::timedOut, "no connection to " + self->peer_.text() + " within the set-up timeout", 0},
                 Ending::abrupt);
  });
  interest_ = EPOLLOUT;
  if (Status status = loop_.add(socket_.get(), interest_, this); !status) return finish(status.error(), Ending::abrupt);
  registered_ = true;
}

void IwarpConnection::finishConnecting() {
  int number = 0;
  socklen_t length = sizeof number;
  ::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &number, &length);
  ssize_t sent = -1;
  if (number == 0) {
    // The buffer of a fresh socket takes a set-up frame whole.
    sent = ::send(socket_.get(), setupOut_.data(), setupOut_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) number = errno;
  }
  if (sent != static_cast<ssize_t>(setupOut_.size())) {
    const auto code = number == ETIMEDOUT ? ErrorCode::timedOut : ErrorCode::connectionRefused;
    return finish({code, "connecting to " + peer_.text() + ": " + std::generic_category().message(number), number},
                  Ending::abrupt);
  }
  {
    const std::lock_guard lock(mutex_);
    phase_ = Phase::requesting;
  }
  setInterest(EPOLLIN);
}

void IwarpConnection::receiveReply() {
  const std::size_t before = setupIn_.size();
  setupIn_.resize(before + kSetupRead);
  const ssize_t got = ::recv(socket_.get(), setupIn_.data() + before, kSetupRead, MSG_DONTWAIT);
  const int number = errno;
  setupIn_.resize(before + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  if (got < 0 && (number == EAGAIN || number == EWOULDBLOCK || number == EINTR)) return;
  if (got <= 0) {
    return finish(
        {ErrorCode::connectionRefused, peer_.text() + " closed the connection during the set-up", got < 0 ? number : 0},
        Ending::abrupt);
  }
  const auto parsed = mpa::parseSetup(mpa::FrameKind::reply, setupIn_);
  if (!parsed) return finish(parsed.error(), Ending::abrupt);
  if (parsed.value()) useReply(*parsed.value());
}

void IwarpConnection::useReply(const mpa::ParsedSetup& parsed) {
  const mpa::SetupFrame& reply = parsed.frame;
  if (reply.rejected) {
    handler_->onRejected(*this, preamble::strip(reply.privateData));
    return finish({ErrorCode::connectionRefused, peer_.text() + " rejected the connection", 0}, Ending::orderly);
  }
  // RFC 6581 section 9.1: the revision is the request's.  RFC 5044 section 7.1.1: M asks us to send markers.
  if (reply.revision != revision_ || reply.markers) {
    return finish({ErrorCode::protocolViolation,
                   reply.markers ? "MPA set-up: the peer asks for markers, which are not supported"
                                 : "MPA set-up: a reply of revision " + std::to_string(reply.revision) +
                                       " to a request of revision " + std::to_string(revision_),
                   0},
                  Ending::orderly);
  }
  Agreement agreement;
  agreement.initiator = true;
  agreement.crc = options_.crc || reply.crc;
  agreement.sameFabric = preamble::sentBy(Transport::iwarp, reply.privateData);
  const auto depths =
      mpa::negotiateAsInitiator({depth(options_.inboundReads), depth(options_.outboundReads)}, reply.enhanced);
  if (!depths) {
    // RFC 6581 section 9.2
    return finish({ErrorCode::protocolViolation, "MPA set-up: the peer wants more reads in flight than offered", 0},
                  Ending::orderly,
                  Transmitter::terminateFrame(rdmap::terminate_code::kInsufficientReads, {}, agreement.crc));
  }
  agreement.depths = *depths;
  // The accepting side sends nothing before it has had a frame of ours (RFC 5044 section 7.1.2).
  const auto ready = Transmitter::readyFrame(agreement.crc);
  const ssize_t sent = ::send(socket_.get(), ready.data(), ready.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent != static_cast<ssize_t>(ready.size())) {
    return finish({ErrorCode::connectionBroken, "the connection broke during the set-up", errno}, Ending::abrupt);
  }
  establish(agreement, preamble::strip(reply.privateData), ConstBytes(setupIn_).subspan(parsed.bytes));
}

void IwarpConnection::startAccepted(const Agreement& agreement, ConstBytes privateData) {
  keepAlive();
  interest_ = EPOLLIN;
  if (Status status = loop_.add(socket_.get(), interest_, this); !status) return finish(status.error(), Ending::abrupt);
  registered_ = true;
  establish(agreement, privateData, {});
}

void IwarpConnection::startBroken(const Error& reason) {
  finish(reason, Ending::abrupt);
}

void IwarpConnection::establish(const Agreement& agreement, ConstBytes privateData, ConstBytes rest) {
  loop_.cancel(setupTimer_);
  agreement_ = agreement;
  held_ = !agreement.initiator;
  inbound_ = std::make_unique<Inbound>(static_cast<InboundEvents&>(*this), keys_,
                                       Inbound::Limits{options_.maxMessage, options_.receiveDepth});
  if (agreement.readySend) inbound_->expectReadySend();
  receiver_ = std::make_unique<Receiver>(*inbound_, agreement.crc);
  outboundReads_ = agreement.depths.outbound;
  {
    const std::lock_guard lock(mutex_);
    transmitter_ = std::make_unique<Transmitter>(Transmitter::Limits{
        agreement.crc, agreement.sameFabric ? kOwnUlpdu : mpa::maxUlpdu(segmentSize(socket_.get())),
        agreement.depths.outbound, agreement.depths.inbound, options_.sendDepth, !agreement.sameFabric});
    transmitter_->hold(held_);
    phase_ = Phase::established;
  }
  keepAsking(socket_.get());
  watchPeer();
  if (agreement.initiator && !agreement.sameFabric) nudgeSoon(kFirstNudge);
  handler_->onEstablished(*this, privateData);
  if (!registered_ || rest.empty()) return;
  receiver_->preload(rest);
  receiveTurn();
}

}  // namespace rdmacp::fabric::iwarp
