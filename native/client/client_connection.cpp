// client_connection.cpp -- connect, hello and answer of a connection to a unit. Its handler calls run on the event loop's thread.
#include "client/client_connection.h"

#include "client/handshake.h"

namespace rdmacp::client {

ClientConnection::ClientConnection(EventLoop& loop, const ConnectParameters& parameters)
    : loop_(loop), parameters_(parameters) {}

Status ClientConnection::start(fabric::Fabric& fabric, protocol::ConnectionKind kind) {
  const std::vector<std::byte> data = protocol::encode(protocol::ConnectData{kind, parameters_.token});
  auto connection = fabric.connect(parameters_.address, parameters_.options, data, loop_, shared_from_this());
  if (!connection) return connection.error();
  bool failed = false;
  {
    const std::lock_guard lock(mutex_);
    if (over_) return {};
    connection_ = connection.value();
    failed = failure_.has_value();
  }
  if (failed) connection.value()->fence([] {});
  // The fabric's own limit ends with the set-up of its connection; this one covers the answer to the hello too.
  loop_.after(parameters_.options.setupTimeout, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->setupTimePassed();
  });
  return {};
}

void ClientConnection::setupTimePassed() {
  if (stage_ != Stage::connecting && stage_ != Stage::greeted) return;
  fail({ErrorCode::timedOut, "the unit at " + peer() + " did not answer the set-up of a connection within " +
                                 std::to_string(options().setupTimeout.count()) + " ms"});
}

void ClientConnection::onEstablished(fabric::Connection& connection, fabric::ConstBytes /*privateData*/) {
  stage_ = Stage::greeted;
  hello_ = protocol::encode(makeHello(options().maxMessage, connection.canFlush()));
  const fabric::LocalSegment segment{hello_.data(), hello_.size(), nullptr};
  fabric::WorkRequest request;
  request.kind = fabric::WorkRequest::Kind::send;
  request.id = kControl;
  request.local = {&segment, 1};
  request.deadline = Clock::now() + options().setupTimeout;
  if (Status posted = connection.post({&request, 1}); !posted) fail(posted.error());
}

void ClientConnection::onMessage(fabric::Connection& connection, fabric::ConstBytes message) {
  if (Status received = receive(connection, message); !received) fail(received.error());
}

Status ClientConnection::receive(fabric::Connection& connection, fabric::ConstBytes message) {
  const auto header = protocol::parseHeader(message);
  if (!header) return header.error();
  if (header.value().type == protocol::MessageType::refuse) {
    const auto refuse = protocol::parseRefuse(message);
    return refuse ? refusedBy(refuse.value(), peer()) : refuse.error();
  }
  if (Status version = checkVersion(header.value().version); !version) return version;
  if (stage_ == Stage::answered) return onFurther(connection, header.value(), message);
  stage_ = Stage::answered;
  return onAnswer(connection, header.value(), message);
}

void ClientConnection::onRejected(fabric::Connection& /*connection*/, fabric::ConstBytes privateData) {
  const std::lock_guard lock(mutex_);
  if (!failure_) failure_ = rejectedBy(privateData, peer());
}

void ClientConnection::onClosed(fabric::Connection& /*connection*/, const Error& reason) {
  stage_ = Stage::over;
  std::shared_ptr<fabric::Connection> released;
  Error why = reason;
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
    released.swap(connection_);
    if (failure_) why = *failure_;
  }
  onOver(why);
}

std::shared_ptr<fabric::Connection> ClientConnection::connection() const {
  const std::lock_guard lock(mutex_);
  return connection_;
}

void ClientConnection::fail(Error error) {
  std::shared_ptr<fabric::Connection> ended;
  {
    const std::lock_guard lock(mutex_);
    if (!failure_) failure_ = std::move(error);
    ended = connection_;
  }
  if (ended) ended->fence([] {});
}

ErrorCode ClientConnection::codeOf(ErrorCode completion) const {
  if (completion == ErrorCode::ok) return completion;
  const std::lock_guard lock(mutex_);
  return failure_ ? failure_->code : completion;
}

void ClientConnection::closeConnection() {
  if (const auto open = connection()) open->close();
}

}  // namespace rdmacp::client
