// file_medium.h -- a file pool over a given file interface, for tests that make its calls fail.
#pragma once

#include <memory>

#include "file_io.h"
#include "medium.h"

namespace rdmacp::media {

Result<std::unique_ptr<Medium>> openFileMedium(const FileMediumOptions& options, std::unique_ptr<FileIo> io);

}  // namespace rdmacp::media
