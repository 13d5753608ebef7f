// data_connection.cpp -- grant and flush; the messages are those of docs/data-protocol.md.
#include "unit/data_connection.h"

#include <string>
#include <utility>

namespace rdmacp::unit {
namespace {

constexpr std::uint32_t kPromiseVisible = 1;
constexpr std::uint32_t kPromiseDurable = 2;

}  // namespace

void DataConnection::bind(std::shared_ptr<Region> region, std::shared_ptr<RegionMember> member) {
  region_ = std::move(region);
  member_ = std::move(member);
}

Status DataConnection::onHello(fabric::Connection& connection) {
  auto registration = region_->memory().registration(fabric_);
  if (!registration) return registration.error();
  auto work = connection.groundwork(registration.value(), member_->binding.rights);
  if (!work) return grant(connection, registration.value());
  preparing_ = &connection;
  // Its turn may come after the end of the connection, and then nobody needs it.
  auto wanted = [ref = ref(), work = std::move(work)]() -> Status {
    if (!ref->alive()) return Error{ErrorCode::connectionClosed, "the connection has ended", 0};
    return work();
  };
  const auto self = std::static_pointer_cast<DataConnection>(shared_from_this());
  const bool taken =
      unit().registrar.post(region_.get(), std::move(wanted),
                            [self, memory = registration.value(), &loop = connection.loop()](const Status& status) {
                              (void)loop.post([self, memory, status] { self->onPrepared(memory, status); });
                            });
  if (taken) return {};
  preparing_ = nullptr;
  return Error{ErrorCode::systemError, "no thread could be started to register the region", 0};
}

void DataConnection::onPrepared(const std::shared_ptr<const fabric::MemoryRegion>& registration,
                                const Status& prepared) {
  auto* const connection = std::exchange(preparing_, nullptr);
  // Alive as seen on its loop: the connection is there.
  if (!ref()->alive()) return;
  const auto granted = prepared ? grant(*connection, registration) : prepared;
  if (!granted) refuse(granted.error());
}

Status DataConnection::grant(fabric::Connection& connection,
                             const std::shared_ptr<const fabric::MemoryRegion>& registration) {
  const bool flush = peerHas(protocol::kCapabilityFlushVerb) && unit().medium->persistentMemory();
  const auto granted = region_->grant(*member_, connection, registration, flush);
  if (!granted) return granted.error();
  epoch_ = granted.value().epoch;

  const auto& options = unit().options;
  protocol::Grant message;
  message.capabilities = granted.value().flush ? protocol::kCapabilityFlushVerb : 0;
  message.remoteKey = granted.value().window.key;
  message.base = granted.value().window.base;
  message.length = granted.value().window.length;
  message.epoch = epoch_;
  message.unitStart = options.unitStart;
  message.rights = static_cast<std::uint32_t>(member_->binding.rights);
  message.credits = options.credits;
  message.maxMessage = protocol::kMaxMessage;
  message.promises = kPromiseVisible | (unit().medium->durable() ? kPromiseDurable : 0);
  message.handle = member_->binding.handle;
  // A post fails only when the connection is ending, and then its own end follows.
  (void)send(protocol::encode(message, version()));
  return {};
}

Status DataConnection::onRequest(protocol::MessageType type, fabric::ConstBytes message) {
  if (preparing_ != nullptr) return Error{ErrorCode::protocolViolation, "a message before the grant", 0};
  if (type != protocol::MessageType::flush) {
    return Error{ErrorCode::protocolViolation, "a data connection takes flush messages only", 0};
  }
  const auto flush = protocol::parseFlush(message);
  if (!flush) return flush.error();
  return queueFlush(flush.value());
}

Status DataConnection::queueFlush(const protocol::Flush& flush) {
  if (flushesUnderWay_.fetch_add(1) >= unit().options.credits) {
    return Error{ErrorCode::protocolViolation,
                 "more than " + std::to_string(unit().options.credits) + " flush messages are under way", 0};
  }
  auto asked = ranges(flush);
  if (!asked) {
    answer(flush.request, asked.error());
    return {};
  }
  const auto self = std::static_pointer_cast<DataConnection>(shared_from_this());
  FlushJob job;
  job.region = region_;
  job.ranges = std::move(asked).value();
  job.wanted = [self] { return self->ref()->alive(); };
  job.answer = [self, request = flush.request](const Status& status) { self->answer(request, status); };
  if (!unit().flushes.push(std::move(job))) answer(flush.request, Error{ErrorCode::stopped, "the unit is stopping", 0});
  return {};
}

Result<std::vector<media::ByteRange>> DataConnection::ranges(const protocol::Flush& flush) const {
  if (!mayWrite(member_->binding.rights)) {
    return Error{ErrorCode::remoteAccess, "a connection without the right to write has nothing to flush", 0};
  }
  if (!unit().medium->durable()) return Error{ErrorCode::notDurable, "the pool's medium cannot keep anything", 0};
  const auto length = region_->memory().length();
  std::vector<media::ByteRange> checked;
  for (const auto& range : flush.ranges) {
    if (range.offset > length || range.length > length - range.offset) {
      return Error{ErrorCode::outOfBounds, "a flush reaches beyond its region", 0};
    }
    checked.push_back({range.offset, range.length});
  }
  return checked;
}

void DataConnection::answer(std::uint64_t request, const Status& status) {
  ++unit().counters.flushes;
  if (!status) ++unit().counters.flushesFailed;
  protocol::Flushed message;
  message.request = request;
  message.code = status.error().code;
  message.method = status ? protocol::kMethodUnitFlush : protocol::kMethodNone;
  message.systemError = status.error().systemError;
  message.epoch = epoch_;
  // Given back first: the peer may use the credit as soon as it has the answer.
  flushesUnderWay_.fetch_sub(1);
  (void)send(protocol::encode(message, version()));
}

void DataConnection::onEnd() {
  const bool alone = unit().sessions.removeData(member_->binding.session, ref());
  region_->forget(member_);
  if (alone) unit().sessionAlone();
}

}  // namespace rdmacp::unit
