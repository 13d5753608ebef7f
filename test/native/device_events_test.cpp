// device_events_test.cpp -- events of a device that the test plays: who is told what, and that each is acknowledged.
//
// The table of library functions is the test's own, and so are the device and its queues; no device of the machine is used.
#include "fabric/verbs/device_events.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "check.h"
#include "fabric/verbs/device.h"

using namespace rdmacp;
using namespace rdmacp::fabric::verbs;

namespace {

std::atomic<int> acknowledged{0};
std::atomic<int> released{0};  // handles, by a call of the library
std::atomic<int> registered{0};
std::atomic<bool> held{false};  // a registration takes as long
ibv_pd domain{};
ibv_mr registration{};

int readEvent(ibv_context* context, ibv_async_event* event) {
  const ssize_t got = ::read(context->async_fd, event, sizeof *event);
  if (got == sizeof *event) return 0;
  if (got == 0) errno = EIO;  // the kernel's answer when the device has gone
  return -1;
}

Library playedLibrary() {
  Library library{};
  library.queryDevice = [](ibv_context*, ibv_device_attr* limits) {
    limits->device_cap_flags = IBV_DEVICE_MEM_WINDOW_TYPE_2B;
    limits->max_mw = 1;
    return 0;
  };
  library.allocPd = [](ibv_context*) { return &domain; };
  library.deallocPd = [](ibv_pd*) { return released++, 0; };
  library.regMr = [](ibv_pd*, void*, std::size_t, int) {
    ++registered;
    while (held)
      std::this_thread::yield();
    return &registration;
  };
  library.deregMr = [](ibv_mr*) { return released++, 0; };
  library.getDeviceName = [](ibv_device*) -> const char* { return "played0"; };
  library.getAsyncEvent = readEvent;
  library.ackAsyncEvent = [](ibv_async_event*) { ++acknowledged; };
  return library;
}

bool eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 10000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

struct Played {
  Played() {
    acknowledged = 0;
    released = 0;
    CHECK_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
    context.device = &hardware;
    context.async_fd = pipe[0];
    device = std::move(Device::make(library, &context, watchers)).value();
    watching = watchers->add([this](const rdmacp::fabric::DeviceNews& said) {
      const std::lock_guard lock(mutex);
      news.push_back(said);
    });
    loop = std::move(EventLoop::start("events-test")).value();
    for (std::uint32_t i = 0; i < 2; ++i)
      watched[i] = device->watch({100 + i, &sent[i], &received[i], loop.get(), [this, i](const Error& reason) {
                                    const std::lock_guard lock(mutex);
                                    told[i].push_back(reason);
                                  }});
  }
  ~Played() {
    if (pipe[1] >= 0) ::close(pipe[1]);
    ::close(pipe[0]);
  }
  void say(const ibv_async_event& event) { CHECK_EQ(::write(pipe[1], &event, sizeof event), ssize_t{sizeof event}); }
  void sayOfQueuePair(ibv_event_type type, std::uint32_t number) {
    ibv_async_event event{};
    event.event_type = type;
    queuePairs.emplace_back().qp_num = number;
    event.element.qp = &queuePairs.back();
    say(event);
  }
  void sayOfPort(ibv_event_type type, int port) {
    ibv_async_event event{};
    event.event_type = type;
    event.element.port_num = port;
    say(event);
  }
  std::vector<Error> of(std::size_t i) {
    const std::lock_guard lock(mutex);
    return told[i];
  }

  std::vector<rdmacp::fabric::DeviceNews> allNews() {
    const std::lock_guard lock(mutex);
    return news;
  }

  Library library = playedLibrary();
  std::shared_ptr<DeviceWatchers> watchers = std::make_shared<DeviceWatchers>();
  std::shared_ptr<void> watching;
  std::vector<rdmacp::fabric::DeviceNews> news;
  std::array<int, 2> pipe{-1, -1};
  ibv_device hardware{};
  ibv_context context{};
  std::deque<ibv_qp> queuePairs;  // of each event
  std::array<ibv_cq, 2> sent{}, received{};
  std::array<std::uint64_t, 2> watched{};
  std::mutex mutex;
  std::array<std::vector<Error>, 2> told;
  std::shared_ptr<Device> device;
  std::unique_ptr<EventLoop> loop;  // ends first: it calls into this
};

}  // namespace

TEST(each_event_means_what_verbs_says_of_it) {
  const std::set<ibv_event_type> ends{IBV_EVENT_CQ_ERR, IBV_EVENT_QP_FATAL, IBV_EVENT_QP_REQ_ERR,
                                      IBV_EVENT_QP_ACCESS_ERR, IBV_EVENT_DEVICE_FATAL};
  const std::set<ibv_event_type> ports{IBV_EVENT_PORT_ERR, IBV_EVENT_PORT_ACTIVE, IBV_EVENT_GID_CHANGE,
                                       IBV_EVENT_LID_CHANGE, IBV_EVENT_PKEY_CHANGE};
  for (int number = 0; number <= IBV_EVENT_WQ_FATAL + 3; ++number) {
    const auto type = static_cast<ibv_event_type>(number);
    const EventMeaning meaning = meaningOf(type);
    CHECK_EQ(meaning.ends, ends.contains(type));
    CHECK_EQ(meaning.concerns == Concerns::port, ports.contains(type));
    CHECK_EQ(meaning.concerns == Concerns::nobody, !ends.contains(type) && !ports.contains(type));
    CHECK_EQ(std::string(meaning.text).empty(), meaning.concerns == Concerns::nobody);
  }
  CHECK(meaningOf(IBV_EVENT_QP_ACCESS_ERR).violation && meaningOf(IBV_EVENT_QP_REQ_ERR).violation);
  CHECK(!meaningOf(IBV_EVENT_QP_FATAL).violation && !meaningOf(IBV_EVENT_DEVICE_FATAL).violation);
  CHECK(meaningOf(IBV_EVENT_DEVICE_FATAL).concerns == Concerns::device);
  CHECK(meaningOf(IBV_EVENT_CQ_ERR).concerns == Concerns::completionQueue);
}

TEST(whoever_has_the_failed_part_is_told_and_nobody_else) {
  Played played;
  DeviceEvents events;
  CHECK(events.add(played.device).ok());
  played.sayOfQueuePair(IBV_EVENT_QP_FATAL, 101);
  CHECK(eventually([&] { return played.of(1).size() == 1; }));
  CHECK_EQ(played.of(1)[0].code, ErrorCode::connectionBroken);
  CHECK(played.of(1)[0].message.find("played0") != std::string::npos);

  ibv_async_event event{};
  event.event_type = IBV_EVENT_CQ_ERR;
  event.element.cq = &played.received[0];
  played.say(event);
  CHECK(eventually([&] { return played.of(0).size() == 1; }));
  CHECK_EQ(played.of(1).size(), 1U);

  played.sayOfQueuePair(IBV_EVENT_COMM_EST, 100);
  event = {};
  event.event_type = IBV_EVENT_DEVICE_FATAL;
  played.say(event);
  CHECK(eventually([&] { return played.of(0).size() == 2 && played.of(1).size() == 2; }));
  CHECK(eventually([&] { return acknowledged == 4; }));
}

TEST(a_violation_is_told_and_asked_about_and_forgotten_with_its_queue_pair) {
  Played played;
  CHECK_EQ(::fcntl(played.pipe[0], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
  played.sayOfQueuePair(IBV_EVENT_QP_ACCESS_ERR, 100);
  CHECK(!played.device->violated(101));
  CHECK(played.device->violated(100));
  CHECK(eventually([&] { return played.of(0).size() == 1; }));
  CHECK_EQ(played.of(0)[0].code, ErrorCode::protocolViolation);

  // Nobody asked, and the number comes again.
  played.sayOfQueuePair(IBV_EVENT_QP_REQ_ERR, 101);
  CHECK(played.device->takeEvents());
  played.device->unwatch(played.watched[1]);
  CHECK(!played.device->violated(101));
  // Of a queue pair that nobody here has.
  played.sayOfQueuePair(IBV_EVENT_QP_ACCESS_ERR, 102);
  CHECK(!played.device->violated(102));
  CHECK_EQ(acknowledged.load(), 3);
}

TEST(what_a_port_did_stands_behind_the_reason_of_an_end) {
  Played played;
  CHECK(played.device->lately(1).empty());
  played.sayOfPort(IBV_EVENT_PORT_ERR, 1);
  CHECK(played.device->lately(1).find("played0 said of port 1, ") != std::string::npos);
  CHECK(played.device->lately(1).find("went down") != std::string::npos);
  CHECK(played.device->lately(2).empty());
  played.sayOfPort(IBV_EVENT_GID_CHANGE, 1);
  CHECK(played.device->lately(1).find("addresses") != std::string::npos);
  CHECK_EQ(acknowledged.load(), 2);
  CHECK(played.of(0).empty() && played.of(1).empty());
}

TEST(a_device_that_is_taken_away_ends_what_is_on_it) {
  Played gone;
  Played stays;
  DeviceEvents events;
  CHECK(events.add(gone.device).ok());
  CHECK(events.add(stays.device).ok());
  ::close(std::exchange(gone.pipe[1], -1));
  CHECK(eventually([&] { return gone.of(0).size() == 1 && gone.of(1).size() == 1; }));
  CHECK(gone.of(0)[0].message.find("removed") != std::string::npos);
  stays.sayOfQueuePair(IBV_EVENT_QP_FATAL, 100);
  CHECK(eventually([&] { return stays.of(0).size() == 1; }));
  CHECK_EQ(gone.of(0).size(), 1U);
}

TEST(whoever_looks_away_is_told_no_more) {
  Played played;
  DeviceEvents events;
  CHECK(events.add(played.device).ok());
  played.device->unwatch(played.watched[0]);
  played.sayOfQueuePair(IBV_EVENT_QP_FATAL, 100);
  played.sayOfQueuePair(IBV_EVENT_QP_FATAL, 101);
  CHECK(eventually([&] { return played.of(1).size() == 1; }));
  CHECK(played.of(0).empty());
}

TEST(what_a_device_says_of_itself_is_news_and_what_a_peer_did_is_none) {
  using Kind = rdmacp::fabric::DeviceNews::Kind;
  Played played;
  played.sayOfPort(IBV_EVENT_PORT_ERR, 1);
  played.sayOfQueuePair(IBV_EVENT_QP_ACCESS_ERR, 100);
  played.sayOfQueuePair(IBV_EVENT_QP_REQ_ERR, 100);
  played.sayOfQueuePair(IBV_EVENT_COMM_EST, 100);
  played.sayOfPort(IBV_EVENT_GID_CHANGE, 1);
  played.sayOfPort(IBV_EVENT_LID_CHANGE, 2);
  played.sayOfPort(IBV_EVENT_PORT_ACTIVE, 1);
  played.sayOfQueuePair(IBV_EVENT_QP_FATAL, 100);
  ibv_async_event event{};
  event.event_type = IBV_EVENT_DEVICE_FATAL;
  played.say(event);
  CHECK(played.device->takeEvents());
  const std::vector<std::pair<Kind, int>> expected{{Kind::portDown, 1},          {Kind::addressesChanged, 1},
                                                   {Kind::identifierChanged, 2}, {Kind::portUp, 1},
                                                   {Kind::queueFailed, 0},       {Kind::failed, 0}};
  const auto told = played.allNews();
  CHECK_EQ(told.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    CHECK(told[i].kind == expected[i].first);
    CHECK_EQ(int{told[i].port}, expected[i].second);
    CHECK_EQ(told[i].device, std::string("played0"));
    CHECK(!told[i].text.empty());
  }
  played.watching.reset();
  played.sayOfPort(IBV_EVENT_PORT_ERR, 1);
  CHECK(played.device->takeEvents());
  CHECK_EQ(played.allNews().size(), expected.size());
}

TEST(a_departure_is_told_once_and_ends_nothing_by_itself) {
  Played played;
  played.device->departs();
  CHECK(!played.device->gone());
  played.device->removed();
  CHECK(played.device->gone());
  CHECK(eventually([&] { return played.of(0).size() == 1; }));
  CHECK_EQ(played.allNews().size(), 1U);
  CHECK(played.allNews()[0].kind == rdmacp::fabric::DeviceNews::Kind::removed);
}

TEST(no_handle_of_a_device_that_is_gone_is_used_any_more) {
  std::array<std::byte, 64> bytes{};
  for (const bool removed : {false, true}) {
    Played played;
    {
      const VerbsMemoryRegion memory(bytes, nullptr, false);
      CHECK(memory.on(played.device).ok());
      if (removed) played.device->removed();
    }
    for (const auto watched : played.watched)
      played.device->unwatch(watched);
    played.device.reset();
    CHECK_EQ(released.load(), removed ? 0 : 2);
  }
}

TEST(nothing_is_registered_on_a_device_that_is_being_taken_away) {
  std::array<std::byte, 64> bytes{};
  for (const bool removed : {false, true}) {
    Played played;
    const VerbsMemoryRegion memory(bytes, nullptr, false);
    registered = 0;
    if (removed) {
      played.device->removed();
    } else {
      played.device->departs();
    }
    const auto refused = memory.on(played.device);
    CHECK(!refused.ok());
    CHECK_EQ(refused.error().code, ErrorCode::connectionBroken);
    CHECK(!memory.prepare(played.device));
    CHECK_EQ(registered.load(), 0);
  }
}

TEST(whoever_takes_a_device_away_waits_for_the_registration_under_way) {
  std::array<std::byte, 64> bytes{};
  for (const bool removed : {false, true}) {
    Played played;
    const VerbsMemoryRegion memory(bytes, nullptr, false);
    registered = 0;
    held = true;
    std::thread registrar([&] { (void)memory.on(played.device); });
    CHECK(eventually([&] { return registered == 1; }));
    std::atomic<bool> away{false};
    std::thread taker([&] {
      if (removed) {
        played.device->removed();
      } else {
        played.device->departs();
      }
      away = true;
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    CHECK(!away);
    held = false;
    registrar.join();
    taker.join();
    CHECK_EQ(registered.load(), 1);
  }
}

TEST(a_device_that_is_gone_makes_room_for_one_that_is_opened_at_its_address) {
  Played played;
  DeviceTable table(played.library);
  const auto first = table.find(&played.context);
  CHECK(first.ok());
  CHECK(table.find(&played.context).value() == first.value());
  first.value()->removed();
  CHECK(table.find(&played.context).value() != first.value());
}
