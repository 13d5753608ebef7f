// session_channel_class.cpp -- a client::SessionChannel for JavaScript. Each function says in the header which thread.
#include "binding/session_channel_class.h"

namespace rdmacp::binding {

std::shared_ptr<client::SessionChannel> SessionChannelBridge::channel() {
  const std::lock_guard lock(mutex_);
  return channel_;
}

Status SessionChannelBridge::connect(Environment& environment, EventLoop& loop, fabric::Fabric& fabric,
                                     const client::ConnectParameters& parameters, napi_value handler) {
  if (napi_create_reference(environment.env(), handler, 1, &handler_) != napi_ok) {
    return Error{ErrorCode::stopped, "the environment is ending"};
  }
  core_->add(shared_from_this());
  auto connected = client::SessionChannel::connect(fabric, loop, parameters, shared_from_this());
  if (!connected) {
    core_->remove(shared_from_this());
    core_->channelEnded();
    (void)napi_delete_reference(environment.env(), std::exchange(handler_, nullptr));
    return connected.error();
  }
  environment.hold();
  settingUp_ = true;
  environment.addTurnListener(connected.value());
  const std::lock_guard lock(mutex_);
  channel_ = std::move(connected).value();
  return {};
}

void SessionChannelBridge::close() {
  if (const auto open = channel()) open->close();
}

void SessionChannelBridge::abort() {
  if (const auto open = channel()) open->abort();
}

void SessionChannelBridge::onOpen(const protocol::Welcome& welcome) {
  {
    const std::lock_guard lock(mutex_);
    opened_ = std::make_unique<protocol::Welcome>(welcome);
  }
  mailbox_->post(shared_from_this());
}

void SessionChannelBridge::onMoved(const Error& why) {
  {
    const std::lock_guard lock(mutex_);
    moved_ = std::make_unique<Error>(why);
  }
  mailbox_->post(shared_from_this());
}

void SessionChannelBridge::onFenced(std::uint64_t handle, std::uint64_t epoch) {
  {
    const std::lock_guard lock(mutex_);
    fences_.emplace_back(handle, epoch);
  }
  mailbox_->post(shared_from_this());
}

void SessionChannelBridge::onClosed(const Error& reason) {
  {
    const std::lock_guard lock(mutex_);
    closed_ = std::make_unique<Error>(reason);
  }
  mailbox_->post(shared_from_this());
  core_->channelEnded();
}

void SessionChannelBridge::deliver(Environment& environment) {
  std::unique_ptr<protocol::Welcome> opened;
  std::unique_ptr<Error> moved;
  std::vector<Fence> fences;
  std::unique_ptr<Error> closed;
  {
    const std::lock_guard lock(mutex_);
    opened.swap(opened_);
    moved.swap(moved_);
    fences.swap(fences_);
    closed.swap(closed_);
  }
  const Napi::Env env = environment.env();
  napi_value handler = nullptr;
  if (handler_ == nullptr || napi_get_reference_value(env, handler_, &handler) != napi_ok) return;
  if (opened) deliverOpen(environment, handler, *opened);
  if (moved && !environment.stopped()) call(environment, handler, "onMoved", *moved);
  for (const auto& [handle, epoch] : fences) {
    if (environment.stopped()) return;
    environment.call(handler, "onFenced", {Napi::BigInt::New(env, handle), Napi::BigInt::New(env, epoch)});
  }
  if (closed && !environment.stopped()) deliverClosed(environment, handler, *closed);
}

void SessionChannelBridge::deliverOpen(Environment& environment, napi_value handler, const protocol::Welcome& welcome) {
  const Napi::Env env = environment.env();
  if (std::exchange(settingUp_, false)) environment.release();
  Napi::Object object = Napi::Object::New(env);
  object.Set("session", Napi::BigInt::New(env, welcome.session));
  object.Set("heartbeatMs", welcome.heartbeatMs);
  object.Set("unitStart", Napi::BigInt::New(env, welcome.unitStart));
  environment.call(handler, "onOpen", {object});
}

void SessionChannelBridge::deliverClosed(Environment& environment, napi_value handler, const Error& reason) {
  const auto keep = shared_from_this();
  if (std::exchange(settingUp_, false)) environment.release();
  {
    const std::lock_guard lock(mutex_);
    channel_.reset();
  }
  core_->remove(keep);
  const Napi::Env env = environment.env();
  (void)napi_delete_reference(env, std::exchange(handler_, nullptr));
  call(environment, handler, "onClosed", reason);
}

void SessionChannelBridge::call(Environment& environment, napi_value handler, const char* name, const Error& error) {
  const Napi::Env env = environment.env();
  environment.call(handler, name,
                   {Napi::Number::New(env, static_cast<double>(error.code)), Napi::String::New(env, error.message),
                    Napi::Number::New(env, error.systemError)});
}

void SessionChannel::define(Environment& environment) {
  defineClass<SessionChannel>(environment, {method<SessionChannel, &SessionChannel::close>("close")});
}

Napi::Value SessionChannel::close(const Napi::CallbackInfo& info) {
  bridge_->close();
  return info.Env().Undefined();
}

Napi::Value connectSessionChannel(Environment& environment, const std::shared_ptr<EngineCore>& core,
                                  fabric::Fabric& fabric, const client::ConnectParameters& parameters,
                                  Napi::Object handler) {
  const Napi::Env env = environment.env();
  auto loop = core->loop();
  if (!loop) return throwError(env, loop.error());
  auto bridge = std::make_shared<SessionChannelBridge>(environment, core);
  const napi_value object = wrapNew(environment, std::make_unique<SessionChannel>(bridge));
  if (object == nullptr) return {};
  if (Status started = bridge->connect(environment, *loop.value(), fabric, parameters, handler); !started) {
    return throwError(env, started.error());
  }
  return {env, object};
}

}  // namespace rdmacp::binding
