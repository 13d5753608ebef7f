// device_notice.h -- tells JavaScript what RDMA devices have said of themselves: one call of a handler's method for each.
//
// What comes again before it was told makes one call with a count, so that what waits is bounded by what there is to say.
// add: any thread, and the letter is posted then; everything else the JavaScript thread.
#pragma once

#include <mutex>
#include <vector>

#include "binding/environment.h"
#include "binding/mailbox.h"
#include "fabric/fabric.h"

namespace rdmacp::binding {

class DeviceNotice final : public Letter {
 public:
  // method: of the handler, a literal.
  explicit DeviceNotice(const char* method) : method_(method) {}

  bool keep(Napi::Env env, napi_value handler);
  void add(const fabric::DeviceNews& news);
  void deliver(Environment& environment) override;
  void drop(Napi::Env env);

 private:
  struct Told {
    fabric::DeviceNews news;
    std::uint32_t count = 1;
  };

  const char* const method_;
  napi_ref handler_ = nullptr;
  std::mutex mutex_;
  std::vector<Told> waiting_;
};

}  // namespace rdmacp::binding
