// peer_link_class.cpp -- the PeerLink class. The JavaScript thread, but for onChange (the link's) and the execute part of
// close() (libuv's pool).
#include "binding/peer_link_class.h"

#include <utility>
#include <vector>

#include "binding/argument_reader.h"
#include "binding/background_work.h"
#include "binding/settlement.h"

namespace rdmacp::binding {

namespace {

// Nobody takes them while the event loop is blocked; the oldest are of least interest then.
constexpr std::size_t kMostChanges = 64;

fabric::SocketAddress readAddress(ArgumentReader& read, const Napi::Object& object, const char* name) {
  const Napi::Object address = read.object(read.required(object, name), name);
  const std::string host = read.string(read.required(address, "host"), "host");
  const auto port = static_cast<std::uint16_t>(read.integer(read.required(address, "port"), "port", 0, 65535));
  if (!read.ok()) return {};
  auto parsed = fabric::SocketAddress::parse(host, port);
  if (!parsed) read.refuse(parsed.error().message);
  return parsed ? parsed.value() : fabric::SocketAddress{};
}

const char* nameOf(peer::PeerChange::Kind kind) {
  switch (kind) {
    case peer::PeerChange::Kind::linked:
      return "linked";
    case peer::PeerChange::Kind::lost:
      return "lost";
    case peer::PeerChange::Kind::problem:
      break;
  }
  return "problem";
}

Napi::Object toObject(Napi::Env env, const Error& error) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("code", static_cast<double>(error.code));
  object.Set("message", error.message);
  object.Set("systemError", error.systemError);
  return object;
}

Napi::Object toObject(Napi::Env env, const peer::StatusBlock& block) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("version", block.version);
  object.Set("bootId", peer::hex(block.bootId));
  object.Set("state", block.state);
  object.Set("epoch", Napi::BigInt::New(env, block.epoch));
  object.Set("progress", Napi::BigInt::New(env, block.progress));
  object.Set("clockMs", static_cast<double>(block.clockMs));
  object.Set("turnedMs", static_cast<double>(block.turnedMs));
  return object;
}

Napi::Object toObject(Napi::Env env, const peer::PeerReport& report) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("bootId", peer::hex(report.bootId));
  object.Set("linked", report.linked);
  if (report.links > 0) object.Set("partner", peer::hex(report.partner));
  object.Set("attempts", report.attempts);
  object.Set("links", report.links);
  object.Set("refusals", report.refusals);
  if (report.problem) object.Set("problem", toObject(env, *report.problem));
  object.Set("startedAtMs", report.startedAtMs);
  if (report.links > 0) object.Set("linkedAtMs", report.linkedAtMs);
  object.Set("connected", report.connected);
  Napi::Array steps = Napi::Array::New(env);
  if (report.connected) {
    for (const double step : report.stepMs)
      steps.Set(steps.Length(), step);
  }
  object.Set("stepMs", steps);
  return object;
}

}  // namespace

bool PeerNotice::keep(Napi::Env env, napi_value handler) {
  return napi_create_reference(env, handler, 1, &handler_) == napi_ok;
}

void PeerNotice::drop(Napi::Env env) {
  if (handler_ != nullptr) (void)napi_delete_reference(env, std::exchange(handler_, nullptr));
}

void PeerNotice::onChange(const peer::PeerChange& change) {
  {
    const std::lock_guard lock(mutex_);
    if (changes_.size() == kMostChanges) changes_.pop_front();
    changes_.push_back(change);
  }
  mailbox_->post(shared_from_this());
}

void PeerNotice::deliver(Environment& environment) {
  std::deque<peer::PeerChange> changes;
  {
    const std::lock_guard lock(mutex_);
    changes.swap(changes_);
  }
  const Napi::Env env = environment.env();
  for (const peer::PeerChange& change : changes) {
    napi_value handler = nullptr;
    if (environment.stopped() || handler_ == nullptr) return;
    if (napi_get_reference_value(env, handler_, &handler) != napi_ok) return;
    environment.call(handler, "onChange",
                     {Napi::String::New(env, nameOf(change.kind)), Napi::String::New(env, peer::hex(change.partner)),
                      toObject(env, change.error)});
  }
}

void PeerLink::define(Environment& environment, Napi::Object exports) {
  defineClass<PeerLink>(environment,
                        {
                            getter<PeerLink, &PeerLink::address>("address"),
                            method<PeerLink, &PeerLink::publish>("publish"),
                            method<PeerLink, &PeerLink::status>("status"),
                            method<PeerLink, &PeerLink::report>("report"),
                            method<PeerLink, &PeerLink::close>("close"),
                        },
                        "PeerLink", exports);
}

std::unique_ptr<PeerLink> PeerLink::construct(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  ArgumentReader read(env);
  const Napi::Object object = read.object(info[0], "options");
  const Napi::Object handler = read.object(info[1], "handler");
  const std::string transport = read.string(read.required(object, "transport"), "transport");
  peer::PeerLinkOptions options;
  options.listen = readAddress(read, object, "listen");
  options.partner = readAddress(read, object, "partner");
  options.name = read.string(read.required(object, "name"), "name");
  if (const auto given = read.field(object, "secret")) {
    const auto secret = read.bytes(*given, "secret");
    options.secret.assign(secret.begin(), secret.end());
  }
  if (!read.ok()) {
    read.fail();
    return nullptr;
  }
  Fabrics fabrics;
  auto fabric = fabricNamed(transport, fabrics);
  if (!fabric) {
    throwError(env, fabric.error());
    return nullptr;
  }
  Environment& environment = Environment::of(env);
  auto notice = std::make_shared<PeerNotice>(environment.mailbox());
  if (!notice->keep(env, handler)) {
    throwError(env, {ErrorCode::stopped, "the environment is ending"});
    return nullptr;
  }
  auto started = peer::PeerLink::start(std::move(fabric).value(), options, notice);
  if (!started) {
    notice->drop(env);
    throwError(env, started.error());
    return nullptr;
  }
  auto service = std::make_shared<PeerService>(std::move(started).value(), std::move(notice));
  environment.addService(service);
  environment.addTurnListener(service->link());
  return std::make_unique<PeerLink>(std::move(service));
}

Napi::Value PeerLink::address(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), service_->link()->address().text());
}

Napi::Value PeerLink::publish(const Napi::CallbackInfo& info) {
  ArgumentReader read(info.Env());
  peer::Published published;
  published.state = read.string(info[0], "state");
  published.epoch = read.bigint(info[1], "epoch");
  published.progress = read.bigint(info[2], "progress");
  if (!read.ok()) return read.fail();
  if (Status done = service_->link()->publish(published); !done) return throwError(info.Env(), done.error());
  return info.Env().Undefined();
}

Napi::Value PeerLink::status(const Napi::CallbackInfo& info) {
  const auto settlement = promiseSettlement(Environment::of(info.Env()));
  if (!settlement.ticket) return settlement.promise;
  service_->link()->readPartner([ticket = settlement.ticket](const Result<peer::StatusBlock>& block) {
    if (!block) return ticket->settle(block.error());
    ticket->settle({}, [read = block.value()](Napi::Env env) -> napi_value { return toObject(env, read); });
  });
  return settlement.promise;
}

Napi::Value PeerLink::report(const Napi::CallbackInfo& info) {
  return toObject(info.Env(), service_->link()->report());
}

Napi::Value PeerLink::close(const Napi::CallbackInfo& info) {
  Environment& environment = Environment::of(info.Env());
  return runInBackground(
      environment, "rdma-checkpoint:PeerLink.close",
      [service = service_] {
        service->shutDown();
        return Status{};
      },
      [&environment, service = service_](const Status&) -> napi_value {
        environment.deliverLetters();
        service->notice()->drop(environment.env());
        environment.removeService(service);
        return nullptr;
      });
}

}  // namespace rdmacp::binding
