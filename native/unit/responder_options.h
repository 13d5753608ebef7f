// responder_options.h -- limits and times of the unit's data plane, and who hears of what happens in it.
#pragma once

#include <cstdint>
#include <functional>

#include "fabric/fabric.h"

namespace rdmacp::unit {

struct ResponderOptions {
  std::uint32_t loops = 2;         // event-loop threads
  std::uint32_t flushThreads = 2;  // of the lane for bulk: flush_queue.h
  std::uint32_t maxConnections = 4096;
  std::uint32_t credits = 16;  // flush messages in flight a connection
  std::uint32_t heartbeatMs = 100;
  std::uint32_t tokenLifeMs = 10000;      // default life of a token
  std::uint32_t tokensPerSession = 4097;  // that nobody has used yet
  std::uint32_t helloTimeoutMs = 5000;    // from the connect to the hello
  std::uint64_t unitStart = 0;
  bool crc = true;
  // A session has lost the last connection that it had: its process has died, or the way to it has. A responder thread,
  // without a lock held; it must not block.
  std::function<void()> onSessionAlone = nullptr;
  // A device that the unit listens on has said something of itself. One of the fabric's threads, which may not wait.
  std::function<void(const fabric::DeviceNews&)> onDeviceNews = nullptr;
};

}  // namespace rdmacp::unit
