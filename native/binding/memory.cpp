// memory.cpp -- checksums, comparisons, and page-aligned memory that JavaScript and native threads share. The JavaScript thread.
#include "binding/memory.h"

#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "base/block_changes.h"
#include "base/crc32c.h"
#include "binding/argument_reader.h"
#include "binding/environment.h"
#include "binding/native_error.h"

namespace rdmacp::binding {

namespace {

constexpr std::uint64_t kMaxSeed = 0xffffffffULL;
// The largest Uint8Array of Node 20; V8 aborts the process on an external ArrayBuffer above its own limit.
constexpr std::uint64_t kMaxAllocation = std::uint64_t{1} << 32;

// What JavaScript has of an allocation; a transfer under way has its own.
struct Share {
  std::shared_ptr<Allocation> allocation;
  std::weak_ptr<Environment> environment;
};

void onCollected(napi_env /*env*/, void* /*data*/, void* hint) {
  const std::unique_ptr<Share> freed(static_cast<Share*>(hint));
  if (const auto environment = freed->environment.lock()) environment->stopIfEnding();
}

bool given(napi_env env, napi_value value) {
  napi_valuetype type = napi_undefined;
  return napi_typeof(env, value, &type) == napi_ok && type != napi_undefined;
}

std::uint32_t readSeed(ArgumentReader& read, napi_env env, napi_value value) {
  return given(env, value) ? static_cast<std::uint32_t>(read.integer(value, "seed", 0, kMaxSeed)) : 0;
}

bool overlap(std::span<const std::byte> a, std::span<const std::byte> b) {
  const auto startA = reinterpret_cast<std::uintptr_t>(a.data());
  const auto startB = reinterpret_cast<std::uintptr_t>(b.data());
  return !a.empty() && !b.empty() && startA < startB + b.size() && startB < startA + a.size();
}

napi_value plainArrayBuffer(napi_env env, std::size_t bytes) {
  napi_value buffer = nullptr;
  void* data = nullptr;
  return napi_create_arraybuffer(env, bytes, &data, &buffer) == napi_ok ? buffer : nullptr;
}

}  // namespace

Napi::Value crc32cOf(const Napi::CallbackInfo& info) {
  ArgumentReader read(info.Env());
  const auto bytes = read.bytes(info[0], "bytes");
  const std::uint32_t seed = readSeed(read, info.Env(), info[1]);
  if (!read.ok()) return read.fail();
  return Napi::Number::New(info.Env(), crc32c(seed, bytes));
}

Napi::Value copyCrc32cOf(const Napi::CallbackInfo& info) {
  ArgumentReader read(info.Env());
  const auto target = read.bytes(info[0], "target");
  const std::uint64_t offset = read.integer(info[1], "targetOffset");
  const auto source = read.bytes(info[2], "source");
  const std::uint32_t seed = readSeed(read, info.Env(), info[3]);
  if (!read.ok()) return read.fail();
  if (offset > target.size() || source.size() > target.size() - offset) {
    return throwError(info.Env(), {ErrorCode::outOfBounds, std::to_string(source.size()) + " bytes at offset " +
                                                               std::to_string(offset) + " do not fit into " +
                                                               std::to_string(target.size()) + " bytes"});
  }
  const auto place = target.subspan(offset, source.size());
  if (overlap(place, source)) return throwInvalid(info.Env(), "source and target overlap");
  if (source.empty()) return Napi::Number::New(info.Env(), seed);
  return Napi::Number::New(info.Env(), copyCrc32c(seed, place.data(), source));
}

Napi::Value takeChangesOf(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  ArgumentReader read(env);
  const auto base = read.bytes(info[0], "base");
  const auto state = read.bytes(info[1], "state");
  const std::uint64_t blockBytes = read.integer(info[2], "blockBytes", 1);
  const std::uint64_t mostBytes = read.integer(info[3], "mostBytes", 0, kMaxAllocation);
  if (!read.ok()) return read.fail();
  if (overlap(base, state)) return throwInvalid(env, "base and state overlap");
  try {
    std::vector<std::byte> runs;
    if (!takeChanges(base, state, blockBytes, mostBytes, runs)) return env.Undefined();
    Napi::Uint8Array taken = Napi::Uint8Array::New(env, runs.size());
    if (!runs.empty()) std::memcpy(taken.Data(), runs.data(), runs.size());
    return taken;
  } catch (const std::bad_alloc&) {
    return throwError(env, {ErrorCode::noMemory, "no memory for what changed"});
  }
}

Napi::Value allocate(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  ArgumentReader read(env);
  const std::uint64_t bytes = read.integer(info[0], "bytes", 0, kMaxAllocation);
  const bool lasting = given(env, info[1]) && read.boolean(info[1], "lasting");
  if (!read.ok()) return read.fail();
  if (bytes == 0) return {env, plainArrayBuffer(env, 0)};

  Environment& environment = Environment::of(env);
  auto made = environment.allocations().make(static_cast<std::size_t>(bytes), lasting);
  if (!made) return throwError(env, made.error());
  void* address = made.value()->memory().data();
  auto share = std::make_unique<Share>(Share{std::move(made).value(), environment.weak_from_this()});
  napi_value buffer = nullptr;
  const napi_status status = napi_create_external_arraybuffer(env, address, static_cast<std::size_t>(bytes),
                                                              onCollected, share.get(), &buffer);
  if (status == napi_ok) {
    (void)share.release();
    environment.stopBeforeEarlierHooks();
    return {env, buffer};
  }
  if (status == napi_no_external_buffers_allowed) return {env, plainArrayBuffer(env, static_cast<std::size_t>(bytes))};
  return throwError(env, {ErrorCode::noMemory, "no ArrayBuffer of " + std::to_string(bytes) + " bytes could be made"});
}

}  // namespace rdmacp::binding
