/** Lets a part of the writer wait until something changes: a write has landed, a call was settled, the region is closing. */
export class Changes {
  #waiters: (() => void)[] = []

  /** Resolves at the next change, or after that many milliseconds. */
  next(withinMs?: number): Promise<void> {
    return new Promise((resolve) => {
      const waiter = () => {
        clearTimeout(timer)
        resolve()
      }
      const giveUp = () => {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1)
        resolve()
      }
      const timer = withinMs === undefined ? undefined : setTimeout(giveUp, withinMs)
      this.#waiters.push(waiter)
    })
  }

  /** Calls `look` at every change, until the function that it returns is called. */
  watch(look: () => void): () => void {
    const waiter = () => {
      this.#waiters.push(waiter)
      look()
    }
    this.#waiters.push(waiter)
    return () => {
      this.#waiters = this.#waiters.filter((other) => other !== waiter)
    }
  }

  wake(): void {
    for (const waiter of this.#waiters.splice(0)) waiter()
  }
}
