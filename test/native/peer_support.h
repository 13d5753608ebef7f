// peer_support.h -- what the tests of peer links share: a link with a memory of what it was told, and partners that
// follow a script instead of the protocol, on either side of a connection.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/file_descriptor.h"
#include "check.h"
#include "fabric/fabric.h"
#include "peer/greeting.h"
#include "peer/mailbox_record.h"
#include "peer/peer_link.h"
#include "peer/status_block.h"
#include "protocol/messages.h"

namespace peers {

using namespace rdmacp;
using namespace rdmacp::peer;
using namespace std::chrono_literals;

constexpr auto kPatience = 20s;

inline fabric::SocketAddress loopback(std::uint16_t port) {
  auto address = fabric::SocketAddress::parse("127.0.0.1", port);
  CHECK(address.ok());
  return address.value();
}

// A port that is free now. The kernel may give a port that was let go again at once.
inline fabric::SocketAddress portOfTheKernel() {
  const FileDescriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  auto address = loopback(0);
  CHECK(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.length) == 0);
  fabric::SocketAddress bound;
  bound.length = sizeof bound.storage;
  CHECK(::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&bound.storage), &bound.length) == 0);
  return bound;
}

// A port that was free a moment ago, and that no earlier call has given. A test's own thread.
inline fabric::SocketAddress freeAddress() {
  static std::set<std::uint16_t> given;
  for (;;) {
    const fabric::SocketAddress address = portOfTheKernel();
    if (given.insert(address.port()).second) return address;
  }
}

// Tells a handler what it is told in the same order and by and by, so that two connections overtake each
// other at points that are rare otherwise. Loop thread.
class Slowly final : public fabric::ConnectionHandler, public std::enable_shared_from_this<Slowly> {
 public:
  Slowly(std::shared_ptr<fabric::ConnectionHandler> handler, EventLoop& loop, std::function<milliseconds()> pause)
      : handler_(std::move(handler)), loop_(loop), pause_(std::move(pause)) {}

  // Until all has been told.
  void keep(std::shared_ptr<fabric::Connection> connection) { connection_ = std::move(connection); }

  void onEstablished(fabric::Connection& connection, fabric::ConstBytes data) override {
    tell([this, &connection, copy = bytes(data)] { handler_->onEstablished(connection, copy); });
  }
  void onMessage(fabric::Connection& connection, fabric::ConstBytes message) override {
    tell([this, &connection, copy = bytes(message)] { handler_->onMessage(connection, copy); });
  }
  void onCompletions(fabric::Connection& connection, std::span<const fabric::Completion> completions) override {
    tell([this, &connection, copy = std::vector<fabric::Completion>(completions.begin(), completions.end())] {
      handler_->onCompletions(connection, copy);
    });
  }
  void onRejected(fabric::Connection& connection, fabric::ConstBytes data) override {
    tell([this, &connection, copy = bytes(data)] { handler_->onRejected(connection, copy); });
  }
  void onClosed(fabric::Connection& connection, const Error& reason) override {
    tell([this, &connection, reason] {
      handler_->onClosed(connection, reason);
      connection_.reset();
    });
  }

 private:
  static std::vector<std::byte> bytes(fabric::ConstBytes data) { return {data.begin(), data.end()}; }

  void tell(std::function<void()> event) {
    events_.push_back(std::move(event));
    if (events_.size() == 1) next();
  }
  void next() {
    loop_.after(pause_(), [self = shared_from_this()] {
      self->events_.front()();
      self->events_.pop_front();
      if (!self->events_.empty()) self->next();
    });
  }

  std::shared_ptr<fabric::ConnectionHandler> handler_;
  EventLoop& loop_;
  std::function<milliseconds()> pause_;
  std::shared_ptr<fabric::Connection> connection_;
  std::deque<std::function<void()>> events_;
};

// iWARP, whose connecting side learns of everything after a pause.
class SlowFabric : public fabric::Fabric {
 public:
  explicit SlowFabric(std::function<milliseconds()> pause) : pause_(std::move(pause)) {}
  fabric::Transport transport() const override { return fabric_->transport(); }
  Result<std::unique_ptr<fabric::Listener>> listen(const fabric::SocketAddress& address,
                                                   const fabric::ListenOptions& options,
                                                   std::span<EventLoop* const> loops,
                                                   std::shared_ptr<fabric::AcceptHandler> handler) override {
    return fabric_->listen(address, options, loops, std::move(handler));
  }
  Result<std::shared_ptr<fabric::Connection>> connect(const fabric::SocketAddress& address,
                                                      const fabric::ConnectionOptions& options,
                                                      fabric::ConstBytes privateData, EventLoop& loop,
                                                      std::shared_ptr<fabric::ConnectionHandler> handler) override {
    const auto slowly = std::make_shared<Slowly>(std::move(handler), loop, pause_);
    auto connection = fabric_->connect(address, options, privateData, loop, slowly);
    if (connection) slowly->keep(connection.value());
    return connection;
  }
  Result<std::shared_ptr<fabric::MemoryRegion>> registerMemory(fabric::Bytes memory, DirtyMap* dirty,
                                                               bool persistent) override {
    return fabric_->registerMemory(memory, dirty, persistent);
  }

 private:
  std::shared_ptr<fabric::Fabric> fabric_ = fabric::makeIwarpFabric();
  const std::function<milliseconds()> pause_;
};

// Remembers what it was told, and waits for it.
template <class T>
class Notes {
 public:
  void add(T note) {
    const std::lock_guard lock(mutex_);
    notes_.push_back(std::move(note));
    added_.notify_all();
  }
  std::optional<T> wait(const std::function<bool(const T&)>& wanted, std::chrono::milliseconds patience = kPatience) {
    std::unique_lock lock(mutex_);
    std::optional<T> found;
    added_.wait_for(lock, patience, [&] {
      const auto at = std::find_if(notes_.begin(), notes_.end(), wanted);
      if (at != notes_.end()) found = *at;
      return found.has_value();
    });
    return found;
  }
  std::vector<T> all() const {
    const std::lock_guard lock(mutex_);
    return notes_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable added_;
  std::vector<T> notes_;
};

struct Recorder final : PeerLinkHandler {
  void onChange(const PeerChange& change) override { notes.add(change); }
  Notes<PeerChange> notes;
};

inline bool eventually(const std::function<bool()>& condition, std::chrono::milliseconds patience = kPatience) {
  const auto end = Clock::now() + patience;
  while (!condition()) {
    if (Clock::now() > end) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

// A link under test.
struct Peer {
  explicit Peer(const PeerLinkOptions& options, std::shared_ptr<fabric::Fabric> fabric = fabric::makeIwarpFabric()) {
    auto started = PeerLink::start(std::move(fabric), options, recorder);
    if (!started) check::fail(__FILE__, __LINE__, started.error().message);
    link = std::move(started).value();
  }
  ~Peer() { link->stop(); }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  bool waitLinked(std::uint32_t links = 1) const {
    return eventually([&] {
      const PeerReport report = link->report();
      return report.linked && report.links >= links;
    });
  }
  // The outcome of its attempts, once it is of that code.
  Error waitProblem(ErrorCode code) const {
    const bool came = eventually([&] {
      const auto problem = link->report().problem;
      return problem && problem->code == code;
    });
    const auto problem = link->report().problem;
    if (!came) check::fail(__FILE__, __LINE__, "no such problem; it is " + (problem ? problem->message : "none"));
    return *problem;
  }
  // What it says about a connection of the partner's.
  Error waitTold(ErrorCode code) const {
    const auto told = recorder->notes.wait([&](const PeerChange& change) {
      return change.kind == PeerChange::Kind::problem && change.error.code == code;
    });
    if (!told) check::fail(__FILE__, __LINE__, "nothing with code " + std::to_string(static_cast<int>(code)));
    return told->error;
  }
  bool waitLost() const {
    return recorder->notes.wait([](const PeerChange& change) { return change.kind == PeerChange::Kind::lost; })
        .has_value();
  }
  Result<StatusBlock> read() const {
    std::promise<Result<StatusBlock>> answered;
    auto future = answered.get_future();
    link->readPartner([&](Result<StatusBlock> block) { answered.set_value(std::move(block)); });
    CHECK(future.wait_for(kPatience) == std::future_status::ready);
    return future.get();
  }

  std::shared_ptr<Recorder> recorder = std::make_shared<Recorder>();
  std::shared_ptr<PeerLink> link;
};

inline PeerLinkOptions optionsFor(const fabric::SocketAddress& listen, const fabric::SocketAddress& partner) {
  PeerLinkOptions options;
  options.listen = listen;
  options.partner = partner;
  options.name = "pair";
  // On a machine that is short of time nobody is given up for being slow, unless a test is about that.
  options.handshakeTimeout = 15s;
  options.stepTimeout = 15s;
  const std::string secret = "a secret of both";
  for (const char character : secret)
    options.secret.push_back(static_cast<std::byte>(character));
  return options;
}

inline Sha256 keyOf(const PeerLinkOptions& options) {
  return pairKey(options.secret, std::as_bytes(std::span(options.name)));
}

// Memory of a scripted partner, whose registration must end first.
struct Exposed {
  Exposed(fabric::Fabric& fabric, std::size_t size) : bytes(size) {
    auto registered = fabric.registerMemory(bytes, nullptr, false);
    CHECK(registered.ok());
    registration = std::move(registered).value();
  }
  std::vector<std::byte> bytes;
  std::shared_ptr<fabric::MemoryRegion> registration;
};

// Where a scripted partner leaves the protocol. What is not set follows it.
struct Script {
  std::function<void(Introduction&)> accept;  // the private data of the accept
  std::function<void(Offer&)> offer;          // before its proof is made
  std::function<void(Offer&)> signedOffer;    // after
  std::function<void(StatusBlock&)> block;    // whenever it is written
  std::function<void(std::span<std::byte>)> blockBytes;
  fabric::Access statusAccess = fabric::Access::remoteRead;
  fabric::Access mailboxAccess = fabric::Access::remoteWrite;
  std::optional<ErrorCode> reject;
  bool offers = true;
  bool takesMail = true;
  bool revokesMailbox = false;  // once the introduction is taken
  bool hangs = false;           // its loop does not turn any more after the offer
};

// The accepting side of a connection, by a script.
class ScriptedPartner final : public fabric::AcceptHandler, public std::enable_shared_from_this<ScriptedPartner> {
 public:
  static std::shared_ptr<ScriptedPartner> start(const fabric::SocketAddress& address, const Sha256& key, Script script,
                                                const BootId& id = randomIdentity()) {
    auto self = std::make_shared<ScriptedPartner>(key, std::move(script), id);
    EventLoop* const loops[] = {self->loop_.get()};
    auto listener = self->fabric_->listen(address, {}, loops, self);
    CHECK(listener.ok());
    self->listener_ = std::move(listener).value();
    return self;
  }
  ScriptedPartner(const Sha256& key, Script script, const BootId& id)
      : bootId(id), key_(key), script_(std::move(script)) {
    auto loop = EventLoop::start("scripted");
    CHECK(loop.ok());
    loop_ = std::move(loop).value();
  }
  void stop() {
    release();
    listener_.reset();
    loop_->stop();
  }
  // From now on nothing is answered, until it is stopped.
  void hangNow() {
    loop_->post([this] { hung_.get_future().wait(); });
  }
  void takeMail() { takesMail_ = true; }
  void release() {
    if (!released_.exchange(true)) hung_.set_value();
  }

  fabric::AcceptDecision onRequest(const fabric::ConnectionRequest& request) override {
    fabric::AcceptDecision decision;
    if (script_.reject) {
      decision.privateData = protocol::encode(protocol::RejectData{*script_.reject, 7, 9});
      return decision;
    }
    auto served = std::make_shared<Served>(shared_from_this(), request.privateData);
    decision.accept = true;
    decision.privateData = encode(served->acquaintance.accepting);
    decision.handler = std::move(served);
    return decision;
  }

  Notes<Error> ends;
  Notes<MailboxRecord> mail;
  const BootId bootId;

 private:
  struct Served final : fabric::ConnectionHandler, std::enable_shared_from_this<Served> {
    Served(std::shared_ptr<ScriptedPartner> partner, fabric::ConstBytes privateData)
        : owner(std::move(partner)), status(*owner->fabric_, kStatusBytes), mailbox(*owner->fabric_, kMailboxBytes) {
      auto connecting = parseIntroduction(privateData);
      CHECK(connecting.ok());
      acquaintance.connecting = connecting.value();
      acquaintance.accepting = {1, 1, owner->bootId, randomIdentity()};
      if (owner->script_.accept) owner->script_.accept(acquaintance.accepting);
    }
    void onEstablished(fabric::Connection& established, fabric::ConstBytes) override { connection = &established; }
    void onMessage(fabric::Connection&, fabric::ConstBytes message) override {
      if (!parseProof(message).ok()) return;  // a refusal
      const Script& script = owner->script_;
      if (!script.offers) return;
      writeBlock({}, 0);
      Offer offer;
      offer.version = 1;
      offer.status = connection->grant(status.registration, 0, kStatusBytes, script.statusAccess).value();
      offer.mailbox = connection->grant(mailbox.registration, 0, kMailboxBytes, script.mailboxAccess).value();
      mailboxKey = offer.mailbox.key;
      if (script.offer) script.offer(offer);
      offer.proof = proofOf(owner->key_, acquaintance, offer);
      if (script.signedOffer) script.signedOffer(offer);
      sent = encode(offer);
      const fabric::LocalSegment segment{sent.data(), sent.size(), nullptr};
      CHECK(
          connection->post(std::vector<fabric::WorkRequest>{{fabric::WorkRequest::Kind::send, 1, {&segment, 1}}}).ok());
      if (script.hangs) {
        // The offer is out; nothing after it is answered.
        if (!std::exchange(owner->hanging_, true)) owner->hangNow();
        return;
      }
      look();
    }
    void onCompletions(fabric::Connection&, std::span<const fabric::Completion>) override {}
    void onClosed(fabric::Connection&, const Error& reason) override {
      connection = nullptr;
      owner->ends.add(reason);
    }

    void look() {
      if (connection == nullptr) return;
      const auto record = parseMailboxRecord(std::span<const std::byte>(mailbox.bytes).first<kMailboxBytes>(), 1);
      if (record && record.value() && taken != static_cast<std::uint32_t>(record.value()->step)) {
        const auto step = static_cast<std::uint32_t>(record.value()->step);
        if (std::exchange(seen, step) != step) owner->mail.add(*record.value());
        if (owner->takesMail_) {
          taken = step;
          if (owner->script_.revokesMailbox) connection->revoke(mailboxKey);
          writeBlock(record.value()->connection, taken);
        }
      }
      owner->loop_->after(1ms, [self = shared_from_this()] { self->look(); });
    }
    void writeBlock(const Nonce& greeted, std::uint32_t step) {
      StatusBlock block;
      block.version = 1;
      block.bootId = owner->bootId;
      block.state = "scripted";
      block.clockMs = 5000;
      block.turnedMs = 1000;
      block.greeted = greeted;
      block.greetedStep = step;
      if (owner->script_.block) owner->script_.block(block);
      std::ranges::copy(encode(block), status.bytes.begin());
      if (owner->script_.blockBytes) owner->script_.blockBytes(status.bytes);
    }

    std::shared_ptr<ScriptedPartner> owner;
    Exposed status;
    Exposed mailbox;
    Acquaintance acquaintance;
    fabric::Connection* connection = nullptr;
    std::uint32_t mailboxKey = 0;
    std::uint32_t seen = 0;
    std::uint32_t taken = 0;
    std::vector<std::byte> sent;
  };

  const Sha256 key_;
  const Script script_;
  std::shared_ptr<fabric::Fabric> fabric_ = fabric::makeIwarpFabric();
  std::promise<void> hung_;
  bool hanging_ = false;  // loop thread
  std::atomic<bool> takesMail_{script_.takesMail};
  std::atomic<bool> released_{false};
  std::unique_ptr<fabric::Listener> listener_;
  std::unique_ptr<EventLoop> loop_;
};

// The connecting side, step by step from the test's thread.
class ScriptedCaller final : public fabric::ConnectionHandler, public std::enable_shared_from_this<ScriptedCaller> {
 public:
  static std::shared_ptr<ScriptedCaller> connect(const fabric::SocketAddress& address,
                                                 const std::function<void(Introduction&)>& change = {}) {
    auto self = std::make_shared<ScriptedCaller>();
    auto loop = EventLoop::start("caller");
    CHECK(loop.ok());
    self->loop_ = std::move(loop).value();
    self->acquaintance.connecting = {1, 1, randomIdentity(), randomIdentity(), {}};
    if (change) change(self->acquaintance.connecting);
    self->acquaintance.connecting.ticket = ticketOf(keyOf(optionsFor(address, address)), self->acquaintance.connecting);
    self->open(address, encode(self->acquaintance.connecting));
    return self;
  }
  // With whatever private data.
  static std::shared_ptr<ScriptedCaller> connectWith(const fabric::SocketAddress& address,
                                                     const std::vector<std::byte>& privateData) {
    auto self = std::make_shared<ScriptedCaller>();
    auto loop = EventLoop::start("caller");
    CHECK(loop.ok());
    self->loop_ = std::move(loop).value();
    self->open(address, privateData);
    return self;
  }
  void stop() {
    loop_->stop();
    connection_.reset();  // it holds its handler, which is this
  }

  // Connect, proof, offer.
  void meet(const Sha256& key) {
    CHECK(waitEstablished());
    prove(proofOf(key, acquaintance));
    auto parsed = parseOffer(waitMessage());
    CHECK(parsed.ok());
    offer = parsed.value();
    CHECK(sameProof(offer.proof, proofOf(key, acquaintance, offer)));
  }
  // And both letters.
  void link(const Sha256& key) {
    meet(key);
    write(offer.mailbox, encode(record(MailStep::introduction)));
    CHECK(waitTaken(MailStep::introduction));
    write(offer.mailbox, encode(record(MailStep::confirmation)));
    CHECK(waitTaken(MailStep::confirmation));
  }
  // The link says that it took the record of this connection.
  bool waitTaken(MailStep step) {
    return eventually([&] {
      const StatusBlock read = block();
      return read.greeted == acquaintance.connecting.nonce && read.greetedStep == static_cast<std::uint32_t>(step);
    });
  }
  bool waitEstablished() {
    return done_.wait([](const std::string& what) { return what == "established" || what == "closed"; }) ==
           "established";
  }
  void prove(const Sha256& proof) { send(encode(Proof{1, proof})); }
  void send(std::vector<std::byte> message) { post(fabric::WorkRequest::Kind::send, {}, std::move(message), nullptr); }
  std::vector<std::byte> waitMessage() {
    const auto message = messages.wait([](const std::vector<std::byte>&) { return true; });
    return message.value_or(std::vector<std::byte>{});
  }
  MailboxRecord record(MailStep step) {
    MailboxRecord made;
    made.version = 1;
    made.step = step;
    made.status = ownStatus();
    made.sender = acquaintance.connecting.bootId;
    made.receiver = acquaintance.accepting.bootId;
    made.connection = acquaintance.connecting.nonce;
    return made;
  }
  // The completion's status.
  template <std::size_t Size>
  ErrorCode write(const fabric::RemoteWindow& window, const std::array<std::byte, Size>& bytes) {
    return transfer(fabric::WorkRequest::Kind::write, window, {bytes.begin(), bytes.end()}, nullptr);
  }
  // Without a word of how it went: a write that is refused may complete all the same.
  void writeBytes(const fabric::RemoteWindow& window, const std::vector<std::byte>& bytes) {
    (void)transfer(fabric::WorkRequest::Kind::write, window, bytes, nullptr);
  }
  // bytes: what is in the memory of the read afterwards, which began as zeros.
  ErrorCode read(const fabric::RemoteWindow& window, std::vector<std::byte>& bytes) {
    return transfer(fabric::WorkRequest::Kind::read, window, std::vector<std::byte>(bytes.size()), &bytes);
  }
  StatusBlock block() {
    for (;;) {
      std::vector<std::byte> bytes(kStatusBytes);
      CHECK_EQ(read(offer.status, bytes), ErrorCode::ok);
      const auto parsed = parseStatusBlock(std::span<const std::byte>(bytes).first<kStatusBytes>(), 1);
      CHECK(parsed.ok());
      if (parsed.value()) return *parsed.value();
    }
  }
  Error waitClosed() {
    const auto end = ends.wait([](const Error&) { return true; });
    CHECK(end.has_value());
    return *end;
  }
  // The code of the refusal that came as a message.
  ErrorCode waitRefusal() {
    std::optional<ErrorCode> code;
    messages.wait([&](const std::vector<std::byte>& message) {
      if (const auto refuse = protocol::parseRefuse(message)) code = refuse.value().code;
      return code.has_value();
    });
    return code.value_or(ErrorCode::ok);
  }

  void onEstablished(fabric::Connection&, fabric::ConstBytes privateData) override {
    if (const auto accepted = parseIntroduction(privateData)) acquaintance.accepting = accepted.value();
    done_.add("established");
  }
  void onMessage(fabric::Connection&, fabric::ConstBytes message) override {
    messages.add({message.begin(), message.end()});
  }
  void onCompletions(fabric::Connection&, std::span<const fabric::Completion> completions) override {
    for (const auto& completion : completions)
      completions_.add(completion);
  }
  void onRejected(fabric::Connection&, fabric::ConstBytes privateData) override {
    const auto parsed = protocol::parseRejectData(privateData);
    if (parsed) rejections.add(parsed.value());
  }
  void onClosed(fabric::Connection&, const Error& reason) override {
    ends.add(reason);
    done_.add("closed");
  }

  Acquaintance acquaintance;
  Offer offer;
  Notes<std::vector<std::byte>> messages;
  Notes<protocol::RejectData> rejections;
  Notes<Error> ends;

 private:
  void open(const fabric::SocketAddress& address, const std::vector<std::byte>& privateData) {
    auto connection = fabric_->connect(address, {}, privateData, *loop_, shared_from_this());
    CHECK(connection.ok());
    connection_ = std::move(connection).value();
  }
  // Granted on the loop, once.
  fabric::RemoteWindow ownStatus() {
    if (status_) return window_;
    status_ = std::make_unique<Exposed>(*fabric_, kStatusBytes);
    StatusBlock block;
    block.version = 1;
    block.bootId = acquaintance.connecting.bootId;
    block.state = "calling";
    std::ranges::copy(encode(block), status_->bytes.begin());
    std::promise<fabric::RemoteWindow> granted;
    loop_->post([&] {
      granted.set_value(connection_->grant(status_->registration, 0, kStatusBytes, fabric::Access::remoteRead).value());
    });
    return window_ = granted.get_future().get();
  }
  ErrorCode transfer(fabric::WorkRequest::Kind kind, const fabric::RemoteWindow& window, std::vector<std::byte> bytes,
                     std::vector<std::byte>* into) {
    const std::uint64_t id = post(kind, window, std::move(bytes), into);
    const auto completion = completions_.wait([&](const fabric::Completion& done) { return done.id == id; });
    CHECK(completion.has_value());
    if (into != nullptr) *into = *kept_[id];
    return completion->status;
  }
  std::uint64_t post(fabric::WorkRequest::Kind kind, const fabric::RemoteWindow& window, std::vector<std::byte> bytes,
                     const std::vector<std::byte>* /*into*/) {
    const std::uint64_t id = ++last_;
    auto& kept = *kept_.emplace(id, std::make_unique<std::vector<std::byte>>(std::move(bytes))).first->second;
    const fabric::LocalSegment segment{kept.data(), kept.size(), nullptr};
    fabric::WorkRequest request;
    request.kind = kind;
    request.id = id;
    request.local = {&segment, 1};
    request.remoteAddress = window.base;
    request.remoteKey = window.key;
    request.deadline = Clock::now() + kPatience;
    if (const Status posted = connection_->post({&request, 1}); !posted) {
      completions_.add({id, posted.error().code});
    }
    return id;
  }

  std::shared_ptr<fabric::Fabric> fabric_ = fabric::makeIwarpFabric();
  std::unique_ptr<Exposed> status_;
  fabric::RemoteWindow window_;
  Notes<std::string> done_;
  Notes<fabric::Completion> completions_;
  std::map<std::uint64_t, std::unique_ptr<std::vector<std::byte>>> kept_;
  std::uint64_t last_ = 0;
  std::shared_ptr<fabric::Connection> connection_;
  std::unique_ptr<EventLoop> loop_;
};

}  // namespace peers
