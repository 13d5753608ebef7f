// connection_setup.cpp -- how a verbs connection comes to stand, on either side, and its connection manager's events.
#include "fabric/verbs/connection.h"

#include <fcntl.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "fabric/preamble.h"
#include "fabric/verbs/flush_verb.h"
#include "fabric/verbs/read_depths.h"

namespace rdmacp::fabric::verbs {
namespace {

constexpr std::uint32_t kQueuePairDepth = 128;
constexpr std::uint32_t kInlineWanted = 64;
// 7 means for ever. With a timeout of 4.096 us * 2^16 = 0.27 s a peer that is gone is noticed in about two seconds.
constexpr std::uint8_t kRetries = 6;
constexpr std::uint8_t kAckTimeout = 16;
constexpr std::chrono::milliseconds kFirstNudge{10};
constexpr std::chrono::milliseconds kLastNudge{1000};
// How long the reason of an end, a completion, may be behind the news of it: so now and then on rxe of kernel 6.12.
constexpr std::chrono::milliseconds kReasonPatience{20};

SocketAddress addressOf(const sockaddr* address) {
  SocketAddress out;
  out.length = address->sa_family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
  std::memcpy(&out.storage, address, out.length);
  return out;
}

}  // namespace

Status VerbsConnection::connect(const SocketAddress& address, ConstBytes privateData) {
  auto id = channel_->createId(*this);
  if (!id) return id.error();
  peer_ = address;
  privateData_ = preamble::prepend(Transport::verbs, privateData);
  {
    const std::lock_guard lock(mutex_);
    id_ = std::move(id).value();
  }
  self_ = shared_from_this();
  const auto start = [this] {
    startSetupTimer();
    resolve();
  };
  if (!loop().post(start)) {
    self_.reset();
    return Error{ErrorCode::stopped, "the event loop has stopped", 0};
  }
  return {};
}

void VerbsConnection::resolve() {
  auto* to = reinterpret_cast<sockaddr*>(&peer_.storage);
  if (library_.resolveAddress(id_.get(), nullptr, to, static_cast<int>(options_.setupTimeout.count())) != 0) {
    breakWith(unreached("rdma_resolve_addr", errno));
  }
}

// From the start, with another identifier, which is given another local port.
void VerbsConnection::connectAgain() {
  auto id = channel_->createId(*this);
  if (!id) return breakWith(id.error());
  {
    const std::lock_guard lock(mutex_);
    releaseDevice();
    releaseMemory();
    id_ = std::move(id).value();
  }
  resolve();
}

// The code by which a client that would take any transport tries the next one.
Error VerbsConnection::unreached(const char* call, int number) const {
  Error error = verbsError(call, number);
  if (number == ENODEV) error.code = ErrorCode::notSupported;
  error.message += " (" + peer_.text() + "): no RDMA device of this machine reaches the address";
  return error;
}

void VerbsConnection::receiveRequest(IncomingRequest request, AcceptHandler& decider, std::function<void()> released) {
  self_ = shared_from_this();
  released_ = std::move(released);
  request.id->context = static_cast<CmHandler*>(this);
  peer_ = addressOf(rdma_get_peer_addr(request.id.get()));
  const ReadDepths offered{request.responderResources, request.initiatorDepth};
  ConnectionRequest asked;
  asked.privateData = preamble::strip(request.privateData);
  asked.peer = peer_;
  asked.sameProduct = preamble::present(request.privateData);
  AcceptDecision decision = decider.onRequest(asked);
  {
    const std::lock_guard lock(mutex_);
    id_ = std::move(request.id);
  }
  const std::vector<std::byte> answer = preamble::prepend(Transport::verbs, decision.privateData);
  if (!decision.accept) {
    // No handler was named, so nobody is told of the end.
    (void)library_.reject(id_.get(), answer.data(), static_cast<std::uint8_t>(answer.size()));
    breakWith(Error{ErrorCode::connectionRefused, "rejected", 0});
    return;
  }
  handler_ = std::move(decision.handler);
  privateData_.assign(asked.privateData.begin(), asked.privateData.end());
  state_ = State::accepting;
  startSetupTimer();
  if (Status prepared = prepareQueuePair(); !prepared) {
    (void)library_.reject(id_.get(), nullptr, 0);
    breakWith(prepared.error());
    return;
  }
  rdma_conn_param accept = parameters(answer);
  const ReadDepths accepted = acceptedDepths({accept.responder_resources, accept.initiator_depth}, offered);
  accept.responder_resources = accepted.responderResources;
  accept.initiator_depth = accepted.initiatorDepth;
  outboundReads_ = accept.initiator_depth;
  if (library_.accept(id_.get(), &accept) != 0) return breakWith(verbsError("rdma_accept", errno));
  handler_->onAccepted(*this);
}

void VerbsConnection::startSetupTimer() {
  setupTimer_ = loop().after(options_.setupTimeout, [this] {
    setupTimer_ = 0;
    breakWith(Error{
        ErrorCode::timedOut,
        "no RDMA connection with " + peer_.text() + " within " + std::to_string(options_.setupTimeout.count()) + " ms",
        0});
  });
}

Status VerbsConnection::prepareQueuePair() {
  auto device = devices_->find(id_->verbs);
  if (!device) return device.error();
  device_ = std::move(device).value();
  const ibv_device_attr& limits = device_->limits();
  ibv_context* context = device_->context();

  ibv_pd* domain = device_->sharedDomain();
  if (domain == nullptr) {
    ProtectionDomain own(library_.allocPd(context), {&library_});
    if (own == nullptr) return verbsError("ibv_alloc_pd", errno);
    domain = own.get();
    ownDomain_ = std::make_shared<ProtectionDomain>(std::move(own));
  }
  completionChannel_ = CompletionChannel(library_.createCompChannel(context), {&library_});
  if (completionChannel_ == nullptr) return verbsError("ibv_create_comp_channel", errno);
  const int fd = completionChannel_->fd;
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);

  const auto maxWork = static_cast<std::uint32_t>(std::max(limits.max_qp_wr, 16));
  const std::uint32_t sends = std::min(kQueuePairDepth, maxWork);
  const std::uint32_t receives = std::min(options_.receiveDepth, maxWork);
  for (auto [queue, work] : {std::pair{&sentQueue_, sends}, {&receivedQueue_, receives}}) {
    const int entries = std::min(static_cast<int>(work) + 16, limits.max_cqe);
    *queue = CompletionQueue(library_.createCq(context, entries, nullptr, completionChannel_.get(), 0), {&library_});
    if (*queue == nullptr) return verbsError("ibv_create_cq", errno);
  }

  ibv_qp_init_attr attributes{};
  attributes.qp_type = IBV_QPT_RC;
  attributes.send_cq = sentQueue_.get();
  attributes.recv_cq = receivedQueue_.get();
  attributes.cap.max_send_wr = sends;
  attributes.cap.max_recv_wr = receives;
  attributes.cap.max_send_sge = static_cast<std::uint32_t>(std::clamp(limits.max_sge, 1, 16));
  attributes.cap.max_recv_sge = 1;
  attributes.cap.max_inline_data = kInlineWanted;
  if (Status created = createQueuePair(domain, attributes); !created) return created;
  watch_ = device_->watch({id_->qp->qp_num, sentQueue_.get(), receivedQueue_.get(), &loop(),
                           [weak = weak_from_this()](const Error& reason) {
                             if (const auto self = weak.lock()) self->endedByDevice(reason);
                           }});

  TransmitQueue::Limits transmitLimits;
  transmitLimits.depth = sends;
  transmitLimits.segments = attributes.cap.max_send_sge;
  transmitLimits.readSegments = static_cast<std::uint32_t>(std::clamp(limits.max_sge_rd, 1, 16));
  transmitLimits.inlineBytes = attributes.cap.max_inline_data;
  transmitLimits.messageBytes = device_->maxMessage(id_->port_num);
  auto transmit = std::make_unique<TransmitQueue>(device_, domain, sentQueue_.get(), transmitLimits);
  transmit->attach(id_->qp);

  auto mapping = Mapping::make(std::size_t{receives} * options_.maxMessage);
  if (!mapping) return mapping.error();
  receiveMemory_ = std::move(mapping).value();
  auto registration = registerOn(library_, domain, receiveMemory_.memory(), IBV_ACCESS_LOCAL_WRITE);
  if (!registration) return registration.error();
  receiveRegistration_ = std::move(registration).value();
  for (std::uint32_t i = 0; i < receives; ++i) {
    if (Status posted = postReceive(i); !posted) return posted;
  }
  if (Status asked = arm(); !asked) return asked;
  if (Status added = loop().add(fd, EPOLLIN, this); !added) return added;

  std::uint8_t timeout = kAckTimeout;
  // Not known to every connection manager; librdmacm's own time-out (19, 2.1 s a try) is then what counts.
  (void)library_.setOption(id_.get(), RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &timeout, sizeof timeout);
  const std::lock_guard lock(mutex_);
  transmit_ = std::move(transmit);
  return {};
}

// With all that is wished for, and without what the device does not give.
Status VerbsConnection::createQueuePair(ibv_pd* domain, ibv_qp_init_attr& attributes) {
  const ibv_qp_init_attr wished = attributes;
  if (device_->flushes()) {
    canFlush_ = flush_verb::createQueuePair(library_, id_.get(), domain, attributes) == 0;
    if (canFlush_) return {};
    attributes = wished;
  }
  if (library_.createQp(id_.get(), domain, &attributes) == 0) return {};
  attributes = wished;
  attributes.cap.max_inline_data = 0;
  if (library_.createQp(id_.get(), domain, &attributes) != 0) return verbsError("rdma_create_qp", errno);
  return {};
}

rdma_conn_param VerbsConnection::parameters(ConstBytes privateData) const {
  rdma_conn_param parameters{};
  parameters.private_data = privateData.data();
  parameters.private_data_len = static_cast<std::uint8_t>(privateData.size());
  const auto within = [](std::uint32_t wanted, int most) {
    return static_cast<std::uint8_t>(
        std::min<std::uint32_t>(wanted, static_cast<std::uint32_t>(std::clamp(most, 1, 255))));
  };
  parameters.responder_resources = within(options_.inboundReads, device_->limits().max_qp_rd_atom);
  parameters.initiator_depth = within(options_.outboundReads, device_->limits().max_qp_init_rd_atom);
  parameters.retry_count = kRetries;
  parameters.rnr_retry_count = kRetries;
  return parameters;
}

void VerbsConnection::startConnect() {
  if (Status prepared = prepareQueuePair(); !prepared) return breakWith(prepared.error());
  rdma_conn_param connect = parameters(privateData_);
  outboundReads_ = connect.initiator_depth;
  if (library_.connect(id_.get(), &connect) == 0) return;
  // Where the kernel connects at once, as for iWARP, the answer of the network is here already.
  const int number = errno;
  // Of TCP's ports: taken, or used with the same peer a moment ago.
  const bool portTaken = number == EADDRINUSE || number == EADDRNOTAVAIL;
  if (portTaken && --portTries_ > 0) return connectAgain();
  Error error = verbsError("rdma_connect", number);
  const bool refused = number == ECONNREFUSED || number == EHOSTUNREACH || number == ENETUNREACH ||
                       number == ECONNRESET || number == ETIMEDOUT;
  if (refused) error.code = ErrorCode::connectionRefused;
  error.message += " (" + peer_.text() + ")";
  breakWith(std::move(error));
}

void VerbsConnection::establish(ConstBytes privateData) {
  state_ = State::established;
  loop().cancel(setupTimer_);
  setupTimer_ = 0;
  {
    const std::lock_guard lock(mutex_);
    open_ = !closing_;
  }
  handler_->onEstablished(*this, privateData);
}

// As in user-space iWARP (IwarpConnection::nudgeSoon): a siw that accepts leaves what comes too early until more comes.
void VerbsConnection::nudgeSoon(std::chrono::milliseconds delay) {
  loop().after(delay, [weak = weak_from_this(), delay] {
    const auto self = weak.lock();
    if (self == nullptr || self->state_ != State::established) return;
    Status nudged;
    {
      const std::lock_guard lock(self->mutex_);
      if (self->transmit_ != nullptr) nudged = self->transmit_->nudge();
    }
    if (!nudged) return self->breakWith(nudged.error());
    if (delay < kLastNudge) self->nudgeSoon(delay * 10);
  });
}

// A peer that refused something has said so, before it ended the connection.
void VerbsConnection::endedByPeer() {
  if (disconnecting_) return breakWith(Error{ErrorCode::localClosed, "closed by this side"});
  const Error ended{ErrorCode::connectionClosed, "the peer ended the connection", 0};
  bool asked = false;
  {
    const std::lock_guard lock(mutex_);
    asked = transmit_ != nullptr && transmit_->requests() > 0;
  }
  if (!asked || device_->iwarp()) return breakWith(ended);
  loop().after(kReasonPatience, [weak = weak_from_this(), ended] {
    if (const auto self = weak.lock()) self->breakWith(ended);
  });
}

// The completions, and the peer's own words, say more exactly what has happened, if they come.
void VerbsConnection::endedByDevice(const Error& reason) {
  if (state_ == State::closed) return;
  const auto keep = shared_from_this();
  pollCompletions();
  loop().after(kReasonPatience, [weak = weak_from_this(), reason] {
    if (const auto self = weak.lock()) self->breakWith(reason);
  });
}

void VerbsConnection::onEvent(const CmEvent& event) {
  const auto keep = shared_from_this();
  const auto refused = [&](ErrorCode code) {
    breakWith(Error{code,
                    std::string(library_.eventText(event.type)) + " for " + peer_.text() + " (status " +
                        std::to_string(event.status) + ")",
                    event.status < 0 ? -event.status : 0});
  };
  switch (event.type) {
    case RDMA_CM_EVENT_ADDR_RESOLVED:
      if (library_.resolveRoute(id_.get(), static_cast<int>(options_.setupTimeout.count())) != 0) {
        breakWith(unreached("rdma_resolve_route", errno));
      }
      return;
    case RDMA_CM_EVENT_ROUTE_RESOLVED:
      return startConnect();
    case RDMA_CM_EVENT_ESTABLISHED:
      if (state_ == State::resolving) {
        outboundReads_ = agreedInitiatorDepth(static_cast<std::uint8_t>(outboundReads_.load()), event.initiatorDepth);
        if (device_->iwarp()) nudgeSoon(kFirstNudge);
        establish(preamble::strip(event.privateData));
        return pollCompletions();  // what came before was left in the queue
      }
      if (state_ == State::accepting) establish(privateData_);
      return;
    case RDMA_CM_EVENT_REJECTED: {
      // Where nobody listens the manager rejects by itself, with zeros for private data.
      if (handler_ != nullptr && preamble::present(event.privateData)) {
        handler_->onRejected(*this, preamble::strip(event.privateData));
      }
      return refused(ErrorCode::connectionRefused);
    }
    case RDMA_CM_EVENT_ADDR_ERROR:
    case RDMA_CM_EVENT_ROUTE_ERROR:
    case RDMA_CM_EVENT_CONNECT_ERROR:
    case RDMA_CM_EVENT_UNREACHABLE:
      return refused(ErrorCode::connectionRefused);
    case RDMA_CM_EVENT_DISCONNECTED:
      // What had arrived before the end is still in the completion queue.
      if (state_ == State::established || state_ == State::draining) pollCompletions();
      return endedByPeer();
    case RDMA_CM_EVENT_DEVICE_REMOVAL:
      if (device_ != nullptr) device_->departs();
      return refused(ErrorCode::connectionBroken);
    case RDMA_CM_EVENT_TIMEWAIT_EXIT:
    case RDMA_CM_EVENT_ADDR_CHANGE:
    case RDMA_CM_EVENT_CONNECT_REQUEST:
    case RDMA_CM_EVENT_CONNECT_RESPONSE:
    case RDMA_CM_EVENT_MULTICAST_JOIN:
    case RDMA_CM_EVENT_MULTICAST_ERROR:
      return;
  }
}

}  // namespace rdmacp::fabric::verbs
