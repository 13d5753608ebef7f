/**
 * The deadlines of a client's calls. One timer for all of them, set to the earliest: a call that is answered in time costs
 * no timer of its own. The timer never holds the process; what a call waits for does.
 */
import { longestTimerMs } from '../call/timer.js'

export interface DeadlineUser {
  /** Ends what is past its deadline; returns the earliest one left, Infinity for none. */
  expire(now: number): number
}

export class Deadlines {
  #users = new Set<DeadlineUser>()
  #next = Number.POSITIVE_INFINITY
  #timer: NodeJS.Timeout | undefined

  join(user: DeadlineUser): void {
    this.#users.add(user)
  }

  leave(user: DeadlineUser): void {
    this.#users.delete(user)
    if (this.#users.size === 0) this.#set(Number.POSITIVE_INFINITY)
  }

  /** @param deadline on performance.now()'s clock */
  watch(deadline: number): void {
    if (deadline < this.#next) this.#set(deadline)
  }

  #set(deadline: number): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#next = deadline
    if (deadline === Number.POSITIVE_INFINITY) return
    // One that is further away than a timer can be set to is looked at again then.
    const ms = Math.min(Math.max(0, Math.ceil(deadline - performance.now())), longestTimerMs)
    this.#timer = setTimeout(() => this.#sweep(), ms)
    this.#timer.unref()
  }

  #sweep(): void {
    this.#next = Number.POSITIVE_INFINITY
    const now = performance.now()
    let next = Number.POSITIVE_INFINITY
    for (const user of this.#users) next = Math.min(next, user.expire(now))
    // A user may have asked for an earlier one meanwhile.
    this.#set(Math.min(next, this.#next))
  }
}
