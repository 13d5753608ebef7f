/** Clears under way. Each writes the log header, in both copies and as durably as the pool can, one clear after the other. */
import { loggable } from '../../call/printed.js'
import type { CheckpointError } from '../../errors.js'
import { withOutcome } from '../../outcome.js'
import type { Ack } from '../../types.js'
import type { Deadline } from '../deadline.js'
import type { WritingLayout } from '../layout.js'
import { type LogHeader, logHeaderUsedBytes, writeLogHeader } from '../metadata/log-header.js'
import type { RegionWriteAccess } from '../region-access.js'
import type { Changes } from './changes.js'
import type { Clearing } from './jobs.js'
import type { LogEnd } from './log-end.js'

export class Clears {
  readonly #access: RegionWriteAccess
  readonly #layout: WritingLayout
  readonly #end: LogEnd
  readonly #changes: Changes
  /** Resolves when everything called before has been sent, and the log's end is known. */
  readonly #barrier: () => Promise<void>
  readonly #answers = new Set<Clearing>()
  #last: Promise<unknown> = Promise.resolve()

  constructor(
    access: RegionWriteAccess,
    layout: WritingLayout,
    end: LogEnd,
    changes: Changes,
    barrier: () => Promise<void>,
  ) {
    this.#access = access
    this.#layout = layout
    this.#end = end
    this.#changes = changes
    this.#barrier = barrier
  }

  get size(): number {
    return this.#answers.size
  }

  [Symbol.iterator](): Iterator<Clearing> {
    return [...this.#answers][Symbol.iterator]()
  }

  /** Its turn has come. Clears records below `before`, or all that have been sent. */
  run(before: bigint | undefined, deadline: Deadline, answer: Clearing): void {
    const { nextSequence } = this.#end
    const firstSequence = before === undefined || before > nextSequence ? nextSequence : before
    this.#answers.add(answer)
    this.#last = this.#last.then(async () => {
      try {
        if (!answer.settled) answer.resolve(await this.#writeHeader(firstSequence, deadline, answer))
      } catch (error) {
        answer.reject(error)
      } finally {
        this.#answers.delete(answer)
        this.#changes.wake()
      }
    })
  }

  /** The region has ended: those that have not written anything yet do not. */
  fail(error: CheckpointError): void {
    for (const answer of this) if (!answer.sent) answer.reject(withOutcome(error, 'none'))
  }

  async #writeHeader(firstSequence: bigint, deadline: Deadline, answer: Clearing): Promise<Ack> {
    const access = this.#access
    const { geometry, instance, placement } = this.#layout
    if (!this.#end.loaded) await this.#barrier()
    if (firstSequence <= this.#end.header.firstSequence) {
      return loggable({ durability: access.strongest, method: 'none', epoch: access.epoch })
    }
    const generation = this.#end.header.generation + 1n
    const { position } = placement.next(true)
    const header: LogHeader = { generation, firstSequence, position }
    const bytes = new Uint8Array(logHeaderUsedBytes)
    writeLogHeader(bytes, header, geometry, instance, (of, seed) => access.crc32c(of, seed))
    try {
      const options = { ...deadline.rest(), durability: access.strongest }
      answer.sent = true
      const ack = await access.writeAll(
        [...geometry.metadata.offsets.map((offset) => ({ offset, bytes })), ...placement.cleared(header)],
        options,
      )
      this.#end.header = header
      return ack
    } catch (error) {
      this.#end.lose()
      throw error
    } finally {
      this.#changes.wake()
    }
  }
}
