/** A checkpoint as it is stored: the records that hold it. */
import { CheckpointError } from '../../errors.js'
import { isLast, type RecordHeader, recordKind } from './header.js'
import type { Age } from './order.js'
import type { RecordWindow } from './window.js'

/** A whole checkpoint as found: one record, or all parts of a stream. Its payload may still prove damaged. */
export interface Found extends Age {
  readonly parts: readonly [RecordHeader, ...RecordHeader[]]
  readonly last: RecordHeader
  /** Of the checkpoint. */
  readonly bytes: number
  /** Of the payloads that hold it: fewer for a delta. */
  readonly storedBytes: number
}

export const largestAssembledBytes = 2 ** 31

export function foundOf(parts: readonly RecordHeader[]): Found | undefined {
  const first = parts[0]
  const last = parts.at(-1)
  if (first === undefined || last === undefined || first.part !== 0 || !isLast(last)) return undefined
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

  add(header: RecordHeader): Found | undefined {
    if (header.part === 0) this.#parts = [header]
    else if (this.#parts.at(-1)?.part === header.part - 1) this.#parts.push(header)
    else return undefined
    if (!isLast(header)) return undefined
    const found = foundOf(this.#parts)
    this.#parts = []
    return found
  }

  /** The chain was interrupted. */
  reset(): void {
    this.#parts = []
  }
}

/** Whether the checksums hold of all that is stored of it. */
export async function verifyFound(found: Found, window: RecordWindow): Promise<boolean> {
  for (const part of found.parts.toReversed()) if (!(await window.verify(part))) return false
  return true
}

/** @throws CheckpointError `LIMIT_REACHED` beyond 2 GiB */
export function requireAssemblable(found: Found): void {
  if (found.bytes <= largestAssembledBytes) return
  throw new CheckpointError(
    'LIMIT_REACHED',
    `Checkpoint ${found.sequence} has ${found.bytes} bytes; more than ${largestAssembledBytes} are not put together in memory.`,
    { help: `Read it with stream(${found.sequence}n).`, details: { sequence: found.sequence, bytes: found.bytes } },
  )
}
