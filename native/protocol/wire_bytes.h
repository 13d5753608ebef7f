// wire_bytes.h -- little-endian integers into and out of byte strings, with the bounds kept by the reader.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace rdmacp::protocol {

class WireWriter {
 public:
  explicit WireWriter(std::size_t expectedBytes) { bytes_.reserve(expectedBytes); }

  template <std::unsigned_integral T>
  void put(T value) {
    for (std::size_t i = 0; i < sizeof(T); ++i) {
      bytes_.push_back(static_cast<std::byte>((value >> (8 * i)) & 0xff));
    }
  }
  void put(std::span<const std::byte> bytes) { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }

  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

// Reads past the end give zeros and are remembered, so that a parser may check once, before it uses anything.
class WireReader {
 public:
  explicit WireReader(std::span<const std::byte> bytes) : rest_(bytes) {}

  template <std::unsigned_integral T>
  T take() {
    const auto bytes = takeBytes(sizeof(T));
    T value = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      value =
          static_cast<T>(value | static_cast<T>(static_cast<T>(std::to_integer<std::uint8_t>(bytes[i])) << (8 * i)));
    }
    return value;
  }

  std::span<const std::byte> takeBytes(std::size_t count) {
    if (count > rest_.size()) {
      overrun_ = true;
      rest_ = {};
      return {};
    }
    const auto taken = rest_.first(count);
    rest_ = rest_.subspan(count);
    return taken;
  }

  std::size_t left() const { return rest_.size(); }
  bool overrun() const { return overrun_; }

 private:
  std::span<const std::byte> rest_;
  bool overrun_ = false;
};

}  // namespace rdmacp::protocol
