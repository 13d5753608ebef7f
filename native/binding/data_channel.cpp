// data_channel.cpp -- operations of JavaScript on a client::DataChannel. Each function says in the header which thread.
#include "binding/data_channel.h"

#include "binding/argument_reader.h"

namespace rdmacp::binding {

namespace {

using client::Operation;

constexpr std::uint32_t kMaxBuffers = 1U << 20;
constexpr double kMaxDeadlineMs = 1e12;
constexpr std::uint64_t kLeastRegistered = 4096;

// Reads offsets and buffers in step; `held` becomes what has to be kept alive.
void readRanges(ArgumentReader& read, Napi::Env env, napi_value offsets, napi_value buffers, Operation& operation,
                napi_value* held) {
  std::uint32_t count = 0;
  std::uint32_t offsetCount = 0;
  if (napi_get_array_length(env, buffers, &count) != napi_ok ||
      napi_get_array_length(env, offsets, &offsetCount) != napi_ok || count != offsetCount || count > kMaxBuffers) {
    read.refuse("offsets and buffers must be arrays of one length, at most " + std::to_string(kMaxBuffers));
    return;
  }
  if (count > 0 && operation.kind == Operation::Kind::flush) read.refuse("a flush has no buffers");
  if (count > 1 && napi_create_array_with_length(env, count, held) != napi_ok) read.refuse("no memory");
  operation.ranges.reserve(count);
  for (std::uint32_t i = 0; i < count && read.ok(); ++i) {
    napi_value offset = nullptr;
    napi_value buffer = nullptr;
    if (napi_get_element(env, offsets, i, &offset) != napi_ok ||
        napi_get_element(env, buffers, i, &buffer) != napi_ok ||
        (count > 1 && napi_set_element(env, *held, i, buffer) != napi_ok)) {
      read.refuse("offsets and buffers could not be read");
      return;
    }
    const std::uint64_t at = read.integer(offset, "offsets");
    const auto bytes = read.steadyBytes(buffer, "buffers");
    operation.ranges.push_back({at, bytes.data(), bytes.size()});
    if (count == 1) *held = buffer;
  }
}

void readFlushRanges(ArgumentReader& read, Napi::Env env, napi_value value, Operation& operation) {
  napi_valuetype type = napi_undefined;
  if (napi_typeof(env, value, &type) != napi_ok || type == napi_undefined) return;
  const auto numbers = read.integers(value, "flushRanges");
  if (read.ok() && numbers.size() % 2 != 0) read.refuse("flushRanges must hold offsets and lengths in turn");
  if (!read.ok()) return;
  operation.flushRanges.reserve(numbers.size() / 2);
  for (std::size_t i = 0; i < numbers.size(); i += 2)
    operation.flushRanges.push_back({numbers[i], numbers[i + 1]});
}

void readDeadline(ArgumentReader& read, napi_value value, Operation& operation) {
  const double ms = read.number(value, "deadlineMs");
  if (!read.ok()) return;
  if (!(ms >= 0 && ms <= kMaxDeadlineMs)) {
    read.refuse("deadlineMs must be from 0 to 1e12");
  } else if (ms > 0) {
    operation.deadline = Clock::now() + std::chrono::microseconds{static_cast<std::int64_t>(ms * 1000)};
  }
}

}  // namespace

std::shared_ptr<client::DataChannel> DataLink::channel() {
  const std::lock_guard lock(mutex_);
  return channel_;
}

bool DataLink::refer(Environment& environment, napi_value handler) {
  const napi_env env = environment.env();
  napi_value held = nullptr;
  return napi_create_array(env, &held) == napi_ok && napi_create_reference(env, held, 1, &held_) == napi_ok &&
         napi_create_reference(env, handler, 1, &handler_) == napi_ok;
}

void DataLink::dropReferences(Environment& environment) {
  for (napi_ref* reference : {&handler_, &held_}) {
    if (*reference != nullptr) (void)napi_delete_reference(environment.env(), *reference);
    *reference = nullptr;
  }
}

Status DataLink::connect(Environment& environment, EventLoop& loop, const std::shared_ptr<fabric::Fabric>& fabric,
                         const client::ConnectParameters& parameters) {
  core_->add(shared_from_this());
  fabric_ = fabric;
  auto connected = client::DataChannel::connect(*fabric, loop, parameters, shared_from_this());
  if (!connected) {
    core_->remove(shared_from_this());
    core_->channelEnded();
    dropReferences(environment);
    return connected.error();
  }
  environment.hold();
  settingUp_ = true;
  const std::lock_guard lock(mutex_);
  channel_ = std::move(connected).value();
  return {};
}

std::size_t DataLink::takeSlot(double id) {
  if (freeSlots_.empty()) {
    slots_.push_back(id);
    return slots_.size() - 1;
  }
  const std::size_t slot = freeSlots_.back();
  freeSlots_.pop_back();
  slots_[slot] = id;
  return slot;
}

Status DataLink::post(Environment& environment, double id, Operation operation, napi_value held,
                      std::optional<client::Outcome>* answer) {
  const auto open = channel();
  if (!open) return Error{ErrorCode::localClosed, "the connection is closed"};
  const std::size_t slot = takeSlot(id);
  if (held != nullptr) {
    napi_value list = nullptr;
    if (napi_get_reference_value(environment.env(), held_, &list) != napi_ok ||
        napi_set_element(environment.env(), list, static_cast<std::uint32_t>(slot), held) != napi_ok) {
      freeSlots_.push_back(slot);
      return Error{ErrorCode::stopped, "the environment is ending"};
    }
    environment.stopBeforeEarlierHooks();
  }
  operation.id = slot;
  // User-space iWARP sends from and into any memory, and a little is copied faster than looked up.
  if (fabric_->transport() == fabric::Transport::verbs) {
    for (client::OperationRange& range : operation.ranges) {
      if (range.length < kLeastRegistered) continue;
      range.registration = environment.allocations().registration(
          *fabric_, {range.data, static_cast<std::size_t>(range.length)},
          [&](const fabric::MemoryRegion& memory) { return open->prepare(memory); });
    }
  }
  Status posted = open->post(std::move(operation), answer);
  if (!posted || (answer != nullptr && *answer)) {
    letGo(environment, slot);
  } else {
    environment.hold();
  }
  return posted;
}

void DataLink::letGo(Environment& environment, std::size_t slot) {
  const napi_env env = environment.env();
  napi_value list = nullptr;
  napi_value nothing = nullptr;
  if (napi_get_reference_value(env, held_, &list) == napi_ok && napi_get_undefined(env, &nothing) == napi_ok) {
    (void)napi_set_element(env, list, static_cast<std::uint32_t>(slot), nothing);
  }
  freeSlots_.push_back(slot);
}

void DataLink::close() {
  if (const auto open = channel()) open->close();
}

void DataLink::abort() {
  if (const auto open = channel()) open->abort();
}

void DataLink::onOpen(const protocol::Grant& grant) {
  {
    const std::lock_guard lock(mutex_);
    opened_ = std::make_unique<protocol::Grant>(grant);
  }
  mailbox_->post(shared_from_this());
}

void DataLink::onOutcomes(std::span<const client::Outcome> outcomes) {
  {
    const std::lock_guard lock(mutex_);
    outcomes_.insert(outcomes_.end(), outcomes.begin(), outcomes.end());
  }
  mailbox_->post(shared_from_this());
}

void DataLink::onClosed(const Error& reason) {
  {
    const std::lock_guard lock(mutex_);
    closed_ = std::make_unique<Error>(reason);
  }
  mailbox_->post(shared_from_this());
  core_->channelEnded();
}

void DataLink::deliver(Environment& environment) {
  std::unique_ptr<protocol::Grant> opened;
  std::vector<client::Outcome> outcomes;
  std::unique_ptr<Error> closed;
  {
    const std::lock_guard lock(mutex_);
    opened.swap(opened_);
    outcomes.swap(outcomes_);
    closed.swap(closed_);
  }
  napi_value handler = nullptr;
  if (handler_ == nullptr || napi_get_reference_value(environment.env(), handler_, &handler) != napi_ok) return;
  if (opened) deliverOpen(environment, handler, *opened);
  if (!outcomes.empty() && !environment.stopped()) deliverOutcomes(environment, handler, outcomes);
  if (closed && !environment.stopped()) deliverClosed(environment, handler, *closed);
}

void DataLink::deliverOpen(Environment& environment, napi_value handler, const protocol::Grant& grant) {
  const Napi::Env env = environment.env();
  if (std::exchange(settingUp_, false)) environment.release();
  Napi::Object object = Napi::Object::New(env);
  object.Set("length", static_cast<double>(grant.length));
  object.Set("epoch", Napi::BigInt::New(env, grant.epoch));
  object.Set("unitGeneration", Napi::BigInt::New(env, grant.unitGeneration));
  object.Set("rights", grant.rights);
  object.Set("credits", grant.credits);
  object.Set("promises", grant.promises);
  object.Set("flushVerb", (grant.capabilities & protocol::kCapabilityFlushVerb) != 0);
  object.Set("base", Napi::BigInt::New(env, grant.base));
  object.Set("key", grant.remoteKey);
  environment.call(handler, "onOpen", {object});
}

void DataLink::deliverOutcomes(Environment& environment, napi_value handler,
                               const std::vector<client::Outcome>& outcomes) {
  constexpr std::size_t kNumbers = 4;  // src/native.ts: id, code, method, errno
  const napi_env env = environment.env();
  napi_value list = nullptr;
  napi_value nothing = nullptr;
  napi_value buffer = nullptr;
  napi_value array = nullptr;
  void* data = nullptr;
  const std::size_t count = outcomes.size() * kNumbers;
  const bool made = napi_create_arraybuffer(env, count * sizeof(double), &data, &buffer) == napi_ok &&
                    napi_create_typedarray(env, napi_float64_array, count, buffer, 0, &array) == napi_ok &&
                    napi_get_reference_value(env, held_, &list) == napi_ok &&
                    napi_get_undefined(env, &nothing) == napi_ok;
  auto* numbers = static_cast<double*>(data);
  for (const client::Outcome& outcome : outcomes) {
    const std::size_t slot = outcome.id;
    environment.release();
    if (made) {
      *numbers++ = slots_[slot];
      *numbers++ = static_cast<double>(outcome.code);
      *numbers++ = outcome.method;
      *numbers++ = outcome.systemError;
      (void)napi_set_element(env, list, static_cast<std::uint32_t>(slot), nothing);
    }
    freeSlots_.push_back(slot);
  }
  if (made) environment.call(handler, "onOutcomes", {array});
}

void DataLink::deliverClosed(Environment& environment, napi_value handler, const Error& reason) {
  const auto keep = shared_from_this();
  if (std::exchange(settingUp_, false)) environment.release();
  {
    const std::lock_guard lock(mutex_);
    channel_.reset();
  }
  core_->remove(keep);
  dropReferences(environment);
  const Napi::Env env = environment.env();
  environment.call(handler, "onClosed",
                   {Napi::Number::New(env, static_cast<double>(reason.code)), Napi::String::New(env, reason.message),
                    Napi::Number::New(env, reason.systemError)});
}

void DataChannel::define(Environment& environment) {
  defineClass<DataChannel>(environment, {
                                            method<DataChannel, &DataChannel::post>("post"),
                                            method<DataChannel, &DataChannel::close>("close"),
                                        });
}

Napi::Value DataChannel::post(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  ArgumentReader read(env);
  Operation operation;
  napi_value held = nullptr;
  const double id = read.number(info[0], "id");
  operation.kind = static_cast<Operation::Kind>(read.integer(info[1], "kind", 0, 2));
  operation.until = static_cast<Operation::Until>(read.integer(info[2], "until", 0, 2));
  if (read.ok()) readRanges(read, env, info[3], info[4], operation, &held);
  if (read.ok()) readFlushRanges(read, env, info[5], operation);
  readDeadline(read, info[6], operation);
  if (read.ok() && !info[7].IsUndefined()) operation.flushByUnit = read.boolean(info[7], "flushByUnit");
  const bool poll = !info[8].IsUndefined() && read.ok() && read.boolean(info[8], "poll");
  if (!read.ok()) return read.fail();
  std::optional<client::Outcome> answer;
  const Status posted = link_->post(Environment::of(env), id, std::move(operation), held, poll ? &answer : nullptr);
  if (!posted) return throwError(env, posted.error());
  return answer ? Napi::Number::New(env, answer->method) : env.Undefined();
}

Napi::Value DataChannel::close(const Napi::CallbackInfo& info) {
  link_->close();
  return info.Env().Undefined();
}

Napi::Value connectDataChannel(Environment& environment, const std::shared_ptr<EngineCore>& core,
                               const std::shared_ptr<fabric::Fabric>& fabric,
                               const client::ConnectParameters& parameters, Napi::Object handler) {
  const Napi::Env env = environment.env();
  auto loop = core->loop();
  if (!loop) return throwError(env, loop.error());
  auto link = std::make_shared<DataLink>(environment, core);
  // The object first: once the connection is under way there must be someone who can close it.
  const napi_value object = wrapNew(environment, std::make_unique<DataChannel>(link));
  if (object == nullptr || !link->refer(environment, handler)) return {};
  if (Status started = link->connect(environment, *loop.value(), fabric, parameters); !started) {
    return throwError(env, started.error());
  }
  return {env, object};
}

}  // namespace rdmacp::binding
