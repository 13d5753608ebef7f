/**
 * What one handle has written, or may have, and what no flush has made durable since: from it comes what a flush of everything
 * covers, and whether a restart of the unit has lost something.
 *
 * Invariants, on a pool that promises durable:
 * - A range that was written visibly, or may have been by a call that failed or was given up, is in `ranges`, or was taken by
 *   a flush or durable write without an answer, until one that covers it has succeeded.
 * - Of those, the ranges that somebody was told to be visible are known: by the answer of a write, or, of the log's records, by
 *   the acknowledgement of their checkpoint. Losing others is told to nobody: the call that wrote them has failed, or will.
 * - What a call took comes back when it fails. If a flush of everything was posted after it, that flush decides instead: the
 *   range is clean once it has succeeded, and comes back when it fails.
 * - Upkeep of a log's metadata counts nowhere: whoever writes it writes it again, and the user has lost nothing with it.
 * - A call that carries writes that were answered before fails after a restart: it cannot bring them back by being repeated.
 */

import { operationKind, operationUntil } from '../native.js'
import type { RegionRange } from '../region-range.js'
import { DirtyRanges, flat, type WrittenRange, WrittenRanges } from './dirty-ranges.js'
import type { Transfer } from './transfer.js'

export class UndurableWrites {
  readonly ranges = new WrittenRanges()
  /** How often a restart of the unit has lost something, told to be visible or not. */
  rollbacks = 0
  /** How often it was something that somebody was told to be visible. */
  toldRollbacks = 0
  /**
   * Bytes that this handle wrote on an earlier connection may still have to become durable. RDMA FLUSH covers those of its own
   * connection only, so that from there on the unit makes durable.
   */
  flushByUnit = false
  #promised = false
  #connectedBefore = false
  /** Calls without an answer that have taken something, or will. */
  readonly #takers = new Set<Transfer>()
  /** A write was given up that may have landed. */
  #doubtful = false

  /**
   * A connection stands.
   * @param promised its pool promises durable
   * @param restarted the unit was restarted since the connection before
   * @param pending calls wait to be sent, again perhaps
   */
  onUp(promised: boolean, restarted: boolean, pending: boolean): void {
    const clean = this.ranges.empty && !pending && !this.#doubtful
    if (restarted || (this.#connectedBefore && !clean)) this.flushByUnit = true
    this.#promised = promised
    this.#connectedBefore = true
  }

  /**
   * The unit came back without what was not durable.
   * @param waiting calls that are about to be sent again
   * @param fail ends one of them that cannot be
   * @returns whether something was lost that somebody was told to be visible
   */
  onRestart(waiting: readonly Transfer[], fail: (transfer: Transfer) => void): boolean {
    let lost = !this.ranges.empty
    let told = this.ranges.anyTold
    for (const transfer of waiting) {
      if (!transfer.carriesEarlierWrites) continue
      lost = true
      told ||= transfer.taken.some((range) => range.told)
      transfer.taken = []
      fail(transfer)
    }
    this.ranges.takeAll()
    if (lost) this.rollbacks++
    if (told) this.toldRollbacks++
    return told
  }

  /** Somebody is told now that these ranges are visible, which provisional writes have written. */
  tell(ranges: readonly RegionRange[]): void {
    for (const range of ranges) {
      this.ranges.tell(range)
      for (const { taken } of this.#takers) taken.push(...toldOf(taken, range))
    }
  }

  /**
   * Takes out what a flush or durable write covers.
   * @param others ranges besides its own, written by earlier calls
   */
  cover(transfer: Transfer, others: readonly RegionRange[]): void {
    if (this.ranges.empty || transfer.upkeep) return
    if (transfer.isWrite) {
      for (const [index, length] of transfer.lengths.entries()) {
        transfer.taken.push(...this.ranges.subtract(transfer.offsets[index] as number, length))
      }
    }
    for (const { offset, length } of others) {
      const taken = this.ranges.subtract(offset, length)
      if (taken.length > 0) transfer.carriesEarlierWrites = true
      transfer.taken.push(...taken)
    }
    if (transfer.taken.length > 0) this.#takers.add(transfer)
  }

  /**
   * A flush of everything: of what is not durable, and of what calls without an answer have written or are to make durable.
   * Those may fail, and what this flush says must not depend on them.
   * @param pending calls without an answer; one may turn up more than once
   * @param make makes the flush of these ranges: [offset, length, ...]
   */
  coverAll(pending: Iterable<Transfer>, make: (ranges: number[]) => Transfer): Transfer {
    const before = new Set<Transfer>()
    for (const transfer of pending) {
      if (!transfer.settled && transfer.kind !== operationKind.read && !transfer.upkeep) before.add(transfer)
    }
    const earlier = this.ranges.takeAll()
    const covered = new DirtyRanges()
    for (const { offset, length } of earlier) covered.add(offset, length)
    for (const transfer of before) {
      for (const { offset, length } of transfer.touchedRanges(false)) covered.add(offset, length)
    }
    const flush = make(flat(covered.toArray()))
    flush.taken = earlier
    flush.carriesEarlierWrites = earlier.length > 0
    for (const transfer of before) {
      transfer.coveredBy = flush
      if (transfer.carriesEarlierWrites) flush.carriesEarlierWrites = true
    }
    if (!covered.empty) this.#takers.add(flush)
    return flush
  }

  /** A call has been answered, with success. */
  onAnswered(transfer: Transfer): void {
    if (transfer.isWrite && transfer.until !== operationUntil.durable) this.#comesBack(transfer, true)
    transfer.taken = []
    this.#takers.delete(transfer)
  }

  /** A call has failed, or was given up. */
  onAbandoned(transfer: Transfer): void {
    if (transfer.posted && transfer.isWrite && !transfer.upkeep) this.#doubtful = true
    this.#comesBack(transfer, false)
    this.#takers.delete(transfer)
  }

  /** Nothing that the call wrote, or was to make durable, counts as durable by it. */
  #comesBack(transfer: Transfer, answered: boolean): void {
    if (!this.#promised || transfer.upkeep) return
    const ranges = transfer.posted ? transfer.touchedRanges(answered && !transfer.provisional) : transfer.taken
    transfer.taken = []
    const { coveredBy } = transfer
    if (coveredBy?.succeeded) return
    if (coveredBy === undefined || coveredBy.settled) {
      for (const range of ranges) this.ranges.add(range)
      return
    }
    coveredBy.taken.push(...ranges)
    if (answered || transfer.carriesEarlierWrites) coveredBy.carriesEarlierWrites = true
  }
}

/** What of these lies within the range. */
function toldOf(taken: readonly WrittenRange[], { offset, length }: RegionRange): WrittenRange[] {
  const found: WrittenRange[] = []
  for (const { offset: at, length: bytes, told } of taken) {
    const from = Math.max(at, offset)
    const to = Math.min(at + bytes, offset + length)
    if (!told && from < to) found.push({ offset: from, length: to - from, told: true })
  }
  return found
}
