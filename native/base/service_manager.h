// service_manager.h -- tells the service manager (systemd) how this process is: sd_notify(3) without libsystemd.
#pragma once

#include <string_view>

#include "base/result.h"

namespace rdmacp {

// Sends one datagram of assignments such as "READY=1\nSTATUS=serving" to `address`, the value of $NOTIFY_SOCKET: a path,
// or a name in the abstract namespace that begins with '@'. Never waits. Any thread.
// invalidArgument: no such address can be. systemError: nobody listens there, or its queue is full.
Status notifyServiceManager(std::string_view address, std::string_view state);

}  // namespace rdmacp
