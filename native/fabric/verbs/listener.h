// listener.h -- takes connection requests on one address and spreads them over event loops.
//
// The listening identifier lives on the first loop; a request moves to the loop that will own its connection before
// anything is decided about it.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "fabric/verbs/cm_channel.h"
#include "fabric/verbs/connection.h"

namespace rdmacp::fabric::verbs {

class VerbsListener final : public Listener {
 public:
  struct Shared;
  static Result<std::unique_ptr<Listener>> make(const Library& library, std::shared_ptr<DeviceTable> devices,
                                                std::vector<std::shared_ptr<CmChannel>> channels,
                                                const SocketAddress& address, const ListenOptions& options,
                                                std::shared_ptr<AcceptHandler> handler);
  ~VerbsListener() override;
  VerbsListener(const VerbsListener&) = delete;
  VerbsListener& operator=(const VerbsListener&) = delete;
  SocketAddress address() const override { return address_; }

 private:
  VerbsListener(std::shared_ptr<Shared> shared, SocketAddress address)
      : shared_(std::move(shared)), address_(address) {}

  std::shared_ptr<Shared> shared_;
  SocketAddress address_;
};

}  // namespace rdmacp::fabric::verbs
