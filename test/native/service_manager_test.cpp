// service_manager_test.cpp -- what a service manager receives, and what becomes of addresses that are none.
#include "base/service_manager.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <string>

#include "base/file_descriptor.h"
#include "check.h"
#include "scratch_directory.h"

namespace {

using namespace rdmacp;

// A datagram socket at the address, as systemd has one.
FileDescriptor listenAt(const std::string& address) {
  sockaddr_un at{};
  at.sun_family = AF_UNIX;
  address.copy(at.sun_path, sizeof at.sun_path - 1);
  if (address[0] == '@') at.sun_path[0] = '\0';
  FileDescriptor listener{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address.size());
  CHECK_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&at), length), 0);
  return listener;
}

std::string receive(const FileDescriptor& listener) {
  char bytes[512];
  const ssize_t length = ::recv(listener.get(), bytes, sizeof bytes, 0);
  return length < 0 ? "nothing" : std::string(bytes, static_cast<std::size_t>(length));
}

TEST(a_service_manager_at_a_path_and_one_with_an_abstract_name_receive_what_was_said) {
  const ScratchDirectory directory;
  for (const std::string& address : {directory.file("notify"), "@rdma-checkpoint-" + std::to_string(::getpid())}) {
    const FileDescriptor listener = listenAt(address);
    CHECK(notifyServiceManager(address, "READY=1\nSTATUS=serving").ok());
    CHECK_EQ(receive(listener), "READY=1\nSTATUS=serving");
    CHECK_EQ(receive(listener), "nothing");
  }
}

TEST(nobody_there_is_an_error_of_the_system) {
  const ScratchDirectory directory;
  const Status told = notifyServiceManager(directory.file("none"), "READY=1");
  CHECK(told.error().code == ErrorCode::systemError);
  CHECK_EQ(told.error().systemError, ENOENT);
}

TEST(a_service_manager_that_does_not_read_keeps_nobody_waiting) {
  const ScratchDirectory directory;
  const FileDescriptor listener = listenAt(directory.file("notify"));
  Status told;
  for (int i = 0; i < 100'000 && told.ok(); ++i)
    told = notifyServiceManager(directory.file("notify"), "STATUS=still here");
  CHECK_EQ(told.error().systemError, EAGAIN);
}

TEST(what_is_no_address_is_refused) {
  for (const std::string& address : {std::string(), std::string("/"), std::string("@"), std::string("relative/path"),
                                     "/" + std::string(200, 'x'), "/" + std::string(107, 'x')}) {
    CHECK(notifyServiceManager(address, "READY=1").error().code == ErrorCode::invalidArgument);
  }
}

}  // namespace
