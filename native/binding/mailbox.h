// mailbox.h -- letters from native threads to one environment's JavaScript thread.
//
// post() is for any thread; many letters make one wake-up. The mailbox outlives the environment's libuv handle: native
// threads may hold it for longer, and what they post after close() is dropped.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "binding/node_api.h"

namespace rdmacp::binding {

class Environment;

// Something to do on the JavaScript thread. A letter that is posted again before it was delivered is delivered once.
class Letter {
 public:
  virtual ~Letter() = default;
  // The JavaScript thread, in a handle scope.
  virtual void deliver(Environment& environment) = 0;

 private:
  friend class Mailbox;
  bool queued_ = false;  // under the mailbox's mutex
};

class Mailbox {
 public:
  // The handle is initialized, and not closed before close() was called.
  explicit Mailbox(uv_async_t* wake) : wake_(wake) {}
  ~Mailbox() = default;
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  void post(std::shared_ptr<Letter> letter);
  std::vector<std::shared_ptr<Letter>> take();
  void close();

 private:
  std::mutex mutex_;
  uv_async_t* wake_;  // null after close
  std::vector<std::shared_ptr<Letter>> letters_;
};

}  // namespace rdmacp::binding
