// settlement.cpp -- promises settled by native threads. deliver and promiseSettlement: the JavaScript thread.
#include "binding/settlement.h"

#include "binding/native_error.h"

namespace rdmacp::binding {

class Settlement final : public Letter {
 public:
  explicit Settlement(napi_deferred deferred) : deferred_(deferred) {}

  void set(Status status, MakeValue value) {
    status_ = std::move(status);
    value_ = std::move(value);
  }

  void deliver(Environment& environment) override {
    environment.settle(deferred_, status_, status_ && value_ ? value_(environment.env()) : nullptr);
    environment.release();
  }

 private:
  napi_deferred deferred_;
  // Set before the letter is posted.
  Status status_;
  MakeValue value_;
};

SettlementTicket::SettlementTicket(std::shared_ptr<Mailbox> mailbox, std::shared_ptr<Settlement> settlement)
    : mailbox_(std::move(mailbox)), settlement_(std::move(settlement)) {}

SettlementTicket::~SettlementTicket() {
  settle(Error{ErrorCode::stopped, "it was stopped before this was done"});
}

void SettlementTicket::settle(Status status, MakeValue value) {
  if (settled_.exchange(true)) return;
  settlement_->set(std::move(status), std::move(value));
  mailbox_->post(settlement_);
}

PromisedSettlement promiseSettlement(Environment& environment) {
  napi_deferred deferred = nullptr;
  napi_value promise = nullptr;
  if (napi_create_promise(environment.env(), &deferred, &promise) != napi_ok) {
    return {throwError(environment.env(), {ErrorCode::stopped, "the environment is ending"}), nullptr};
  }
  environment.hold();
  auto settlement = std::make_shared<Settlement>(deferred);
  return {Napi::Value(environment.env(), promise),
          std::make_shared<SettlementTicket>(environment.mailbox(), std::move(settlement))};
}

}  // namespace rdmacp::binding
