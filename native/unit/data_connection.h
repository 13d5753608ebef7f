// data_connection.h -- the unit's end of one open region handle: the grant, and the flushes that follow it.
//
// Requests run on the connection's loop, answers on flush threads; what takes long before a grant on a thread of the unit's, so
// that it holds up nobody else on the loop. Nothing of it runs for a write or a read.
#pragma once

#include <atomic>
#include <memory>

#include "unit/unit_connection.h"

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

  Status grant(fabric::Connection& connection, const std::shared_ptr<const fabric::MemoryRegion>& registration);
  void onPrepared(const std::shared_ptr<const fabric::MemoryRegion>& registration, const Status& prepared);
  Status queueFlush(const protocol::Flush& flush);
  Result<std::vector<media::ByteRange>> ranges(const protocol::Flush& flush) const;
  void answer(std::uint64_t request, const Status& status);

  fabric::Fabric& fabric_;
  std::shared_ptr<Region> region_;
  std::shared_ptr<RegionMember> member_;
  fabric::Connection* preparing_ = nullptr;  // while its grant is prepared; loop thread
  std::uint64_t epoch_ = 0;                  // of the grant
  std::atomic<std::uint32_t> flushesUnderWay_{0};
};

}  // namespace rdmacp::unit
