// end_barrier.h -- one call when several connections have ended. Any thread; owns itself until then.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "unit/connection_ref.h"

namespace rdmacp::unit {

// Ends all refs and calls done, on whichever thread comes last, once no byte of any of their peers can land.
inline void endAll(const std::vector<std::shared_ptr<ConnectionRef>>& refs, std::function<void()> done) {
  struct Barrier {
    Barrier(std::size_t count, std::function<void()> call) : missing(count), done(std::move(call)) {}
    std::atomic<std::size_t> missing;
    std::function<void()> done;
  };
  // One more than there are refs, so that it does not fall before all have been asked.
  const auto barrier = std::make_shared<Barrier>(refs.size() + 1, std::move(done));
  const auto arrive = [barrier] {
    if (barrier->missing.fetch_sub(1) == 1) barrier->done();
  };
  for (const auto& ref : refs)
    ref->end(arrive);
  arrive();
}

}  // namespace rdmacp::unit
