// peer_connection.h -- one connection between two processes of a pair, from connect or accept to its end.
//
// The connecting side: connect, proof, offer, and then four one-sided steps, each begun when the one before is over:
//   1. READ   the partner's status block: is it who it says, in this version?
//   2. WRITE  the introduction into its mailbox
//   3. READ   the status block until it says that the introduction was taken
//   4. WRITE  the confirmation; a read behind it shows that it has arrived
// The accepting side answers the proof, looks into its mailbox, and says in its status block what it took. No step
// needs JavaScript on either end. Once linked, each end reads the other's block now and then: RDMA has no keepalive.
//
// Loop thread only. Held by the fabric until onClosed has returned; the owner outlives the loop.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "fabric/fabric.h"
#include "peer/area.h"
#include "peer/greeting.h"
#include "peer/mailbox_record.h"
#include "peer/status_block.h"

namespace rdmacp::peer {

using std::chrono::milliseconds;

// What all connections of one process share.
struct PeerContext {
  fabric::Fabric& fabric;
  EventLoop& loop;
  std::shared_ptr<Area> statusArea;
  BootId bootId;
  Sha256 key;
  std::uint16_t versionMin = kVersionMin;
  std::uint16_t versionMax = kVersionMax;
  milliseconds handshakeTimeout{2000};  // from connect or accept to linked
  milliseconds stepTimeout{1000};       // a single read or write; a partner that does not answer a read is gone
  milliseconds probeInterval{100};
};

class PeerConnection;

class ConnectionOwner {
 public:
  virtual ~ConnectionOwner() = default;
  // The accepting side: the partner has proved itself (taking: and its introduction is about to be taken). Not ok: it is
  // refused with that.
  virtual Status admit(PeerConnection& connection, bool taking) = 0;
  // The connecting side, before its confirmation: whether there is no link yet.
  virtual bool mayConfirm(PeerConnection& connection) = 0;
  // Says in the status block what was taken.
  virtual void greet(const Nonce& connection, MailStep step) = 0;
  virtual void onLinked(PeerConnection& connection) = 0;
  virtual void onOver(PeerConnection& connection, const Error& reason) = 0;
};

class PeerConnection final : public fabric::ConnectionHandler, public std::enable_shared_from_this<PeerConnection> {
 public:
  using Answer = std::function<void(Result<StatusBlock>)>;

  // The connecting side.
  PeerConnection(const PeerContext& context, ConnectionOwner& owner);
  // The accepting side.
  PeerConnection(const PeerContext& context, ConnectionOwner& owner, const Introduction& partner,
                 std::uint16_t version);
  PeerConnection(const PeerConnection&) = delete;
  PeerConnection& operator=(const PeerConnection&) = delete;
  ~PeerConnection() override = default;

  Status connect(const fabric::SocketAddress& address);
  // The accepting side's private data.
  const Introduction& acceptData() const { return acquaintance_.accepting; }

  bool connecting() const { return connecting_; }
  bool proved() const { return stage_ > Stage::proving; }
  // The connecting side has sent its confirmation: the partner may be linked already.
  bool committed() const { return stage_ == Stage::confirming || stage_ == Stage::linked; }
  bool linked() const { return stage_ == Stage::linked; }
  bool over() const { return stage_ == Stage::ending; }
  const BootId& partner() const { return partner_; }
  Clock::time_point begunAt() const { return begunAt_; }
  // The connecting side's introduction, by which a connection is told from others.
  const Introduction& connectData() const { return acquaintance_.connecting; }
  // When each of the four steps was over; the connecting side.
  const std::array<Clock::time_point, 4>& steps() const { return steps_; }

  // A fresh read of the partner's block. Answered once, within stepTimeout.
  void readPartner(Answer answer);

  // Ends it: tell sends the partner the reason first.
  enum class Farewell : std::uint8_t { none, tell };
  void fail(const Error& reason, Farewell farewell);
  void close();

  void onEstablished(fabric::Connection& connection, fabric::ConstBytes privateData) override;
  void onMessage(fabric::Connection& connection, fabric::ConstBytes message) override;
  void onCompletions(fabric::Connection& connection, std::span<const fabric::Completion> completions) override;
  void onRejected(fabric::Connection& connection, fabric::ConstBytes privateData) override;
  void onClosed(fabric::Connection& connection, const Error& reason) override;

 private:
  enum class Stage : std::uint8_t {
    settingUp,
    proving,      // the proof is on its way, or awaited
    reading,      // connecting side: step 1
    introducing,  // step 2; accepting side: the introduction is awaited
    awaiting,     // step 3; accepting side: the confirmation is awaited
    confirming,   // step 4
    linked,
    ending,
  };
  // A work request under way, and its memory.
  struct Work {
    std::vector<std::byte> bytes;
    std::function<void(std::span<const std::byte>)> then;  // empty: nobody waits for it
    Answer answer;                                         // told when it fails
  };

  Status useAcceptData(fabric::ConstBytes privateData);
  Status receive(fabric::ConstBytes message);
  Status useOffer(fabric::ConstBytes message);
  Status useProof(fabric::ConstBytes message);

  // The connecting side's steps
  void readFirst();
  void introduce();
  void awaitGreeting();
  void confirm();
  void writeMail(MailStep step, std::function<void()> then);

  // The accepting side
  void pollMailbox();
  Status takeMail();
  Status checkMail(const MailboxRecord& record) const;

  void becomeLinked();
  void probe();
  void readBlock(Answer answer, int tries = 0);
  void useBlock(std::span<const std::byte> bytes, const Answer& answer, int tries);
  void send(std::vector<std::byte> message, milliseconds deadline);
  void post(fabric::WorkRequest::Kind kind, const fabric::RemoteWindow& window, std::unique_ptr<Work> work,
            milliseconds deadline);
  void startTimer();
  void handshakeTimePassed();
  bool mailboxTouched() const;
  std::string stepText() const;
  template <class Do>
  void later(milliseconds delay, Do action);

  const PeerContext& context_;
  ConnectionOwner& owner_;
  const bool connecting_;
  const Clock::time_point begunAt_ = Clock::now();
  Stage stage_ = Stage::settingUp;
  fabric::Connection* connection_ = nullptr;  // until onClosed
  bool established_ = false;
  bool closing_ = false;
  Acquaintance acquaintance_;
  std::uint16_t version_ = 0;
  BootId partner_{};
  fabric::RemoteWindow partnerStatus_;
  fabric::RemoteWindow partnerMailbox_;
  fabric::RemoteWindow ownStatus_;  // the connecting side's, once granted
  std::shared_ptr<Area> mailbox_;   // the accepting side's
  std::array<Clock::time_point, 4> steps_{};
  std::map<std::uint64_t, std::unique_ptr<Work>> works_;
  std::vector<Answer> unanswered_;
  std::uint64_t lastWork_ = 0;
  EventLoop::TimerId timer_ = 0;
  std::optional<Error> failure_;
};

}  // namespace rdmacp::peer
