// ids.h -- the numbers by which the unit's data plane and those above it name what they speak of.
#pragma once

#include <cstdint>

namespace rdmacp::unit {

using RegionId = std::uint64_t;   // this process's number of a region, never reused
using SessionId = std::uint64_t;  // of a client's session
using HandleId = std::uint64_t;   // one open of a region

}  // namespace rdmacp::unit
