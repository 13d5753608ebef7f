/**
 * How many bytes one client has in flight. Who finds no room waits in turn; each turn posts one piece, so that a long
 * queue of one region does not starve another.
 */
export interface BudgetUser {
  /** Takes its next piece and posts it. False when there was no room for it. */
  postNext(): boolean
  readonly hasQueued: boolean
}

export const minBytesInFlight = 64 * 1024
/** Counted for each operation besides its bytes, so that the number of empty or tiny ones is bounded too. */
export const operationOverhead = 256

export class InFlightBudget {
  #free: number
  #waiting = new Set<BudgetUser>()
  #draining = false

  constructor(readonly limit: number) {
    this.#free = limit
  }

  get inFlight(): number {
    return this.limit - this.#free
  }

  /** Bytes of one piece at most; a larger call is sent in several. */
  get pieceBytes(): number {
    return Math.floor(this.limit / 4)
  }

  /** Without waiting, and not past those who wait. */
  take(user: BudgetUser, amount: number): boolean {
    if (this.#waiting.size > 0 && first(this.#waiting) !== user) {
      this.#waiting.add(user)
      return false
    }
    if (amount > this.#free) {
      this.#waiting.add(user)
      return false
    }
    this.#free -= amount
    return true
  }

  /** Call {@link drain} after it, once for a batch. */
  release(amount: number): void {
    this.#free += amount
  }

  leave(user: BudgetUser): void {
    this.#waiting.delete(user)
  }

  drain(): void {
    if (this.#draining) return
    this.#draining = true
    try {
      for (let user = first(this.#waiting); user !== undefined; user = first(this.#waiting)) {
        if (user.hasQueued && !user.postNext()) break
        this.#waiting.delete(user)
        if (user.hasQueued) this.#waiting.add(user)
      }
    } finally {
      this.#draining = false
    }
  }
}

function first<T>(set: Set<T>): T | undefined {
  for (const item of set) return item
  return undefined
}
