/**
 * What happened to one region while owners came and went: typed events, each with the time of CLOCK_MONOTONIC in whole
 * microseconds. One machine, one clock: events of different processes compare. An event that begins something is recorded before
 * it begins, one that ends something after it has ended, so that "the one ended before the other began" is never said wrongly.
 */
import { readFileSync } from 'node:fs'

/** A checkpoint as a reader was given it. */
export interface Found {
  epoch: number
  sequence: number
  /** Of the bytes. */
  hash: string
}

interface Recorded {
  at: number
  /** The process. */
  by: string
}

/** An append is about to be called; `number` counts those of the process. */
export interface Invoked extends Recorded {
  type: 'invoked'
  epoch: number
  number: number
  bytes: number
  hash: string
}
export interface Acknowledged extends Recorded {
  type: 'acknowledged'
  number: number
  sequence: number
  durability: 'visible' | 'durable'
}
export interface Failed extends Recorded {
  type: 'failed'
  number: number
  code: string
  outcome: 'none' | 'unknown' | 'done'
}
/** An open for writing has answered; `asked` is when it was called, where the process knows. */
export interface Owned extends Recorded {
  type: 'owned'
  epoch: number
  asked?: number
}
/** What the owner of that epoch found when it read the newest checkpoint before it wrote. */
export interface Restored extends Recorded {
  type: 'restored'
  epoch: number
  found: Found | null
}
/** One checkpoint that an iteration gave. `every` says that it promises each one, and not only rising ones. */
export interface Followed extends Recorded, Found {
  type: 'followed'
  iteration: string
  every: boolean
}
/** The iteration reported that the ring had gone past it. */
export interface Lapped extends Recorded {
  type: 'lapped'
  iteration: string
}
/** Everything that was kept in the log, read between `began` and `at`. */
export interface Read extends Recorded {
  type: 'read'
  began: number
  records: Found[]
}
/** The newest checkpoint, read between `began` and `at`. */
export interface Latest extends Recorded {
  type: 'latest'
  began: number
  found: Found | null
}
/** The hash of every byte of the region, read between `began` and `at`. */
export interface Snapshot extends Recorded {
  type: 'snapshot'
  began: number
  hash: string
}
/** The owner of that epoch is about to hand it over. */
export interface HandOver extends Recorded {
  type: 'hand-over'
  epoch: number
}
/** The hand-over was answered: with the code of its error, or null. */
export interface HandedOver extends Recorded {
  type: 'handed-over'
  epoch: number
  code: string | null
}
export interface UnitKilled extends Recorded {
  type: 'unit-killed'
}
/** What was done to whom; for people. */
export interface Note extends Recorded {
  type: 'note'
  text: string
}

export type HistoryEvent =
  | Invoked
  | Acknowledged
  | Failed
  | Owned
  | Restored
  | Followed
  | Lapped
  | Read
  | Latest
  | Snapshot
  | HandOver
  | HandedOver
  | UnitKilled
  | Note

export interface History {
  events: readonly HistoryEvent[]
  /** So many bytes of the newest records, headers included, the ring never drops. */
  keptBytes: number
}

/** Reads what a process has written of its history since it was read last. A line that its kill cut short is left out. */
export class HistoryFile {
  #read = 0

  constructor(readonly path: string) {}

  news(): HistoryEvent[] {
    const bytes = readFileSync(this.path).subarray(this.#read)
    const whole = bytes.lastIndexOf(10) + 1
    this.#read += whole
    const lines = bytes.subarray(0, whole).toString().split('\n')
    return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as HistoryEvent)
  }
}
