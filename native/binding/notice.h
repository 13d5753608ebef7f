// notice.h -- tells JavaScript, from any thread, that something has happened: one method of a handler is called.
//
// Many notices that come before it was told make one call. keep and drop: the JavaScript thread.
#pragma once

#include "binding/environment.h"
#include "binding/mailbox.h"

namespace rdmacp::binding {

class Notice final : public Letter {
 public:
  // method: of the handler, a literal.
  explicit Notice(const char* method) : method_(method) {}

  bool keep(Napi::Env env, napi_value handler);
  void deliver(Environment& environment) override;
  void drop(Napi::Env env);

 private:
  const char* const method_;
  napi_ref handler_ = nullptr;
};

}  // namespace rdmacp::binding
