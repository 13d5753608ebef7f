/**
 * Keeps the calls of one turn of the event loop together: while it is in, they queue, and at the end of the turn they go out.
 * A call that is alone is never held up.
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

  /** Whether it belongs in front of a call. */
  fits(inFlight: number): boolean {
    return this.#busy || inFlight > 0
  }

  /** It comes out behind all that is to run in this turn, so that calls made by who was answered in it are there. */
  put(): void {
    if (this.#in) return
    this.#in = true
    process.nextTick(() => {
      this.#in = false
      this.#busy = this.#pull() > 1
    })
  }
}
