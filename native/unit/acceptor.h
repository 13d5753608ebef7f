// acceptor.h -- decides about connection requests by their token alone. Called on the loops, several at once.
#pragma once

#include <memory>

#include "fabric/fabric.h"
#include "fabric/unheard.h"
#include "unit/unit_state.h"

namespace rdmacp::unit {

class Acceptor final : public fabric::AcceptHandler, public fabric::UnheardListener {
 public:
  Acceptor(std::shared_ptr<UnitState> unit, fabric::Fabric& fabric) : unit_(std::move(unit)), fabric_(fabric) {}

  fabric::AcceptDecision onRequest(const fabric::ConnectionRequest& request) override;
  void onUnheard() override { ++unit_->counters.unheard; }

 private:
  Result<std::shared_ptr<UnitConnection>> admit(const fabric::ConnectionRequest& request);
  bool makeRoom(const ConnectionRegistry::Entry& entry);
  Result<std::shared_ptr<UnitConnection>> admitData(const protocol::Token& token, RegionId id);
  Result<std::shared_ptr<UnitConnection>> admitSession(const protocol::Token& token, SessionId session);

  const std::shared_ptr<UnitState> unit_;
  fabric::Fabric& fabric_;
};

}  // namespace rdmacp::unit
