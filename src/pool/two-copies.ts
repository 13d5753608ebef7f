/**
 * Writes a structure that has two copies. The copy with the lower write number is written and made durable first, then the
 * other one. So a crash at any moment leaves one whole copy, old or new, and once the write has been acknowledged,
 * either copy alone has it.
 */
import type { FlushGroup } from './flush-group.js'
import type { PoolMedium } from './medium.js'

export interface CopyState {
  /** The write number of the newer copy. */
  writeNumber: bigint
  newest: 0 | 1
}

/**
 * @param offsets of the two copies
 * @param encode encodes the structure for that copy with that write number
 * @returns the state after it
 */
export async function writeBoth(
  medium: PoolMedium,
  flushes: FlushGroup,
  state: CopyState,
  offsets: readonly [number, number],
  encode: (copy: 0 | 1, writeNumber: bigint) => Buffer,
): Promise<CopyState> {
  const older = other(state.newest)
  const first = await writeOne(medium, flushes, offsets[older], encode(older, state.writeNumber + 1n), older, state)
  const second = encode(first.newest === 0 ? 1 : 0, first.writeNumber + 1n)
  return await writeOne(medium, flushes, offsets[other(first.newest)], second, other(first.newest), first)
}

async function writeOne(
  medium: PoolMedium,
  flushes: FlushGroup,
  offset: number,
  block: Buffer,
  copy: 0 | 1,
  before: CopyState,
): Promise<CopyState> {
  const old = medium.read(offset, block.length)
  medium.write(offset, block)
  try {
    await flushes.flush(offset, block.length)
  } catch (error) {
    // Readers by RDMA must see what the unit acknowledges.
    medium.write(offset, old)
    throw error
  }
  return { writeNumber: before.writeNumber + 1n, newest: copy }
}

function other(copy: 0 | 1): 0 | 1 {
  return copy === 0 ? 1 : 0
}
