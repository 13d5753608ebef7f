// lease_clock.h -- the monotonic clock that leases run on: it stands still while the unit itself does.
//
// There is one for each event loop, which is what hears the sessions whose connections it has: only the loop looks, and a
// loop that is held up stops the clock of those whom it cannot hear, and of nobody else. Not synchronized: the session
// table's mutex is held over every call. Looking often (kLeaseTick) makes it a clock; a longer gap between two looks is a
// pause of the unit (SIGSTOP, a host without time for it) or of the loop, in which it could hear nobody, and only kLeaseStep
// of it counts.
#pragma once

#include <algorithm>
#include <chrono>

namespace rdmacp::unit {

inline constexpr std::chrono::milliseconds kLeaseTick{25};
// Two ticks. With what a heartbeat's interval leaves of the shortest lease (200 ms), time enough to hear what came meanwhile.
inline constexpr std::chrono::milliseconds kLeaseStep{50};

class LeaseClock {
 public:
  using Clock = std::chrono::steady_clock;

  // Time on this clock; 0 when it was made.
  Clock::duration look(Clock::time_point now = Clock::now()) {
    elapsed_ += std::clamp<Clock::duration>(now - last_, Clock::duration::zero(), kLeaseStep);
    last_ = std::max(last_, now);
    return elapsed_;
  }
  // As of the last look.
  Clock::duration elapsed() const { return elapsed_; }

 private:
  Clock::time_point last_ = Clock::now();
  Clock::duration elapsed_{};
};

}  // namespace rdmacp::unit
