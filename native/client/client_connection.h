// client_connection.h -- one connection to a unit up to its answer: connect with the token, hello, and then grant, welcome or refusal.
//
// What data and session channels have in common. Handler calls come on the loop's thread; start, connection, fail,
// closeConnection and abortConnection are for any. A connection is kept alive by the fabric until onClosed has returned.
#pragma once

#include <memory>
#include <mutex>
#include <optional>

#include "client/channel.h"

namespace rdmacp::client {

class ClientConnection : public fabric::ConnectionHandler, public std::enable_shared_from_this<ClientConnection> {
 public:
  // WorkRequest ids below are the subclass's own; this one marks hello and whatever else nobody waits for.
  static constexpr std::uint64_t kControl = 0;

  ClientConnection(EventLoop& loop, const ConnectParameters& parameters);
  ~ClientConnection() override = default;
  ClientConnection(const ClientConnection&) = delete;
  ClientConnection& operator=(const ClientConnection&) = delete;

  Status start(fabric::Fabric& fabric, protocol::ConnectionKind kind);

  void onEstablished(fabric::Connection& connection, fabric::ConstBytes privateData) final;
  void onMessage(fabric::Connection& connection, fabric::ConstBytes message) final;
  void onRejected(fabric::Connection& connection, fabric::ConstBytes privateData) final;
  void onClosed(fabric::Connection& connection, const Error& reason) final;

 protected:
  // The first message that is no refusal; its version has been checked.
  virtual Status onAnswer(fabric::Connection& connection, protocol::MessageHeader header,
                          fabric::ConstBytes message) = 0;
  virtual Status onFurther(fabric::Connection& connection, protocol::MessageHeader header,
                           fabric::ConstBytes message) = 0;
  virtual void onOver(const Error& reason) = 0;

  // Null once it is over.
  std::shared_ptr<fabric::Connection> connection() const;
  // Ends the connection at once; the first failure becomes the reason that onOver gets.
  void fail(Error error);
  // What to report for a work request: after a failure of ours the fabric says localClosed.
  ErrorCode codeOf(ErrorCode completion) const;
  void closeConnection();

  EventLoop& loop() const { return loop_; }
  const fabric::ConnectionOptions& options() const { return parameters_.options; }
  std::string peer() const { return parameters_.address.text(); }

 private:
  enum class Stage : std::uint8_t { connecting, greeted, answered, over };

  Status receive(fabric::Connection& connection, fabric::ConstBytes message);
  void setupTimePassed();

  EventLoop& loop_;
  const ConnectParameters parameters_;
  std::vector<std::byte> hello_;     // sent from here
  Stage stage_ = Stage::connecting;  // loop thread

  mutable std::mutex mutex_;
  std::shared_ptr<fabric::Connection> connection_;
  std::optional<Error> failure_;
  bool over_ = false;
};

}  // namespace rdmacp::client
