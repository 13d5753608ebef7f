/**
 * What the owner knows of the end of its log.
 *
 * - It knows the end, or looks for it (`load`) before it writes: at first, after a failed write, and when the unit has come back
 *   without what had been visible only.
 * - `durableSequence` never falls, and everything up to it is durable.
 * - `nextSequence` never falls, and is above everything that the log, its metadata and this owner have ever named.
 */
import { CheckpointError } from '../../errors.js'
import { Deadline } from '../deadline.js'
import type { SequenceRange } from '../findings.js'
import type { LogHeader } from '../metadata/log-header.js'
import type { Placement } from '../placement.js'
import { greater, type LogOrder } from '../record/order.js'
import type { RegionWriteAccess } from '../region-access.js'

export class LogEnd {
  header: LogHeader = { generation: 0n, firstSequence: 1n, position: 0 }
  /** The newest checkpoint when the end was last looked for. */
  newest: LogOrder | undefined
  /** What was damaged behind it then. */
  damaged: SequenceRange | undefined
  unbrokenFrom = 0n
  /** Something was sent since the region was opened. */
  wrote = false
  /** Looks for the end so far: what was sent before the last one is not known to be there. */
  recoveries = 0
  readonly #access: RegionWriteAccess
  readonly #placement: Placement
  #loaded = false
  /** Of the unit, when the end was last looked for. */
  #rollbacks = 0
  #nextSequence = 1n
  #newestAcknowledged = 0n
  #durableSequence = 0n

  constructor(access: RegionWriteAccess, placement: Placement) {
    this.#access = access
    this.#placement = placement
  }

  /** It was looked for, and nothing has failed since. */
  get loaded(): boolean {
    return this.#loaded
  }

  /** False: it has to be looked for. */
  get known(): boolean {
    return this.#loaded && this.#access.rollbacks === this.#rollbacks
  }

  /** Of the region, when the end was found. */
  get rollbacks(): number {
    return this.#rollbacks
  }

  /** The unit came back without some writes since the end was last looked for. */
  get rolledBack(): boolean {
    return this.#access.rollbacks !== this.#rollbacks
  }

  get durableSequence(): bigint {
    return this.#durableSequence
  }

  get nextSequence(): bigint {
    return this.#nextSequence
  }

  takeSequence(): bigint {
    return this.#nextSequence++
  }

  /** Something failed: the end may be elsewhere. */
  lose(): void {
    this.#loaded = false
  }

  acknowledged(sequence: bigint, durable: boolean): void {
    this.#newestAcknowledged = sequence
    if (durable) this.#durableSequence = sequence
    this.damaged = undefined
  }

  /** @throws CheckpointError `FENCED` when a later owner writes the log; what reading it throws */
  async load(): Promise<void> {
    const access = this.#access
    const { rollbacks } = access
    const durableWhenOpened = !this.wrote && access.durableWhenOpened === true
    const loaded = await this.#placement.load(new Deadline(), durableWhenOpened)
    const { header, newest, greatestSequence } = loaded
    if (newest !== undefined && newest.epoch > access.epoch) {
      access.foundFenced?.(newest.epoch)
      throw new CheckpointError(
        'FENCED',
        `Epoch ${newest.epoch} writes this log, and this owner has ${access.epoch}.`,
        {
          details: { epoch: newest.epoch },
        },
      )
    }
    this.header = header
    this.newest = newest
    for (const least of [greatestSequence + 1n, header.firstSequence]) {
      if (least > this.#nextSequence) this.#nextSequence = least
    }
    this.#newestAcknowledged = newest?.sequence ?? 0n
    // What the owner before had acknowledged last may not be written down anywhere yet.
    const foundDurable = durableWhenOpened && access.strongest === 'durable' ? newest?.sequence : undefined
    const known = greater(loaded.durableSequence, foundDurable ?? newest?.last.durableSequence ?? 0n)
    this.#durableSequence = greater(this.#durableSequence, known)
    this.unbrokenFrom = loaded.unbrokenFrom
    this.damaged = loaded.damaged
    this.#rollbacks = rollbacks
    if (loaded.mended !== undefined) access.noteFinding?.({ kind: 'mended', ...loaded.mended })
    if (loaded.damaged !== undefined) access.noteFinding?.({ kind: 'damaged', ...loaded.damaged })
    if (loaded.missing !== undefined) access.noteFinding?.({ kind: 'missing', ...loaded.missing })
    this.#loaded = true
  }

  /** Makes durable what is pending. If the unit went meanwhile, nothing is known to be, and the end has to be looked for. */
  async flush(): Promise<void> {
    const newest = this.#newestAcknowledged
    const ranges = this.#placement.takePending()
    if (ranges.length > 0) await this.#access.flush(ranges)
    if (this.rolledBack) return
    this.#placement.flushed()
    if (newest > this.#durableSequence) this.#durableSequence = newest
  }
}
