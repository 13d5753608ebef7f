// listener.h -- a listening socket: accepts on the first loop and spreads the connections over all.
//
// Any thread may end it. Owns the listening socket and a spare descriptor for the case that there are no more.
#pragma once

#include <memory>
#include <span>

#include "fabric/fabric.h"

namespace rdmacp::fabric::iwarp {

Result<std::unique_ptr<Listener>> startListener(const SocketAddress& address, const ListenOptions& options,
                                                std::span<EventLoop* const> loops,
                                                std::shared_ptr<AcceptHandler> handler);

}  // namespace rdmacp::fabric::iwarp
