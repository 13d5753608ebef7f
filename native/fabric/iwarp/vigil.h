// vigil.h -- whether the machine at the other end of a TCP connection is still there, also while nothing is transferred.
//
// What is dropped in silence (a machine that is gone, a firewall that has forgotten the flow) gives TCP no sign: an idle
// connection would stand for ever, and one that sends for a quarter of an hour. So the kernel asks after a second without a word,
// and again every second, and the loop looks a few times a second at how long it has had no answer. A process that is merely
// stopped stays: its kernel answers for it. That is why this is no TCP_USER_TIMEOUT, which also ends a connection whose peer does not
// read for a while. Loop thread; owns nothing.
#pragma once

#include <chrono>
#include <optional>

namespace rdmacp::fabric::iwarp {

// A peer that was asked twice and has said nothing for this long is gone.
inline constexpr std::chrono::milliseconds kPeerSilence{2500};
// How often a connection is looked at. Together: a flow that is dropped is known of within 2.75 s, on both ends.
inline constexpr std::chrono::milliseconds kVigilInterval{250};

// Has the kernel ask. Best effort: where an option is unknown the rest still holds.
void keepAsking(int socket);

// So that closing the socket says so at once, should packets still arrive that way: what would come first in order waits for what is
// not acknowledged. Best effort.
void resetOnClose(int socket);

// For how long the peer has been silent although it was asked, once that is longer than kPeerSilence; nothing while it is not.
std::optional<std::chrono::milliseconds> unansweredFor(int socket);

}  // namespace rdmacp::fabric::iwarp
