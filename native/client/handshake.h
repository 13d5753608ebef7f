// handshake.h -- what data and session channels share of the set-up: hello, the refusals, and the limits of an answer.
//
// Pure functions, any thread; they own nothing. docs/data-protocol.md describes the exchange.
#pragma once

#include <span>
#include <vector>

#include "fabric/fabric.h"
#include "protocol/messages.h"

namespace rdmacp::client {

// What a Hello of this build offers on a connection that can post flushes or cannot.
protocol::Hello makeHello(std::uint32_t maxMessage, bool canFlush);

// The private data of a reject, or a refuse message, as the error that the user sees.
Error rejectedBy(fabric::ConstBytes rejectData, const std::string& peer);
Error refusedBy(const protocol::Refuse& refuse, const std::string& peer);

// The grant comes from the network: everything that is later used for addressing or as a limit is checked here.
// protocolViolation, with what was wrong.
Status checkGrant(const protocol::Grant& grant);
Status checkWelcome(const protocol::Welcome& welcome);

// A version that the hello did not offer.
Status checkVersion(std::uint16_t version);

// A code that came over the network, when it is none that this build knows.
ErrorCode knownCode(ErrorCode code);

}  // namespace rdmacp::client
