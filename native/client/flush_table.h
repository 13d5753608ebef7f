// flush_table.h -- the flush messages of one channel: those the peer has and will answer, and those that wait for credits.
//
// Any thread; one mutex. It owns nothing of an operation, it only names it.
#pragma once

#include <deque>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "client/operation_plan.h"

namespace rdmacp::client {

class FlushTable {
 public:
  struct Entry {
    PendingOperation* operation = nullptr;  // null: its deadline passed, the answer is still to come
    FlushMessage* message = nullptr;
  };

  void setCredits(std::size_t credits);

  // Takes a credit for the message, or puts it at the end of the queue. true when it may be sent now.
  bool enter(Entry entry);
  // The next queued message for which there is a credit, which is taken; message is null when there is none.
  Entry takeQueued();
  // Undoes enter or takeQueued for a message that could not be sent.
  void withdraw(const Entry& entry);
  bool hasQueued();
  // Puts a message back to the head of the queue.
  void requeue(const Entry& entry);

  enum class Answer { unknown, abandoned, found };
  // The peer answered: gives the credit back.
  Answer answer(std::uint64_t request, PendingOperation** operation);

  struct Expired {
    std::vector<PendingOperation*> sent;    // abandoned: their answer still uses a credit
    std::vector<PendingOperation*> queued;  // taken out of the queue
    Clock::time_point next = Clock::time_point::max();
  };
  Expired expire(Clock::time_point now);

  // Empties both: what was waiting for an answer, and what was queued.
  Expired drain();

 private:
  std::mutex mutex_;
  std::size_t credits_ = 0;
  std::unordered_map<std::uint64_t, PendingOperation*> sent_;
  std::deque<Entry> queue_;
};

}  // namespace rdmacp::client
