// pending_accept.h -- a connection request that is being received: reads the MPA request, asks the AcceptHandler, sends
// the reply. A peer that dawdles is cut off at the set-up timeout, and after kRequestPatience when it has not asked for anything
// by then: a request follows the connect without a pause.
//
// Loop thread of the connection to be. Owns the socket until it becomes a connection's.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "base/file_descriptor.h"
#include "fabric/fabric.h"
#include "fabric/iwarp/mpa.h"
#include "fabric/iwarp/waiting_room.h"
#include "fabric/unheard.h"

namespace rdmacp::fabric::iwarp {

inline constexpr std::chrono::milliseconds kRequestPatience{2000};

// What the listener and its half-open connections share.
struct AcceptContext {
  ConnectionOptions options;
  std::shared_ptr<AcceptHandler> handler;
  std::uint32_t maxConnections = 0;
  std::atomic<std::uint32_t> connections{0};  // accepted
  std::atomic<bool> stopped{false};
  UnheardListener* unheard = nullptr;  // the handler, if it wants to know

  void tellUnheard() const {
    if (unheard != nullptr && !stopped) unheard->onUnheard();
  }
};

class PendingAccept final : public FdHandler, public std::enable_shared_from_this<PendingAccept> {
 public:
  PendingAccept(EventLoop& loop, FileDescriptor socket, const SocketAddress& peer,
                std::shared_ptr<AcceptContext> context);
  // Before start. It is asked to leave, on any thread, when others come and there is no room: then it is heard if it has asked
  // for something by now, and goes if not.
  void wait(WaitingRoom& room);
  void start();
  void onReady(std::uint32_t events) override;

 private:
  void listen();
  void leave();
  void decide(const mpa::SetupFrame& request);
  void accept(const mpa::SetupFrame& request, AcceptDecision decision);
  void reject(const mpa::SetupFrame& request, bool markers, std::vector<std::byte> privateData);
  void end();
  void leaveLoop();

  EventLoop& loop_;
  FileDescriptor socket_;
  const SocketAddress peer_;
  std::shared_ptr<AcceptContext> context_;
  std::shared_ptr<WaitingRoom::Place> place_;
  std::vector<std::byte> received_;
  bool started_ = false;
  EventLoop::TimerId timer_ = 0;
};

}  // namespace rdmacp::fabric::iwarp
