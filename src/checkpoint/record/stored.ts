/** A checkpoint as it is stored: the records that hold it. */
import { CheckpointError } from '../../errors.js'
import { isBridge, isLast, type RecordHeader, recordKind } from './header.js'
import type { LogOrder } from './order.js'
import type { RecordWindow } from './window.js'

/** A whole checkpoint as found: one record, or all parts of a stream. Its payload may still prove damaged. */
export interface StoredCheckpoint extends LogOrder {
  readonly parts: readonly [RecordHeader, ...RecordHeader[]]
  readonly last: RecordHeader
  /** Of the checkpoint. */
  readonly bytes: number
  /** Of the payloads that hold it: fewer for a delta. */
  readonly storedBytes: number
}

export const largestAssembledBytes = 2 ** 31

export function storedOf(parts: readonly RecordHeader[]): StoredCheckpoint | undefined {
  const first = parts[0]
  const last = parts.at(-1)
  if (first === undefined || last === undefined || first.part !== 0 || !isLast(last)) return undefined
  if (parts.some(isBridge)) return undefined
  const storedBytes = last.offset + last.payloadBytes
  return {
    parts: parts as readonly [RecordHeader, ...RecordHeader[]],
    last,
    sequence: first.sequence,
    epoch: first.epoch,
    bytes: first.kind === recordKind.delta ? (first.totalBytes ?? 0) : storedBytes,
    storedBytes,
  }
}

/** Records of one chain in, whole checkpoints out; parts without their first or last are left out. */
export class Assembler {
  #parts: RecordHeader[] = []

  add(header: RecordHeader): StoredCheckpoint | undefined {
    if (isBridge(header)) {
      this.reset()
      return undefined
    }
    if (header.part === 0) this.#parts = [header]
    else if (this.#parts.at(-1)?.part === header.part - 1) this.#parts.push(header)
    else return undefined
    if (!isLast(header)) return undefined
    const stored = storedOf(this.#parts)
    this.#parts = []
    return stored
  }

  /** The chain was interrupted. */
  reset(): void {
    this.#parts = []
  }
}

/** Whether the checksums hold of all that is stored of it. */
export async function verifyStored(stored: StoredCheckpoint, window: RecordWindow): Promise<boolean> {
  for (const part of stored.parts.toReversed()) if (!(await window.verify(part))) return false
  return true
}

/** @throws CheckpointError `LIMIT_REACHED` beyond 2 GiB */
export function requireAssemblable(stored: StoredCheckpoint): void {
  if (stored.bytes <= largestAssembledBytes) return
  throw new CheckpointError(
    'LIMIT_REACHED',
    `Checkpoint ${stored.sequence} has ${stored.bytes} bytes; more than ${largestAssembledBytes} are not put together in memory.`,
    { help: `Read it with stream(${stored.sequence}n).`, details: { sequence: stored.sequence, bytes: stored.bytes } },
  )
}
