// Writes a process's part of the history, one event a line. Each is in the kernel's hands when the call returns, so that a
// killed process has told all it had done.
import { createHash } from 'node:crypto'
import { openSync, writeSync } from 'node:fs'

/** CLOCK_MONOTONIC, in whole microseconds. */
export function now() {
  return Number(process.hrtime.bigint() / 1000n)
}

/** @param {Uint8Array} bytes */
export function hashOf(bytes) {
  return createHash('sha1').update(bytes).digest('base64url')
}

/** @param {{ epoch: bigint, sequence: bigint, value: Uint8Array }} checkpoint */
export function foundOf({ epoch, sequence, value }) {
  return { epoch: Number(epoch), sequence: Number(sequence), hash: hashOf(value) }
}

export class Recorder {
  #file

  /** @param {string} path @param {string} by */
  constructor(path, by) {
    this.#file = openSync(path, 'a')
    this.by = by
  }

  /** @param {{ type: string }} event @returns {number} its time */
  add(event) {
    const at = now()
    writeSync(this.#file, `${JSON.stringify({ at, by: this.by, ...event })}\n`)
    return at
  }
}
