// library.cpp -- loads libibverbs and librdmacm by name, once, on the first use of the verbs fabric.
#include "fabric/verbs/library.h"

#include <dlfcn.h>
#include <sys/resource.h>

#include <cerrno>
#include <mutex>
#include <string>
#include <system_error>
#include <variant>

namespace rdmacp::fabric::verbs {
namespace {

constexpr const char* kVerbsName = "libibverbs.so.1";
constexpr const char* kConnectionManagerName = "librdmacm.so.1";

class Loader {
 public:
  Result<const Library*> load() {
    void* verbs = open(kVerbsName);
    void* manager = verbs == nullptr ? nullptr : open(kConnectionManagerName);
    if (manager == nullptr) return failure_;

    find(verbs, "ibv_fork_init", table_.forkInit);
    findIfThere(verbs, "ibv_is_fork_initialized", table_.isForkInitialized);
    findIfThere(verbs, "ibv_qp_to_qp_ex", table_.toExtended);
    find(verbs, "ibv_get_device_list", table_.getDeviceList);
    find(verbs, "ibv_free_device_list", table_.freeDeviceList);
    find(verbs, "ibv_open_device", table_.openDevice);
    find(verbs, "ibv_close_device", table_.closeDevice);
    find(verbs, "ibv_query_device", table_.queryDevice);
    find(verbs, "ibv_get_device_name", table_.getDeviceName);
    find(verbs, "ibv_query_port", table_.queryPort);
    find(verbs, "ibv_alloc_pd", table_.allocPd);
    find(verbs, "ibv_dealloc_pd", table_.deallocPd);
    find(verbs, "ibv_reg_mr", table_.regMr);
    find(verbs, "ibv_dereg_mr", table_.deregMr);
    find(verbs, "ibv_create_comp_channel", table_.createCompChannel);
    find(verbs, "ibv_destroy_comp_channel", table_.destroyCompChannel);
    find(verbs, "ibv_create_cq", table_.createCq);
    find(verbs, "ibv_destroy_cq", table_.destroyCq);
    find(verbs, "ibv_get_cq_event", table_.getCqEvent);
    find(verbs, "ibv_ack_cq_events", table_.ackCqEvents);
    find(verbs, "ibv_modify_qp", table_.modifyQp);
    find(verbs, "ibv_wc_status_str", table_.wcStatusText);
    find(verbs, "ibv_get_async_event", table_.getAsyncEvent);
    find(verbs, "ibv_ack_async_event", table_.ackAsyncEvent);

    find(manager, "rdma_create_event_channel", table_.createEventChannel);
    find(manager, "rdma_destroy_event_channel", table_.destroyEventChannel);
    find(manager, "rdma_create_id", table_.createId);
    find(manager, "rdma_destroy_id", table_.destroyId);
    find(manager, "rdma_bind_addr", table_.bindAddress);
    find(manager, "rdma_listen", table_.listen);
    find(manager, "rdma_resolve_addr", table_.resolveAddress);
    find(manager, "rdma_resolve_route", table_.resolveRoute);
    find(manager, "rdma_create_qp", table_.createQp);
    findIfThere(manager, "rdma_create_qp_ex", table_.createQpEx);
    find(manager, "rdma_destroy_qp", table_.destroyQp);
    find(manager, "rdma_connect", table_.connect);
    find(manager, "rdma_accept", table_.accept);
    find(manager, "rdma_reject", table_.reject);
    find(manager, "rdma_disconnect", table_.disconnect);
    find(manager, "rdma_get_cm_event", table_.getEvent);
    find(manager, "rdma_ack_cm_event", table_.ackEvent);
    find(manager, "rdma_event_str", table_.eventText);
    find(manager, "rdma_migrate_id", table_.migrateId);
    find(manager, "rdma_set_option", table_.setOption);
    if (failure_.code != ErrorCode::ok) return failure_;

    // Before the first registration: without it a fork's copy-on-write moves pages from under the device. Newer
    // kernels copy pinned pages at fork, and then it is not needed.
    const bool unneeded = table_.isForkInitialized != nullptr && table_.isForkInitialized() == IBV_FORK_UNNEEDED;
    if (!unneeded) {
      if (const int number = table_.forkInit(); number != 0) return verbsError("ibv_fork_init", number);
    }
    return &table_;
  }

 private:
  void* open(const char* name) {
    void* handle = ::dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
      failure_ =
          Error{ErrorCode::notSupported,
                std::string("the verbs fabric needs ") + name + ", which could not be loaded (" + ::dlerror() +
                    "). Install rdma-core's libraries: apt-get install libibverbs1 ibverbs-providers librdmacm1 "
                    "(Debian, Ubuntu) or dnf install libibverbs librdmacm (Fedora, RHEL); or use transport iwarp",
                0};
    }
    return handle;
  }

  template <class Function>
  void findIfThere(void* handle, const char* name, Function& function) {
    function = reinterpret_cast<Function>(::dlsym(handle, name));
  }

  template <class Function>
  void find(void* handle, const char* name, Function& function) {
    findIfThere(handle, name, function);
    if (function == nullptr && failure_.code == ErrorCode::ok) {
      failure_ = Error{ErrorCode::notSupported,
                       std::string("the installed rdma-core has no ") + name + "; a newer rdma-core is needed", 0};
    }
  }

  Library table_{};
  Error failure_;
};

}  // namespace

ibv_mw* ibv_alloc_mw(ibv_pd* pd, ibv_mw_type type) {
  if (pd->context->ops.alloc_mw == nullptr) {
    errno = EOPNOTSUPP;
    return nullptr;
  }
  return pd->context->ops.alloc_mw(pd, type);
}

Result<const Library*> library() {
  static Loader loader;
  static const Result<const Library*> loaded = loader.load();
  return loaded;
}

Error verbsError(const char* call, int number) {
  std::string message = std::string(call) + ": " + std::generic_category().message(number);
  rlimit limit{};
  if ((number == ENOMEM || number == EPERM) && ::getrlimit(RLIMIT_MEMLOCK, &limit) == 0 &&
      limit.rlim_cur != RLIM_INFINITY) {
    message += ". Registering memory pins it, and RLIMIT_MEMLOCK allows " + std::to_string(limit.rlim_cur / 1024) +
               " KiB. Raise it: ulimit -l unlimited, LimitMEMLOCK=infinity in a systemd unit, or --ulimit memlock=-1 "
               "for a container";
    return Error{ErrorCode::memlockLimit, std::move(message), number};
  }
  return Error{number == ENOMEM ? ErrorCode::noMemory : ErrorCode::systemError, std::move(message), number};
}

}  // namespace rdmacp::fabric::verbs
