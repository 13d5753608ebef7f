/**
 * How an open region is closed: new calls are refused at once, what the unit can still answer is waited for, and then the
 * handle goes.
 *
 * Invariants:
 * - There is one close; a later call with less patience shortens it, and one with more changes nothing.
 * - Log, control calls and transfers end in this order, since each is made of the next.
 */
import { deadlineTimer } from '../call/timer.js'
import type { RegionWriteAccess } from '../checkpoint/index.js'
import { closeLogs, failLogs } from '../checkpoint/log.js'
import type { CheckpointError } from '../errors.js'
import type { RegionControl } from './region-control.js'
import type { OpenedRegion } from './region-opener.js'
import type { TransferQueue } from './transfer-queue.js'

export interface ClosingParts {
  /** Whose logs are closed. */
  readonly access: RegionWriteAccess
  readonly queue: TransferQueue<OpenedRegion>
  readonly control: RegionControl
  /** Aborted first, with the reason. */
  readonly ended: AbortController
  /** @param unreleased why the release of it is not on record, if the unit said so */
  readonly onClosed: (unreleased: CheckpointError | undefined) => void
}

export class RegionClosing {
  readonly #parts: ClosingParts
  /** What later calls are refused with. */
  #reason: CheckpointError | undefined
  #closed: Promise<CheckpointError | undefined> | undefined

  constructor(parts: ClosingParts) {
    this.#parts = parts
  }

  get reason(): CheckpointError | undefined {
    return this.#reason
  }

  /** Never rejects. @param timeoutMs for what is pending @returns what the unit could not do of it */
  close(timeoutMs: number, reason: CheckpointError): Promise<CheckpointError | undefined> {
    if (this.#closed === undefined) {
      this.#closed = this.#close(timeoutMs, reason)
      return this.#closed
    }
    const timer = deadlineTimer(timeoutMs, () => this.#giveUp(reason))
    return this.#closed.finally(() => timer?.cancel())
  }

  async #close(timeoutMs: number, reason: CheckpointError): Promise<CheckpointError | undefined> {
    const { access, queue, control, ended, onClosed } = this.#parts
    const end = performance.now() + timeoutMs
    this.#reason = reason
    queue.refuse(reason)
    ended.abort(reason)
    const timer = deadlineTimer(timeoutMs, () => this.#giveUp(reason))
    let unreleased: CheckpointError | undefined
    try {
      await Promise.all([closeLogs(access, reason, timeoutMs), control.settled()])
      unreleased = await queue.close(Math.max(1, end - performance.now()))
    } finally {
      timer?.cancel()
      onClosed(unreleased)
    }
    return unreleased
  }

  /** What has no answer by now gets none. */
  #giveUp(otherwise: CheckpointError): void {
    const { access, queue, control } = this.#parts
    const reason = this.#reason ?? otherwise
    control.giveUp(reason)
    failLogs(access, reason)
    queue.connection.end(reason)
  }
}
