// settlement.h -- a promise that a native thread settles, exactly once, through the mailbox.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "binding/environment.h"

namespace rdmacp::binding {

// Makes what the promise resolves with; called on the JavaScript thread.
using MakeValue = std::function<napi_value(Napi::Env)>;

// Held by the callback that a native part was given. When that is dropped without having been called, the promise
// rejects with `stopped`, so that no promise hangs. Any thread.
class SettlementTicket {
 public:
  SettlementTicket(std::shared_ptr<Mailbox> mailbox, std::shared_ptr<class Settlement> settlement);
  ~SettlementTicket();
  SettlementTicket(const SettlementTicket&) = delete;
  SettlementTicket& operator=(const SettlementTicket&) = delete;

  void settle(Status status, MakeValue value = {});

 private:
  std::shared_ptr<Mailbox> mailbox_;
  std::shared_ptr<class Settlement> settlement_;
  std::atomic<bool> settled_{false};
};

struct PromisedSettlement {
  Napi::Value promise;  // empty with an exception pending when it could not be made
  std::shared_ptr<SettlementTicket> ticket;
};

// Holds the event loop open until it is settled. The JavaScript thread.
PromisedSettlement promiseSettlement(Environment& environment);

}  // namespace rdmacp::binding
