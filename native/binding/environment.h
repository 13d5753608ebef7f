// environment.h -- everything the addon keeps for one Node environment (the main thread, or one Worker).
//
// The JavaScript thread only. It owns the mailbox, the libuv handles, and a reference to whatever runs native threads.
// Teardown (a Worker is terminated, the process ends by itself) happens in this order:
//   1. the stop hook, or an earlier finalizer: services shut down, so that no native thread reads or writes JavaScript's memory any more
//   2. the close hook: the libuv handles are closed; their memory is freed when libuv says so
//   3. Node runs finalizers, which find everything stopped
// process.exit() on the main thread runs no hooks: the native threads end with the process, and nothing they use has a
// destructor that exit() would run. A child made by fork() must not use the addon: the threads exist in the parent only.
#pragma once

#include <array>
#include <memory>
#include <unordered_set>
#include <vector>

#include "base/result.h"
#include "base/turn_listener.h"
#include "binding/allocations.h"
#include "binding/mailbox.h"
#include "binding/node_api.h"

namespace rdmacp::binding {

// Something with native threads of its own.
class Service {
 public:
  virtual ~Service() = default;
  // Stops and joins; blocks. Called at most once, by the stop hook.
  virtual void shutDown() = 0;
};

enum class ClassName : std::uint8_t { medium, responder, engine, dataChannel, sessionChannel, peerLink };
inline constexpr std::size_t kClasses = 6;

class Environment : public std::enable_shared_from_this<Environment> {
 public:
  static Environment& of(Napi::Env env);
  // Once for each environment that loads the addon.
  static Status create(Napi::Env env);

  explicit Environment(Napi::Env env) : env_(env) {}
  ~Environment() = default;
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

  Napi::Env env() const { return env_; }
  const std::shared_ptr<Mailbox>& mailbox() const { return mailbox_; }
  Allocations& allocations() { return allocations_; }
  // After the stop hook: there is nothing left to call.
  bool stopped() const { return stopped_; }

  // While more holds than releases were made, the environment's event loop stays alive.
  void hold();
  void release();

  void addService(std::shared_ptr<Service> service);
  void removeService(const std::shared_ptr<Service>& service);
  // An external ArrayBuffer's memory is freed at teardown by Node: by a hook of its own, or before any hook (Node from
  // 20.19 on). Native threads must have stopped by then. Two calls see to it:
  // To be called after memory has come that native threads may be given: hooks run in reverse order of registration,
  // and this makes the stop hook the latest.
  void stopBeforeEarlierHooks();
  // To be called by a finalizer before it frees memory that native threads may have: stops them if this is teardown.
  void stopIfEnding();

  // It learns from here that the event loop turns.
  void addTurnListener(std::weak_ptr<TurnListener> listener);

  void deliverLetters();

  // object[name](...arguments), as a callback of its own: microtasks run after it, and what it throws is an
  // uncaughtException.
  void call(napi_value object, const char* name, std::initializer_list<napi_value> arguments);
  void settle(napi_deferred deferred, const Status& status, napi_value value = nullptr);

  void setConstructor(ClassName name, napi_value constructor);
  napi_value constructor(ClassName name) const;
  // Passes a native object to a constructor that JavaScript cannot call by itself.
  void* handoff = nullptr;

 private:
  struct Handles;

  Status open();
  void tellTurn();
  void stop();

  static void onStopHook(void* environment);
  static void onCloseHook(napi_async_cleanup_hook_handle hook, void* handles);
  static void onWake(uv_async_t* handle);
  static void onTimer(uv_timer_t* handle);
  static void onHandleClosed(uv_handle_t* handle);

  Napi::Env env_;
  Handles* handles_ = nullptr;  // freed by the last close callback
  std::shared_ptr<Mailbox> mailbox_;
  std::unordered_set<std::shared_ptr<Service>> services_;
  Allocations allocations_;
  std::vector<std::weak_ptr<TurnListener>> turnListeners_;
  std::array<napi_ref, kClasses> constructors_{};
  napi_async_context context_ = nullptr;
  std::size_t holds_ = 0;
  bool stopped_ = false;
};

}  // namespace rdmacp::binding
