// peer_partner_test.cpp -- partners that stop at a step, break the protocol, or are none: what a link says about each, that
// it goes on, and that nothing but the status block can be read and nothing but the mailbox written.
#include <thread>

#include "peer_support.h"
#include "raw_peer.h"
#include "wire_peer.h"

namespace {

using namespace peers;
using peer::encode;

constexpr auto kHandshake = 400ms;

PeerLinkOptions hurried(const fabric::SocketAddress& listen, const fabric::SocketAddress& partner) {
  PeerLinkOptions options = optionsFor(listen, partner);
  options.handshakeTimeout = kHandshake;
  options.stepTimeout = 200ms;
  return options;
}

// A link whose partner follows the script, and afterwards a partner that follows the protocol.
struct Stage {
  explicit Stage(Script script)
      : partner(ScriptedPartner::start(at, keyOf(optionsFor(at, own)), std::move(script))), peer(hurried(own, at)) {}
  ~Stage() {
    if (partner) partner->stop();
  }
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  // The outcome, with the step it names; and then the link comes about with a sound partner.
  void expect(ErrorCode code, const std::string& step) {
    std::string last;
    const bool came = eventually([&] {
      const auto problem = peer.link->report().problem;
      last = problem ? problem->message : "";
      return problem && problem->code == code && last.find(step) != std::string::npos;
    });
    if (!came) check::fail(__FILE__, __LINE__, "instead of " + step + ": " + last);
    CHECK(!peer.read().ok());
    CHECK_EQ(peer.link->report().links, 0U);
    partner->stop();
    partner.reset();
    const Peer sound(optionsFor(at, own));
    CHECK(peer.waitLinked());
    CHECK(sound.waitLinked());
    CHECK(peer.read().ok());
  }

  const fabric::SocketAddress own = freeAddress();
  const fabric::SocketAddress at = freeAddress();
  std::shared_ptr<ScriptedPartner> partner;
  Peer peer;
};

// ---- the connecting side, step by step

TEST(a_partner_by_the_protocol_is_linked) {
  Stage stage({});
  CHECK(stage.peer.waitLinked());
  CHECK(stage.peer.link->report().connected);
  const StatusBlock block = stage.peer.read().value();
  CHECK_EQ(block.state, "scripted");
  CHECK_EQ(block.clockMs - block.turnedMs, 4000U);
  CHECK(block.bootId == stage.partner->bootId);
}

TEST(a_partner_that_makes_no_offer_is_timed_out) {
  Script script;
  script.offers = false;
  Stage(script).expect(ErrorCode::timedOut, "proof");
}

TEST(a_partner_that_rejects_is_believed_whatever_it_says) {
  for (const auto& [sent, seen] :
       std::vector<std::pair<ErrorCode, ErrorCode>>{{ErrorCode::versionMismatch, ErrorCode::versionMismatch},
                                                    {ErrorCode::protocolViolation, ErrorCode::protocolViolation},
                                                    {ErrorCode::limitReached, ErrorCode::limitReached},
                                                    {static_cast<ErrorCode>(999), ErrorCode::protocolViolation},
                                                    {ErrorCode::ok, ErrorCode::protocolViolation}}) {
    Script script;
    script.reject = sent;
    Stage stage(script);
    CHECK_EQ(stage.peer.waitProblem(seen).code, seen);
    CHECK_EQ(stage.peer.link->report().links, 0U);
  }
}

TEST(an_accept_that_is_no_introduction_is_refused) {
  Script script;
  script.accept = [](Introduction& accepted) { accepted.versionMin = accepted.versionMax = 2; };
  Stage(script).expect(ErrorCode::versionMismatch, "version 2");
  script.accept = [](Introduction& accepted) { accepted.versionMax = 2; };
  Stage(script).expect(ErrorCode::versionMismatch, "1 to 2");
  script.accept = [](Introduction& accepted) { accepted.versionMin = 0; };
  Stage(script).expect(ErrorCode::protocolViolation, "versions 0 to 1");
}

TEST(an_offer_with_a_wrong_proof_or_changed_behind_it_is_refused) {
  Script script;
  script.signedOffer = [](Offer& offer) { offer.proof[31] ^= std::byte{1}; };
  Stage(script).expect(ErrorCode::unauthenticated, "proof");
  script.signedOffer = [](Offer& offer) { offer.status.base += 1; };
  Stage(script).expect(ErrorCode::unauthenticated, "proof");
}

TEST(an_offer_of_wrong_windows_is_refused) {
  Script script;
  script.offer = [](Offer& offer) { offer.status.length = std::uint64_t{1} << 40; };
  Stage(script).expect(ErrorCode::protocolViolation, "status block");
  script.offer = [](Offer& offer) { offer.status.length = 0; };
  Stage(script).expect(ErrorCode::protocolViolation, "status block");
  script.offer = [](Offer& offer) { offer.mailbox.base = ~std::uint64_t{0} - 5; };
  Stage(script).expect(ErrorCode::protocolViolation, "mailbox");
  script.offer = [](Offer& offer) { offer.version = 2; };
  Stage(script).expect(ErrorCode::protocolViolation, "another version");
}

TEST(step_1_fails_when_the_block_may_not_be_read) {
  Script script;
  script.statusAccess = fabric::Access::remoteWrite;
  Stage(script).expect(ErrorCode::remoteAccess, "step 1");
  script = {};
  script.offer = [](Offer& offer) { offer.status.base += 1; };
  Stage(script).expect(ErrorCode::remoteAccess, "step 1");
}

TEST(step_1_fails_when_the_block_is_none) {
  Script script;
  script.blockBytes = [](std::span<std::byte> bytes) { bytes[0] = std::byte{'X'}; };
  Stage(script).expect(ErrorCode::protocolViolation, "step 1");
  script.blockBytes = [](std::span<std::byte> bytes) { bytes[60] ^= std::byte{1}; };
  Stage(script).expect(ErrorCode::protocolViolation, "checksum");
  script.blockBytes = {};
  script.block = [](StatusBlock& block) { block.version = 2; };
  Stage(script).expect(ErrorCode::versionMismatch, "step 1");
  script.block = [](StatusBlock& block) { block.bootId = randomIdentity(); };
  Stage(script).expect(ErrorCode::protocolViolation, "boot id");
  script.block = [](StatusBlock& block) { block.state = "two words"; };
  Stage(script).expect(ErrorCode::protocolViolation, "state");
  script.block = [](StatusBlock& block) { block.turnedMs = block.clockMs + 1; };
  Stage(script).expect(ErrorCode::protocolViolation, "future");
}

TEST(step_1_fails_when_the_partner_does_not_answer) {
  Script script;
  script.hangs = true;
  Stage(script).expect(ErrorCode::timedOut, "step 1");
}

TEST(step_2_fails_when_the_mailbox_may_not_be_written) {
  Script script;
  script.mailboxAccess = fabric::Access::remoteRead;
  Stage stage(script);
  // A write completes when its memory may be reused: the partner's refusal may be heard one step later.
  stage.expect(ErrorCode::remoteAccess, "step");
}

TEST(step_3_fails_when_the_introduction_is_not_taken) {
  Script script;
  script.takesMail = false;
  Stage(script).expect(ErrorCode::timedOut, "step 3");
}

TEST(step_4_fails_when_the_mailbox_is_taken_away) {
  Script script;
  script.revokesMailbox = true;
  Stage(script).expect(ErrorCode::remoteAccess, "step 4");
}

TEST(the_second_write_comes_only_after_the_partner_took_the_first) {
  Script script;
  script.takesMail = false;
  const Stage stage(script);
  CHECK(stage.partner->ends.wait([](const Error&) { return true; }).has_value());
  for (const MailboxRecord& record : stage.partner->mail.all())
    CHECK_EQ(record.step, MailStep::introduction);
  CHECK(!stage.partner->mail.all().empty());
}

TEST(a_partner_that_stops_answering_is_lost_though_nobody_asks_it_anything) {
  const auto own = freeAddress();
  const auto at = freeAddress();
  auto partner = ScriptedPartner::start(at, keyOf(optionsFor(at, own)), {});
  const Peer peer(hurried(own, at));
  CHECK(peer.waitLinked());
  partner->hangNow();
  CHECK(peer.waitLost());
  const auto answer = peer.read();
  CHECK(!answer.ok());
  CHECK_EQ(answer.error().code, ErrorCode::timedOut);
  partner->stop();
}

// ---- the accepting side

// A link that nobody listens for, so that only the caller connects.
struct Called {
  enum class Patience : std::uint8_t { usual, little };
  explicit Called(Patience patience = Patience::usual)
      : peer((patience == Patience::little ? hurried : optionsFor)(own, freeAddress())) {}
  Sha256 key() const { return keyOf(optionsFor(own, own)); }

  const fabric::SocketAddress own = freeAddress();
  Peer peer;
};

struct Call {
  explicit Call(const Called& called, const std::function<void(Introduction&)>& change = {})
      : Call(called.own, change) {}
  explicit Call(const fabric::SocketAddress& address, const std::function<void(Introduction&)>& change = {})
      : caller(ScriptedCaller::connect(address, change)) {}
  ~Call() { caller->stop(); }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  ScriptedCaller* operator->() const { return caller.get(); }

  std::shared_ptr<ScriptedCaller> caller;
};

TEST(a_caller_by_the_protocol_is_linked) {
  const Called called;
  const Call call(called);
  call->link(called.key());
  CHECK(called.peer.waitLinked());
  CHECK(!called.peer.link->report().connected);
  CHECK_EQ(called.peer.read().value().state, "calling");
}

TEST(a_caller_that_stops_at_a_step_is_timed_out) {
  for (int step = 0; step < 3; ++step) {
    const Called called(Called::Patience::little);
    const Call call(called);
    if (step == 0) {
      CHECK(call->waitEstablished());
    } else {
      call->meet(called.key());
      if (step == 2) call->write(call->offer.mailbox, encode(call->record(MailStep::introduction)));
    }
    CHECK_EQ(call->waitRefusal(), ErrorCode::timedOut);
    CHECK(eventually([&] { return called.peer.link->report().refusals == 1; }));
    CHECK_EQ(called.peer.link->report().links, 0U);
  }
}

TEST(a_caller_without_the_secret_is_refused_before_anything_is_granted) {
  const Called called;
  const Call call(called);
  CHECK(call->waitEstablished());
  Sha256 wrong = called.key();
  wrong[0] ^= std::byte{1};
  call->prove(proofOf(wrong, call->acquaintance));
  CHECK_EQ(call->waitRefusal(), ErrorCode::unauthenticated);
  CHECK_EQ(called.peer.waitTold(ErrorCode::unauthenticated).code, ErrorCode::unauthenticated);
  for (const auto& message : call->messages.all())
    CHECK(!parseOffer(message).ok());
}

TEST(a_proof_that_was_heard_on_another_connection_is_refused) {
  const Called called;
  Sha256 heard{};
  {
    const Call call(called);
    call->meet(called.key());
    heard = proofOf(called.key(), call->acquaintance);
  }
  const Call again(called);
  CHECK(again->waitEstablished());
  again->prove(heard);
  CHECK_EQ(again->waitRefusal(), ErrorCode::unauthenticated);
}

TEST(a_message_that_is_no_proof_is_refused) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{39}, std::size_t{41}, kMaxMessage}) {
    const Called called;
    const Call call(called);
    CHECK(call->waitEstablished());
    call->send(std::vector<std::byte>(size, std::byte{0x41}));
    CHECK_EQ(call->waitRefusal(), ErrorCode::protocolViolation);
  }
}

TEST(a_message_that_is_too_long_ends_the_connection_by_the_fabrics_rules) {
  const Called called;
  const Call call(called);
  CHECK(call->waitEstablished());
  call->send(std::vector<std::byte>(kMaxMessage + 1, std::byte{0x41}));
  (void)call->waitClosed();
  CHECK_EQ(called.peer.waitTold(ErrorCode::protocolViolation).code, ErrorCode::protocolViolation);
}

TEST(a_record_in_the_mailbox_is_checked_before_it_is_used) {
  const std::vector<std::pair<const char*, std::function<void(MailboxRecord&)>>> changes{
      {"step", [](MailboxRecord& record) { record.step = static_cast<MailStep>(3); }},
      {"confirmation before", [](MailboxRecord& record) { record.step = MailStep::confirmation; }},
      {"another sender", [](MailboxRecord& record) { record.sender = randomIdentity(); }},
      {"another process", [](MailboxRecord& record) { record.receiver = randomIdentity(); }},
      {"another connection", [](MailboxRecord& record) { record.connection = randomIdentity(); }},
      {"bytes", [](MailboxRecord& record) { record.status.length = std::uint64_t{1} << 60; }},
      {"bytes", [](MailboxRecord& record) { record.status.base = ~std::uint64_t{0}; }},
  };
  for (const auto& [text, change] : changes) {
    const Called called;
    const Call call(called);
    call->meet(called.key());
    MailboxRecord record = call->record(MailStep::introduction);
    change(record);
    call->write(call->offer.mailbox, encode(record));
    CHECK_EQ(call->waitRefusal(), ErrorCode::protocolViolation);
    const Error told = called.peer.waitTold(ErrorCode::protocolViolation);
    if (told.message.find(text) == std::string::npos) check::fail(__FILE__, __LINE__, told.message);
  }
}

TEST(a_record_of_another_version_is_a_wrong_version) {
  const Called called;
  const Call call(called);
  call->meet(called.key());
  MailboxRecord record = call->record(MailStep::introduction);
  record.version = 2;
  call->write(call->offer.mailbox, encode(record));
  CHECK_EQ(call->waitRefusal(), ErrorCode::versionMismatch);
}

TEST(a_record_that_never_becomes_whole_is_a_violation) {
  const Called called(Called::Patience::little);
  const Call call(called);
  call->meet(called.key());
  auto bytes = encode(call->record(MailStep::introduction));
  bytes[50] ^= std::byte{1};
  call->write(call->offer.mailbox, bytes);
  CHECK_EQ(call->waitRefusal(), ErrorCode::protocolViolation);
}

TEST(half_a_record_is_not_used_before_the_other_half_has_come) {
  const Called called;
  const Call call(called);
  call->meet(called.key());
  const auto bytes = encode(call->record(MailStep::introduction));
  std::array<std::byte, kMailboxBytes / 2> half{};
  const fabric::RemoteWindow back{call->offer.mailbox.key, call->offer.mailbox.base + half.size(), half.size()};
  std::copy_n(bytes.begin(), half.size(), half.begin());
  call->write(call->offer.mailbox, half);
  std::this_thread::sleep_for(20ms);  // it is looked at meanwhile
  CHECK_EQ(call->block().greetedStep, 0U);
  std::copy_n(bytes.begin() + half.size(), half.size(), half.begin());
  call->write(back, half);
  CHECK(call->waitTaken(MailStep::introduction));
}

TEST(what_is_written_to_the_mailbox_of_a_link_changes_nothing) {
  const Called called;
  const Call call(called);
  call->link(called.key());
  CHECK(called.peer.waitLinked());
  std::array<std::byte, kMailboxBytes> garbage{};
  garbage.fill(std::byte{0xff});
  CHECK_EQ(call->write(call->offer.mailbox, garbage), ErrorCode::ok);
  CHECK_EQ(call->block().greetedStep, 2U);
  CHECK(called.peer.read().ok());
  CHECK(called.peer.link->report().linked);
}

TEST(nothing_but_the_status_block_is_read_and_nothing_but_the_mailbox_written) {
  const auto shifted = [](fabric::RemoteWindow window, std::uint64_t by) {
    window.base += by;
    return window;
  };
  struct Attack {
    bool write;
    bool mailbox;
    std::uint64_t shift;
    std::size_t bytes;
    std::uint32_t key;  // added
  };
  const std::uint64_t before = ~std::uint64_t{0};  // one byte before it
  const std::vector<Attack> attacks{
      {false, true, 0, 1, 0},  // reading the mailbox
      {true, false, 0, 1, 0},  // writing the block
      {false, false, 0, kStatusBytes + 1, 0},
      {false, false, before, 1, 0},
      {false, false, kStatusBytes, 1, 0},
      {false, false, before, 2, 0},
      {true, true, 0, kMailboxBytes + 1, 0},
      {true, true, before, 1, 0},
      {true, true, kMailboxBytes, 1, 0},
      {false, false, 0, 1, 1},
      {true, true, 0, 1, 1},
      {false, false, 4096, 1, 0},
      {true, true, before - 4095, 64, 0},
  };
  const Called called;
  for (const Attack& attack : attacks) {
    const Call call(called);
    call->meet(called.key());
    auto window = shifted(attack.mailbox ? call->offer.mailbox : call->offer.status, attack.shift);
    window.key += attack.key;
    std::vector<std::byte> bytes(attack.bytes, std::byte{0x5a});
    if (attack.write) {
      call->writeBytes(window, bytes);
    } else {
      CHECK(call->read(window, bytes) != ErrorCode::ok);
      CHECK(bytes == std::vector<std::byte>(attack.bytes));  // the read's own memory, as it was before
    }
    CHECK_EQ(call->waitClosed().code, ErrorCode::remoteAccess);
    CHECK_EQ(called.peer.waitTold(ErrorCode::protocolViolation).code, ErrorCode::protocolViolation);
  }
  // The block is as it was, and the mailbox of the next connection as empty as ever.
  const Call call(called);
  call->link(called.key());
  CHECK_EQ(call->block().state, "loading");
}

TEST(a_key_of_one_connection_is_worth_nothing_on_another) {
  const Called called;
  const Call first(called);
  first->meet(called.key());
  const Call second(called);
  second->meet(called.key());
  std::vector<std::byte> bytes(1);
  CHECK(second->read(first->offer.status, bytes) != ErrorCode::ok);
  CHECK_EQ(second->waitClosed().code, ErrorCode::remoteAccess);
  CHECK_EQ(first->block().state, "loading");
}

// ---- one connection of two: the partner is a listener and a caller with one boot id

struct Both {
  // larger: the link under test has the larger boot id of the two.
  explicit Both(bool larger, bool takesMail = false,
                std::shared_ptr<fabric::Fabric> fabric = fabric::makeIwarpFabric()) {
    BootId id = partnerId;
    id[0] ^= std::byte{0x80};
    if (larger != (partnerId < id)) std::swap(id, partnerId);
    Script script;
    script.takesMail = takesMail;
    partner = ScriptedPartner::start(at, key(), script, partnerId);
    PeerLinkOptions options = optionsFor(own, at);
    options.bootId = id;
    peer.emplace(options, std::move(fabric));
    // Its own connection has come to the second step.
    CHECK(partner->mail.wait([](const MailboxRecord&) { return true; }).has_value());
  }
  ~Both() { partner->stop(); }
  Both(const Both&) = delete;
  Both& operator=(const Both&) = delete;

  Sha256 key() const { return keyOf(optionsFor(own, at)); }
  std::function<void(Introduction&)> asPartner() const {
    return [this](Introduction& introduction) { introduction.bootId = partnerId; };
  }

  const fabric::SocketAddress own = freeAddress();
  const fabric::SocketAddress at = freeAddress();
  BootId partnerId = randomIdentity();
  std::shared_ptr<ScriptedPartner> partner;
  std::optional<Peer> peer;
};

TEST(the_smaller_takes_the_others_introduction_and_ends_its_own_attempt) {
  const Both both(false);
  const Call caller(both.own, both.asPartner());
  caller->meet(both.key());
  caller->write(caller->offer.mailbox, encode(caller->record(MailStep::introduction)));
  CHECK(both.partner->ends.wait([](const Error&) { return true; }).has_value());
  CHECK(caller->waitTaken(MailStep::introduction));
  // While the other's is under way it begins no other.
  std::this_thread::sleep_for(50ms);
  CHECK_EQ(both.peer->link->report().attempts, 1U);
  caller->write(caller->offer.mailbox, encode(caller->record(MailStep::confirmation)));
  CHECK(both.peer->waitLinked());
  CHECK(!both.peer->link->report().connected);
  CHECK(both.peer->recorder->notes.all().size() == 1);
}

TEST(the_larger_takes_the_others_introduction_and_goes_on_with_its_own) {
  for (const bool ownWins : {true, false}) {
    const Both both(true);
    const Call caller(both.own, both.asPartner());
    caller->meet(both.key());
    caller->write(caller->offer.mailbox, encode(caller->record(MailStep::introduction)));
    CHECK(caller->waitTaken(MailStep::introduction));
    std::this_thread::sleep_for(20ms);
    CHECK(both.partner->ends.all().empty());
    if (ownWins) {
      both.partner->takeMail();
      CHECK(both.peer->waitLinked());
      CHECK_EQ(caller->waitRefusal(), ErrorCode::exists);
    } else {
      caller->write(caller->offer.mailbox, encode(caller->record(MailStep::confirmation)));
      CHECK(both.peer->waitLinked());
      CHECK(both.partner->ends.wait([](const Error&) { return true; }).has_value());
    }
    CHECK_EQ(both.peer->link->report().connected, ownWins);
    CHECK_EQ(both.peer->link->report().attempts, 1U);
    CHECK(both.peer->recorder->notes.all().size() == 1);
  }
}

TEST(what_was_confirmed_is_kept_though_it_is_no_link_yet) {
  // Between the confirmation and the read behind it are two pauses.
  const Both both(false, true, std::make_shared<SlowFabric>([] { return milliseconds{50}; }));
  CHECK(both.partner->mail.wait([](const MailboxRecord& record) { return record.step == MailStep::confirmation; })
            .has_value());
  const Call caller(both.own, both.asPartner());
  CHECK(caller->waitEstablished());
  caller->prove(proofOf(both.key(), caller->acquaintance));
  CHECK(!parseOffer(caller->waitMessage()).ok());
  CHECK_EQ(caller->waitRefusal(), ErrorCode::exists);
  CHECK(both.peer->waitLinked());
  CHECK(both.peer->link->report().connected);
}

TEST(a_link_that_stands_is_not_given_up_for_another_connection) {
  const Both both(true, true);
  CHECK(both.peer->waitLinked());
  const Call same(both.own, both.asPartner());
  CHECK(same->waitEstablished());
  same->prove(proofOf(both.key(), same->acquaintance));
  CHECK_EQ(same->waitRefusal(), ErrorCode::exists);
  const Call other(both.own);
  CHECK(other->waitEstablished());
  other->prove(proofOf(both.key(), other->acquaintance));
  CHECK_EQ(other->waitRefusal(), ErrorCode::limitReached);
  CHECK(both.peer->link->report().linked);
  CHECK_EQ(both.peer->link->report().links, 1U);
}

TEST(of_two_connections_of_the_callers_the_newer_counts) {
  const Called called;
  const BootId id = randomIdentity();
  const auto from = [&](Introduction& introduction) { introduction.bootId = id; };
  const Call first(called, from);
  first->meet(called.key());
  first->write(first->offer.mailbox, encode(first->record(MailStep::introduction)));
  CHECK(first->waitTaken(MailStep::introduction));
  const Call second(called, from);
  second->meet(called.key());
  second->write(second->offer.mailbox, encode(second->record(MailStep::introduction)));
  CHECK_EQ(first->waitRefusal(), ErrorCode::exists);
  CHECK(second->waitTaken(MailStep::introduction));
  second->write(second->offer.mailbox, encode(second->record(MailStep::confirmation)));
  CHECK(called.peer.waitLinked());
}

// ---- strangers

// The link comes about in spite of them.
void linksStill(const Called& called) {
  const Call call(called);
  call->link(called.key());
  CHECK(called.peer.waitLinked());
}

TEST(strangers_on_the_port_are_turned_away_and_disturb_nobody) {
  const Called called;
  const auto bytesOf = [](const std::string& text) {
    raw::Buffer bytes;
    for (const char character : text)
      bytes.push_back(static_cast<std::byte>(character));
    return bytes;
  };
  raw::Buffer noise(4096);
  for (std::byte& byte : noise)
    byte = static_cast<std::byte>(check::random()() & 0xffU);
  for (const raw::Buffer& said : {bytesOf("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), noise, bytesOf("x")}) {
    auto stranger = raw::Socket::connect(called.own);
    stranger.send(said);
    CHECK(stranger.receiveAll().empty());
    CHECK(stranger.ended());
  }
  std::vector<raw::Socket> silent;
  for (int i = 0; i < 20; ++i)
    silent.push_back(raw::Socket::connect(called.own));
  linksStill(called);
}

TEST(a_client_of_a_unit_that_comes_to_the_wrong_port_is_told_in_its_own_words) {
  const Called called;
  auto loop = EventLoop::start("client");
  CHECK(loop.ok());
  const auto fabric = fabric::makeIwarpFabric();
  const auto client =
      WirePeer::connect(*fabric, *loop.value(), called.own, protocol::ConnectionKind::data, protocol::Token{});
  CHECK(client->waitClosed().has_value());
  CHECK(client->rejection().has_value());
  CHECK_EQ(client->rejection()->code, ErrorCode::protocolViolation);
  CHECK_EQ(called.peer.waitTold(ErrorCode::protocolViolation).code, ErrorCode::protocolViolation);
  linksStill(called);
}

TEST(an_introduction_of_any_other_form_is_rejected_with_a_code) {
  const Called called;
  const auto signedOf = [&](Introduction introduction) {
    introduction.ticket = ticketOf(called.key(), introduction);
    return encode(introduction);
  };
  const std::vector<std::byte> good = signedOf({1, 1, randomIdentity(), randomIdentity(), {}});
  auto otherTicket = good;
  otherTicket.back() ^= std::byte{1};
  auto otherMagic = good;
  otherMagic[0] ^= std::byte{1};
  const auto future = signedOf({2, 9, randomIdentity(), randomIdentity(), {}});
  const auto backwards = signedOf({2, 1, randomIdentity(), randomIdentity(), {}});
  const auto none = signedOf({0, 1, randomIdentity(), randomIdentity(), {}});
  const auto own = signedOf({1, 1, called.peer.link->report().bootId, randomIdentity(), {}});
  for (const auto& [data, code] : std::vector<std::pair<std::vector<std::byte>, ErrorCode>>{
           {{}, ErrorCode::protocolViolation},
           {{good.begin(), good.end() - 1}, ErrorCode::protocolViolation},
           {otherTicket, ErrorCode::unauthenticated},
           {otherMagic, ErrorCode::protocolViolation},
           {backwards, ErrorCode::protocolViolation},
           {none, ErrorCode::protocolViolation},
           {own, ErrorCode::invalidArgument},
           {future, ErrorCode::versionMismatch}}) {
    const auto caller = ScriptedCaller::connectWith(called.own, data);
    const auto rejection = caller->rejections.wait([](const protocol::RejectData&) { return true; });
    CHECK(rejection.has_value());
    CHECK_EQ(rejection->code, code);
    CHECK_EQ(rejection->versionMin, kVersionMin);
    CHECK_EQ(rejection->versionMax, kVersionMax);
    caller->stop();
  }
  const auto caller = ScriptedCaller::connectWith(called.own, good);
  CHECK(caller->waitEstablished());
  caller->stop();
}

TEST(a_request_that_was_heard_and_is_said_again_takes_no_place) {
  const Called called;
  Introduction introduction{1, 1, randomIdentity(), randomIdentity(), {}};
  introduction.ticket = ticketOf(called.key(), introduction);
  const auto heard = encode(introduction);
  {
    const auto partner = ScriptedCaller::connectWith(called.own, heard);
    CHECK(partner->waitEstablished());
    partner->stop();
  }
  for (int i = 0; i < 20; ++i) {
    const auto repeated = ScriptedCaller::connectWith(called.own, heard);
    const auto rejection = repeated->rejections.wait([](const protocol::RejectData&) { return true; });
    CHECK(rejection.has_value());
    CHECK_EQ(rejection->code, ErrorCode::exists);
    repeated->stop();
  }
  CHECK(called.peer.link->report().refusals >= 20);
  linksStill(called);
}

// A listener that is no peer, on the partner's address.
class Stranger {
 public:
  Stranger(const fabric::SocketAddress& address, std::string answer) : answer_(std::move(answer)) {
    listening_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int on = 1;
    ::setsockopt(listening_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    CHECK(::bind(listening_.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.length) == 0);
    CHECK(::listen(listening_.get(), 16) == 0);
    thread_ = std::thread([this] { serve(); });
  }
  ~Stranger() {
    ::shutdown(listening_.get(), SHUT_RDWR);
    thread_.join();
  }
  Stranger(const Stranger&) = delete;
  Stranger& operator=(const Stranger&) = delete;

 private:
  // Kept open, so that what is refused is what it says and not that it closes.
  void serve() {
    std::vector<FileDescriptor> kept;
    for (;;) {
      FileDescriptor accepted(::accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!accepted) return;
      (void)::send(accepted.get(), answer_.data(), answer_.size(), MSG_NOSIGNAL);
      kept.push_back(std::move(accepted));
    }
  }

  const std::string answer_;
  FileDescriptor listening_;
  std::thread thread_;
};

TEST(a_stranger_on_the_partners_port_is_a_violation_or_silence) {
  for (const auto& [said, code] : std::vector<std::pair<std::string, ErrorCode>>{
           {"HTTP/1.1 400 Bad Request\r\nConnection: keep-alive\r\n\r\n", ErrorCode::protocolViolation},
           {std::string(64, '\xff'), ErrorCode::protocolViolation},
           {"", ErrorCode::timedOut}}) {
    const auto own = freeAddress();
    const auto at = freeAddress();
    std::optional<Stranger> stranger(std::in_place, at, said);
    const Peer peer(hurried(own, at));
    CHECK_EQ(peer.waitProblem(code).code, code);
    CHECK_EQ(peer.read().error().code, code);
    if (code == ErrorCode::protocolViolation) CHECK_EQ(peer.waitTold(code).code, code);
    stranger.reset();
    const Peer sound(optionsFor(at, own));
    CHECK(peer.waitLinked());
  }
}

TEST(a_problem_that_stays_the_same_is_told_once) {
  const auto own = freeAddress();
  const auto at = freeAddress();
  const Stranger stranger(at, "HTTP/1.1 400 Bad Request\r\n\r\n");
  const Peer peer(hurried(own, at));
  CHECK(eventually([&] { return peer.link->report().attempts >= 5; }));
  CHECK_EQ(peer.recorder->notes.all().size(), 1U);
}

}  // namespace
