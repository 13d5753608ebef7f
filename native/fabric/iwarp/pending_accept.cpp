// pending_accept.cpp -- see pending_accept.h. Loop thread; the set-up timer keeps it alive.
#include "fabric/iwarp/pending_accept.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "fabric/iwarp/connection.h"
#include "fabric/iwarp/linger.h"
#include "fabric/preamble.h"

namespace rdmacp::fabric::iwarp {

PendingAccept::PendingAccept(EventLoop& loop, FileDescriptor socket, const SocketAddress& peer,
                             std::shared_ptr<AcceptContext> context)
    : loop_(loop), socket_(std::move(socket)), peer_(peer), context_(std::move(context)) {}

void PendingAccept::wait(WaitingRoom& room) {
  place_ = room.enter([&loop = loop_, weak = weak_from_this()] {
    loop.post([weak] {
      if (const auto self = weak.lock()) self->leave();
    });
  });
}

void PendingAccept::start() {
  if (!socket_) return;  // it had to leave before it could begin
  if (context_->stopped || !loop_.add(socket_.get(), EPOLLIN, this)) return;
  started_ = true;
  const auto patience = std::min(context_->options.setupTimeout, kRequestPatience);
  timer_ = loop_.after(patience, [self = shared_from_this()] { self->end(); });
  // What a crowd has sent is not put off behind the rest of the crowd.
  listen();
}

void PendingAccept::leave() {
  if (!socket_) return;
  const auto self = shared_from_this();
  if (!started_) start();
  if (socket_ && started_) listen();
  end();
}

void PendingAccept::leaveLoop() {
  loop_.remove(socket_.get());
  loop_.cancel(timer_);
}

void PendingAccept::end() {
  if (!socket_) return;
  leaveLoop();
  socket_.reset();
  place_.reset();
  context_->tellUnheard();
}

void PendingAccept::onReady(std::uint32_t) {
  listen();
}

void PendingAccept::listen() {
  const auto self = shared_from_this();
  if (context_->stopped) return end();
  // One byte more than the longest request: what comes behind it is then seen.
  std::byte buffer[mpa::kMaxSetupFrame + 1];
  const ssize_t got = ::recv(socket_.get(), buffer, sizeof buffer - received_.size(), MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return;
  if (got <= 0) return end();
  received_.insert(received_.end(), buffer, buffer + got);
  const auto parsed = mpa::parseSetup(mpa::FrameKind::request, received_);
  if (!parsed) return end();  // RFC 5044 section 7.1.2: closed without an answer
  if (!parsed.value()) return;
  // Nothing may follow the request before the reply.
  if (parsed.value()->bytes != received_.size()) return end();
  decide(parsed.value()->frame);
}

void PendingAccept::decide(const mpa::SetupFrame& request) {
  // RFC 5044 section 7.1.1: M asks us to send markers, which we never do.
  if (request.markers) return reject(request, false, {});
  // Accepted ones may have filled it since this one came.
  if (context_->connections.load() >= context_->maxConnections) return end();
  ConnectionRequest question;
  question.privateData = preamble::strip(request.privateData);
  question.peer = peer_;
  question.sameProduct = preamble::present(request.privateData);
  AcceptDecision decision = context_->handler->onRequest(question);
  const bool fits = decision.privateData.size() <= kMaxPrivateData;
  if (!decision.accept || decision.handler == nullptr || !fits) {
    return reject(request, question.sameProduct, fits ? std::move(decision.privateData) : std::vector<std::byte>{});
  }
  accept(request, std::move(decision));
}

void PendingAccept::reject(const mpa::SetupFrame& request, bool sameProduct, std::vector<std::byte> privateData) {
  mpa::SetupFrame reply;
  reply.kind = mpa::FrameKind::reply;
  reply.revision = request.revision;
  reply.crc = request.crc || context_->options.crc;
  reply.rejected = true;
  reply.privateData = sameProduct ? preamble::prepend(Transport::iwarp, privateData) : std::move(privateData);
  leaveLoop();
  // It waits until the peer has read that, and whoever comes meanwhile may have its place.
  const auto place = std::move(place_);
  const auto end = linger(loop_, std::move(socket_), mpa::encodeSetup(reply), place);
  if (place) place->change(end);
}

void PendingAccept::accept(const mpa::SetupFrame& request, AcceptDecision decision) {
  const ConnectionOptions& options = context_->options;
  Agreement agreement;
  agreement.crc = options.crc || request.crc;
  agreement.sameFabric = preamble::sentBy(Transport::iwarp, request.privateData);
  const mpa::Depths own{std::min<std::uint32_t>(options.inboundReads, mpa::kMaxDepth),
                        std::min<std::uint32_t>(options.outboundReads, mpa::kMaxDepth)};
  agreement.depths = mpa::negotiateAsResponder(own, request.enhanced);

  mpa::SetupFrame reply;
  reply.kind = mpa::FrameKind::reply;
  reply.revision = request.revision;
  reply.crc = agreement.crc;
  if (request.enhanced) {
    mpa::Enhanced enhanced;
    enhanced.inboundReads = static_cast<std::uint16_t>(agreement.depths.inbound);
    enhanced.outboundReads = static_cast<std::uint16_t>(agreement.depths.outbound);
    // RFC 6581 section 9.1: of the ready-to-receive frames that are offered one is chosen, the cheapest first.
    if (request.enhanced->peerToPeer) {
      enhanced.peerToPeer = true;
      enhanced.writeReady = request.enhanced->writeReady;
      enhanced.readReady = !enhanced.writeReady && request.enhanced->readReady;
      enhanced.sendReady = !enhanced.writeReady && !enhanced.readReady && request.enhanced->sendReady;
      agreement.readySend = enhanced.sendReady;
    }
    reply.enhanced = enhanced;
  }
  reply.privateData = preamble::present(request.privateData) ? preamble::prepend(Transport::iwarp, decision.privateData)
                                                             : decision.privateData;

  const auto bytes = mpa::encodeSetup(reply);
  leaveLoop();
  place_.reset();
  ++context_->connections;
  std::shared_ptr<void> slot(context_.get(), [context = context_](void*) { --context->connections; });
  const ssize_t sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  const int number = errno;
  auto connection = std::make_shared<IwarpConnection>(loop_, std::move(socket_), peer_, options,
                                                      std::move(decision.handler), std::move(slot));
  if (sent != static_cast<ssize_t>(bytes.size())) {
    return connection->startBroken({ErrorCode::connectionBroken, "the connection broke during the set-up", number});
  }
  connection->startAccepted(agreement, preamble::strip(request.privateData));
}

}  // namespace rdmacp::fabric::iwarp
