// Client channels against a unit that the test plays: what is posted, what an operation waits for, and how it ends.
#include <condition_variable>

#include "check.h"
#include "client/channel.h"
#include "client/operation_plan.h"
#include "scripted_fabric.h"

namespace {

using namespace rdmacp;
using namespace std::chrono_literals;
using client::Operation;
using client::Outcome;
using fabric::WorkRequest;
using scripted::Message;

constexpr std::uint64_t kRegion = std::uint64_t{8} << 30;
constexpr std::uint64_t kBase = 0x10000;

protocol::Grant goodGrant() {
  protocol::Grant grant;
  grant.remoteKey = 5;
  grant.base = kBase;
  grant.length = kRegion;
  grant.epoch = 3;
  grant.rights = 3;
  grant.credits = 4;
  grant.maxMessage = protocol::kMaxMessage;
  grant.promises = 3;
  return grant;
}

class Handler final : public client::DataChannelHandler {
 public:
  void onOpen(const protocol::Grant&) override {
    const std::lock_guard lock(mutex);
    ++opened;
  }
  void onOutcomes(std::span<const Outcome> batch) override {
    const std::lock_guard lock(mutex);
    if (closed > 0) lateOutcome = true;
    outcomes.insert(outcomes.end(), batch.begin(), batch.end());
    changed.notify_all();
  }
  void onClosed(const Error& why) override {
    const std::lock_guard lock(mutex);
    ++closed;
    reason = why;
    changed.notify_all();
  }
  bool waitFor(std::size_t count, std::chrono::milliseconds limit = 5s) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, limit, [&] { return outcomes.size() >= count; });
  }
  bool waitClosed() {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, 5s, [&] { return closed > 0; });
  }

  std::mutex mutex;
  std::condition_variable changed;
  int opened = 0, closed = 0;
  bool lateOutcome = false;
  std::vector<Outcome> outcomes;
  Error reason;
};

// A channel whose hello was sent; open() answers it.
struct Stage {
  explicit Stage(fabric::ConnectionOptions options = {}) {
    client::ConnectParameters parameters;
    parameters.address = fabric::SocketAddress::parse("127.0.0.1", 1).value();
    parameters.token.fill(std::byte{7});
    parameters.options = options;
    auto connected = client::DataChannel::connect(fabric, *loop, parameters, handler);
    CHECK(connected.ok());
    channel = connected.value();
    connection = fabric.last();
  }
  ~Stage() {
    channel->abort();
    handler->waitClosed();
    channel.reset();
    connection.reset();
    loop->stop();
  }
  void open(const protocol::Grant& grant = goodGrant()) {
    connection->establish();
    connection->completeAll();
    connection->deliver(protocol::encode(grant, protocol::kVersionMax));
  }
  Status post(Operation::Kind kind, Operation::Until until, std::vector<client::OperationRange> ranges,
              std::vector<protocol::FlushRange> flushRanges = {},
              Clock::time_point deadline = Clock::time_point::max()) {
    Operation operation;
    operation.id = ++lastId;
    operation.kind = kind;
    operation.until = until;
    operation.ranges = std::move(ranges);
    operation.flushRanges = std::move(flushRanges);
    operation.deadline = deadline;
    return channel->post(std::move(operation));
  }
  // A visible write that asks for its answer at once.
  Status ask(std::optional<Outcome>& answer, Operation::Until until = Operation::Until::visible) {
    Operation operation;
    operation.id = ++lastId;
    operation.until = until;
    operation.ranges = {{0, memory.data(), 8}};
    return channel->post(std::move(operation), &answer);
  }
  Status flush(std::uint64_t offset, Clock::time_point deadline = Clock::time_point::max()) {
    return post(Operation::Kind::flush, Operation::Until::durable, {}, {{offset, 10}}, deadline);
  }
  // Everything posted since the hello.
  std::vector<scripted::Posted> posted() {
    auto all = connection->posted();
    all.erase(all.begin());
    return all;
  }
  std::vector<protocol::Flush> flushes() {
    std::vector<protocol::Flush> found;
    for (const auto& request : posted()) {
      if (request.kind == WorkRequest::Kind::send) found.push_back(protocol::parseFlush(request.message).value());
    }
    return found;
  }
  void answer(std::uint64_t request, ErrorCode code = ErrorCode::ok, std::int32_t systemError = 0) {
    protocol::Flushed flushed;
    flushed.request = request;
    flushed.code = code;
    flushed.method = 2;
    flushed.systemError = systemError;
    connection->deliver(protocol::encode(flushed, protocol::kVersionMax));
  }

  std::unique_ptr<EventLoop> loop = std::move(EventLoop::start("channel-test")).value();
  scripted::Fabric fabric;
  std::shared_ptr<Handler> handler = std::make_shared<Handler>();
  std::shared_ptr<client::DataChannel> channel;
  std::shared_ptr<scripted::Connection> connection;
  std::uint64_t lastId = 0;
  std::array<std::byte, 64> memory{};
};

constexpr auto kWrite = Operation::Kind::write;
constexpr auto kRead = Operation::Kind::read;
constexpr auto kFlush = Operation::Kind::flush;
constexpr auto kPlaced = Operation::Until::placed;
constexpr auto kVisible = Operation::Until::visible;
constexpr auto kDurable = Operation::Until::durable;

}  // namespace

TEST(the_token_rides_in_the_private_data_and_the_hello_comes_first) {
  Stage stage;
  const auto data = protocol::parseConnectData(stage.connection->privateData);
  CHECK(data.ok());
  CHECK(data.value().token[0] == std::byte{7});
  stage.connection->establish();
  CHECK_EQ(stage.connection->posted().size(), 1U);
  CHECK(protocol::parseHello(stage.connection->posted()[0].message).ok());
  CHECK_EQ(stage.handler->opened, 0);
  CHECK(stage.post(kWrite, kPlaced, {}).error().code == ErrorCode::invalidArgument);
}

TEST(a_rejected_token_and_versions_without_overlap_are_precise_errors) {
  {
    Stage stage;
    protocol::RejectData data;
    data.code = ErrorCode::tokenInvalid;
    stage.connection->reject(protocol::encode(data));
    CHECK(stage.handler->reason.code == ErrorCode::tokenInvalid);
  }
  {
    Stage stage;
    stage.connection->reject({});
    CHECK(stage.handler->reason.code == ErrorCode::connectionRefused);
  }
  Stage stage;
  stage.connection->establish();
  protocol::Refuse refuse;
  refuse.code = ErrorCode::versionMismatch;
  refuse.versionMin = 7;
  refuse.versionMax = 9;
  stage.connection->deliver(protocol::encode(refuse));
  CHECK(stage.handler->waitClosed());
  CHECK(stage.handler->reason.code == ErrorCode::versionMismatch);
  CHECK(stage.handler->reason.message.find("7 to 9") != std::string::npos);
  CHECK(stage.handler->reason.message.find("speaks 1") != std::string::npos);
}

TEST(a_grant_that_cannot_be_true_ends_the_connection) {
  const auto refused = [](const protocol::Grant& grant) {
    Stage stage;
    stage.open(grant);
    CHECK(stage.handler->waitClosed());
    CHECK_EQ(stage.handler->opened, 0);
    CHECK(stage.handler->reason.code == ErrorCode::protocolViolation);
  };
  auto grant = goodGrant();
  grant.base = ~std::uint64_t{0} - 5;
  refused(grant);
  grant = goodGrant();
  grant.length = std::uint64_t{1} << 53;
  refused(grant);
  grant = goodGrant();
  grant.credits = 0;
  refused(grant);
  grant = goodGrant();
  grant.rights = 4;
  refused(grant);
  grant = goodGrant();
  grant.maxMessage = 24;
  refused(grant);
}

TEST(no_answer_to_the_hello_times_out) {
  fabric::ConnectionOptions options;
  options.setupTimeout = 50ms;
  Stage stage(options);
  stage.connection->establish();
  CHECK(stage.handler->waitClosed());
  CHECK(stage.handler->reason.code == ErrorCode::timedOut);
}

TEST(nothing_is_sent_for_a_range_outside_of_the_region) {
  Stage stage;
  stage.open();
  std::byte* memory = stage.memory.data();
  const auto code = [](const Status& status) { return status.error().code; };
  CHECK(code(stage.post(kWrite, kPlaced, {{kRegion, memory, 1}})) == ErrorCode::outOfBounds);
  CHECK(code(stage.post(kRead, kPlaced, {{0, memory, 1}, {kRegion - 1, memory, 2}})) == ErrorCode::outOfBounds);
  CHECK(code(stage.post(kWrite, kPlaced, {{~std::uint64_t{0}, memory, 2}})) == ErrorCode::outOfBounds);
  CHECK(code(stage.post(kWrite, kPlaced, {{0, nullptr, 2}})) == ErrorCode::invalidArgument);
  CHECK(code(stage.flush(kRegion - 9)) == ErrorCode::outOfBounds);
  CHECK(stage.posted().empty());
  CHECK(stage.post(kWrite, kPlaced, {{kRegion - 1, memory, 1}}).ok());
}

TEST(rights_and_promises_of_the_grant_are_kept) {
  Stage stage;
  auto grant = goodGrant();
  grant.rights = 1;
  grant.promises = 1;
  stage.open(grant);
  std::byte* memory = stage.memory.data();
  CHECK(stage.post(kWrite, kPlaced, {{0, memory, 1}}).error().code == ErrorCode::remoteAccess);
  CHECK(stage.flush(0).error().code == ErrorCode::notDurable);
  CHECK(stage.post(kRead, kPlaced, {{0, memory, 1}}).ok());
}

TEST(a_visible_write_waits_for_a_read_after_it) {
  Stage stage;
  stage.open();
  CHECK(stage.post(kWrite, kVisible, {{10, stage.memory.data(), 3}, {20, stage.memory.data(), 0}}).ok());
  const auto posted = stage.posted();
  CHECK_EQ(posted.size(), 2U);
  CHECK(posted[0].kind == WorkRequest::Kind::write);
  CHECK_EQ(posted[0].remoteAddress, kBase + 10);
  CHECK_EQ(posted[0].length, 3U);
  CHECK(posted[1].kind == WorkRequest::Kind::read);
  CHECK_EQ(posted[1].length, 1U);
  stage.connection->complete(1);
  CHECK(stage.handler->outcomes.empty());
  stage.connection->complete(1);
  CHECK_EQ(stage.handler->outcomes.size(), 1U);
  CHECK(stage.handler->outcomes[0].code == ErrorCode::ok);
}

protocol::Grant flushableGrant() {
  auto grant = goodGrant();
  grant.capabilities = protocol::kCapabilityFlushVerb;
  return grant;
}

TEST(durable_is_had_by_the_flush_verb_where_the_grant_says_so) {
  Stage stage;
  stage.connection->flushes = true;
  stage.open(flushableGrant());
  const auto hello = protocol::parseHello(stage.connection->posted()[0].message).value();
  CHECK_EQ(hello.capabilities, protocol::kCapabilityFlushVerb);
  CHECK(stage.post(kWrite, kDurable, {{100, stage.memory.data(), 8}, {108, stage.memory.data(), 8}}, {{500, 10}}).ok());
  const auto posted = stage.posted();
  CHECK_EQ(posted.size(), 4U);
  CHECK(posted[0].kind == WorkRequest::Kind::write && posted[1].kind == WorkRequest::Kind::write);
  CHECK(posted[2].kind == WorkRequest::Kind::flush && posted[3].kind == WorkRequest::Kind::flush);
  CHECK_EQ(posted[2].remoteAddress, kBase + 100);
  CHECK_EQ(posted[2].length, 16U);
  CHECK_EQ(posted[3].remoteAddress, kBase + 500);
  CHECK_EQ(posted[3].length, 10U);
  stage.connection->complete(3);
  CHECK(stage.handler->outcomes.empty());
  stage.connection->complete(1);
  CHECK(stage.handler->waitFor(1));
  CHECK(stage.handler->outcomes[0].code == ErrorCode::ok);
  CHECK_EQ(stage.handler->outcomes[0].method, protocol::kMethodFlushVerb);
}

TEST(a_large_flush_by_the_verb_is_cut_and_an_empty_one_sends_nothing_to_flush) {
  Stage stage;
  stage.connection->flushes = true;
  stage.open(flushableGrant());
  constexpr std::uint64_t kPiece = 16U << 20;
  CHECK(stage.post(kFlush, kDurable, {}, {{7, 2 * kPiece + 1}}).ok());
  const auto posted = stage.posted();
  CHECK_EQ(posted.size(), 3U);
  CHECK_EQ(posted[1].remoteAddress, kBase + 7 + kPiece);
  CHECK_EQ(posted[1].length, kPiece);
  CHECK_EQ(posted[2].length, 1U);
  CHECK(stage.post(kFlush, kDurable, {}, {{7, 0}}).ok());
  CHECK(stage.posted().back().kind != WorkRequest::Kind::flush);
}

TEST(durable_is_had_by_the_unit_where_anything_of_the_flush_verb_is_missing) {
  const auto byUnit = [](bool canFlush, bool granted, bool asked) {
    Stage stage;
    stage.connection->flushes = canFlush;
    stage.open(granted ? flushableGrant() : goodGrant());
    Operation operation;
    operation.id = 1;
    operation.kind = kWrite;
    operation.until = kDurable;
    operation.ranges = {{0, stage.memory.data(), 8}};
    operation.flushByUnit = asked;
    CHECK(stage.channel->post(std::move(operation)).ok());
    return stage.flushes().size() == 1 && stage.posted().size() == 2;
  };
  CHECK(byUnit(false, true, false));
  CHECK(byUnit(true, false, false));
  CHECK(byUnit(true, true, true));
  CHECK(!byUnit(true, true, false));
}

TEST(a_range_above_the_transfer_limit_becomes_several_requests) {
  Stage stage;
  stage.open();
  const std::uint64_t length = 2 * client::kMaxTransfer + 5;
  CHECK(stage.post(kWrite, kPlaced, {{1, stage.memory.data(), length}}).ok());
  const auto posted = stage.posted();
  CHECK_EQ(posted.size(), 3U);
  CHECK_EQ(posted[0].length, client::kMaxTransfer);
  CHECK_EQ(posted[2].length, 5U);
  CHECK_EQ(posted[2].remoteAddress, kBase + 1 + 2 * client::kMaxTransfer);
  stage.connection->complete(2);
  CHECK(stage.handler->outcomes.empty());
  stage.connection->complete(1);
  CHECK_EQ(stage.handler->outcomes.size(), 1U);
}

TEST(a_group_has_one_read_or_one_flush_and_an_outcome_for_each) {
  Stage stage;
  stage.open();
  const auto group = [&](std::uint64_t firstId, Operation::Kind kind, Operation::Until until) {
    std::vector<Operation> operations(3);
    for (std::size_t i = 0; i < operations.size(); ++i) {
      operations[i].id = firstId + i;
      operations[i].kind = kind;
      operations[i].until = until;
      operations[i].ranges = {{100 * i, stage.memory.data() + 8 * i, 8}};
    }
    return operations;
  };
  CHECK(stage.channel->post(group(10, kWrite, kVisible), nullptr).ok());
  auto posted = stage.posted();
  CHECK_EQ(posted.size(), 4U);
  CHECK(posted[3].kind == WorkRequest::Kind::read);
  CHECK_EQ(posted[2].remoteAddress, kBase + 200);
  stage.connection->complete(3);
  CHECK(stage.handler->outcomes.empty());
  stage.connection->complete(1);
  CHECK_EQ(stage.handler->outcomes.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i)
    CHECK_EQ(stage.handler->outcomes[i].id, 10 + i);

  CHECK(stage.channel->post(group(20, kWrite, kDurable), nullptr).ok());
  const auto flushes = stage.flushes();
  CHECK_EQ(flushes.size(), 1U);
  CHECK_EQ(flushes[0].ranges.size(), 3U);
  stage.connection->completeAll();
  CHECK_EQ(stage.handler->outcomes.size(), 3U);
  stage.answer(flushes[0].request, ErrorCode::mediumFailed, 5);
  CHECK_EQ(stage.handler->outcomes.size(), 6U);
  for (std::size_t i = 3; i < 6; ++i) {
    CHECK(stage.handler->outcomes[i].code == ErrorCode::mediumFailed);
    CHECK_EQ(stage.handler->outcomes[i].systemError, 5);
    CHECK_EQ(stage.handler->outcomes[i].id, 20 + i - 3);
  }

  CHECK(stage.channel->post(group(30, kRead, kPlaced), nullptr).ok());
  stage.connection->completeAll();
  CHECK_EQ(stage.handler->outcomes.size(), 9U);

  // Nothing is sent of a group in which anything is wrong.
  const std::size_t before = stage.posted().size();
  auto wrong = group(40, kWrite, kVisible);
  wrong[2].ranges[0].offset = kRegion;
  CHECK(stage.channel->post(wrong, nullptr).error().code == ErrorCode::outOfBounds);
  auto mixed = group(40, kWrite, kVisible);
  mixed[1].until = kDurable;
  CHECK(stage.channel->post(mixed, nullptr).error().code == ErrorCode::invalidArgument);
  CHECK(stage.channel->post(std::span<const Operation>{}, nullptr).error().code == ErrorCode::invalidArgument);
  CHECK_EQ(stage.posted().size(), before);

  // The end of the connection is told for each.
  CHECK(stage.channel->post(group(50, kWrite, kDurable), nullptr).ok());
  stage.channel->abort();
  stage.handler->waitClosed();
  CHECK_EQ(stage.handler->outcomes.size(), 12U);
  CHECK(stage.handler->outcomes[11].code == ErrorCode::localClosed);
}

TEST(a_durable_write_waits_for_the_answer_and_carries_its_error) {
  Stage stage;
  stage.open();
  CHECK(stage.post(kWrite, kDurable, {{10, stage.memory.data(), 5}}, {{100, 20}, {110, 30}}).ok());
  auto flushes = stage.flushes();
  CHECK_EQ(flushes.size(), 1U);
  CHECK_EQ(flushes[0].ranges.size(), 2U);  // its own, and the two that overlap as one
  CHECK_EQ(flushes[0].ranges[1].length, 40U);
  stage.connection->completeAll();
  CHECK(stage.handler->outcomes.empty());
  stage.answer(flushes[0].request);
  CHECK_EQ(stage.handler->outcomes.size(), 1U);
  CHECK_EQ(stage.handler->outcomes[0].method, 2);

  CHECK(stage.post(kWrite, kDurable, {{10, stage.memory.data(), 5}}).ok());
  flushes = stage.flushes();
  // The answer may overtake the completion of the send; its memory is still needed until then.
  stage.answer(flushes[1].request, ErrorCode::mediumFailed, 5);
  CHECK_EQ(stage.handler->outcomes.size(), 1U);
  stage.connection->completeAll();
  CHECK_EQ(stage.handler->outcomes.size(), 2U);
  CHECK(stage.handler->outcomes[1].code == ErrorCode::mediumFailed);
  CHECK_EQ(stage.handler->outcomes[1].systemError, 5);
  CHECK_EQ(stage.handler->closed, 0);
}

TEST(flushes_beyond_the_credits_wait_for_answers) {
  Stage stage;
  stage.open();
  for (std::uint64_t i = 0; i < 10; ++i)
    CHECK(stage.flush(i * 100).ok());
  CHECK_EQ(stage.flushes().size(), 4U);
  for (std::size_t i = 0; i < 10; ++i) {
    stage.connection->completeAll();
    const auto flushes = stage.flushes();
    CHECK_EQ(flushes.size(), std::min<std::size_t>(4 + i, 10));
    CHECK_EQ(flushes[i].ranges[0].offset, i * 100);
    stage.answer(flushes[i].request);
    CHECK_EQ(stage.handler->outcomes.size(), i + 1);
  }
}

TEST(many_ranges_become_several_flush_messages_and_one_outcome) {
  Stage stage;
  stage.open();
  std::vector<protocol::FlushRange> ranges;
  for (std::uint64_t i = 0; i < 2 * protocol::kMaxFlushRanges + 1; ++i)
    ranges.push_back({i * 8192, 1});
  CHECK(stage.post(Operation::Kind::flush, kDurable, {}, ranges).ok());
  const auto flushes = stage.flushes();
  CHECK_EQ(flushes.size(), 3U);
  CHECK_EQ(flushes[2].ranges.size(), 1U);
  stage.connection->completeAll();
  stage.answer(flushes[0].request);
  stage.answer(flushes[2].request);
  CHECK(stage.handler->outcomes.empty());
  stage.answer(flushes[1].request);
  CHECK_EQ(stage.handler->outcomes.size(), 1U);
}

TEST(an_answer_that_was_not_asked_for_ends_the_connection) {
  Stage stage;
  stage.open();
  CHECK(stage.flush(0).ok());
  stage.answer(12345);
  CHECK(stage.handler->waitClosed());
  CHECK(stage.handler->reason.code == ErrorCode::protocolViolation);
  CHECK_EQ(stage.handler->outcomes.size(), 1U);
  CHECK(stage.handler->outcomes[0].code == ErrorCode::protocolViolation);
}

TEST(an_answer_that_comes_before_its_flush_is_sent_loses_no_outcome) {
  Stage stage;
  stage.open();
  stage.connection->beforePost = [&]() -> Status {
    protocol::Flushed flushed;
    flushed.request = 1;
    stage.connection->deliverSoon(protocol::encode(flushed, protocol::kVersionMax));
    std::this_thread::sleep_for(50ms);
    return Error{ErrorCode::connectionBroken, "it broke just now", 0};
  };
  CHECK(stage.flush(0).ok());
  CHECK(stage.handler->waitFor(1));
  CHECK(stage.handler->waitClosed());
  CHECK(stage.handler->outcomes[0].code == ErrorCode::connectionBroken);
}

TEST(a_close_takes_nothing_from_what_the_connection_has_already) {
  fabric::ConnectionOptions options;
  options.sendDepth = 32;
  Stage stage(options);
  stage.open();
  for (int i = 0; i < 50; ++i)
    CHECK(stage.post(kWrite, kPlaced, {{0, stage.memory.data(), 8}}).ok());
  std::atomic<int> late{0};
  stage.connection->closesWhenEmpty = true;
  stage.connection->beforePost = [&]() -> Status {
    ++late;
    return Error{ErrorCode::localClosed, "it is closing", 0};
  };
  stage.channel->close();
  stage.connection->settle();
  const std::size_t taken = stage.connection->openCount();
  CHECK(taken > 0);
  stage.connection->complete(1);
  stage.connection->complete(taken);
  CHECK(stage.handler->waitFor(50));
  CHECK(stage.handler->waitClosed());
  CHECK_EQ(late.load(), 0);
  for (std::size_t i = 0; i < 50; ++i)
    CHECK(stage.handler->outcomes[i].code == (i < taken ? ErrorCode::ok : ErrorCode::localClosed));
}

TEST(a_late_flush_times_out_alone_and_the_connection_is_probed) {
  Stage stage;
  stage.open();
  for (int i = 0; i < 6; ++i)
    CHECK(stage.flush(0, Clock::now() + 40ms).ok());
  stage.connection->completeAll();
  CHECK(stage.handler->waitFor(6));
  for (const Outcome& outcome : stage.handler->outcomes)
    CHECK(outcome.code == ErrorCode::timedOut);
  stage.connection->settle();
  CHECK(stage.posted().back().kind == WorkRequest::Kind::read);
  CHECK(stage.posted().back().deadline < Clock::now() + 10s);
  stage.connection->completeAll();
  // The answers still come, free the credits, and are nobody's any more.
  const auto late = stage.flushes();
  CHECK_EQ(late.size(), 4U);
  CHECK(stage.flush(0).ok());
  CHECK_EQ(stage.flushes().size(), 4U);
  stage.answer(late[0].request);
  CHECK_EQ(stage.flushes().size(), 5U);
  for (std::size_t i = 1; i < late.size(); ++i)
    stage.answer(late[i].request);
  stage.connection->completeAll();
  stage.answer(stage.flushes()[4].request);
  CHECK_EQ(stage.handler->outcomes.size(), 7U);
  CHECK(stage.handler->outcomes[6].code == ErrorCode::ok);
  CHECK_EQ(stage.handler->closed, 0);
}

TEST(an_idle_connection_is_probed_where_the_fabric_does_not_watch_the_peer) {
  Stage stage;
  stage.connection->watches = false;
  stage.open();
  const auto probes = [&] {
    stage.connection->settle();
    return stage.posted().size();
  };
  // As long as they are answered they go on, and nobody hears of them.
  for (std::size_t count = 1; count <= 2; ++count) {
    for (const auto until = Clock::now() + 10s; probes() < count && Clock::now() < until;)
      std::this_thread::sleep_for(5ms);
    CHECK_EQ(stage.posted().size(), count);
    CHECK(stage.posted().back().kind == WorkRequest::Kind::read);
    CHECK_EQ(stage.posted().back().length, 1U);
    CHECK(stage.posted().back().deadline < Clock::now() + 3s);
    stage.connection->completeAll();
  }
  CHECK_EQ(stage.handler->closed, 0);
  CHECK(stage.handler->outcomes.empty());
}

TEST(work_that_nothing_comes_back_of_ends_the_connection_where_the_fabric_does_not_watch_the_peer) {
  Stage stage;
  stage.connection->watches = false;
  stage.open();
  CHECK(stage.post(Operation::Kind::write, Operation::Until::visible, {{0, stage.memory.data(), 8}}).ok());
  CHECK(stage.handler->waitFor(1, 30s));  // long before any deadline: it has none
  CHECK(stage.handler->waitClosed());
  CHECK(stage.handler->reason.code == ErrorCode::connectionBroken);
}

TEST(operations_beyond_the_queue_depth_wait_and_keep_their_order) {
  fabric::ConnectionOptions options;
  options.sendDepth = 32;
  Stage stage(options);
  stage.open();
  std::vector<client::OperationRange> many(100, {0, stage.memory.data(), 1});
  for (std::size_t i = 0; i < many.size(); ++i)
    many[i].offset = i;
  CHECK(stage.post(kWrite, kVisible, many).ok());
  for (std::uint64_t i = 0; i < 200; ++i)
    CHECK(stage.post(kWrite, kPlaced, {{1000 + i, stage.memory.data(), 1}}).ok());
  CHECK(stage.connection->openCount() <= 32);
  while (stage.connection->openCount() > 0)
    stage.connection->complete(1 + check::random()() % 8);
  CHECK_EQ(stage.handler->outcomes.size(), 201U);
  for (std::size_t i = 0; i < 201; ++i)
    CHECK_EQ(stage.handler->outcomes[i].id, i + 1);
  const auto posted = stage.posted();
  CHECK_EQ(posted.size(), 301U);
  CHECK_EQ(posted[99].remoteAddress, kBase + 99);
  CHECK(posted[100].kind == WorkRequest::Kind::read);
  CHECK_EQ(posted[101].remoteAddress, kBase + 1000);
}

TEST(a_lost_connection_gives_every_operation_its_outcome_and_then_closes_once) {
  fabric::ConnectionOptions options;
  options.sendDepth = 32;
  Stage stage(options);
  stage.open();
  for (int i = 0; i < 50; ++i) {
    CHECK(stage.post(kWrite, kVisible, {{0, stage.memory.data(), 8}}).ok());
    CHECK(stage.post(kWrite, kDurable, {{0, stage.memory.data(), 8}}).ok());
  }
  stage.connection->complete(5);
  stage.connection->breakDown();
  CHECK_EQ(stage.handler->outcomes.size(), 100U);
  CHECK(stage.handler->outcomes.back().code == ErrorCode::connectionBroken);
  CHECK_EQ(stage.handler->closed, 1);
  CHECK(!stage.handler->lateOutcome);
  CHECK(stage.flush(0).error().code == ErrorCode::connectionBroken);
}

TEST(posting_from_several_threads_loses_nothing) {
  fabric::ConnectionOptions options;
  options.sendDepth = 64;
  Stage stage(options);
  stage.open();
  constexpr std::size_t kThreads = 3, kEach = 500;
  std::vector<std::thread> threads;
  std::atomic<std::size_t> refused{0};
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < kEach; ++i) {
        Operation operation;
        operation.id = t * kEach + i;
        operation.until = kVisible;
        operation.ranges = {{t, stage.memory.data() + t, 1}};
        if (!stage.channel->post(std::move(operation)).ok()) ++refused;
      }
    });
  }
  while (!stage.handler->waitFor(kThreads * kEach, 1ms))
    stage.connection->completeAll();
  for (auto& thread : threads)
    thread.join();
  CHECK_EQ(refused.load(), 0U);
  std::vector<bool> seen(kThreads * kEach);
  for (const Outcome& outcome : stage.handler->outcomes)
    seen[outcome.id] = true;
  CHECK(std::all_of(seen.begin(), seen.end(), [](bool one) { return one; }));
}

TEST(joined_ranges_cover_the_same_bytes) {
  for (std::uint64_t round = 0; round < check::rounds(20000, 2000); ++round) {
    std::array<bool, 64> before{}, after{};
    std::vector<protocol::FlushRange> ranges(check::random()() % 8);
    for (auto& range : ranges) {
      range.offset = check::random()() % 64;
      range.length = check::random()() % (65 - range.offset);
      std::fill_n(before.begin() + static_cast<std::ptrdiff_t>(range.offset), range.length, true);
    }
    const auto joined = client::joinRanges(ranges);
    for (std::size_t i = 0; i < joined.size(); ++i) {
      CHECK(joined[i].length > 0);
      CHECK(i == 0 || joined[i - 1].offset + joined[i - 1].length < joined[i].offset);
      std::fill_n(after.begin() + static_cast<std::ptrdiff_t>(joined[i].offset), joined[i].length, true);
    }
    CHECK(before == after);
  }
}

namespace {

class SessionHandler final : public client::SessionChannelHandler {
 public:
  void onOpen(const protocol::Welcome&) override { opened = true; }
  void onMoved(const Error&) override { ++moves; }
  void onFenced(std::uint64_t handle, std::uint64_t epoch) override { fences.emplace_back(handle, epoch); }
  void onClosed(const Error& why) override { closed.set_value(why); }

  bool opened = false;
  int moves = 0;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> fences;
  std::promise<Error> closed;
};

}  // namespace

TEST(a_session_heartbeats_says_its_age_and_notices_silence) {
  const auto loop = std::move(EventLoop::start("session-test")).value();
  scripted::Fabric fabric;
  const auto handler = std::make_shared<SessionHandler>();
  client::ConnectParameters parameters;
  parameters.address = fabric::SocketAddress::parse("127.0.0.1", 1).value();
  auto channel = client::SessionChannel::connect(fabric, *loop, parameters, handler).value();
  const auto connection = fabric.last();
  connection->establish();
  protocol::Welcome welcome;
  welcome.heartbeatMs = 20;
  connection->deliver(protocol::encode(welcome, protocol::kVersionMax));
  CHECK(handler->opened);
  connection->deliver(protocol::encode(protocol::Fenced{9, 4, 0}, protocol::kVersionMax));
  CHECK(handler->fences == (std::vector<std::pair<std::uint64_t, std::uint64_t>>{{9, 4}}));

  channel->touch();
  protocol::Heartbeat last;
  const auto echoUntil = Clock::now() + 1500ms;
  while (Clock::now() < echoUntil) {
    std::this_thread::sleep_for(20ms);
    last = protocol::parseHeartbeat(connection->posted().back().message).value();
    connection->completeAll();
    connection->deliver(protocol::encode(last, protocol::MessageType::heartbeatEcho, protocol::kVersionMax));
  }
  CHECK(last.sequence > 20);
  CHECK(last.loopAgeMs >= 1200 && last.loopAgeMs < 5000);
  channel->touch();
  std::this_thread::sleep_for(60ms);
  CHECK(protocol::parseHeartbeat(connection->posted().back().message).value().loopAgeMs < 500);

  auto closed = handler->closed.get_future();
  const auto silentSince = Clock::now();
  CHECK(closed.wait_for(5s) == std::future_status::ready);
  CHECK(Clock::now() - silentSince > 800ms);
  CHECK(closed.get().code == ErrorCode::timedOut);
  loop->stop();
}

namespace {

// A session that stands, with the token of another connection in its welcome.
struct SessionStage {
  explicit SessionStage(std::function<Status(int)> onConnect = {}, std::uint32_t heartbeatMs = 20) {
    fabric.onConnect = std::move(onConnect);
    parameters.address = fabric::SocketAddress::parse("127.0.0.1", 1).value();
    channel = client::SessionChannel::connect(fabric, *loop, parameters, handler).value();
    first = welcome(1, heartbeatMs);
  }
  // A connection and its ref hold each other until they end, and a loop that has stopped ends nothing.
  ~SessionStage() {
    channel->abort();
    first->settle();
    loop->stop();
  }

  // Of the connection that was made last.
  std::shared_ptr<scripted::Connection> welcome(int spare, std::uint32_t heartbeatMs = 20) {
    const auto connection = fabric.last();
    connection->establish();
    protocol::Welcome message;
    message.heartbeatMs = heartbeatMs;
    message.session = 5;
    message.spare.fill(static_cast<std::byte>(spare));
    connection->deliver(protocol::encode(message, protocol::kVersionMax));
    return connection;
  }
  // The next one, once it is there.
  std::shared_ptr<scripted::Connection> another(const std::shared_ptr<scripted::Connection>& than) {
    const auto until = Clock::now() + 5s;
    while (Clock::now() < until) {
      than->settle();
      if (const auto last = fabric.last(); last != than) return last;
      std::this_thread::sleep_for(5ms);
    }
    return nullptr;
  }
  void echo(const std::shared_ptr<scripted::Connection>& connection) {
    const auto last = protocol::parseHeartbeat(connection->posted().back().message).value();
    connection->completeAll();
    connection->deliver(protocol::encode(last, protocol::MessageType::heartbeatEcho, protocol::kVersionMax));
  }

  std::unique_ptr<EventLoop> loop = std::move(EventLoop::start("session-test")).value();
  scripted::Fabric fabric;
  std::shared_ptr<SessionHandler> handler = std::make_shared<SessionHandler>();
  client::ConnectParameters parameters;
  std::shared_ptr<client::SessionChannel> channel;
  std::shared_ptr<scripted::Connection> first;
};

protocol::Token tokenOf(const scripted::Connection& connection) {
  return protocol::parseConnectData(connection.privateData).value().token;
}

}  // namespace

TEST(a_session_whose_echoes_stay_away_goes_on_with_another_connection_and_says_so) {
  SessionStage stage;
  auto closed = stage.handler->closed.get_future();
  const auto second = stage.another(stage.first);
  CHECK(second != nullptr);
  protocol::Token spare;
  spare.fill(std::byte{1});
  CHECK(tokenOf(*second) == spare);
  stage.welcome(2);
  // With what its owner waits to hear first.
  const auto beat = protocol::parseHeartbeat(second->posted().back().message);
  CHECK(beat.ok());
  CHECK_EQ(beat.value().sequence, 1U);
  CHECK_EQ(stage.handler->moves, 1);
  stage.first->breakDown();
  CHECK(closed.wait_for(0s) == std::future_status::timeout);
  second->deliver(protocol::encode(protocol::Fenced{9, 4, 0}, protocol::kVersionMax));
  CHECK_EQ(stage.handler->fences.size(), 1U);
  // And again.
  const auto third = stage.another(second);
  CHECK(third != nullptr);
  spare.fill(std::byte{2});
  CHECK(tokenOf(*third) == spare);
  // Refused, as by a unit that has been started again; then silence ends the session.
  protocol::RejectData reject;
  reject.code = ErrorCode::tokenInvalid;
  third->reject(protocol::encode(reject));
  CHECK(closed.wait_for(5s) == std::future_status::ready);
  CHECK(closed.get().code == ErrorCode::timedOut);
  CHECK(stage.fabric.last() == third);
}

TEST(a_session_whose_connection_breaks_goes_on_with_another_or_ends_for_that_reason) {
  SessionStage stage({}, 500);
  auto closed = stage.handler->closed.get_future();
  // One that has stood for a while.
  for (const auto until = Clock::now() + 1200ms; Clock::now() < until; std::this_thread::sleep_for(10ms))
    stage.echo(stage.first);
  CHECK(stage.fabric.last() == stage.first);
  stage.first->breakDown();
  const auto second = stage.another(stage.first);
  CHECK(second != nullptr);
  stage.welcome(2);
  CHECK_EQ(stage.handler->moves, 1);
  // One that breaks at once might do so again.
  second->breakDown();
  CHECK(closed.wait_for(5s) == std::future_status::ready);
  CHECK(closed.get().code == ErrorCode::connectionBroken);
  CHECK(stage.fabric.last() == second);
}

TEST(a_session_that_moves_twice_in_a_second_goes_on) {
  SessionStage stage;
  auto closed = stage.handler->closed.get_future();
  const auto second = stage.another(stage.first);
  CHECK(second != nullptr);
  stage.welcome(2);
  const auto third = stage.another(second);
  CHECK(third != nullptr);
  // The first one is let go of, which has not broken.
  stage.welcome(3);
  CHECK_EQ(stage.handler->moves, 2);
  stage.first->settle();
  third->settle();
  CHECK(closed.wait_for(0s) == std::future_status::timeout);
  third->deliver(protocol::encode(protocol::Fenced{9, 4, 0}, protocol::kVersionMax));
  CHECK_EQ(stage.handler->fences.size(), 1U);
}

TEST(a_session_whose_next_connection_breaks_too_has_its_whole_time_for_another) {
  SessionStage stage({}, 700);
  auto closed = stage.handler->closed.get_future();
  std::this_thread::sleep_for(1050ms);
  stage.first->breakDown();
  const auto second = stage.another(stage.first);
  CHECK(second != nullptr);
  stage.welcome(2, 5000);
  std::this_thread::sleep_for(1050ms);
  second->breakDown();
  const auto third = stage.another(second);
  CHECK(third != nullptr);
  // The time after the first loss is over, that after the second is not.
  CHECK(closed.wait_for(450ms) == std::future_status::timeout);
  stage.welcome(3);
  CHECK_EQ(stage.handler->moves, 2);
}

TEST(a_spare_token_outlives_a_connection_that_could_not_be_started) {
  SessionStage stage([](int call) {
    return call == 2 ? Status{Error{ErrorCode::systemError, "too many open files", 0}} : Status{};
  });
  const auto second = stage.another(stage.first);
  CHECK(second != nullptr);
  protocol::Token spare;
  spare.fill(std::byte{1});
  CHECK(tokenOf(*second) == spare);
  stage.welcome(2);
  CHECK_EQ(stage.handler->moves, 1);
}

TEST(a_spare_token_outlives_a_refusal_that_has_not_used_it) {
  SessionStage stage;
  protocol::Token spare;
  spare.fill(std::byte{1});
  auto last = stage.first;
  for (const ErrorCode code : {ErrorCode::limitReached, ErrorCode::connectionRefused}) {
    const auto next = stage.another(last);
    CHECK(next != nullptr);
    CHECK(tokenOf(*next) == spare);
    protocol::RejectData reject;
    reject.code = code;
    next->reject(code == ErrorCode::limitReached ? protocol::encode(reject) : std::vector<std::byte>{});
    last = next;
  }
  const auto welcomed = stage.another(last);
  CHECK(welcomed != nullptr);
  CHECK(tokenOf(*welcomed) == spare);
  stage.welcome(2);
  CHECK_EQ(stage.handler->moves, 1);
}

TEST(a_session_that_is_closed_while_another_connection_is_started_does_not_move_to_it) {
  for (const bool abort : {false, true}) {
    std::atomic<client::SessionChannel*> channel{nullptr};
    SessionStage stage(
        [&](int call) {
          if (call == 2) abort ? channel.load()->abort() : channel.load()->close();
          return Status{};
        },
        200);
    channel = stage.channel.get();
    auto closed = stage.handler->closed.get_future();
    CHECK(stage.another(stage.first) != nullptr);
    stage.welcome(2);
    CHECK(closed.wait_for(5s) == std::future_status::ready);
    CHECK(closed.get().code == ErrorCode::localClosed);
    CHECK_EQ(stage.handler->moves, 0);
  }
}

TEST(a_session_that_had_been_alive_waits_longer_for_the_next_echo_and_says_nothing) {
  SessionStage stage;
  const auto second = stage.another(stage.first);
  CHECK(second != nullptr);
  stage.echo(stage.first);
  stage.welcome(2);
  CHECK_EQ(stage.handler->moves, 0);
}

TEST(a_session_that_is_closed_while_it_looks_for_another_connection_ends_once_with_all_of_them) {
  for (const bool abort : {false, true}) {
    SessionStage stage;
    auto closed = stage.handler->closed.get_future();
    const auto second = stage.another(stage.first);
    CHECK(second != nullptr);
    if (abort) {
      stage.channel->abort();
    } else {
      stage.channel->close();
    }
    CHECK(closed.wait_for(5s) == std::future_status::ready);
    CHECK(closed.get().code == ErrorCode::localClosed);
    second->settle();
    CHECK(stage.fabric.last() == second);
  }
}

TEST(a_spare_token_that_opens_another_session_is_a_violation) {
  SessionStage stage;
  const auto second = stage.another(stage.first);
  CHECK(second != nullptr);
  second->establish();
  protocol::Welcome other;
  other.heartbeatMs = 20;
  other.session = 6;
  second->deliver(protocol::encode(other, protocol::kVersionMax));
  CHECK_EQ(stage.handler->moves, 0);
  CHECK(stage.handler->closed.get_future().wait_for(5s) == std::future_status::ready);
}

TEST(an_answer_that_is_there_comes_with_the_post_and_not_to_the_handler) {
  Stage stage;
  stage.connection->polls = true;
  stage.open();
  // The write's completion at the first look and the read's, which makes it visible, at the second.
  stage.connection->onPoll = [] { return std::size_t{1}; };
  for (int i = 0; i < 3; ++i) {
    std::optional<Outcome> answer;
    CHECK(stage.ask(answer).ok());
    CHECK(answer.has_value());
    CHECK_EQ(answer->id, stage.lastId);
    CHECK_EQ(answer->code, ErrorCode::ok);
  }
  CHECK_EQ(stage.connection->looks, 6);
  stage.connection->settle();
  CHECK_EQ(stage.handler->outcomes.size(), 0U);
  CHECK_EQ(stage.connection->openCount(), 0U);
}

TEST(an_answer_that_is_not_there_soon_is_left_to_the_loop) {
  Stage stage;
  stage.connection->polls = true;
  stage.open();
  std::optional<Outcome> answer;
  CHECK(stage.ask(answer).ok());
  CHECK(!answer.has_value());
  CHECK(!stage.connection->unattended);
  stage.connection->completeAll();
  CHECK(stage.handler->waitFor(1));
  CHECK_EQ(stage.handler->outcomes[0].id, stage.lastId);
}

TEST(after_looking_in_vain_twice_as_many_operations_go_by_before_the_next_try) {
  Stage stage;
  stage.connection->polls = true;
  stage.open();
  std::vector<int> tries;
  for (int i = 0; i < 40; ++i) {
    const int before = stage.connection->looks;
    std::optional<Outcome> answer;
    CHECK(stage.ask(answer).ok());
    if (stage.connection->looks > before) tries.push_back(i);
    stage.connection->completeAll();
  }
  CHECK(tries == (std::vector<int>{0, 3, 8, 17, 34}));
  // One that is found starts anew.
  stage.connection->onPoll = [] { return std::size_t{2}; };
  int found = 0;
  for (int i = 0; i < 40; ++i) {
    std::optional<Outcome> answer;
    CHECK(stage.ask(answer).ok());
    if (answer) ++found;
    stage.connection->completeAll();
  }
  CHECK_EQ(found, 40 - 27);
}

TEST(nobody_looks_for_the_answer_to_a_flush_of_the_units_or_where_nothing_can_be_polled) {
  Stage stage;
  stage.connection->polls = true;
  stage.open();
  std::optional<Outcome> answer;
  CHECK(stage.ask(answer, kDurable).ok());
  CHECK_EQ(stage.connection->looks, 0);

  Stage other;
  other.open();
  CHECK(other.ask(answer).ok());
  CHECK_EQ(other.connection->looks, 0);
  CHECK(!answer.has_value());
}

TEST(what_else_a_look_finds_goes_to_the_handler) {
  Stage stage;
  stage.connection->polls = true;
  stage.open();
  CHECK(stage.post(kWrite, kVisible, {{0, stage.memory.data(), 8}}).ok());
  // Both of the first write, and the first half of the second.
  bool first = true;
  stage.connection->onPoll = [&] { return std::exchange(first, false) ? std::size_t{3} : std::size_t{0}; };
  std::optional<Outcome> answer;
  CHECK(stage.ask(answer).ok());
  CHECK(!answer.has_value());
  CHECK(stage.handler->waitFor(1));
  CHECK_EQ(stage.handler->outcomes[0].id, stage.lastId - 1);
  stage.connection->completeAll();
  CHECK(stage.handler->waitFor(2));
  CHECK_EQ(stage.handler->outcomes[1].id, stage.lastId);
}

TEST(a_connection_that_ends_while_an_answer_is_looked_for_gives_every_operation_one_outcome) {
  for (int i = 0; i < 200; ++i) {
    Stage stage;
    stage.connection->polls = true;
    stage.open();
    // Half of the operation is found, and meanwhile the connection ends.
    std::atomic<bool> polling{false};
    int looks = 0;
    stage.connection->onPoll = [&] {
      polling = true;
      return looks++ == i % 4 ? std::size_t{1} : std::size_t{0};
    };
    std::thread end([&] {
      while (!polling)
        std::this_thread::yield();
      stage.connection->breakDown();
    });
    std::optional<Outcome> answer;
    const Status posted = stage.ask(answer);
    end.join();
    CHECK(stage.handler->waitClosed());
    CHECK(!stage.handler->lateOutcome);
    CHECK(posted.ok());
    CHECK(!answer.has_value());
    CHECK_EQ(stage.handler->outcomes.size(), 1U);
    CHECK(stage.handler->outcomes[0].code == ErrorCode::connectionBroken);
  }
}
