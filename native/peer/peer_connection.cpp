// peer_connection.cpp -- set-up, proofs, the life and the end of a connection. The steps: peer_handshake.cpp. Loop thread.
#include "peer/peer_connection.h"

#include <algorithm>
#include <utility>

#include "protocol/messages.h"

namespace rdmacp::peer {

namespace {

constexpr milliseconds kFarewellTime{300};
constexpr std::uint32_t kMessagesOnTheWay = 8;
// A block that is written every few milliseconds is not torn so often in a row.
constexpr int kReads = 16;

Error failure(ErrorCode code, const std::string& what) {
  return {code, what, 0};
}

Error unproved() {
  return failure(ErrorCode::unauthenticated,
                 "the partner did not prove that it knows the secret and the name of this pair; "
                 "give both ends the same");
}

ErrorCode knownCode(ErrorCode code) {
  return code != ErrorCode::ok && code <= kLastErrorCode ? code : ErrorCode::protocolViolation;
}

std::string range(std::uint16_t low, std::uint16_t high) {
  return low == high ? std::to_string(low) : std::to_string(low) + " to " + std::to_string(high);
}

}  // namespace

PeerConnection::PeerConnection(const PeerContext& context, ConnectionOwner& owner)
    : context_(context), owner_(owner), connecting_(true) {
  acquaintance_.connecting = {context.versionMin, context.versionMax, context.bootId, randomIdentity(), {}};
  acquaintance_.connecting.ticket = ticketOf(context.key, acquaintance_.connecting);
}

PeerConnection::PeerConnection(const PeerContext& context, ConnectionOwner& owner, const Introduction& partner,
                               std::uint16_t version)
    : context_(context), owner_(owner), connecting_(false), version_(version), partner_(partner.bootId) {
  acquaintance_.connecting = partner;
  acquaintance_.accepting = {version, version, context.bootId, randomIdentity(), {}};
}

template <class Do>
void PeerConnection::later(milliseconds delay, Do action) {
  context_.loop.after(delay, [weak = weak_from_this(), action] {
    const auto self = weak.lock();
    if (self && !self->over()) action(*self);
  });
}

void PeerConnection::startTimer() {
  timer_ = context_.loop.after(context_.handshakeTimeout, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->handshakeTimePassed();
  });
}

Status PeerConnection::connect(const fabric::SocketAddress& address) {
  fabric::ConnectionOptions options;
  options.maxMessage = kMaxMessage;
  options.receiveDepth = kMessagesOnTheWay;
  options.setupTimeout = context_.handshakeTimeout;
  auto connection =
      context_.fabric.connect(address, options, encode(acquaintance_.connecting), context_.loop, shared_from_this());
  if (!connection) return connection.error();
  connection_ = connection.value().get();
  startTimer();
  return {};
}

void PeerConnection::onEstablished(fabric::Connection& connection, fabric::ConstBytes privateData) {
  connection_ = &connection;
  established_ = true;
  if (over()) return connection.fence([] {});
  stage_ = Stage::proving;
  if (!connecting_) return startTimer();
  if (Status used = useAcceptData(privateData); !used) return fail(used.error(), Farewell::tell);
  send(encode(Proof{version_, proofOf(context_.key, acquaintance_)}), context_.stepTimeout);
}

Status PeerConnection::useAcceptData(fabric::ConstBytes privateData) {
  const auto accepted = parseIntroduction(privateData);
  if (!accepted) return accepted.error();
  acquaintance_.accepting = accepted.value();
  version_ = accepted.value().versionMax;
  if (accepted.value().versionMin != version_ || version_ < context_.versionMin || version_ > context_.versionMax) {
    return failure(ErrorCode::versionMismatch, "the partner chose version " +
                                                   range(accepted.value().versionMin, version_) + " of " +
                                                   range(context_.versionMin, context_.versionMax));
  }
  partner_ = accepted.value().bootId;
  if (partner_ == context_.bootId) {
    return failure(ErrorCode::invalidArgument, "the partner's address leads back to this process");
  }
  return {};
}

void PeerConnection::onMessage(fabric::Connection& /*connection*/, fabric::ConstBytes message) {
  if (over()) return;
  if (Status received = receive(message); !received) fail(received.error(), Farewell::tell);
}

Status PeerConnection::receive(fabric::ConstBytes message) {
  // What is no message of the data protocol is one of ours, or nobody's.
  if (const auto header = protocol::parseHeader(message);
      header && header.value().type == protocol::MessageType::refuse) {
    const auto refuse = protocol::parseRefuse(message);
    if (!refuse) return refuse.error();
    const ErrorCode code = knownCode(refuse.value().code);
    fail(failure(code, "the partner refused" + (refuse.value().text.empty() ? "" : ": " + refuse.value().text)),
         Farewell::none);
    return {};
  }
  if (stage_ != Stage::proving) return failure(ErrorCode::protocolViolation, "an unexpected message");
  return connecting_ ? useOffer(message) : useProof(message);
}

Status PeerConnection::useOffer(fabric::ConstBytes message) {
  const auto offer = parseOffer(message);
  if (!offer) return offer.error();
  if (offer.value().version != version_) return failure(ErrorCode::protocolViolation, "an offer of another version");
  if (!sameProof(offer.value().proof, proofOf(context_.key, acquaintance_, offer.value()))) return unproved();
  if (Status window = checkWindow(offer.value().status, kStatusBytes, "status block"); !window) return window;
  if (Status window = checkWindow(offer.value().mailbox, kMailboxBytes, "mailbox"); !window) return window;
  partnerStatus_ = offer.value().status;
  partnerMailbox_ = offer.value().mailbox;
  readFirst();
  return {};
}

Status PeerConnection::useProof(fabric::ConstBytes message) {
  const auto proof = parseProof(message);
  if (!proof) return proof.error();
  if (proof.value().version != version_) return failure(ErrorCode::protocolViolation, "a proof of another version");
  if (!sameProof(proof.value().proof, proofOf(context_.key, acquaintance_))) return unproved();
  if (Status admitted = owner_.admit(*this, false); !admitted) return admitted;

  auto mailbox = Area::make(context_.fabric, kMailboxBytes);
  if (!mailbox) return mailbox.error();
  mailbox_ = std::move(mailbox).value();
  const auto status =
      connection_->grant(Area::registration(context_.statusArea), 0, kStatusBytes, fabric::Access::remoteRead);
  if (!status) return status.error();
  const auto mail = connection_->grant(Area::registration(mailbox_), 0, kMailboxBytes, fabric::Access::remoteWrite);
  if (!mail) return mail.error();
  Offer offer{version_, status.value(), mail.value(), {}};
  offer.proof = proofOf(context_.key, acquaintance_, offer);
  stage_ = Stage::introducing;
  send(encode(offer), context_.stepTimeout);
  pollMailbox();
  return {};
}

void PeerConnection::becomeLinked() {
  stage_ = Stage::linked;
  context_.loop.cancel(timer_);
  owner_.onLinked(*this);
  later(context_.probeInterval, [](PeerConnection& self) { self.probe(); });
}

// A partner that does not answer within its deadline ends the connection; nothing else is to be done with the answer.
void PeerConnection::probe() {
  readBlock([weak = weak_from_this()](const Result<StatusBlock>& block) {
    const auto self = weak.lock();
    if (!self || self->over() || !block) return;
    self->later(self->context_.probeInterval, [](PeerConnection& alive) { alive.probe(); });
  });
}

void PeerConnection::readPartner(Answer answer) {
  readBlock(std::move(answer));
}

void PeerConnection::readBlock(Answer answer, int tries) {
  auto work = std::make_unique<Work>();
  work->bytes.resize(kStatusBytes);
  work->answer = answer;
  work->then = [this, answer = std::move(answer), tries](std::span<const std::byte> bytes) {
    useBlock(bytes, answer, tries);
  };
  post(fabric::WorkRequest::Kind::read, partnerStatus_, std::move(work), context_.stepTimeout);
}

void PeerConnection::useBlock(std::span<const std::byte> bytes, const Answer& answer, int tries) {
  auto block = parseStatusBlock(bytes.first<kStatusBytes>(), version_);
  if (block && !block.value() && tries + 1 < kReads) return readBlock(answer, tries + 1);
  Error wrong;
  if (!block) {
    wrong = block.error();
  } else if (!block.value()) {
    wrong = failure(ErrorCode::protocolViolation, "the partner's status block: its checksum does not hold");
  } else if (block.value()->bootId != partner_) {
    wrong = failure(ErrorCode::protocolViolation, "the partner's status block has another boot id than the partner");
  } else {
    return answer(std::move(*block.value()));
  }
  unanswered_.push_back(answer);
  fail(wrong, Farewell::tell);
}

void PeerConnection::send(std::vector<std::byte> message, milliseconds deadline) {
  auto work = std::make_unique<Work>();
  work->bytes = std::move(message);
  post(fabric::WorkRequest::Kind::send, {}, std::move(work), deadline);
}

void PeerConnection::post(fabric::WorkRequest::Kind kind, const fabric::RemoteWindow& window,
                          std::unique_ptr<Work> work, milliseconds deadline) {
  const fabric::LocalSegment segment{work->bytes.data(), work->bytes.size(), nullptr};
  fabric::WorkRequest request;
  request.kind = kind;
  request.id = ++lastWork_;
  request.local = {&segment, 1};
  request.remoteAddress = window.base;
  request.remoteKey = window.key;
  request.deadline = Clock::now() + deadline;
  if (connection_ != nullptr) {
    Work& kept = *works_.emplace(request.id, std::move(work)).first->second;
    const Status posted = connection_->post({&request, 1});
    if (posted) return;
    if (kept.answer) unanswered_.push_back(std::move(kept.answer));
    works_.erase(request.id);
    return fail(posted.error(), Farewell::none);
  }
  if (work->answer) work->answer(failure(ErrorCode::connectionBroken, "the link to the partner is gone"));
}

void PeerConnection::onCompletions(fabric::Connection& /*connection*/,
                                   std::span<const fabric::Completion> completions) {
  for (const fabric::Completion& completion : completions) {
    const auto found = works_.find(completion.id);
    if (found == works_.end()) continue;
    const std::unique_ptr<Work> work = std::move(found->second);
    works_.erase(found);
    if (completion.status != ErrorCode::ok || over()) {
      // Why it is over is said by onClosed, which follows.
      if (work->answer) unanswered_.push_back(std::move(work->answer));
    } else if (work->then) {
      work->then(work->bytes);
    }
  }
}

void PeerConnection::onRejected(fabric::Connection& /*connection*/, fabric::ConstBytes privateData) {
  const auto reject = protocol::parseRejectData(privateData);
  if (failure_) return;
  if (!reject) {
    failure_ = failure(ErrorCode::connectionRefused, "the connection was rejected by somebody else than a peer");
    return;
  }
  const ErrorCode code = knownCode(reject.value().code);
  if (code == ErrorCode::versionMismatch) {
    failure_ = failure(code, "no version of the peer protocol in common: this process speaks " +
                                 range(context_.versionMin, context_.versionMax) + ", the partner speaks " +
                                 range(reject.value().versionMin, reject.value().versionMax) +
                                 "; upgrade the older of the two");
  } else if (code == ErrorCode::protocolViolation) {
    failure_ = failure(code, "the other side takes this process for no peer: is it a unit that listens there?");
  } else if (code == ErrorCode::unauthenticated) {
    failure_ =
        failure(code,
                "the partner has another secret or another name for this pair, and rejected the connection; give "
                "both ends the same");
  } else {
    failure_ = failure(code, "the partner rejected the connection");
  }
}

std::string PeerConnection::stepText() const {
  switch (stage_) {
    case Stage::settingUp:
      return "the set-up of the connection";
    case Stage::proving:
      return connecting_ ? "the partner's answer to this process's proof" : "the partner's proof";
    case Stage::reading:
      return "step 1, reading the partner's status block";
    case Stage::introducing:
      return connecting_ ? "step 2, writing the introduction to the partner's mailbox"
                         : "step 2, the partner's introduction in the mailbox";
    case Stage::awaiting:
      return connecting_ ? "step 3, reading that the partner took the introduction"
                         : "step 4, the partner's confirmation in the mailbox";
    case Stage::confirming:
      return "step 4, writing the confirmation to the partner's mailbox";
    case Stage::linked:
      return "the link to the partner";
    case Stage::ending:
      break;
  }
  return "the end of the link";
}

void PeerConnection::handshakeTimePassed() {
  if (linked() || over()) return;
  if (mailboxTouched()) {
    return fail(failure(ErrorCode::protocolViolation, "what was written to the mailbox is no whole record"),
                Farewell::tell);
  }
  fail(failure(ErrorCode::timedOut,
               "the partner did not answer within " + std::to_string(context_.handshakeTimeout.count()) + " ms"),
       Farewell::tell);
}

void PeerConnection::fail(const Error& reason, Farewell farewell) {
  if (over()) return;
  if (!failure_) failure_ = Error{reason.code, stepText() + ": " + reason.message, reason.systemError};
  stage_ = Stage::ending;
  context_.loop.cancel(timer_);
  if (connection_ == nullptr) return;
  if (farewell == Farewell::none || !established_) return connection_->fence([] {});
  protocol::Refuse refuse;
  refuse.code = reason.code;
  refuse.versionMin = context_.versionMin;
  refuse.versionMax = context_.versionMax;
  refuse.text = failure_->message.substr(0, 256);
  send(protocol::encode(refuse), kFarewellTime);
  close();
}

void PeerConnection::close() {
  if (!failure_) failure_ = failure(ErrorCode::localClosed, "the link was closed by this process");
  stage_ = Stage::ending;
  context_.loop.cancel(timer_);
  if (connection_ == nullptr || std::exchange(closing_, true)) return;
  connection_->close();
  // A read that the partner does not answer would hold it open for longer.
  context_.loop.after(kFarewellTime, [weak = weak_from_this()] {
    const auto self = weak.lock();
    if (self && self->connection_ != nullptr) self->connection_->fence([] {});
  });
}

void PeerConnection::onClosed(fabric::Connection& /*connection*/, const Error& reason) {
  Error why = reason;
  why.message = stepText() + ": " + reason.message;
  if (failure_) why = *failure_;
  stage_ = Stage::ending;
  connection_ = nullptr;
  context_.loop.cancel(timer_);
  works_.clear();
  owner_.onOver(*this, why);
  const auto unanswered = std::exchange(unanswered_, {});
  for (const Answer& answer : unanswered)
    answer(why);
}

}  // namespace rdmacp::peer
