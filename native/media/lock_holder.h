// lock_holder.h -- who holds the lock of a file, for the message that says so. Any thread; reads /proc.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <optional>

namespace rdmacp::media {

// The process that has this file open under an OFD lock, as far as this user may see it. The kernel names no process
// in F_OFD_GETLK or /proc/locks, since such a lock belongs to a description that several may share.
std::optional<pid_t> findLockHolder(const struct stat& file);

}  // namespace rdmacp::media
