// peer_link_class.h -- the PeerLink class: the link to the partner process for JavaScript. Its methods run on the JavaScript
// thread; the link has a thread of its own and needs none of JavaScript's.
#pragma once

#include <deque>
#include <memory>
#include <mutex>

#include "binding/fabric_names.h"
#include "binding/wrapped.h"
#include "peer/peer_link.h"

namespace rdmacp::binding {

// Tells JavaScript what became of the link. Kept by the link.
class PeerNotice final : public Letter, public peer::PeerLinkHandler, public std::enable_shared_from_this<PeerNotice> {
 public:
  explicit PeerNotice(std::shared_ptr<Mailbox> mailbox) : mailbox_(std::move(mailbox)) {}

  // The JavaScript thread.
  bool keep(Napi::Env env, napi_value handler);
  void drop(Napi::Env env);
  void deliver(Environment& environment) override;

  // The link's thread.
  void onChange(const peer::PeerChange& change) override;

 private:
  const std::shared_ptr<Mailbox> mailbox_;
  napi_ref handler_ = nullptr;  // the JavaScript thread

  std::mutex mutex_;
  std::deque<peer::PeerChange> changes_;
};

// Kept by the environment until it has been stopped: a link that JavaScript forgets goes on.
class PeerService final : public Service {
 public:
  PeerService(std::shared_ptr<peer::PeerLink> link, std::shared_ptr<PeerNotice> notice)
      : link_(std::move(link)), notice_(std::move(notice)) {}
  void shutDown() override { link_->stop(); }
  const std::shared_ptr<peer::PeerLink>& link() const { return link_; }
  const std::shared_ptr<PeerNotice>& notice() const { return notice_; }

 private:
  std::shared_ptr<peer::PeerLink> link_;
  std::shared_ptr<PeerNotice> notice_;
};

class PeerLink {
 public:
  static constexpr ClassName kName = ClassName::peerLink;
  static constexpr napi_type_tag kTag{0x2c9b51e07d3f48a6ULL, 0xa60d84f1c7b23e95ULL};
  static constexpr const char* kText = "PeerLink";
  static std::unique_ptr<PeerLink> construct(const Napi::CallbackInfo& info);
  static void define(Environment& environment, Napi::Object exports);

  explicit PeerLink(std::shared_ptr<PeerService> service) : service_(std::move(service)) {}

 private:
  Napi::Value address(const Napi::CallbackInfo& info);
  Napi::Value publish(const Napi::CallbackInfo& info);
  Napi::Value status(const Napi::CallbackInfo& info);
  Napi::Value report(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);

  std::shared_ptr<PeerService> service_;
};

}  // namespace rdmacp::binding
