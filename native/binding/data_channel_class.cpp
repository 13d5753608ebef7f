// data_channel_class.cpp -- operations of JavaScript on a client::DataChannel. Each function says in the header which thread.
#include "binding/data_channel_class.h"

#include <cstring>
#include <utility>

#include "binding/argument_reader.h"

namespace rdmacp::binding {

namespace {

using client::Operation;

constexpr std::uint32_t kMaxBuffers = 1U << 20;
constexpr std::uint32_t kMaxGroup = 4096;
constexpr std::uint64_t kLeastRegistered = 4096;

// postFlag of src/native.ts.
constexpr std::uint64_t kFlushByUnit = 1;
constexpr std::uint64_t kPoll = 2;
constexpr std::uint64_t kOurs = 4;
constexpr std::uint64_t kAllFlags = kFlushByUnit | kPoll | kOurs;

void requireUnchanged(ArgumentReader& read, const std::vector<napi_value>& taken, const Operation& operation) {
  for (std::size_t i = 0; i < taken.size() && read.ok(); ++i) {
    const auto bytes = read.bytes(taken[i], "buffers");
    if (read.ok() && (bytes.data() != operation.ranges[i].data || bytes.size() != operation.ranges[i].length)) {
      read.refuse("buffers changed while they were read");
    }
  }
}

// Reads offsets and buffers in step.
void readRanges(ArgumentReader& read, Napi::Env env, napi_value offsets, napi_value buffers, Operation& operation,
                std::vector<napi_value>& taken) {
  std::uint32_t count = 0;
  std::uint32_t offsetCount = 0;
  if (napi_get_array_length(env, buffers, &count) != napi_ok ||
      napi_get_array_length(env, offsets, &offsetCount) != napi_ok || count != offsetCount || count > kMaxBuffers) {
    read.refuse("offsets and buffers must be arrays of one length, at most " + std::to_string(kMaxBuffers));
    return;
  }
  if (count > 0 && operation.kind == Operation::Kind::flush) read.refuse("a flush has no buffers");
  operation.ranges.reserve(count);
  taken.reserve(count);
  for (std::uint32_t i = 0; i < count && read.ok(); ++i) {
    napi_value offset = nullptr;
    napi_value buffer = nullptr;
    if (napi_get_element(env, offsets, i, &offset) != napi_ok ||
        napi_get_element(env, buffers, i, &buffer) != napi_ok) {
      read.refuse("offsets and buffers could not be read");
      return;
    }
    const std::uint64_t at = read.integer(offset, "offsets");
    const auto bytes = read.steadyBytes(buffer, "buffers");
    operation.ranges.push_back({at, bytes.data(), bytes.size()});
    taken.push_back(buffer);
  }
  // What was asked above may have run JavaScript, and that may have transferred a buffer away.
  requireUnchanged(read, taken, operation);
}

void readFlushRanges(ArgumentReader& read, napi_value value, Operation& operation) {
  const auto numbers = read.integers(value, "flushRanges");
  if (read.ok() && numbers.size() % 2 != 0) read.refuse("flushRanges must hold offsets and lengths in turn");
  if (!read.ok()) return;
  operation.flushRanges.reserve(numbers.size() / 2);
  for (std::size_t i = 0; i < numbers.size(); i += 2)
    operation.flushRanges.push_back({numbers[i], numbers[i + 1]});
}

// NativeOperation of src/native.ts. The properties first: reading one may run JavaScript, and the memory of the buffers is
// looked at after that.
void readOperation(ArgumentReader& read, Napi::Env env, napi_value value, Operation& operation,
                   std::vector<napi_value>& buffers) {
  const Napi::Object object = read.object(value, "operation");
  operation.kind = static_cast<Operation::Kind>(read.integer(read.required(object, "kind"), "kind", 0, 2));
  operation.until = static_cast<Operation::Until>(read.integer(read.required(object, "until"), "until", 0, 2));
  napi_value offsets = read.required(object, "offsets");
  napi_value memory = read.required(object, "buffers");
  const auto flushRanges = read.field(object, "flushRanges");
  if (flushRanges) readFlushRanges(read, *flushRanges, operation);
  if (read.ok()) readRanges(read, env, offsets, memory, operation, buffers);
}

}  // namespace

std::shared_ptr<client::DataChannel> DataChannelBridge::channel() {
  const std::lock_guard lock(mutex_);
  return channel_;
}

bool DataChannelBridge::refer(Environment& environment, napi_value handler) {
  const napi_env env = environment.env();
  napi_value held = nullptr;
  return napi_create_array(env, &held) == napi_ok && napi_create_reference(env, held, 1, &held_) == napi_ok &&
         napi_create_reference(env, handler, 1, &handler_) == napi_ok;
}

void DataChannelBridge::dropReferences(Environment& environment) {
  for (napi_ref* reference : {&handler_, &held_}) {
    if (*reference != nullptr) (void)napi_delete_reference(environment.env(), *reference);
    *reference = nullptr;
  }
}

Status DataChannelBridge::connect(Environment& environment, EventLoop& loop,
                                  const std::shared_ptr<fabric::Fabric>& fabric,
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

std::size_t DataChannelBridge::takeSlot(double id) {
  if (freeSlots_.empty()) {
    slots_.emplace_back().id = id;
    return slots_.size() - 1;
  }
  const std::size_t slot = freeSlots_.back();
  freeSlots_.pop_back();
  slots_[slot].id = id;
  return slot;
}

// Has the operation work on memory that nobody can take away from it.
Status DataChannelBridge::lend(Environment& environment, client::DataChannel& open, Operation& operation, bool ours,
                               Slot& slot) {
  const bool writes = operation.kind == Operation::Kind::write;
  const bool registers = fabric_->transport() == fabric::Transport::verbs;
  for (std::size_t i = 0; i < operation.ranges.size(); ++i) {
    client::OperationRange& range = operation.ranges[i];
    if (range.length == 0) continue;
    const auto length = static_cast<std::size_t>(range.length);
    auto allocation = environment.allocations().find({range.data, length});
    if (!allocation && ours) continue;
    if (!allocation) {
      auto taken = environment.allocations().takeCopy(length);
      if (!taken) return taken.error();
      CopyMemory& copy = slot.copies.emplace_back(std::move(taken).value());
      if (writes) {
        std::memcpy(copy.data, range.data, length);
      } else {
        slot.returns.push_back({i, slot.copies.size() - 1, length});
      }
      range.data = copy.data;
      allocation = copy.much;
    } else {
      slot.allocations.push_back(allocation);
    }
    // User-space iWARP sends from and into any memory, and a little is copied faster than looked up.
    if (!registers || !allocation || length < kLeastRegistered) continue;
    range.registration =
        allocation->registration(*fabric_, [&](const fabric::MemoryRegion& memory) { return open.prepare(memory); });
  }
  return {};
}

bool DataChannelBridge::hold(Environment& environment, std::size_t slot, const std::vector<napi_value>& buffers) {
  const napi_env env = environment.env();
  napi_value list = nullptr;
  napi_value held = buffers.front();
  slots_[slot].held = true;
  slots_[slot].several = buffers.size() > 1;
  if (slots_[slot].several) {
    if (napi_create_array_with_length(env, buffers.size(), &held) != napi_ok) return false;
    for (std::size_t i = 0; i < buffers.size(); ++i) {
      if (napi_set_element(env, held, static_cast<std::uint32_t>(i), buffers[i]) != napi_ok) return false;
    }
  }
  return napi_get_reference_value(env, held_, &list) == napi_ok &&
         napi_set_element(env, list, static_cast<std::uint32_t>(slot), held) == napi_ok;
}

Status DataChannelBridge::post(Environment& environment, std::span<const Asked> asked,
                               std::span<client::Operation> group, bool ours, std::optional<client::Outcome>* answer) {
  const auto open = channel();
  if (!open) return Error{ErrorCode::localClosed, "the connection is closed"};
  napi_value list = nullptr;
  (void)napi_get_reference_value(environment.env(), held_, &list);
  const auto deadline = workDeadline_.count() > 0 ? Clock::now() + workDeadline_ : Clock::time_point::max();
  Status posted;
  std::size_t taken = 0;
  for (; taken < group.size() && posted; ++taken) {
    Operation& operation = group[taken];
    const std::vector<napi_value>& buffers = asked[taken].buffers;
    const std::size_t slot = takeSlot(asked[taken].id);
    operation.id = slot;
    operation.deadline = deadline;
    posted = lend(environment, *open, operation, ours, slots_[slot]);
    if (posted && !buffers.empty() && operation.kind == Operation::Kind::read) {
      if (!hold(environment, slot, buffers)) posted = Error{ErrorCode::stopped, "the environment is ending"};
      environment.stopBeforeEarlierHooks();
    }
  }
  if (posted) posted = open->post(group, answer);
  const bool over = !posted || (answer != nullptr && *answer);
  for (const Operation& operation : group.first(taken)) {
    if (!over) {
      environment.hold();
      continue;
    }
    if (posted) bringBack(environment, list, operation.id);
    letGo(environment, list, operation.id);
  }
  return posted;
}

// What was read into copies, to where it belongs. Memory that was transferred away meanwhile gets nothing; who reads sees
// that by its length.
void DataChannelBridge::bringBack(Environment& environment, napi_value list, std::size_t slot) {
  const napi_env env = environment.env();
  const Slot& done = slots_[slot];
  if (done.returns.empty()) return;
  napi_value held = nullptr;
  if (napi_get_element(env, list, static_cast<std::uint32_t>(slot), &held) != napi_ok) return;
  for (const Return& back : done.returns) {
    napi_value array = held;
    napi_typedarray_type type = napi_int8_array;
    std::size_t length = 0;
    void* data = nullptr;
    if ((done.several && napi_get_element(env, held, static_cast<std::uint32_t>(back.buffer), &array) != napi_ok) ||
        napi_get_typedarray_info(env, array, &type, &length, &data, nullptr, nullptr) != napi_ok ||
        type != napi_uint8_array || data == nullptr || length != back.length) {
      continue;
    }
    std::memcpy(data, done.copies[back.copy].data, length);
  }
}

void DataChannelBridge::letGo(Environment& environment, napi_value list, std::size_t slot) {
  const napi_env env = environment.env();
  napi_value nothing = nullptr;
  Slot& done = slots_[slot];
  if (std::exchange(done.held, false) && list != nullptr && napi_get_undefined(env, &nothing) == napi_ok) {
    (void)napi_set_element(env, list, static_cast<std::uint32_t>(slot), nothing);
  }
  for (CopyMemory& copy : done.copies)
    environment.allocations().giveBack(std::move(copy));
  done.copies.clear();
  done.allocations.clear();
  done.returns.clear();
  freeSlots_.push_back(slot);
}

void DataChannelBridge::close() {
  if (const auto open = channel()) open->close();
}

void DataChannelBridge::abort() {
  if (const auto open = channel()) open->abort();
}

void DataChannelBridge::onOpen(const protocol::Grant& grant) {
  {
    const std::lock_guard lock(mutex_);
    opened_ = std::make_unique<protocol::Grant>(grant);
  }
  mailbox_->post(shared_from_this());
}

void DataChannelBridge::onOutcomes(std::span<const client::Outcome> outcomes) {
  {
    const std::lock_guard lock(mutex_);
    outcomes_.insert(outcomes_.end(), outcomes.begin(), outcomes.end());
  }
  mailbox_->post(shared_from_this());
}

void DataChannelBridge::onClosed(const Error& reason) {
  {
    const std::lock_guard lock(mutex_);
    closed_ = std::make_unique<Error>(reason);
  }
  mailbox_->post(shared_from_this());
  core_->channelEnded();
}

void DataChannelBridge::deliver(Environment& environment) {
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

void DataChannelBridge::deliverOpen(Environment& environment, napi_value handler, const protocol::Grant& grant) {
  const Napi::Env env = environment.env();
  if (std::exchange(settingUp_, false)) environment.release();
  Napi::Object object = Napi::Object::New(env);
  object.Set("length", static_cast<double>(grant.length));
  object.Set("epoch", Napi::BigInt::New(env, grant.epoch));
  object.Set("unitStart", Napi::BigInt::New(env, grant.unitStart));
  object.Set("rights", grant.rights);
  object.Set("credits", grant.credits);
  object.Set("promises", grant.promises);
  object.Set("flushVerb", (grant.capabilities & protocol::kCapabilityFlushVerb) != 0);
  object.Set("base", Napi::BigInt::New(env, grant.base));
  object.Set("key", grant.remoteKey);
  environment.call(handler, "onOpen", {object});
}

void DataChannelBridge::deliverOutcomes(Environment& environment, napi_value handler,
                                        const std::vector<client::Outcome>& outcomes) {
  constexpr std::size_t kNumbers = 4;  // src/native.ts: id, code, method, errno
  const napi_env env = environment.env();
  napi_value list = nullptr;
  napi_value buffer = nullptr;
  napi_value array = nullptr;
  void* data = nullptr;
  const std::size_t count = outcomes.size() * kNumbers;
  const bool made = napi_create_arraybuffer(env, count * sizeof(double), &data, &buffer) == napi_ok &&
                    napi_create_typedarray(env, napi_float64_array, count, buffer, 0, &array) == napi_ok &&
                    napi_get_reference_value(env, held_, &list) == napi_ok;
  auto* numbers = static_cast<double*>(data);
  for (const client::Outcome& outcome : outcomes) {
    const std::size_t slot = outcome.id;
    environment.release();
    if (made) {
      *numbers++ = slots_[slot].id;
      *numbers++ = static_cast<double>(outcome.code);
      *numbers++ = outcome.method;
      *numbers++ = outcome.systemError;
      if (outcome.code == ErrorCode::ok) bringBack(environment, list, slot);
    }
    letGo(environment, list, slot);
  }
  if (made) environment.call(handler, "onOutcomes", {array});
}

void DataChannelBridge::deliverClosed(Environment& environment, napi_value handler, const Error& reason) {
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
                                            method<DataChannel, &DataChannel::postGroup>("postGroup"),
                                            method<DataChannel, &DataChannel::close>("close"),
                                        });
}

Napi::Value DataChannel::post(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  ArgumentReader read(env);
  Operation operation;
  DataChannelBridge::Asked asked;
  asked.id = read.number(info[0], "id");
  readOperation(read, env, info[1], operation, asked.buffers);
  const std::uint64_t flags = info[2].IsUndefined() ? 0 : read.integer(info[2], "flags", 0, kAllFlags);
  if (!read.ok()) return read.fail();
  operation.flushByUnit = (flags & kFlushByUnit) != 0;
  std::optional<client::Outcome> answer;
  const Status posted = bridge_->post(Environment::of(env), {&asked, 1}, {&operation, 1}, (flags & kOurs) != 0,
                                      (flags & kPoll) != 0 ? &answer : nullptr);
  if (!posted) return throwError(env, posted.error());
  return answer ? Napi::Number::New(env, answer->method) : env.Undefined();
}

Napi::Value DataChannel::postGroup(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  ArgumentReader read(env);
  const double firstId = read.number(info[0], "firstId");
  std::uint32_t count = 0;
  if (napi_get_array_length(env, info[1], &count) != napi_ok || count == 0 || count > kMaxGroup) {
    read.refuse("operations must be an array of 1 to " + std::to_string(kMaxGroup));
  }
  const std::uint64_t flags = read.ok() ? read.integer(info[2], "flags", 0, kAllFlags) : 0;
  std::vector<Operation> group(read.ok() ? count : 0);
  std::vector<DataChannelBridge::Asked> asked(group.size());
  for (std::uint32_t i = 0; i < group.size() && read.ok(); ++i) {
    napi_value object = nullptr;
    if (napi_get_element(env, info[1], i, &object) != napi_ok) {
      read.refuse("operations could not be read");
      break;
    }
    asked[i].id = firstId + i;
    readOperation(read, env, object, group[i], asked[i].buffers);
    group[i].flushByUnit = (flags & kFlushByUnit) != 0;
  }
  // Reading a later operation may have run JavaScript, and that may have transferred an earlier one's buffers away.
  for (std::size_t i = 0; i < group.size() && read.ok(); ++i) {
    requireUnchanged(read, asked[i].buffers, group[i]);
  }
  if (!read.ok()) return read.fail();
  const Status posted = bridge_->post(Environment::of(env), asked, group, (flags & kOurs) != 0, nullptr);
  return posted ? env.Undefined() : throwError(env, posted.error());
}

Napi::Value DataChannel::close(const Napi::CallbackInfo& info) {
  bridge_->close();
  return info.Env().Undefined();
}

Napi::Value connectDataChannel(Environment& environment, const std::shared_ptr<EngineCore>& core,
                               const std::shared_ptr<fabric::Fabric>& fabric,
                               const client::ConnectParameters& parameters, std::chrono::milliseconds workDeadline,
                               Napi::Object handler) {
  const Napi::Env env = environment.env();
  auto loop = core->loop();
  if (!loop) return throwError(env, loop.error());
  auto bridge = std::make_shared<DataChannelBridge>(environment, core, workDeadline);
  // The object first: once the connection is under way there must be someone who can close it.
  const napi_value object = wrapNew(environment, std::make_unique<DataChannel>(bridge));
  if (object == nullptr || !bridge->refer(environment, handler)) return {};
  if (Status started = bridge->connect(environment, *loop.value(), fabric, parameters); !started) {
    return throwError(env, started.error());
  }
  return {env, object};
}

}  // namespace rdmacp::binding
