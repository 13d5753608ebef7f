// linger.h -- sees a socket off: sends what must still go out (a Terminate, a reject), says end of stream, and takes
// what the peer still sends without looking at it, so that no reset overtakes the last words. A second at most.
//
// Loop thread. Owns the socket.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "base/file_descriptor.h"
#include "fabric/event_loop.h"

namespace rdmacp::fabric::iwarp {

// slot: whatever is to live as long as the socket (the place among a listener's connections); may be null.
// Returns what ends it early; any thread.
std::function<void()> linger(EventLoop& loop, FileDescriptor socket, std::vector<std::byte> lastWords,
                             std::shared_ptr<void> slot);

}  // namespace rdmacp::fabric::iwarp
