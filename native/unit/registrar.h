// registrar.h -- what takes long before a grant, on threads of its own: a device pins the memory of a region.
//
// At most one piece of work for a region is under way, so that many who open one large region leave a thread to the others.
// post: any thread. Work and done are called on the registrar's threads, which own nothing of a connection's.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <mutex>

#include "base/result.h"
#include "base/worker_threads.h"

namespace rdmacp::unit {

class Region;

class Registrar {
 public:
  using Work = std::function<Status()>;
  using Done = std::function<void(const Status&)>;

  // false once stopped, or when no thread could be started: neither is called. Whoever is posted keeps the region.
  bool post(const Region* region, Work work, Done done);
  // Ends what is under way, drops what waits, joins. Not from one of its threads. Idempotent.
  void stop();

 private:
  struct Job {
    Work work;
    Done done;
  };

  bool start(const Region* region);  // with the mutex
  void runOne(const Region* region);

  std::mutex mutex_;
  std::map<const Region*, std::deque<Job>> waiting_;  // a region stands here while it has work, under way or not
  bool stopping_ = false;
  WorkerThreads threads_{"rdmacp-register", 2};
};

}  // namespace rdmacp::unit
