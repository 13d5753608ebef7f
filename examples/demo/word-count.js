// The application: counts words. All it knows about checkpoints is how to give out its state and take it back.
import { readSteps } from './input.js'

/**
 * @typedef {import('./input.js').InputFile} InputFile
 * @typedef {import('./input.js').Position} Position
 * @typedef {{ position: Position, counts: [word: string, count: number][] }} State  what a checkpoint holds
 */

const word = /[\p{L}\p{N}_$]+/gu

export class WordCount {
  /** @type {Map<string, number>} */
  #counts = new Map()
  /** @type {Position} */
  position = { file: 0, offset: 0 }

  /** @param {State} [state] the state that another process has reached */
  constructor(state) {
    if (!state) return
    this.#counts = new Map(state.counts)
    this.position = state.position
  }

  /** @returns {State} */
  get state() {
    return { position: this.position, counts: [...this.#counts] }
  }

  get words() {
    let sum = 0
    for (const count of this.#counts.values()) sum += count
    return sum
  }

  get distinct() {
    return this.#counts.size
  }

  /** @param {number} howMany */
  top(howMany) {
    return [...this.#counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, howMany)
  }

  /**
   * Counts the rest of the input. Yields after each step, when the state is complete and may be saved.
   * @param {readonly InputFile[]} files
   */
  *run(files) {
    for (const { text, next } of readSteps(files, this.position)) {
      for (const [found] of text.matchAll(word)) this.#counts.set(found, (this.#counts.get(found) ?? 0) + 1)
      this.position = next
      yield
    }
  }

  /** @param {WordCount} other */
  equals(other) {
    if (this.#counts.size !== other.#counts.size) return false
    for (const [found, count] of this.#counts) if (other.#counts.get(found) !== count) return false
    return true
  }
}

/**
 * The same work in one go, undisturbed, to compare the result with.
 * @param {readonly InputFile[]} files
 */
export function countAll(files) {
  const count = new WordCount()
  for (const _ of count.run(files));
  return count
}
