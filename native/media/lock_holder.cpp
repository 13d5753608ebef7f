// lock_holder.cpp -- looks through /proc/<pid>/fd and fdinfo. Only on the way to an error message.
#include "media/lock_holder.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>

namespace rdmacp::media {
namespace {

namespace fs = std::filesystem;

bool isNumber(const std::string& text) {
  return !text.empty() && text.size() < 10 &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
}

bool holdsLock(const fs::path& process, const std::string& descriptor) {
  std::ifstream info(process / "fdinfo" / descriptor);
  const std::string text{std::istreambuf_iterator<char>(info), {}};
  return text.find("OFDLCK") != std::string::npos;
}

bool hasLocked(const fs::path& process, const struct stat& file) {
  std::error_code error;
  for (fs::directory_iterator entry(process / "fd", error), end; !error && entry != end; entry.increment(error)) {
    struct stat opened {};
    if (::stat(entry->path().c_str(), &opened) != 0) continue;
    if (opened.st_dev != file.st_dev || opened.st_ino != file.st_ino) continue;
    if (holdsLock(process, entry->path().filename())) return true;
  }
  return false;
}

}  // namespace

std::optional<pid_t> findLockHolder(const struct stat& file) {
  std::error_code error;
  for (fs::directory_iterator entry("/proc", error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename();
    if (isNumber(name) && hasLocked(entry->path(), file)) return static_cast<pid_t>(std::stol(name));
  }
  return std::nullopt;
}

}  // namespace rdmacp::media
