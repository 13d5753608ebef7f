/**
 * Keeps the calls of one turn of the event loop together: while the cork is in, they queue; at the end of the turn they go out.
 * A call that is alone is not held up.
 */
export class Cork {
  #in = false
  /** The turn that it was in last had more than one call. */
  #busy = false
  readonly #pull: () => number

  /** @param pull sends what is queued, and gives how many calls that were */
  constructor(pull: () => number) {
    this.#pull = pull
  }

  get isIn(): boolean {
    return this.#in
  }

  /** Whether a call is to wait for others. */
  fits(inFlight: number): boolean {
    return this.#busy || inFlight > 0
  }

  /** It comes out when everything else in this turn has run: a caller that was answered in it may have called again. */
  put(): void {
    if (this.#in) return
    this.#in = true
    process.nextTick(() => {
      this.#in = false
      this.#busy = this.#pull() > 1
    })
  }
}
