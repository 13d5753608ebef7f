// mailbox.cpp -- letters between threads. post: any thread; take and close: the JavaScript thread.
#include "binding/mailbox.h"

namespace rdmacp::binding {

void Mailbox::post(std::shared_ptr<Letter> letter) {
  const std::lock_guard lock(mutex_);
  if (wake_ == nullptr || letter->queued_) return;
  letter->queued_ = true;
  letters_.push_back(std::move(letter));
  // Under the mutex, so that close() cannot come between the question and the wake-up.
  if (letters_.size() == 1) (void)uv_async_send(wake_);
}

std::vector<std::shared_ptr<Letter>> Mailbox::take() {
  std::vector<std::shared_ptr<Letter>> taken;
  const std::lock_guard lock(mutex_);
  taken.swap(letters_);
  for (const auto& letter : taken)
    letter->queued_ = false;
  return taken;
}

void Mailbox::close() {
  std::vector<std::shared_ptr<Letter>> dropped;
  const std::lock_guard lock(mutex_);
  wake_ = nullptr;
  dropped.swap(letters_);
}

}  // namespace rdmacp::binding
