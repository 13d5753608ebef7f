// result.h -- errors as values: what every native part below Node-API returns instead of throwing.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>

namespace rdmacp {

// Stable numbers: they cross into JavaScript and onto the wire (data protocol), so append only.
// src/native-error.ts maps each to a documented CheckpointError code.
enum class ErrorCode : std::uint16_t {
  ok = 0,
  invalidArgument = 1,    // the caller's fault; nothing was sent
  connectionRefused = 2,  // nobody listens, or the peer rejected the set-up
  connectionClosed = 3,   // the peer closed in order
  connectionBroken = 4,   // reset, protocol violation, Terminate, or a work request past its deadline
  timedOut = 5,           // a deadline passed
  remoteAccess = 6,       // the peer refused a key, a bound or a right
  protocolViolation = 7,  // the peer sent what the protocol does not allow
  versionMismatch = 8,    // no common version
  tokenInvalid = 9,       // unknown, used or expired token
  fenced = 10,            // a later epoch owns the region
  notSupported = 11,      // this fabric, medium or device cannot do it
  noMemory = 12,
  memlockLimit = 13,  // RLIMIT_MEMLOCK
  systemError = 14,   // see systemError
  mediumFailed = 15,  // a write or sync of the pool's medium failed; the pool is no longer trusted to persist
  mediumFull = 16,
  poolInUse = 17,  // another unit holds the pool's lock
  notFound = 18,
  exists = 19,
  stopped = 20,          // the loop, unit or channel is stopping
  limitReached = 21,     // a configured limit (connections, sessions, bytes in flight, queue depth)
  localClosed = 22,      // closed by this side
  outOfBounds = 23,      // a range outside of the region
  notDurable = 24,       // durable was asked of a medium that cannot
  unauthenticated = 25,  // the other side did not prove that it knows the secret
};
inline constexpr ErrorCode kLastErrorCode = ErrorCode::unauthenticated;

struct Error {
  ErrorCode code = ErrorCode::ok;
  std::string message;  // what was asked, what was found, what to do
  int systemError = 0;  // errno, 0 if none
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT(google-explicit-constructor)
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT(google-explicit-constructor)

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  T& value() & { return *std::get_if<0>(&state_); }
  const T& value() const& { return *std::get_if<0>(&state_); }
  T&& value() && { return std::move(*std::get_if<0>(&state_)); }
  const Error& error() const { return *std::get_if<1>(&state_); }

 private:
  std::variant<T, Error> state_;
};

// Result<void>: success, or an Error.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Error error) : error_(std::move(error)) {}  // NOLINT(google-explicit-constructor)

  bool ok() const { return error_.code == ErrorCode::ok; }
  explicit operator bool() const { return ok(); }
  const Error& error() const { return error_; }

 private:
  Error error_;
};

}  // namespace rdmacp
