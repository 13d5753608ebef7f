// environment.cpp -- set-up, wake-ups and teardown of one Node environment. The JavaScript thread.
#include "binding/environment.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "binding/native_error.h"

namespace rdmacp::binding {

namespace {

constexpr std::uint64_t kTouchMs = 200;

Error refused(const char* what, int status) {
  return {ErrorCode::systemError, std::string(what) + " failed with " + std::to_string(status)};
}

bool isDeno(napi_env env) {
  const napi_node_version* version = nullptr;
  return napi_get_node_version(env, &version) == napi_ok && std::string_view(version->release) == "Deno";
}

}  // namespace

// Lives from the set-up until libuv has closed both handles, which is after the environment's own end.
struct Environment::Handles {
  uv_async_t wake{};
  uv_timer_t timer{};
  int open = 0;
  napi_async_cleanup_hook_handle hook = nullptr;
  std::weak_ptr<Environment> environment;
};

Environment& Environment::of(Napi::Env env) {
  return **env.GetInstanceData<std::shared_ptr<Environment>>();
}

Status Environment::create(Napi::Env env) {
  auto self = std::make_shared<Environment>(env);
  if (Status opened = self->open(); !opened) return opened;
  env.SetInstanceData(std::make_unique<std::shared_ptr<Environment>>(std::move(self)).release());
  return {};
}

Status Environment::open() {
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env_, &loop) != napi_ok) return refused("napi_get_uv_event_loop", 0);
  auto handles = std::make_unique<Handles>();
  if (const int failed = uv_async_init(loop, &handles->wake, onWake); failed != 0) {
    return refused("uv_async_init", failed);
  }
  (void)uv_timer_init(loop, &handles->timer);  // cannot fail
  handles_ = handles.release();
  handles_->open = 2;
  handles_->environment = weak_from_this();
  handles_->wake.data = handles_;
  handles_->timer.data = handles_;
  uv_unref(reinterpret_cast<uv_handle_t*>(&handles_->wake));
  uv_unref(reinterpret_cast<uv_handle_t*>(&handles_->timer));
  mailbox_ = std::make_shared<Mailbox>(&handles_->wake);

  napi_value name = nullptr;
  (void)napi_create_string_utf8(env_, "rdma-checkpoint", NAPI_AUTO_LENGTH, &name);
  (void)napi_async_init(env_, nullptr, name, &context_);
  (void)napi_add_async_cleanup_hook(env_, onCloseHook, handles_, &handles_->hook);
  (void)napi_add_env_cleanup_hook(env_, onStopHook, this);
  return {};
}

void Environment::hold() {
  if (holds_++ == 0 && !stopped_) uv_ref(reinterpret_cast<uv_handle_t*>(&handles_->wake));
}

void Environment::release() {
  if (--holds_ == 0 && !stopped_) uv_unref(reinterpret_cast<uv_handle_t*>(&handles_->wake));
}

void Environment::addService(std::shared_ptr<Service> service) {
  services_.insert(std::move(service));
}

void Environment::removeService(const std::shared_ptr<Service>& service) {
  services_.erase(service);
}

void Environment::stopBeforeEarlierHooks() {
  if (stopped_) return;
  (void)napi_remove_env_cleanup_hook(env_, onStopHook, this);
  (void)napi_add_env_cleanup_hook(env_, onStopHook, this);
}

void Environment::addTurnListener(std::weak_ptr<TurnListener> listener) {
  turnListeners_.push_back(std::move(listener));
  (void)uv_timer_start(&handles_->timer, onTimer, kTouchMs, kTouchMs);
}

void Environment::tellTurn() {
  if (turnListeners_.empty()) return;
  std::erase_if(turnListeners_, [](const std::weak_ptr<TurnListener>& weak) {
    const auto listener = weak.lock();
    if (listener) listener->touch();
    return listener == nullptr;
  });
  if (turnListeners_.empty()) (void)uv_timer_stop(&handles_->timer);
}

void Environment::deliverLetters() {
  for (const auto& letter : mailbox_->take()) {
    if (stopped_) return;
    const Napi::HandleScope scope(env_);
    letter->deliver(*this);
  }
}

void Environment::onWake(uv_async_t* handle) {
  const auto self = static_cast<Handles*>(handle->data)->environment.lock();
  if (!self || self->stopped_) return;
  self->tellTurn();
  self->deliverLetters();
}

void Environment::onTimer(uv_timer_t* handle) {
  const auto self = static_cast<Handles*>(handle->data)->environment.lock();
  if (self && !self->stopped_) self->tellTurn();
}

void Environment::call(napi_value object, const char* name, std::initializer_list<napi_value> arguments) {
  napi_value function = nullptr;
  napi_value result = nullptr;
  if (napi_get_named_property(env_, object, name, &function) == napi_ok) {
    (void)napi_make_callback(env_, context_, object, function, arguments.size(), arguments.begin(), &result);
  }
  bool pending = false;
  if (napi_is_exception_pending(env_, &pending) != napi_ok || !pending) return;
  napi_value thrown = nullptr;
  if (napi_get_and_clear_last_exception(env_, &thrown) == napi_ok) (void)napi_fatal_exception(env_, thrown);
}

void Environment::settle(napi_deferred deferred, const Status& status, napi_value value) {
  napi_callback_scope scope = nullptr;
  if (napi_open_callback_scope(env_, nullptr, context_, &scope) != napi_ok) return;
  if (status) {
    if (value == nullptr) (void)napi_get_undefined(env_, &value);
    (void)napi_resolve_deferred(env_, deferred, value);
  } else if (napi_value error = makeError(env_, status.error()); error != nullptr) {
    (void)napi_reject_deferred(env_, deferred, error);
  }
  (void)napi_close_callback_scope(env_, scope);
}

void Environment::setConstructor(ClassName name, napi_value constructor) {
  (void)napi_create_reference(env_, constructor, 1, &constructors_[static_cast<std::size_t>(name)]);
}

napi_value Environment::constructor(ClassName name) const {
  napi_value value = nullptr;
  (void)napi_get_reference_value(env_, constructors_[static_cast<std::size_t>(name)], &value);
  return value;
}

void Environment::stopIfEnding() {
  // Node-API 9 does not say that an environment ends, but nothing that could run JavaScript works any more then.
  napi_value nothing = nullptr;
  napi_value coerced = nullptr;
  if (stopped_ || napi_get_undefined(env_, &nothing) != napi_ok) return;
  if (napi_coerce_to_bool(env_, nothing, &coerced) != napi_ok) stop();
}

void Environment::stop() {
  stopped_ = true;
  mailbox_->close();
  for (const auto& service : services_)
    service->shutDown();
  services_.clear();
  allocations_.forgetAll();
  turnListeners_.clear();
}

void Environment::onStopHook(void* data) {
  auto* environment = static_cast<Environment*>(data);
  if (!environment->stopped_) environment->stop();
  const napi_env env = environment->env_;
  for (napi_ref& reference : environment->constructors_) {
    if (reference != nullptr) (void)napi_delete_reference(env, std::exchange(reference, nullptr));
  }
  // Deno 2 aborts the process when this is called from a hook; its environments end with their process.
  if (environment->context_ != nullptr && !isDeno(env)) {
    (void)napi_async_destroy(env, std::exchange(environment->context_, nullptr));
  }
}

void Environment::onCloseHook(napi_async_cleanup_hook_handle hook, void* data) {
  auto* handles = static_cast<Handles*>(data);
  handles->hook = hook;
  uv_close(reinterpret_cast<uv_handle_t*>(&handles->wake), onHandleClosed);
  uv_close(reinterpret_cast<uv_handle_t*>(&handles->timer), onHandleClosed);
}

void Environment::onHandleClosed(uv_handle_t* handle) {
  auto* handles = static_cast<Handles*>(handle->data);
  if (--handles->open > 0) return;
  const std::unique_ptr<Handles> freed(handles);
  (void)napi_remove_async_cleanup_hook(freed->hook);
}

}  // namespace rdmacp::binding
