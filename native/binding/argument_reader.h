// argument_reader.h -- JavaScript arguments into C++ values, with the first thing that is wrong kept as an error.
//
// A reader goes on after a failure and returns zeros, so that a call reads all of its arguments and asks once:
//   ArgumentReader read(info.Env());
//   const auto offset = read.integer(info[0], "offset");
//   if (!read.ok()) return read.fail();
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "binding/node_api.h"

namespace rdmacp::binding {

inline constexpr std::uint64_t kMaxSafeInteger = (std::uint64_t{1} << 53) - 1;

class ArgumentReader {
 public:
  explicit ArgumentReader(Napi::Env env) : env_(env) {}

  bool ok() const { return message_.empty() && !threw_; }
  // Throws a TypeError that names the argument, unless reading it has thrown already.
  Napi::Value fail() const;
  void refuse(const std::string& message);

  std::uint64_t integer(napi_value value, const char* name, std::uint64_t low = 0,
                        std::uint64_t high = kMaxSafeInteger);
  double number(napi_value value, const char* name);
  bool boolean(napi_value value, const char* name);
  std::uint64_t bigint(napi_value value, const char* name);
  std::string string(napi_value value, const char* name);
  Napi::Object object(napi_value value, const char* name);
  std::vector<std::uint64_t> integers(napi_value value, const char* name);

  // A property, or nothing when it is undefined.
  std::optional<napi_value> field(const Napi::Object& object, const char* name);
  napi_value required(const Napi::Object& object, const char* name);

  // A Uint8Array's bytes, valid while the call lasts, whatever it is backed by.
  std::span<std::byte> bytes(napi_value value, const char* name);
  // A Uint8Array's bytes that stay where they are while a reference to the array is held: no SharedArrayBuffer, no
  // resizable and no detached ArrayBuffer.
  std::span<std::byte> steadyBytes(napi_value value, const char* name);

 private:
  std::optional<std::span<std::byte>> view(napi_value value, const char* name, napi_value* buffer);
  bool took(napi_status status, const char* name, const char* expected);

  Napi::Env env_;
  std::string message_;
  bool threw_ = false;
};

}  // namespace rdmacp::binding
