// transmitter.cpp -- see transmitter.h. Under the connection's mutex.
#include "fabric/iwarp/transmitter.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>

#include "base/big_endian.h"
#include "base/crc32c.h"
#include "fabric/iwarp/mpa.h"
#include "fabric/siw_reads.h"

namespace rdmacp::fabric::iwarp {
namespace {

constexpr std::size_t kBatchBytes = 256 * 1024;
constexpr std::size_t kInlinePayload = 96;
constexpr std::size_t kStagingBytes = 64 * 1024;
constexpr std::size_t kMaxStaging = 4;
constexpr std::size_t kMaxPiecesOfFrame = 64;
constexpr std::size_t kMaxVector = 1000;                           // below IOV_MAX
constexpr std::uint64_t kMaxReadRequest = std::uint64_t{1} << 31;  // the field has 32 bits

void storeCrc(std::byte* bytes, std::uint32_t crc) {
  for (std::size_t i = 0; i < mpa::kCrcBytes; ++i, crc >>= 8)
    bytes[i] = static_cast<std::byte>(crc & 0xffU);
}

std::vector<std::byte> wholeFrame(const ddp::Header& header, std::span<const std::byte> payload, bool crc) {
  const std::size_t ulpdu = ddp::headerBytes(header.tagged) + payload.size();
  std::vector<std::byte> bytes(mpa::fpduBytes(ulpdu));
  storeBigEndian(bytes.data(), static_cast<std::uint16_t>(ulpdu));
  const std::size_t length = ddp::encodeHeader(header, bytes.data() + mpa::kLengthBytes);
  std::copy(payload.begin(), payload.end(), bytes.begin() + static_cast<std::ptrdiff_t>(mpa::kLengthBytes + length));
  const std::size_t covered = bytes.size() - mpa::kCrcBytes;
  if (crc) storeCrc(bytes.data() + covered, crc32c(0, std::span(bytes).first(covered)));
  return bytes;
}

std::uint8_t code(rdmap::Opcode opcode) {
  return static_cast<std::uint8_t>(opcode);
}

}  // namespace

Transmitter::Transmitter(const Limits& limits) : limits_(limits), sinkKey_(std::random_device{}()) {}

bool Transmitter::enqueue(std::span<const WorkRequest> batch) {
  if (batch.size() > limits_.sendDepth || items_.size() > limits_.sendDepth - batch.size()) return false;
  for (const WorkRequest& request : batch) {
    WorkItem& item = items_.emplace_back(request);
    if (limits_.foreign) item.kind = siw::kindFor(item.kind, item.length);
  }
  return true;
}

bool Transmitter::respond(ReadResponse response) {
  if (responsesInFlight_ >= limits_.inboundReads) return false;
  ++responsesInFlight_;
  responses_.push_back(std::move(response));
  return true;
}

Transmitter::Outcome Transmitter::transmit(int socket, std::size_t budget) {
  for (std::size_t used = 0;;) {
    while (frameCount_ < kFrames && framedBytes_ < kBatchBytes && frameNext()) {
    }
    if (frameCount_ == 0) return Outcome::idle;
    if (used >= budget) return Outcome::more;
    // siw reads a trailer wrongly that comes in two pieces (siw_qp_rx.c, siw_get_trailer puts the second over the
    // first). A frame that fits a segment (RFC 5044 section 4.2) and ends a record is cut nowhere.
    gather(limits_.foreign ? 1 : frameCount_);
    msghdr message{};
    message.msg_iov = vector_.data();
    message.msg_iovlen = vector_.size();
    const ssize_t sent = ::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL | (limits_.foreign ? MSG_EOR : 0));
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) return Outcome::blocked;
      systemError_ = errno;
      return Outcome::failed;
    }
    consume(static_cast<std::size_t>(sent));
    used += static_cast<std::size_t>(sent);
  }
}

bool Transmitter::frameNext() {
  if (held_) return false;
  if (nudge_ && speaking_ == Speaker::none) return frameNudge();
  const bool work = speaking_ != Speaker::response && mayFrameWork();
  const bool response = speaking_ != Speaker::work && !responses_.empty();
  if (work && (!response || spokeLast_ == Speaker::response)) return frameWork();
  return response && frameResponse();
}

bool Transmitter::mayFrameWork() const {
  if (framed_ == items_.size()) return false;
  return items_[framed_].kind != WorkRequest::Kind::read || reads_.size() < limits_.outboundReads;
}

Transmitter::Frame& Transmitter::beginFrame() {
  if (frames_.empty()) frames_.resize(kFrames);
  Frame& frame = frameAt(frameCount_);
  frame.payload.clear();
  frame.headLength = frame.tailLength = frame.payloadLength = frame.sent = 0;
  frame.completes = nullptr;
  frame.endsResponse = false;
  frame.sourceKey = 0;
  return frame;
}

void Transmitter::putHeader(Frame& frame, const ddp::Header& header, std::size_t payload) {
  storeBigEndian(frame.head.data(), static_cast<std::uint16_t>(ddp::headerBytes(header.tagged) + payload));
  frame.headLength = mpa::kLengthBytes + ddp::encodeHeader(header, frame.head.data() + mpa::kLengthBytes);
  frame.payloadLength = payload;
  crc_ = limits_.crc ? crc32c(0, std::span(frame.head).first(frame.headLength)) : 0;
}

// Padding and CRC, and the frame joins the queue.
void Transmitter::finishFrame(Frame& frame) {
  const bool whole = frame.payload.empty();
  const std::size_t header = whole ? frame.headLength - frame.payloadLength : frame.headLength;
  const std::size_t pad = mpa::padding(header - mpa::kLengthBytes + frame.payloadLength);
  std::memset(frame.tail.data(), 0, frame.tail.size());
  if (limits_.crc) {
    crc_ = crc32c(crc_, std::span(frame.tail).first(pad));
    storeCrc(frame.tail.data() + pad, crc_);
  }
  frame.tailLength = pad + mpa::kCrcBytes;
  frame.size = header + frame.payloadLength + frame.tailLength;
  if (whole) {
    std::memcpy(frame.head.data() + frame.headLength, frame.tail.data(), frame.tailLength);
    frame.headLength += frame.tailLength;
    frame.tailLength = 0;
  }
  ++frameCount_;
  framedBytes_ += frame.size;
}

bool Transmitter::frameWork() {
  WorkItem& item = items_[framed_];
  if (!item.started) cursor_ = {};
  if (item.kind == WorkRequest::Kind::read) {
    frameReadRequest(item);
    return true;
  }
  const bool tagged = item.kind == WorkRequest::Kind::write;
  if (!item.started && !tagged) item.sequence = ++sendSequence_;
  item.started = true;

  const std::size_t room = limits_.maxUlpdu - ddp::headerBytes(tagged);
  const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(room, item.length - item.offset));
  Frame& frame = beginFrame();
  std::size_t length = wanted;
  const bool small = wanted <= kInlinePayload;
  SegmentCursor start = cursor_;
  if (!small) {
    length = cursor_.take(item, wanted, kMaxPiecesOfFrame, [&](std::byte* address, std::size_t bytes) {
      frame.payload.push_back({address, bytes});
    });
  }
  ddp::Header header;
  header.tagged = tagged;
  header.last = item.offset + length == item.length;
  header.opcode = code(tagged ? rdmap::Opcode::write : rdmap::Opcode::send);
  header.stag = tagged ? item.remoteKey : 0;
  header.taggedOffset = item.remoteAddress + item.offset;
  header.queue = rdmap::kSendQueue;
  header.sequence = item.sequence;
  header.messageOffset = static_cast<std::uint32_t>(item.offset);
  putHeader(frame, header, length);
  if (small) {
    cursor_ = start;
    cursor_.take(item, wanted, SIZE_MAX, [&](std::byte* address, std::size_t bytes) {
      crc_ = copyCrc32c(crc_, frame.head.data() + frame.headLength, {address, bytes});
      frame.headLength += bytes;
    });
  } else if (limits_.crc) {
    for (const iovec& piece : frame.payload) {
      crc_ = crc32c(crc_, {static_cast<const std::byte*>(piece.iov_base), piece.iov_len});
    }
  }
  item.offset += length;
  if (header.last) {
    frame.completes = &item;
    ++framed_;
    spokeLast_ = Speaker::work;
  }
  speaking_ = header.last ? Speaker::none : Speaker::work;
  finishFrame(frame);
  return true;
}

void Transmitter::frameReadRequest(WorkItem& item) {
  if (!item.started) readCursor_ = std::make_shared<SegmentCursor>();
  item.started = true;
  rdmap::ReadRequest request;
  std::uint64_t length = std::min(kMaxReadRequest, item.length - item.offset);
  if (limits_.foreign) length = siw::readAtOnce(item.remoteAddress + item.offset, length);
  request.length = static_cast<std::uint32_t>(length);
  request.sinkStag = ++sinkKey_ != 0 ? sinkKey_ : ++sinkKey_;
  request.sourceStag = item.remoteKey;
  request.sourceOffset = item.remoteAddress + item.offset;

  Frame& frame = beginFrame();
  ddp::Header header;
  header.last = true;
  header.opcode = code(rdmap::Opcode::readRequest);
  header.queue = rdmap::kReadQueue;
  header.sequence = ++readSequence_;
  putHeader(frame, header, rdmap::kReadRequestBytes);
  std::byte* place = frame.head.data() + frame.headLength;
  rdmap::encodeReadRequest(request, place);
  if (limits_.crc) crc_ = crc32c(crc_, {place, rdmap::kReadRequestBytes});
  frame.headLength += rdmap::kReadRequestBytes;
  finishFrame(frame);
  frame.payloadLength = 0;  // not payload of the user's

  item.offset += request.length;
  const bool last = item.offset == item.length;
  reads_.push_back({&item, readCursor_, request.sinkStag, request.length, 0, last});
  if (last) ++framed_;
  spokeLast_ = Speaker::work;
}

bool Transmitter::frameResponse() {
  ReadResponse& response = responses_.front();
  const std::size_t room = limits_.maxUlpdu - ddp::kTaggedBytes;
  const std::size_t length = std::min<std::size_t>(room, response.length - response.sent);
  const bool small = length <= kInlinePayload;
  // With a checksum granted memory is copied: another connection may change it between the checksum and the sending.
  const bool staged = !small && limits_.crc;
  if (staged && stagingInUse_ == kMaxStaging) return false;

  Frame& frame = beginFrame();
  ddp::Header header;
  header.tagged = true;
  header.last = response.sent + length == response.length;
  header.opcode = code(rdmap::Opcode::readResponse);
  header.stag = response.sinkKey;
  header.taggedOffset = response.sinkOffset + response.sent;
  putHeader(frame, header, length);
  const std::span<const std::byte> source(response.source + response.sent, length);
  if (small) {
    crc_ = copyCrc32c(crc_, frame.head.data() + frame.headLength, source);
    frame.headLength += length;
  } else if (staged) {
    ++stagingInUse_;
    if (freeStaging_.empty()) {
      frame.staging = std::make_unique_for_overwrite<std::byte[]>(kStagingBytes);
    } else {
      frame.staging = std::move(freeStaging_.back());
      freeStaging_.pop_back();
    }
    crc_ = copyCrc32c(crc_, frame.staging.get(), source);
    frame.payload.push_back({frame.staging.get(), length});
  } else {
    frame.sourceKey = response.sourceKey;
    frame.payload.push_back({const_cast<std::byte*>(source.data()), length});
  }
  response.sent += static_cast<std::uint32_t>(length);
  speaking_ = header.last ? Speaker::none : Speaker::response;
  if (header.last) {
    frame.endsResponse = true;
    spokeLast_ = Speaker::response;
    responses_.pop_front();
  }
  finishFrame(frame);
  return true;
}

bool Transmitter::frameNudge() {
  nudge_ = false;
  Frame& frame = beginFrame();
  ddp::Header header;
  header.tagged = true;
  header.last = true;
  header.opcode = code(rdmap::Opcode::write);
  putHeader(frame, header, 0);
  finishFrame(frame);
  return true;
}

void Transmitter::gather(std::size_t frames) {
  vector_.clear();
  for (std::size_t i = 0; i < frames && vector_.size() < kMaxVector; ++i) {
    Frame& frame = frameAt(i);
    std::size_t skip = frame.sent;
    const auto add = [&](void* address, std::size_t length) {
      const std::size_t skipped = std::min(skip, length);
      skip -= skipped;
      if (length > skipped) vector_.push_back({static_cast<std::byte*>(address) + skipped, length - skipped});
    };
    add(frame.head.data(), frame.headLength);
    for (const iovec& piece : frame.payload)
      add(piece.iov_base, piece.iov_len);
    add(frame.tail.data(), frame.tailLength);
  }
  if (vector_.size() > kMaxVector) vector_.resize(kMaxVector);
}

void Transmitter::consume(std::size_t bytes) {
  while (bytes > 0) {
    Frame& frame = frameAt(0);
    const std::size_t step = std::min(bytes, frame.size - frame.sent);
    frame.sent += step;
    bytes -= step;
    if (frame.sent < frame.size) return;
    if (frame.completes != nullptr) frame.completes->done = true;
    if (frame.endsResponse) --responsesInFlight_;
    payloadSent_ += frame.payloadLength;
    ++framesSent_;
    framedBytes_ -= frame.size;
    release(frame);
    firstFrame_ = (firstFrame_ + 1) % kFrames;
    --frameCount_;
  }
  if (frameCount_ == 0 && responses_.empty()) freeStaging_.clear();
}

void Transmitter::release(Frame& frame) {
  if (frame.staging == nullptr) return;
  freeStaging_.push_back(std::move(frame.staging));
  --stagingInUse_;
}

void Transmitter::finishRead() {
  OutstandingRead& read = reads_.front();
  if (read.lastOfItem) read.item->done = true;
  reads_.pop_front();
}

void Transmitter::takeCompletions(std::vector<Completion>& completions) {
  while (completionReady()) {
    completions.push_back({items_.front().id, ErrorCode::ok});
    items_.pop_front();
    --framed_;
  }
}

void Transmitter::abandon(ErrorCode status, std::vector<Completion>& completions) {
  for (const WorkItem& item : items_)
    completions.push_back({item.id, item.done ? ErrorCode::ok : status});
  reads_.clear();
  responses_.clear();
  responsesInFlight_ = 0;
  for (Frame& frame : frames_)
    release(frame);
  frames_.clear();
  freeStaging_.clear();
  frameCount_ = framedBytes_ = firstFrame_ = 0;
  stagingInUse_ = 0;
  items_.clear();
  framed_ = 0;
  speaking_ = Speaker::none;
}

std::vector<std::byte> Transmitter::unfinishedFrame() const {
  std::vector<std::byte> bytes;
  if (frameCount_ == 0 || frameAt(0).sent == 0) return bytes;
  const Frame& frame = frameAt(0);
  bytes.reserve(frame.size);
  bytes.insert(bytes.end(), frame.head.begin(), frame.head.begin() + static_cast<std::ptrdiff_t>(frame.headLength));
  for (const iovec& piece : frame.payload) {
    const auto* from = static_cast<const std::byte*>(piece.iov_base);
    bytes.insert(bytes.end(), from, from + piece.iov_len);
  }
  bytes.insert(bytes.end(), frame.tail.begin(), frame.tail.begin() + static_cast<std::ptrdiff_t>(frame.tailLength));
  bytes.erase(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(frame.sent));
  return bytes;
}

bool Transmitter::detachSource(std::uint32_t key) {
  for (std::size_t i = 0; i < frameCount_; ++i) {
    Frame& frame = frameAt(i);
    if (frame.sourceKey != key || frame.payload.empty() || frame.staging != nullptr) continue;
    frame.staging = std::make_unique_for_overwrite<std::byte[]>(kStagingBytes);
    ++stagingInUse_;
    copyCrc32c(0, frame.staging.get(), {static_cast<const std::byte*>(frame.payload[0].iov_base), frame.payloadLength});
    frame.payload[0].iov_base = frame.staging.get();
  }
  return !readsFrom(key);
}

bool Transmitter::readsFrom(std::uint32_t key) const {
  return std::any_of(responses_.begin(), responses_.end(),
                     [key](const ReadResponse& response) { return response.sourceKey == key && response.length != 0; });
}

Clock::time_point Transmitter::earliestDeadline() const {
  auto earliest = Clock::time_point::max();
  for (const WorkItem& item : items_) {
    if (!item.done) earliest = std::min(earliest, item.deadline);
  }
  return earliest;
}

std::vector<std::byte> Transmitter::terminateFrame(rdmap::TerminateCode what, const rdmap::Culprit& culprit, bool crc) {
  ddp::Header header;
  header.last = true;
  header.opcode = code(rdmap::Opcode::terminate);
  header.queue = rdmap::kTerminateQueue;
  header.sequence = 1;  // the first and only message of its queue
  return wholeFrame(header, rdmap::encodeTerminate(what, culprit), crc);
}

std::vector<std::byte> Transmitter::readyFrame(bool crc) {
  ddp::Header header;
  header.tagged = true;
  header.last = true;
  header.opcode = code(rdmap::Opcode::write);
  return wholeFrame(header, {}, crc);
}

}  // namespace rdmacp::fabric::iwarp
