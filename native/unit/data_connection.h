// data_connection.h -- the unit's end of one open region handle: the grant, and the flushes that follow it.
//
// Requests run on the connection's loop, answers on flush threads. Nothing of it runs for a write or a read.
#pragma once

#include <atomic>
#include <memory>

#include "unit_connection.h"

namespace rdmacp::unit {

class DataConnection final : public UnitConnection {
 public:
  DataConnection(std::shared_ptr<UnitState> unit, fabric::Fabric& fabric)
      : UnitConnection(std::move(unit)), fabric_(fabric) {}

  // Before the fabric knows this handler.
  void bind(std::shared_ptr<Region> region, std::shared_ptr<RegionMember> member);

 private:
  Status onHello(fabric::Connection& connection) override;
  Status onRequest(protocol::MessageType type, fabric::ConstBytes message) override;
  void onEnd() override;

  Status queueFlush(const protocol::Flush& flush);
  Result<std::vector<media::ByteRange>> ranges(const protocol::Flush& flush) const;
  void answer(std::uint64_t request, const Status& status);

  fabric::Fabric& fabric_;
  std::shared_ptr<Region> region_;
  std::shared_ptr<RegionMember> member_;
  std::uint64_t epoch_ = 0;  // of the grant
  std::atomic<std::uint32_t> flushesUnderWay_{0};
};

}  // namespace rdmacp::unit
