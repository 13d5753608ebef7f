// iwarp_fabric.h -- what tests of this fabric ask for beyond fabric.h. Any thread.
#pragma once

#include "fabric/fabric.h"

namespace rdmacp::fabric::iwarp {

// revision: of MPA, as the connecting side (RFC 5044: 1; RFC 6581: 2, the default).
std::shared_ptr<Fabric> makeFabricOfRevision(std::uint8_t revision);

}  // namespace rdmacp::fabric::iwarp
