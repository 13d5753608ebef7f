// background_work.cpp -- promises of blocking calls. Node itself waits for work under way before an environment ends.
#include "binding/background_work.h"

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

}  // namespace rdmacp::binding
