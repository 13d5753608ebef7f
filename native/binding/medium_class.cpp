// medium_class.cpp -- the Medium class. Methods run on the JavaScript thread, work() lambdas on the medium's own threads.
#include "binding/medium_class.h"

#include <chrono>
#include <cstring>

#include "binding/argument_reader.h"
#include "binding/background_work.h"

namespace rdmacp::binding {

namespace {

// What became of the medium is known, and told, within a second.
constexpr std::chrono::milliseconds kLookEvery{400};

struct OpenRequest {
  enum class Kind : std::uint8_t { memory, file, devdax };
  Kind kind = Kind::memory;
  std::uint64_t bytes = 0;
  media::FileMediumOptions file;
  std::shared_ptr<media::Medium> opened;
};

Status openMedium(OpenRequest& request) {
  auto opened = request.kind == OpenRequest::Kind::memory ? media::openMemoryMedium(request.bytes)
                : request.kind == OpenRequest::Kind::file ? media::openFileMedium(request.file)
                                                          : media::openDevdaxMedium(request.file.path);
  if (!opened) return opened.error();
  request.opened = std::move(opened).value();
  return {};
}

// Once nothing uses the medium any more: unmaps and unlocks on libuv's pool, and then answers every close().
void closeWhenIdle(Environment& environment, const std::shared_ptr<MediumState>& state) {
  if (!state->closing || state->works > 0 || state->closers.empty()) return;
  state->endThreads();
  auto closers = std::make_shared<std::vector<napi_deferred>>();
  closers->swap(state->closers);
  auto last = std::make_shared<std::shared_ptr<media::Medium>>(std::move(state->medium));
  state->medium = nullptr;
  const Napi::Value started = runInBackground(
      environment, "rdma-checkpoint:Medium.close",
      [last] {
        last->reset();
        return Status{};
      },
      [&environment, closers](const Status&) -> napi_value {
        for (napi_deferred closer : *closers)
          environment.settle(closer, {});
        environment.release();
        return nullptr;
      });
  if (started.IsEmpty()) environment.release();
}

}  // namespace

MediumState::MediumState(Environment& owner)
    : environment(owner.weak_from_this()), threads(std::make_shared<MediumThreads>()) {
  owner.addService(threads);
}

MediumState::~MediumState() {
  endThreads();
}

// An environment that has stopped has ended the threads itself, and one of them may be what calls this.
void MediumState::endThreads() {
  const auto owner = environment.lock();
  if (!owner || owner->stopped()) return;
  if (notice) notice->drop(owner->env());
  notice = nullptr;
  owner->removeService(threads);
  threads->shutDown();
}

void Medium::define(Environment& environment, Napi::Object exports) {
  defineClass<Medium>(environment,
                      {
                          staticMethod<&Medium::open>("open"),
                          getter<Medium, &Medium::bytes>("bytes"),
                          getter<Medium, &Medium::blockSize>("blockSize"),
                          getter<Medium, &Medium::durable>("durable"),
                          getter<Medium, &Medium::failure>("failure"),
                          method<Medium, &Medium::read>("read"),
                          method<Medium, &Medium::write>("write"),
                          method<Medium, &Medium::flush>("flush"),
                          method<Medium, &Medium::zero>("zero"),
                          method<Medium, &Medium::load>("load"),
                          method<Medium, &Medium::close>("close"),
                      },
                      "Medium", exports);
}

Napi::Value Medium::open(const Napi::CallbackInfo& info) {
  ArgumentReader read(info.Env());
  const Napi::Object options = read.object(info[0], "options");
  const std::string kind = read.string(read.required(options, "medium"), "medium");
  auto request = std::make_shared<OpenRequest>();
  if (kind == "memory") {
    request->bytes = read.integer(read.required(options, "bytes"), "bytes", 1);
  } else if (kind == "file") {
    request->kind = OpenRequest::Kind::file;
    request->file.path = read.string(read.required(options, "path"), "path");
    request->file.create = read.boolean(read.required(options, "create"), "create");
    if (const auto bytes = read.field(options, "bytes")) request->file.bytes = read.integer(*bytes, "bytes", 1);
    if (request->file.create && request->file.bytes == 0)
      read.refuse("bytes is missing: a file is created with a size");
  } else if (kind == "devdax") {
    request->kind = OpenRequest::Kind::devdax;
    request->file.path = read.string(read.required(options, "path"), "path");
  } else {
    read.refuse("medium must be 'memory', 'file' or 'devdax'");
  }
  if (request->file.path.find('\0') != std::string::npos) read.refuse("path contains a zero byte");
  if (!read.ok()) return read.fail();
  Environment& environment = Environment::of(info.Env());
  std::shared_ptr<Notice> notice;
  if (info[1].IsObject()) {
    notice = std::make_shared<Notice>("onFailed");
    if (!notice->keep(info.Env(), info[1])) return {};
  }
  return runInBackground(
      environment, "rdma-checkpoint:Medium.open",
      [request, notice, mailbox = environment.mailbox()] {
        if (auto opened = openMedium(*request); !opened || !notice) return opened;
        request->opened->whenFailed([mailbox, notice] { mailbox->post(notice); });
        return request->opened->watch(kLookEvery);
      },
      [&environment, request, notice](const Status& status) -> napi_value {
        if (!status) {
          if (notice) notice->drop(environment.env());
          return nullptr;
        }
        auto state = std::make_shared<MediumState>(environment);
        state->notice = notice;
        state->medium = std::move(request->opened);
        return wrapNew(environment, std::make_unique<Medium>(std::move(state)));
      });
}

bool Medium::usable(Napi::Env env) const {
  if (state_->medium && !state_->closing) return true;
  throwError(env, {ErrorCode::localClosed, "the medium is closed"});
  return false;
}

Status Medium::inBounds(std::uint64_t offset, std::uint64_t length) const {
  const std::uint64_t size = state_->medium->memory().size();
  if (offset <= size && length <= size - offset) return {};
  return Error{ErrorCode::outOfBounds, std::to_string(length) + " bytes at offset " + std::to_string(offset) +
                                           " reach outside of the medium of " + std::to_string(size) + " bytes"};
}

Napi::Value Medium::bytes(const Napi::CallbackInfo& info) {
  if (!usable(info.Env())) return {};
  return Napi::Number::New(info.Env(), static_cast<double>(state_->medium->memory().size()));
}

Napi::Value Medium::blockSize(const Napi::CallbackInfo& info) {
  if (!usable(info.Env())) return {};
  return Napi::Number::New(info.Env(), static_cast<double>(state_->medium->blockSize()));
}

Napi::Value Medium::durable(const Napi::CallbackInfo& info) {
  if (!usable(info.Env())) return {};
  return Napi::Boolean::New(info.Env(), state_->medium->durable());
}

Napi::Value Medium::failure(const Napi::CallbackInfo& info) {
  const Status failed = state_->medium ? state_->medium->failure() : Status{};
  return failed ? info.Env().Undefined() : Napi::Value(info.Env(), makeError(info.Env(), failed.error()));
}

Napi::Value Medium::read(const Napi::CallbackInfo& info) {
  if (!usable(info.Env())) return {};
  ArgumentReader read(info.Env());
  const std::uint64_t offset = read.integer(info[0], "offset");
  const std::uint64_t length = read.integer(info[1], "length");
  if (!read.ok()) return read.fail();
  if (Status bounds = inBounds(offset, length); !bounds) return throwError(info.Env(), bounds.error());
  napi_value buffer = nullptr;
  napi_value array = nullptr;
  void* data = nullptr;
  if (napi_create_arraybuffer(info.Env(), length, &data, &buffer) != napi_ok ||
      napi_create_typedarray(info.Env(), napi_uint8_array, length, buffer, 0, &array) != napi_ok) {
    return throwError(info.Env(), {ErrorCode::noMemory, "no memory for " + std::to_string(length) + " bytes"});
  }
  if (length > 0) {
    const Status copied = state_->medium->peek(offset, {static_cast<std::byte*>(data), length});
    if (!copied) return throwError(info.Env(), copied.error());
  }
  return {info.Env(), array};
}

Napi::Value Medium::write(const Napi::CallbackInfo& info) {
  if (!usable(info.Env())) return {};
  ArgumentReader read(info.Env());
  const std::uint64_t offset = read.integer(info[0], "offset");
  const auto source = read.bytes(info[1], "bytes");
  if (!read.ok()) return read.fail();
  if (Status bounds = inBounds(offset, source.size()); !bounds) return throwError(info.Env(), bounds.error());
  if (!source.empty()) std::memcpy(state_->medium->memory().data() + offset, source.data(), source.size());
  return info.Env().Undefined();
}

Napi::Value Medium::run(Napi::Env env, WorkerThreads& workers, std::function<Status(media::Medium&)> work) {
  Environment& environment = Environment::of(env);
  ++state_->works;
  const Napi::Value promise = runOnWorkers(
      environment, workers,
      [medium = state_->medium, work = std::move(work)]() mutable {
        Status status = work(*medium);
        medium.reset();
        return status;
      },
      [&environment, state = state_](const Status&) -> napi_value {
        --state->works;
        closeWhenIdle(environment, state);
        return nullptr;
      });
  if (promise.IsEmpty()) --state_->works;
  return promise;
}

Napi::Value Medium::flush(const Napi::CallbackInfo& info) {
  if (!usable(info.Env())) return {};
  ArgumentReader read(info.Env());
  const auto numbers = read.integers(info[0], "ranges");
  if (read.ok() && numbers.size() % 2 != 0) read.refuse("ranges must hold offsets and lengths in turn");
  if (!read.ok()) return read.fail();
  std::vector<media::ByteRange> ranges;
  ranges.reserve(numbers.size() / 2);
  for (std::size_t i = 0; i < numbers.size(); i += 2) {
    if (Status bounds = inBounds(numbers[i], numbers[i + 1]); !bounds) return throwError(info.Env(), bounds.error());
    ranges.push_back({numbers[i], numbers[i + 1]});
  }
  return run(info.Env(), state_->threads->flushes,
             [ranges = std::move(ranges)](media::Medium& medium) { return medium.flush(ranges); });
}

Napi::Value Medium::zero(const Napi::CallbackInfo& info) {
  if (!usable(info.Env())) return {};
  ArgumentReader read(info.Env());
  const std::uint64_t offset = read.integer(info[0], "offset");
  const std::uint64_t length = read.integer(info[1], "length");
  if (!read.ok()) return read.fail();
  if (Status bounds = inBounds(offset, length); !bounds) return throwError(info.Env(), bounds.error());
  const std::uint64_t block = state_->medium->blockSize();
  if (offset % block != 0 || length % block != 0) {
    return throwInvalid(info.Env(),
                        "zero needs an offset and a length in blocks of " + std::to_string(block) + " bytes");
  }
  return run(info.Env(), state_->threads->bulk,
             [range = media::ByteRange{offset, length}](media::Medium& medium) { return medium.zero(range); });
}

Napi::Value Medium::load(const Napi::CallbackInfo& info) {
  if (!usable(info.Env())) return {};
  ArgumentReader read(info.Env());
  const std::uint64_t offset = read.integer(info[0], "offset");
  const std::uint64_t length = read.integer(info[1], "length");
  if (!read.ok()) return read.fail();
  if (Status bounds = inBounds(offset, length); !bounds) return throwError(info.Env(), bounds.error());
  return run(info.Env(), state_->threads->bulk,
             [range = media::ByteRange{offset, length}](media::Medium& medium) { return medium.load(range); });
}

Napi::Value Medium::close(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (state_->responders > 0) {
    return throwInvalid(env, "a responder still uses the medium; stop it first");
  }
  napi_deferred deferred = nullptr;
  napi_value promise = nullptr;
  if (napi_create_promise(env, &deferred, &promise) != napi_ok) return {};
  Environment& environment = Environment::of(env);
  if (!state_->medium && state_->works == 0) {  // closed, or the last work is under way
    (void)napi_resolve_deferred(env, deferred, env.Undefined());
    return {env, promise};
  }
  if (state_->closers.empty()) environment.hold();
  state_->closing = true;
  state_->closers.push_back(deferred);
  closeWhenIdle(environment, state_);
  return {env, promise};
}

}  // namespace rdmacp::binding
