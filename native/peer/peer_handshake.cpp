// peer_handshake.cpp -- the four one-sided steps of a peer connection, and what the accepting side does of them. Loop
// thread.
#include <algorithm>
#include <utility>

#include "peer/peer_connection.h"

namespace rdmacp::peer {

namespace {

constexpr milliseconds kPollInterval{1};

Error violation(const std::string& what) {
  return {ErrorCode::protocolViolation, "the record in the mailbox: " + what, 0};
}

}  // namespace

void PeerConnection::readFirst() {
  stage_ = Stage::reading;
  readBlock([weak = weak_from_this()](const Result<StatusBlock>& block) {
    const auto self = weak.lock();
    if (!self || self->over() || !block) return;
    self->steps_[0] = Clock::now();
    self->introduce();
  });
}

void PeerConnection::introduce() {
  stage_ = Stage::introducing;
  writeMail(MailStep::introduction, [this] {
    steps_[1] = Clock::now();
    stage_ = Stage::awaiting;
    awaitGreeting();
  });
}

void PeerConnection::awaitGreeting() {
  readBlock([weak = weak_from_this()](const Result<StatusBlock>& block) {
    const auto self = weak.lock();
    if (!self || self->over() || !block) return;
    if (block.value().greeted == self->acquaintance_.connecting.nonce && block.value().greetedStep >= 1) {
      self->steps_[2] = Clock::now();
      return self->confirm();
    }
    self->context_.loop.after(kPollInterval, [weak] {
      const auto still = weak.lock();
      if (still && !still->over()) still->awaitGreeting();
    });
  });
}

void PeerConnection::confirm() {
  if (!owner_.mayConfirm(*this)) {
    return fail({ErrorCode::exists, "another connection of the two was faster", 0}, Farewell::tell);
  }
  stage_ = Stage::confirming;
  writeMail(MailStep::confirmation, [this] {
    // A completed write says little; a read behind it shows that it was placed.
    readBlock([weak = weak_from_this()](const Result<StatusBlock>& block) {
      const auto self = weak.lock();
      if (!self || self->over() || !block) return;
      self->steps_[3] = Clock::now();
      self->becomeLinked();
    });
  });
}

void PeerConnection::writeMail(MailStep step, std::function<void()> then) {
  MailboxRecord record;
  record.version = version_;
  record.step = step;
  record.sender = context_.bootId;
  record.receiver = partner_;
  record.connection = acquaintance_.connecting.nonce;
  if (ownStatus_.length == 0) {
    auto granted =
        connection_->grant(Area::registration(context_.statusArea), 0, kStatusBytes, fabric::Access::remoteRead);
    if (!granted) return fail(granted.error(), Farewell::none);
    ownStatus_ = granted.value();
  }
  record.status = ownStatus_;
  const auto bytes = encode(record);
  auto work = std::make_unique<Work>();
  work->bytes.assign(bytes.begin(), bytes.end());
  work->then = [then = std::move(then)](std::span<const std::byte>) { then(); };
  post(fabric::WorkRequest::Kind::write, partnerMailbox_, std::move(work), context_.stepTimeout);
}

// One-sided writes give no notice, so the accepting side looks, for as long as the handshake may take.
void PeerConnection::pollMailbox() {
  if (over() || linked()) return;
  if (Status taken = takeMail(); !taken) return fail(taken.error(), Farewell::tell);
  if (over() || linked()) return;
  context_.loop.after(kPollInterval, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->pollMailbox();
  });
}

// A device may be placing while we look: what is checked is a copy.
Status PeerConnection::takeMail() {
  std::array<std::byte, kMailboxBytes> copy{};
  std::ranges::copy(mailbox_->bytes(), copy.begin());
  const auto parsed = parseMailboxRecord(copy, version_);
  if (!parsed) return parsed.error();
  if (!parsed.value()) return {};
  const MailboxRecord& record = *parsed.value();
  if (Status checked = checkMail(record); !checked) return checked;
  if (stage_ == Stage::introducing) {
    if (record.step != MailStep::introduction) return violation("a confirmation before the introduction");
    if (Status admitted = owner_.admit(*this, true); !admitted) return admitted;
    partnerStatus_ = record.status;
    stage_ = Stage::awaiting;
    owner_.greet(record.connection, MailStep::introduction);
  } else if (record.step == MailStep::confirmation) {
    owner_.greet(record.connection, MailStep::confirmation);
    becomeLinked();
  }
  return {};
}

Status PeerConnection::checkMail(const MailboxRecord& record) const {
  if (record.sender != partner_) return violation("it is of another sender than the connection");
  if (record.receiver != context_.bootId) return violation("it is for another process");
  if (record.connection != acquaintance_.connecting.nonce) return violation("it is of another connection");
  return {};
}

bool PeerConnection::mailboxTouched() const {
  if (!mailbox_ || stage_ != Stage::introducing) return false;
  const auto bytes = mailbox_->bytes();
  return std::any_of(bytes.begin(), bytes.end(), [](std::byte byte) { return byte != std::byte{0}; });
}

}  // namespace rdmacp::peer
