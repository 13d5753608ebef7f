// cm_channel.cpp -- events of the connection manager on an event loop. Loop thread, but for creation.
#include "fabric/verbs/cm_channel.h"

#include <fcntl.h>
#include <sys/epoll.h>

#include <cerrno>
#include <utility>

namespace rdmacp::fabric::verbs {

Result<std::shared_ptr<CmChannel>> CmChannel::make(const Library& library, EventLoop& loop) {
  // Whoever lets go last, the descriptor leaves the loop on the loop's own thread.
  std::shared_ptr<CmChannel> made(new CmChannel(library, loop), [](CmChannel* channel) {
    EventLoop& loopOfChannel = channel->loop();
    std::shared_ptr<CmChannel> owned(channel, std::default_delete<CmChannel>());
    if (!loopOfChannel.onThread()) (void)loopOfChannel.post([last = std::move(owned)] {});
  });
  made->channel_ = EventChannel(library.createEventChannel(), {&library});
  if (made->channel_ == nullptr) {
    Error error = verbsError("rdma_create_event_channel", errno);
    error.code = ErrorCode::notSupported;
    error.message +=
        ". The kernel's user-space connection manager is not there: modprobe rdma_ucm, and a device must "
        "exist (rdma link)";
    return error;
  }
  const int fd = made->channel_->fd;
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
  ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  const auto join = [made, fd] { (void)made->loop_.add(fd, EPOLLIN, made.get()); };
  if (loop.onThread()) {
    join();
  } else if (!loop.post(join)) {
    return Error{ErrorCode::stopped, "the event loop has stopped", 0};
  }
  return made;
}

CmChannel::~CmChannel() {
  if (channel_ != nullptr) loop_.remove(channel_->fd);
}

Result<ConnectionId> CmChannel::createId(CmHandler& handler) const {
  rdma_cm_id* id = nullptr;
  if (library_.createId(channel_.get(), &id, &handler, RDMA_PS_TCP) != 0) return verbsError("rdma_create_id", errno);
  return ConnectionId(id, {&library_});
}

void CmChannel::onReady(std::uint32_t) {
  const auto self = shared_from_this();  // the last handler of a channel may let go of it within its event
  constexpr int kEventsPerTurn = 32;
  for (int turn = 0; turn < kEventsPerTurn; ++turn) {
    rdma_cm_event* raw = nullptr;
    if (library_.getEvent(channel_.get(), &raw) != 0) return;
    CmEvent event;
    event.type = raw->event;
    event.status = raw->status;
    event.id = raw->id;
    event.responderResources = raw->param.conn.responder_resources;
    event.initiatorDepth = raw->param.conn.initiator_depth;
    const bool carriesData = raw->event == RDMA_CM_EVENT_CONNECT_REQUEST || raw->event == RDMA_CM_EVENT_ESTABLISHED ||
                             raw->event == RDMA_CM_EVENT_REJECTED || raw->event == RDMA_CM_EVENT_CONNECT_RESPONSE;
    if (carriesData && raw->param.conn.private_data != nullptr) {
      const auto* data = static_cast<const std::byte*>(raw->param.conn.private_data);
      event.privateData.assign(data, data + raw->param.conn.private_data_len);
    }
    // A new identifier inherits the context of the one that listens.
    auto* handler = static_cast<CmHandler*>(raw->id->context);
    library_.ackEvent(raw);
    if (handler != nullptr) handler->onEvent(event);
  }
}

}  // namespace rdmacp::fabric::verbs
