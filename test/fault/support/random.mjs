// A small seeded generator for tests (xoshiro128**), the same in the test and in the processes it starts.

/** @param {number} state @returns {() => number} */
function splitmix32(state) {
  let a = state | 0
  return () => {
    a = (a + 0x9e3779b9) | 0
    let t = a ^ (a >>> 16)
    t = Math.imul(t, 0x21f0aaad)
    t ^= t >>> 15
    t = Math.imul(t, 0x735a2d97)
    return (t ^ (t >>> 15)) >>> 0
  }
}

/** @param {number} x @param {number} k */
function rotl(x, k) {
  return (x << k) | (x >>> (32 - k))
}

export class Random {
  #a
  #b
  #c
  #d

  /** @param {...number} seeds any number of integers; the same ones give the same stream */
  constructor(...seeds) {
    let mixed = 0
    for (const seed of seeds) mixed = splitmix32(mixed ^ (seed >>> 0) ^ Math.floor(seed / 2 ** 32))()
    const next = splitmix32(mixed)
    this.#a = next()
    this.#b = next()
    this.#c = next()
    this.#d = next() | 1
  }

  /** An unsigned 32-bit integer. */
  uint32() {
    const result = Math.imul(rotl(Math.imul(this.#b, 5), 7), 9)
    const t = this.#b << 9
    this.#c ^= this.#a
    this.#d ^= this.#b
    this.#b ^= this.#c
    this.#a ^= this.#d
    this.#c ^= t
    this.#d = rotl(this.#d, 11)
    return result >>> 0
  }

  /** From 0 up to and without 1. */
  fraction() {
    return this.uint32() / 2 ** 32
  }

  /** An integer from `low` to `high`, both included. @param {number} low @param {number} high */
  integer(low, high) {
    return low + Math.floor(this.fraction() * (high - low + 1))
  }

  /** Small values as likely as large ones. @param {number} low at least 1 @param {number} high */
  logUniform(low, high) {
    return Math.min(high, Math.floor(low * (high / low) ** this.fraction() * (1 + Number.EPSILON)))
  }

  /** @param {number} probability */
  chance(probability) {
    return this.fraction() < probability
  }

  /** @template T @param {readonly T[]} choices @returns {T} */
  pick(choices) {
    return /** @type {T} */ (choices[this.integer(0, choices.length - 1)])
  }

  /** @param {Uint8Array} target */
  fill(target) {
    const view = new DataView(target.buffer, target.byteOffset, target.byteLength)
    let at = 0
    for (; at + 4 <= target.byteLength; at += 4) view.setUint32(at, this.uint32(), true)
    for (; at < target.byteLength; at++) target[at] = this.uint32() & 0xff
    return target
  }
}
