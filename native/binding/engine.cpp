// engine.cpp -- the Engine class and its loop. The JavaScript thread, but for the execute part of close(): libuv's pool.
#include "binding/engine.h"

#include <cstring>

#include "binding/argument_reader.h"
#include "binding/background_work.h"
#include "binding/data_channel_class.h"
#include "binding/fabric_names.h"
#include "binding/session_channel_class.h"

namespace rdmacp::binding {

namespace {

constexpr std::chrono::milliseconds kOrderlyTime{1000};  // for close() to send what was posted
constexpr std::chrono::milliseconds kAbortTime{3000};
constexpr std::size_t kMaxThreadName = 15;
constexpr std::uint64_t kMaxSetupMs = 600'000;
constexpr std::uint64_t kMaxWorkMs = 86'400'000;

struct Target {
  std::string transport;
  client::ConnectParameters parameters;
  std::chrono::milliseconds workDeadline{0};
};

Result<Target> readTarget(ArgumentReader& read, napi_value value) {
  const Napi::Object object = read.object(value, "parameters");
  Target target;
  target.transport = read.string(read.required(object, "transport"), "transport");
  const std::string host = read.string(read.required(object, "host"), "host");
  const auto port = static_cast<std::uint16_t>(read.integer(read.required(object, "port"), "port", 1, 65535));
  const auto token = read.bytes(read.required(object, "token"), "token");
  if (read.ok() && token.size() != protocol::kTokenBytes) {
    read.refuse("token must have " + std::to_string(protocol::kTokenBytes) + " bytes");
  }
  if (const auto crc = read.field(object, "crc")) target.parameters.options.crc = read.boolean(*crc, "crc");
  if (const auto timeout = read.field(object, "setupTimeoutMs")) {
    target.parameters.options.setupTimeout =
        std::chrono::milliseconds{read.integer(*timeout, "setupTimeoutMs", 1, kMaxSetupMs)};
  }
  if (const auto deadline = read.field(object, "workDeadlineMs")) {
    target.workDeadline = std::chrono::milliseconds{read.integer(*deadline, "workDeadlineMs", 0, kMaxWorkMs)};
  }
  if (!read.ok()) return Error{ErrorCode::invalidArgument, ""};
  std::memcpy(target.parameters.token.data(), token.data(), token.size());
  auto address = fabric::SocketAddress::parse(host, port);
  if (!address) return address.error();
  target.parameters.address = address.value();
  return target;
}

}  // namespace

Result<EventLoop*> EngineCore::loop() {
  const std::lock_guard lock(mutex_);
  if (!loop_) {
    auto started = EventLoop::start(name_);
    if (!started) return started.error();
    loop_ = std::move(started).value();
  }
  return loop_.get();
}

Result<std::shared_ptr<fabric::Fabric>> EngineCore::fabric(const std::string& transport) {
  return fabricNamed(transport, fabrics_);
}

void EngineCore::add(std::shared_ptr<EngineChannel> channel) {
  const std::lock_guard lock(mutex_);
  channels_.insert(std::move(channel));
  ++open_;
}

void EngineCore::remove(const std::shared_ptr<EngineChannel>& channel) {
  const std::lock_guard lock(mutex_);
  channels_.erase(channel);
}

bool EngineCore::empty() {
  const std::lock_guard lock(mutex_);
  return channels_.empty();
}

std::vector<std::shared_ptr<EngineChannel>> EngineCore::channels() {
  const std::lock_guard lock(mutex_);
  return {channels_.begin(), channels_.end()};
}

void EngineCore::closeChannels() {
  for (const auto& channel : channels())
    channel->close();
}

void EngineCore::abortChannels() {
  for (const auto& channel : channels())
    channel->abort();
}

void EngineCore::channelEnded() {
  const std::lock_guard lock(mutex_);
  --open_;
  ended_.notify_all();
}

bool EngineCore::waitForChannels(std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  return ended_.wait_for(lock, limit, [this] { return open_ == 0; });
}

void EngineCore::stopLoop() {
  std::unique_ptr<EventLoop> stopped;
  {
    const std::lock_guard lock(mutex_);
    stopped.swap(loop_);
  }
  if (stopped) stopped->stop();
}

// The stop hook: when it returns, no native thread touches memory of JavaScript's, whether the peers took notice or not.
void EngineCore::shutDown() {
  abortChannels();
  (void)waitForChannels(kAbortTime);
  stopLoop();
  const std::lock_guard lock(mutex_);
  channels_.clear();
}

void Engine::define(Environment& environment, Napi::Object exports) {
  defineClass<Engine>(environment,
                      {
                          method<Engine, &Engine::connectData>("connectData"),
                          method<Engine, &Engine::connectSession>("connectSession"),
                          method<Engine, &Engine::close>("close"),
                      },
                      "Engine", exports);
}

std::unique_ptr<Engine> Engine::construct(const Napi::CallbackInfo& info) {
  ArgumentReader read(info.Env());
  std::string name = "rdma-checkpoint";
  const Napi::Object options = read.object(info[0], "options");
  if (const auto given = read.field(options, "name")) name = read.string(*given, "name");
  if (name.empty() || name.size() > kMaxThreadName) read.refuse("name must have 1 to 15 characters");
  if (!read.ok()) {
    read.fail();
    return nullptr;
  }
  Environment& environment = Environment::of(info.Env());
  auto core = std::make_shared<EngineCore>(std::move(name));
  environment.addService(core);
  return std::make_unique<Engine>(environment, std::move(core));
}

Engine::~Engine() {
  const auto environment = environment_.lock();
  if (!environment || environment->stopped() || !core_->empty()) return;
  core_->stopLoop();
  environment->allocations().forget(core_->fabrics().verbs.get());
  environment->removeService(core_);
}

Napi::Value Engine::connectData(const Napi::CallbackInfo& info) {
  ArgumentReader read(info.Env());
  const Napi::Object handler = read.object(info[1], "handler");
  auto target = readTarget(read, info[0]);
  if (!read.ok()) return read.fail();
  if (!target) return throwError(info.Env(), target.error());
  if (core_->closing) return throwError(info.Env(), {ErrorCode::localClosed, "the engine is closed"});
  auto fabric = core_->fabric(target.value().transport);
  if (!fabric) return throwError(info.Env(), fabric.error());
  return connectDataChannel(Environment::of(info.Env()), core_, fabric.value(), target.value().parameters,
                            target.value().workDeadline, handler);
}

Napi::Value Engine::connectSession(const Napi::CallbackInfo& info) {
  ArgumentReader read(info.Env());
  const Napi::Object handler = read.object(info[1], "handler");
  auto target = readTarget(read, info[0]);
  if (!read.ok()) return read.fail();
  if (!target) return throwError(info.Env(), target.error());
  if (core_->closing) return throwError(info.Env(), {ErrorCode::localClosed, "the engine is closed"});
  auto fabric = core_->fabric(target.value().transport);
  if (!fabric) return throwError(info.Env(), fabric.error());
  return connectSessionChannel(Environment::of(info.Env()), core_, *fabric.value(), target.value().parameters, handler);
}

Napi::Value Engine::close(const Napi::CallbackInfo& info) {
  Environment& environment = Environment::of(info.Env());
  core_->closing = true;
  core_->closeChannels();
  return runInBackground(
      environment, "rdma-checkpoint:Engine.close",
      [core = core_] {
        (void)core->waitForChannels(kOrderlyTime);
        core->abortChannels();
        (void)core->waitForChannels(kAbortTime);
        core->stopLoop();
        return Status{};
      },
      [&environment, core = core_](const Status&) -> napi_value {
        environment.deliverLetters();
        environment.allocations().forget(core->fabrics().verbs.get());
        environment.removeService(core);
        return nullptr;
      });
}

}  // namespace rdmacp::binding
