/**
 * Writing a structure that is kept twice. The copy with the lower generation is written and made durable first, then the
 * other one; so at any moment of a crash one whole copy is there, old or new, and once the write has been answered
 * either copy alone tells it.
 */
import type { FlushGroup } from './flush-group.js'
import type { PoolMedium } from './medium.js'

export interface CopyState {
  /** Of the newer copy. */
  generation: bigint
  newest: 0 | 1
}

/**
 * @param offsets of the two copies
 * @param encode the structure as it stands in that copy with that generation
 * @returns the state after it
 */
export async function writeBoth(
  medium: PoolMedium,
  flushes: FlushGroup,
  state: CopyState,
  offsets: readonly [number, number],
  encode: (copy: 0 | 1, generation: bigint) => Buffer,
): Promise<CopyState> {
  const older = other(state.newest)
  const first = await writeOne(medium, flushes, offsets[older], encode(older, state.generation + 1n), older, state)
  const second = encode(first.newest === 0 ? 1 : 0, first.generation + 1n)
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
    // Readers by RDMA shall see what the unit answers for.
    medium.write(offset, old)
    throw error
  }
  return { generation: before.generation + 1n, newest: copy }
}

function other(copy: 0 | 1): 0 | 1 {
  return copy === 0 ? 1 : 0
}
