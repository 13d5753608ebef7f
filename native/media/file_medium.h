// file_medium.h -- a file pool over a given file interface, for tests that make its calls fail.
#pragma once

#include <memory>

#include "media/file_io.h"
#include "media/medium.h"

namespace rdmacp::media {

Result<std::unique_ptr<Medium>> openFileMedium(const FileMediumOptions& options, std::unique_ptr<FileIo> io);

}  // namespace rdmacp::media
