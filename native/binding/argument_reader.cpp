// argument_reader.cpp -- checks and converts JavaScript arguments. The JavaScript thread.
#include "binding/argument_reader.h"

#include <array>
#include <cmath>
#include <cstdio>

#include "binding/native_error.h"

namespace rdmacp::binding {

namespace {

constexpr std::uint32_t kMaxListed = 1U << 24;

bool isArrayBuffer(napi_env env, napi_value value) {
  bool is = false;
  return napi_is_arraybuffer(env, value, &is) == napi_ok && is;
}

bool isDetached(napi_env env, napi_value buffer) {
  bool is = false;
  return napi_is_detached_arraybuffer(env, buffer, &is) == napi_ok && is;
}

std::string shown(double number) {
  std::array<char, 32> text{};
  (void)std::snprintf(text.data(), text.size(), "%.17g", number);
  return text.data();
}

// Node-API 9 has no question for it.
bool isResizable(napi_env env, napi_value buffer) {
  napi_value property = nullptr;
  bool resizable = false;
  if (napi_get_named_property(env, buffer, "resizable", &property) != napi_ok) return true;
  return napi_get_value_bool(env, property, &resizable) == napi_ok && resizable;
}

}  // namespace

Napi::Value ArgumentReader::fail() const {
  return threw_ ? Napi::Value() : throwInvalid(env_, message_);
}

void ArgumentReader::refuse(const std::string& message) {
  if (ok()) message_ = message;
}

bool ArgumentReader::took(napi_status status, const char* name, const char* expected) {
  if (status == napi_ok) return true;
  bool pending = false;
  if (status == napi_pending_exception || (napi_is_exception_pending(env_, &pending) == napi_ok && pending)) {
    threw_ = true;
  } else {
    refuse(std::string(name) + " must be " + expected);
  }
  return false;
}

double ArgumentReader::number(napi_value value, const char* name) {
  double result = 0;
  return took(napi_get_value_double(env_, value, &result), name, "a number") ? result : 0;
}

std::uint64_t ArgumentReader::integer(napi_value value, const char* name, std::uint64_t low, std::uint64_t high) {
  const double given = number(value, name);
  if (!ok()) return low;
  // The comparison is false for NaN too.
  if (!(given >= static_cast<double>(low) && given <= static_cast<double>(high)) || given != std::trunc(given)) {
    refuse(std::string(name) + " must be an integer from " + std::to_string(low) + " to " + std::to_string(high) +
           ", not " + shown(given));
    return low;
  }
  return static_cast<std::uint64_t>(given);
}

bool ArgumentReader::boolean(napi_value value, const char* name) {
  bool result = false;
  return took(napi_get_value_bool(env_, value, &result), name, "a boolean") && result;
}

std::uint64_t ArgumentReader::bigint(napi_value value, const char* name) {
  std::uint64_t result = 0;
  bool lossless = false;
  if (!took(napi_get_value_bigint_uint64(env_, value, &result, &lossless), name, "a bigint")) return 0;
  if (!lossless) refuse(std::string(name) + " must be a bigint from 0 to 2^64-1");
  return lossless ? result : 0;
}

std::string ArgumentReader::string(napi_value value, const char* name) {
  std::size_t length = 0;
  if (!took(napi_get_value_string_utf8(env_, value, nullptr, 0, &length), name, "a string")) return {};
  std::string result(length, '\0');
  if (!took(napi_get_value_string_utf8(env_, value, result.data(), length + 1, &length), name, "a string")) return {};
  return result;
}

Napi::Object ArgumentReader::object(napi_value value, const char* name) {
  napi_valuetype type = napi_undefined;
  if (value == nullptr || napi_typeof(env_, value, &type) != napi_ok || type != napi_object) {
    refuse(std::string(name) + " must be an object");
    return {};
  }
  return {env_, value};
}

std::vector<std::uint64_t> ArgumentReader::integers(napi_value value, const char* name) {
  bool isArray = false;
  std::uint32_t length = 0;
  if (napi_is_array(env_, value, &isArray) != napi_ok || !isArray) {
    refuse(std::string(name) + " must be an array of integers");
    return {};
  }
  if (!took(napi_get_array_length(env_, value, &length), name, "an array") || length > kMaxListed) {
    refuse(std::string(name) + " has more than " + std::to_string(kMaxListed) + " elements");
    return {};
  }
  std::vector<std::uint64_t> result;
  result.reserve(length);
  for (std::uint32_t i = 0; i < length && ok(); ++i) {
    napi_value element = nullptr;
    if (took(napi_get_element(env_, value, i, &element), name, "an array of integers")) {
      result.push_back(integer(element, name));
    }
  }
  return result;
}

std::optional<napi_value> ArgumentReader::field(const Napi::Object& object, const char* name) {
  if (!ok() || object.IsEmpty()) return std::nullopt;
  napi_value value = nullptr;
  napi_valuetype type = napi_undefined;
  if (!took(napi_get_named_property(env_, object, name, &value), name, "readable")) return std::nullopt;
  if (napi_typeof(env_, value, &type) != napi_ok || type == napi_undefined) return std::nullopt;
  return value;
}

napi_value ArgumentReader::required(const Napi::Object& object, const char* name) {
  const auto value = field(object, name);
  if (!value) refuse(std::string(name) + " is missing");
  return value.value_or(nullptr);
}

std::optional<std::span<std::byte>> ArgumentReader::view(napi_value value, const char* name, napi_value* buffer) {
  if (!ok()) return std::nullopt;
  bool isTyped = false;
  napi_typedarray_type type = napi_int8_array;
  std::size_t length = 0;
  void* data = nullptr;
  if (value == nullptr || napi_is_typedarray(env_, value, &isTyped) != napi_ok || !isTyped ||
      napi_get_typedarray_info(env_, value, &type, &length, &data, buffer, nullptr) != napi_ok ||
      type != napi_uint8_array) {
    refuse(std::string(name) + " must be a Uint8Array");
    return std::nullopt;
  }
  return std::span<std::byte>{static_cast<std::byte*>(data), data == nullptr ? 0 : length};
}

std::span<std::byte> ArgumentReader::bytes(napi_value value, const char* name) {
  napi_value buffer = nullptr;
  return view(value, name, &buffer).value_or(std::span<std::byte>{});
}

std::span<std::byte> ArgumentReader::steadyBytes(napi_value value, const char* name) {
  napi_value buffer = nullptr;
  const auto found = view(value, name, &buffer);
  if (!found) return {};
  if (!isArrayBuffer(env_, buffer)) {
    refuse(std::string(name) + " is backed by a SharedArrayBuffer, which another thread may change; copy it");
  } else if (found->empty() && isDetached(env_, buffer)) {
    refuse(std::string(name) + " is detached: its memory was transferred away");
  } else if (isResizable(env_, buffer)) {
    refuse(std::string(name) + " is backed by a resizable ArrayBuffer, whose memory may go away; copy it");
  }
  return ok() ? *found : std::span<std::byte>{};
}

}  // namespace rdmacp::binding
