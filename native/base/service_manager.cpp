// service_manager.cpp -- one datagram to the socket that systemd names in $NOTIFY_SOCKET; see sd_notify(3).
#include "base/service_manager.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>

#include "base/file_descriptor.h"

namespace rdmacp {

Status notifyServiceManager(std::string_view address, std::string_view state) {
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  // A path ends with a zero byte, which has to fit, too; an abstract name begins with one instead.
  if (address.size() < 2 || address.size() >= sizeof(to.sun_path) || (address[0] != '/' && address[0] != '@')) {
    return Error{ErrorCode::invalidArgument, "The service manager's address is an absolute path or @name of at most " +
                                                 std::to_string(sizeof(to.sun_path) - 1) + " bytes."};
  }
  std::memcpy(to.sun_path, address.data(), address.size());
  if (address[0] == '@') to.sun_path[0] = '\0';
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address.size());

  const FileDescriptor socket{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  if (!socket) return Error{ErrorCode::systemError, "No socket to the service manager could be made.", errno};
  const ssize_t sent = ::sendto(socket.get(), state.data(), state.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                                reinterpret_cast<const sockaddr*>(&to), length);
  if (sent < 0) return Error{ErrorCode::systemError, "Cannot notify the service manager.", errno};
  return {};
}

}  // namespace rdmacp
