/**
 * Limits the rate at which streams of one connection are reset. A peer treats a rapid sequence of resets as an attack
 * (CVE-2023-44487) and ends the connection with everything on it: Node's HTTP/2 allows 1,000 at once and 33 a second from then on.
 * Nobody waits for the streams that wait here; each costs the unit a stream that stays open a little longer.
 */
const atOnce = 500
const everyMs = 50

export class ResetPace {
  #allowed = atOnce
  readonly #waiting: (() => void)[] = []
  #timer: NodeJS.Timeout | undefined

  reset(stream: { cancel(): void }): void {
    if (this.#allowed > 0) {
      this.#allowed--
      stream.cancel()
    } else this.#waiting.push(() => stream.cancel())
    if (this.#timer !== undefined) return
    this.#timer = setInterval(() => this.#tick(), everyMs)
    this.#timer.unref()
  }

  /** The connection has ended, and its streams with it. */
  end(): void {
    clearInterval(this.#timer)
    this.#waiting.length = 0
  }

  #tick(): void {
    const next = this.#waiting.shift()
    if (next !== undefined) next()
    else if (++this.#allowed >= atOnce) {
      clearInterval(this.#timer)
      this.#timer = undefined
    }
  }
}
