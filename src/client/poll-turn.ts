/**
 * For how long calls may be answered without a turn of the event loop. A transport whose answers the posting thread looks
 * for settles a promise before the call has returned, so that a loop of awaited calls would never let timers and sockets
 * have theirs.
 */
const longestMs = 2

export class PollTurn {
  #until = 0
  #turning = false

  /** @param now on performance.now()'s clock */
  mayPoll(now: number): boolean {
    if (!this.#turning) {
      this.#turning = true
      this.#until = now + longestMs
      setImmediate(() => {
        this.#turning = false
      }).unref()
    }
    return now < this.#until
  }
}
