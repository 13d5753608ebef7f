// responder_class.cpp -- the Responder class. The JavaScript thread, but for the execute part of stop(): libuv's pool.
#include "binding/responder_class.h"

#include <utility>

#include "binding/argument_reader.h"
#include "binding/background_work.h"
#include "binding/fabric_names.h"
#include "binding/settlement.h"

namespace rdmacp::binding {

namespace {

void readUint32(ArgumentReader& read, const Napi::Object& options, const char* name, std::uint32_t low,
                std::uint32_t& target) {
  if (const auto value = read.field(options, name)) {
    target = static_cast<std::uint32_t>(read.integer(*value, name, low, 0xffffffffULL));
  }
}

unit::ResponderOptions readOptions(ArgumentReader& read, napi_value value) {
  unit::ResponderOptions options;
  const Napi::Object object = read.object(value, "options");
  readUint32(read, object, "loops", 1, options.loops);
  readUint32(read, object, "flushThreads", 1, options.flushThreads);
  readUint32(read, object, "maxConnections", 1, options.maxConnections);
  readUint32(read, object, "credits", 1, options.credits);
  readUint32(read, object, "heartbeatMs", 1, options.heartbeatMs);
  readUint32(read, object, "tokenLifeMs", 1, options.tokenLifeMs);
  readUint32(read, object, "tokensPerSession", 1, options.tokensPerSession);
  readUint32(read, object, "helloTimeoutMs", 1, options.helloTimeoutMs);
  options.unitStart = read.bigint(read.required(object, "unitStart"), "unitStart");
  if (const auto crc = read.field(object, "crc")) options.crc = read.boolean(*crc, "crc");
  constexpr std::uint32_t kMostThreads = 256;
  if (options.loops > kMostThreads || options.flushThreads > kMostThreads) {
    read.refuse("loops and flushThreads must be at most " + std::to_string(kMostThreads));
  }
  return options;
}

fabric::Access readRights(ArgumentReader& read, napi_value value) {
  const std::string text = read.string(value, "rights");
  if (text == "read") return fabric::Access::remoteRead;
  if (text == "write") return fabric::Access::remoteWrite;
  if (text == "readWrite") return fabric::Access::remoteReadWrite;
  read.refuse("rights must be 'read', 'write' or 'readWrite'");
  return fabric::Access::none;
}

void setBigint(Napi::Env env, Napi::Object object, const char* name, std::uint64_t number) {
  object.Set(name, Napi::BigInt::New(env, number));
}

Napi::Object toObject(Napi::Env env, const unit::SessionState& state) {
  Napi::Object object = Napi::Object::New(env);
  setBigint(env, object, "session", state.session);
  object.Set("connected", state.connected);
  object.Set("everConnected", state.everConnected);
  object.Set("dataConnections", state.dataConnections);
  object.Set("heardMsAgo", static_cast<double>(state.heardMsAgo));
  object.Set("loopAgeMs", state.loopAgeMs);
  return object;
}

Napi::Object toObject(Napi::Env env, const unit::ResponderCounters& counters) {
  Napi::Object object = Napi::Object::New(env);
  setBigint(env, object, "connectionsOpen", counters.connectionsOpen);
  setBigint(env, object, "connectionsAccepted", counters.connectionsAccepted);
  setBigint(env, object, "connectionsRefused", counters.connectionsRefused);
  setBigint(env, object, "connectionsViolated", counters.connectionsViolated);
  setBigint(env, object, "connectionsUnheard", counters.connectionsUnheard);
  setBigint(env, object, "connectionsYielded", counters.connectionsYielded);
  setBigint(env, object, "sessionsOpen", counters.sessionsOpen);
  setBigint(env, object, "tokensOutstanding", counters.tokensOutstanding);
  setBigint(env, object, "flushes", counters.flushes);
  setBigint(env, object, "flushesFailed", counters.flushesFailed);
  setBigint(env, object, "fences", counters.fences);
  setBigint(env, object, "bytesIn", counters.bytesIn);
  setBigint(env, object, "bytesOut", counters.bytesOut);
  setBigint(env, object, "segmentsIn", counters.segmentsIn);
  setBigint(env, object, "segmentsOut", counters.segmentsOut);
  return object;
}

// A call that has its answer later: start gets what the native part calls when it is done.
template <class Start>
Napi::Value settledLater(const Napi::CallbackInfo& info, const ArgumentReader& read, Start start) {
  if (!read.ok()) return read.fail();
  const PromisedSettlement settlement = promiseSettlement(Environment::of(info.Env()));
  if (settlement.ticket) start([ticket = settlement.ticket](Status status) { ticket->settle(std::move(status)); });
  return settlement.promise;
}

}  // namespace

void Responder::define(Environment& environment, Napi::Object exports) {
  defineClass<Responder>(environment,
                         {
                             method<Responder, &Responder::listen>("listen"),
                             method<Responder, &Responder::addRegion>("addRegion"),
                             method<Responder, &Responder::removeRegion>("removeRegion"),
                             method<Responder, &Responder::fence>("fence"),
                             method<Responder, &Responder::dropHandle>("dropHandle"),
                             method<Responder, &Responder::makeDurable>("makeDurable"),
                             method<Responder, &Responder::addSession>("addSession"),
                             method<Responder, &Responder::removeSession>("removeSession"),
                             method<Responder, &Responder::sessions>("sessions"),
                             method<Responder, &Responder::leaseTime>("leaseTime"),
                             method<Responder, &Responder::issueToken>("issueToken"),
                             method<Responder, &Responder::counters>("counters"),
                             method<Responder, &Responder::stop>("stop"),
                         },
                         "Responder", exports);
}

std::unique_ptr<Responder> Responder::construct(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Medium* medium = unwrap<Medium>(env, info[0]);
  if (medium == nullptr) return nullptr;
  ArgumentReader read(env);
  unit::ResponderOptions options = readOptions(read, info[1]);
  const std::shared_ptr<MediumState>& over = medium->state();
  if (!over->medium || over->closing) read.refuse("the medium is closed");
  if (!read.ok()) {
    read.fail();
    return nullptr;
  }
  std::shared_ptr<Notice> notice;
  std::shared_ptr<DeviceNotice> deviceNotice;
  if (info[2].IsObject()) {
    const auto mailbox = Environment::of(env).mailbox();
    notice = std::make_shared<Notice>("onSessionAlone");
    deviceNotice = std::make_shared<DeviceNotice>("onDeviceNews");
    if (!notice->keep(env, info[2]) || !deviceNotice->keep(env, info[2])) return nullptr;
    options.onSessionAlone = [mailbox, notice] { mailbox->post(notice); };
    options.onDeviceNews = [mailbox, deviceNotice](const fabric::DeviceNews& news) {
      deviceNotice->add(news);
      mailbox->post(deviceNotice);
    };
  }
  auto created = unit::Responder::create(options, over->medium);
  if (!created) {
    if (notice) notice->drop(env);
    if (deviceNotice) deviceNotice->drop(env);
    throwError(env, created.error());
    return nullptr;
  }
  auto responder = std::make_unique<Responder>();
  responder->state_ = std::make_shared<State>();
  State& state = *responder->state_;
  state.service = std::make_shared<ResponderService>(std::move(created).value());
  state.medium = over;
  state.notice = std::move(notice);
  state.deviceNotice = std::move(deviceNotice);
  ++over->responders;
  Environment& environment = Environment::of(env);
  environment.addService(state.service);
  environment.stopBeforeEarlierHooks();
  return responder;
}

unit::Responder* Responder::running(Napi::Env env) const {
  if (state_->service && !state_->stopping) return state_->service->responder().get();
  throwError(env, {ErrorCode::stopped, "the responder has been stopped"});
  return nullptr;
}

Napi::Value Responder::listen(const Napi::CallbackInfo& info) {
  unit::Responder* responder = running(info.Env());
  if (responder == nullptr) return {};
  ArgumentReader read(info.Env());
  const std::string transport = read.string(info[0], "transport");
  const std::string host = read.string(info[1], "host");
  const auto port = static_cast<std::uint16_t>(read.integer(info[2], "port", 0, 65535));
  if (!read.ok()) return read.fail();
  auto address = fabric::SocketAddress::parse(host, port);
  if (!address) return throwError(info.Env(), address.error());
  auto found = fabricNamed(transport, state_->service->fabrics);
  if (!found) return throwError(info.Env(), found.error());
  const auto bound = responder->listen(*found.value(), address.value());
  if (!bound) return throwError(info.Env(), bound.error());
  return Napi::Number::New(info.Env(), bound.value().port());
}

Napi::Value Responder::addRegion(const Napi::CallbackInfo& info) {
  unit::Responder* responder = running(info.Env());
  if (responder == nullptr) return {};
  ArgumentReader read(info.Env());
  const std::uint64_t id = read.bigint(info[0], "id");
  const auto numbers = read.integers(info[1], "extents");
  const std::uint64_t length = read.integer(info[2], "length");
  const std::uint64_t epoch = read.bigint(info[3], "epoch");
  const bool readOnly = read.boolean(info[4], "readOnly");
  if (read.ok() && numbers.size() % 2 != 0) read.refuse("extents must hold offsets and lengths in turn");
  if (!read.ok()) return read.fail();
  std::vector<media::ByteRange> extents;
  extents.reserve(numbers.size() / 2);
  for (std::size_t i = 0; i < numbers.size(); i += 2)
    extents.push_back({numbers[i], numbers[i + 1]});
  const Status added = responder->addRegion(id, extents, length, epoch, readOnly);
  return added ? info.Env().Undefined() : throwError(info.Env(), added.error());
}

Napi::Value Responder::removeRegion(const Napi::CallbackInfo& info) {
  unit::Responder* responder = running(info.Env());
  if (responder == nullptr) return {};
  ArgumentReader read(info.Env());
  const std::uint64_t id = read.bigint(info[0], "id");
  return settledLater(info, read, [&](auto done) { responder->removeRegion(id, std::move(done)); });
}

Napi::Value Responder::fence(const Napi::CallbackInfo& info) {
  unit::Responder* responder = running(info.Env());
  if (responder == nullptr) return {};
  ArgumentReader read(info.Env());
  const std::uint64_t id = read.bigint(info[0], "id");
  const std::uint64_t epoch = read.bigint(info[1], "epoch");
  return settledLater(info, read, [&](auto done) { responder->fence(id, epoch, std::move(done)); });
}

Napi::Value Responder::dropHandle(const Napi::CallbackInfo& info) {
  unit::Responder* responder = running(info.Env());
  if (responder == nullptr) return {};
  ArgumentReader read(info.Env());
  const std::uint64_t id = read.bigint(info[0], "id");
  const std::uint64_t handle = read.bigint(info[1], "handle");
  return settledLater(info, read, [&](auto done) { responder->dropHandle(id, handle, std::move(done)); });
}

Napi::Value Responder::makeDurable(const Napi::CallbackInfo& info) {
  unit::Responder* responder = running(info.Env());
  if (responder == nullptr) return {};
  ArgumentReader read(info.Env());
  const std::uint64_t id = read.bigint(info[0], "id");
  return settledLater(info, read, [&](auto done) { responder->makeDurable(id, std::move(done)); });
}

Napi::Value Responder::addSession(const Napi::CallbackInfo& info) {
  unit::Responder* responder = running(info.Env());
  if (responder == nullptr) return {};
  ArgumentReader read(info.Env());
  const std::uint64_t session = read.bigint(info[0], "session");
  if (!read.ok()) return read.fail();
  const Status added = responder->addSession(session);
  return added ? info.Env().Undefined() : throwError(info.Env(), added.error());
}

Napi::Value Responder::removeSession(const Napi::CallbackInfo& info) {
  unit::Responder* responder = running(info.Env());
  if (responder == nullptr) return {};
  ArgumentReader read(info.Env());
  const std::uint64_t session = read.bigint(info[0], "session");
  if (!read.ok()) return read.fail();
  responder->removeSession(session);
  return info.Env().Undefined();
}

Napi::Value Responder::sessions(const Napi::CallbackInfo& info) {
  unit::Responder* responder = running(info.Env());
  if (responder == nullptr) return {};
  const std::vector<unit::SessionState> states = responder->sessions();
  Napi::Array list = Napi::Array::New(info.Env(), states.size());
  for (std::size_t i = 0; i < states.size(); ++i) {
    list.Set(static_cast<std::uint32_t>(i), toObject(info.Env(), states[i]));
  }
  return list;
}

Napi::Value Responder::leaseTime(const Napi::CallbackInfo& info) {
  unit::Responder* responder = running(info.Env());
  if (responder == nullptr) return {};
  return Napi::Number::New(info.Env(), static_cast<double>(responder->leaseTime().count()));
}

Napi::Value Responder::issueToken(const Napi::CallbackInfo& info) {
  unit::Responder* responder = running(info.Env());
  if (responder == nullptr) return {};
  ArgumentReader read(info.Env());
  const Napi::Object object = read.object(info[0], "request");
  unit::TokenRequest request;
  const std::string kind = read.string(read.required(object, "kind"), "kind");
  request.session = read.bigint(read.required(object, "session"), "session");
  if (const auto lifeMs = read.field(object, "lifeMs")) {
    request.lifeMs = static_cast<std::uint32_t>(read.integer(*lifeMs, "lifeMs", 0, 0xffffffffULL));
  }
  if (kind == "data") {
    request.kind = protocol::ConnectionKind::data;
    request.region = read.bigint(read.required(object, "region"), "region");
    request.handle = read.bigint(read.required(object, "handle"), "handle");
    request.rights = readRights(read, read.required(object, "rights"));
    request.epoch = read.bigint(read.required(object, "epoch"), "epoch");
  } else if (kind == "session") {
    request.kind = protocol::ConnectionKind::session;
  } else {
    read.refuse("kind must be 'data' or 'session'");
  }
  if (!read.ok()) return read.fail();
  const auto token = responder->issueToken(request);
  if (!token) return throwError(info.Env(), token.error());
  Napi::Uint8Array bytes = Napi::Uint8Array::New(info.Env(), protocol::kTokenBytes);
  if (bytes.IsEmpty()) return {};
  std::memcpy(bytes.Data(), token.value().data(), protocol::kTokenBytes);
  return bytes;
}

Napi::Value Responder::counters(const Napi::CallbackInfo& info) {
  const State& state = *state_;
  return toObject(info.Env(), state.service ? state.service->responder()->counters() : state.lastCounters);
}

Napi::Value Responder::stop(const Napi::CallbackInfo& info) {
  Environment& environment = Environment::of(info.Env());
  state_->stopping = true;
  // Stopping twice is harmless, so that each call has a promise that waits for the end.
  auto service = state_->service;
  return runInBackground(
      environment, "rdma-checkpoint:Responder.stop",
      [service] {
        if (service) service->responder()->stop();
        return Status{};
      },
      [&environment, state = state_](const Status&) -> napi_value {
        if (!state->service) return nullptr;
        state->lastCounters = state->service->responder()->counters();
        environment.removeService(state->service);
        state->service.reset();
        --state->medium->responders;
        if (state->notice) state->notice->drop(environment.env());
        if (state->deviceNotice) state->deviceNotice->drop(environment.env());
        // What was settled while it stopped is answered before the stop is.
        environment.deliverLetters();
        return nullptr;
      });
}

}  // namespace rdmacp::binding
