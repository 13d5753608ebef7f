// handles.h -- owning handles of verbs objects: released once, in the reverse order of their making. Any thread.
#pragma once

#include <memory>

#include "fabric/verbs/library.h"

namespace rdmacp::fabric::verbs {

template <auto Member>
struct Release {
  const Library* library = nullptr;
  template <class Object>
  void operator()(Object* object) const {
    (void)(library->*Member)(object);
  }
};

template <class Object, auto Member>
using Owned = std::unique_ptr<Object, Release<Member>>;

using ProtectionDomain = Owned<ibv_pd, &Library::deallocPd>;
using Registration = Owned<ibv_mr, &Library::deregMr>;
using CompletionChannel = Owned<ibv_comp_channel, &Library::destroyCompChannel>;
using CompletionQueue = Owned<ibv_cq, &Library::destroyCq>;
using EventChannel = Owned<rdma_event_channel, &Library::destroyEventChannel>;
using ConnectionId = Owned<rdma_cm_id, &Library::destroyId>;

struct ReleaseWindow {
  void operator()(ibv_mw* window) const { (void)ibv_dealloc_mw(window); }
};
using Window = std::unique_ptr<ibv_mw, ReleaseWindow>;

}  // namespace rdmacp::fabric::verbs
