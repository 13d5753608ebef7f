// device_notice.cpp -- see device_notice.h.
#include "binding/device_notice.h"

#include <algorithm>
#include <utility>

namespace rdmacp::binding {

namespace {

const char* nameOf(fabric::DeviceNews::Kind kind) {
  using Kind = fabric::DeviceNews::Kind;
  switch (kind) {
    case Kind::failed:
      return "failed";
    case Kind::removed:
      return "removed";
    case Kind::queueFailed:
      return "queue-failed";
    case Kind::portDown:
      return "port-down";
    case Kind::portUp:
      return "port-up";
    case Kind::addressesChanged:
      return "addresses-changed";
    case Kind::identifierChanged:
      return "identifier-changed";
    case Kind::partitionsChanged:
      return "partitions-changed";
  }
  return "";
}

}  // namespace

bool DeviceNotice::keep(Napi::Env env, napi_value handler) {
  return napi_create_reference(env, handler, 1, &handler_) == napi_ok;
}

void DeviceNotice::add(const fabric::DeviceNews& news) {
  const std::lock_guard lock(mutex_);
  // Behind what came meanwhile, so that the last word is the last.
  Told told{news, 1};
  const auto before = std::find_if(waiting_.begin(), waiting_.end(), [&](const Told& one) {
    return one.news.kind == news.kind && one.news.port == news.port && one.news.device == news.device;
  });
  if (before != waiting_.end()) {
    told.count += before->count;
    waiting_.erase(before);
  }
  waiting_.push_back(std::move(told));
}

void DeviceNotice::deliver(Environment& environment) {
  std::vector<Told> told;
  {
    const std::lock_guard lock(mutex_);
    told.swap(waiting_);
  }
  for (const auto& [news, count] : told) {
    const Napi::Env env = environment.env();
    napi_value handler = nullptr;
    // A handler may stop the unit, which drops it.
    if (handler_ == nullptr || napi_get_reference_value(env, handler_, &handler) != napi_ok) return;
    Napi::Object object = Napi::Object::New(env);
    if (object.IsEmpty()) return;
    object.Set("kind", nameOf(news.kind));
    object.Set("device", news.device);
    if (news.port != 0) object.Set("port", news.port);
    object.Set("text", news.text);
    object.Set("count", count);
    environment.call(handler, method_, {object});
  }
}

void DeviceNotice::drop(Napi::Env env) {
  if (handler_ != nullptr) (void)napi_delete_reference(env, std::exchange(handler_, nullptr));
}

}  // namespace rdmacp::binding
