// background_work.cpp -- promises of blocking calls. Node itself waits for work under way before an environment ends.
#include "binding/background_work.h"

#include <utility>

#include "binding/native_error.h"

namespace rdmacp::binding {

namespace {

struct BackgroundWork {
  BackgroundWork(Environment& owner, Execute blocking, Finish after)
      : environment(owner), execute(std::move(blocking)), finish(std::move(after)) {}

  Environment& environment;
  Execute execute;
  Finish finish;
  Status status;
  napi_async_work work = nullptr;
  napi_deferred deferred = nullptr;
};

void onExecute(napi_env /*env*/, void* data) {
  auto* work = static_cast<BackgroundWork*>(data);
  work->status = work->execute();
}

// Within a callback scope of Node's, which runs the microtasks.
void onComplete(napi_env env, napi_status status, void* data) {
  const std::unique_ptr<BackgroundWork> work(static_cast<BackgroundWork*>(data));
  const Napi::HandleScope scope(env);
  if (status != napi_ok) work->status = Error{ErrorCode::stopped, "the environment is ending"};
  napi_value value = work->finish ? work->finish(work->status) : nullptr;
  work->environment.settle(work->deferred, work->status, value);
  (void)napi_delete_async_work(env, work->work);
}

// What a worker thread has done, on its way to the JavaScript thread.
class WorkDone final : public Letter {
 public:
  WorkDone(napi_deferred deferred, Finish finish) : deferred_(deferred), finish_(std::move(finish)) {}

  // Before it is posted.
  void set(Status status) { status_ = std::move(status); }

  void deliver(Environment& environment) override {
    // What it refers to ends here, and not on the worker thread, which may hold this letter a moment longer.
    const Finish finish = std::exchange(finish_, nullptr);
    napi_value value = finish ? finish(status_) : nullptr;
    environment.settle(deferred_, status_, value);
    environment.release();
  }

 private:
  napi_deferred deferred_;
  Finish finish_;
  Status status_;
};

}  // namespace

Napi::Value runInBackground(Environment& environment, const char* name, Execute execute, Finish finish) {
  const Napi::Env env = environment.env();
  napi_value promise = nullptr;
  napi_value resource = nullptr;
  auto work = std::make_unique<BackgroundWork>(environment, std::move(execute), std::move(finish));
  if (napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &resource) != napi_ok ||
      napi_create_promise(env, &work->deferred, &promise) != napi_ok ||
      napi_create_async_work(env, nullptr, resource, onExecute, onComplete, work.get(), &work->work) != napi_ok) {
    return throwError(env, {ErrorCode::stopped, "the environment is ending"});
  }
  if (napi_queue_async_work(env, work->work) != napi_ok) {
    (void)napi_delete_async_work(env, work->work);
    return throwError(env, {ErrorCode::stopped, "the environment is ending"});
  }
  (void)work.release();
  return {env, promise};
}

Napi::Value runOnWorkers(Environment& environment, WorkerThreads& workers, Execute execute, Finish finish) {
  const Napi::Env env = environment.env();
  napi_value promise = nullptr;
  napi_deferred deferred = nullptr;
  if (napi_create_promise(env, &deferred, &promise) != napi_ok) {
    return throwError(env, {ErrorCode::stopped, "the environment is ending"});
  }
  auto done = std::make_shared<WorkDone>(deferred, std::move(finish));
  environment.hold();
  const bool taken = workers.post([mailbox = environment.mailbox(), done, work = std::move(execute)]() mutable {
    done->set(work());
    work = nullptr;  // before anybody is told, as what it refers to may be let go then
    mailbox->post(done);
  });
  if (taken) return {env, promise};
  environment.release();
  return throwError(env, {ErrorCode::systemError, "no thread could be started for it"});
}

}  // namespace rdmacp::binding
