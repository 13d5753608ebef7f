/** Cursors: as users give them, and as they are saved in the region. */
import { show } from '../call/check.js'
import { CheckpointError } from '../errors.js'
import type { Cursor } from '../types.js'
import type { Deadline } from './deadline.js'
import type { LogOrder } from './record/order.js'
import type { RegionReadAccess } from './region-access.js'

/** The cursor of a checkpoint, or what was given instead of one. */
export function cursorWithin(given: unknown): unknown {
  try {
    return typeof given === 'object' && given !== null && 'cursor' in given ? given.cursor : given
  } catch {
    // A proxy or a getter that throws: it is no cursor either, and said to be none.
    return undefined
  }
}

/** @throws CheckpointError `CURSOR_INVALID` */
function cursorFields(cursor: unknown): Cursor {
  const uint64 = (value: unknown): value is bigint => typeof value === 'bigint' && value >= 0n && value < 2n ** 64n
  try {
    const { region, epoch, sequence } = cursor as Cursor
    if (typeof region === 'string' && uint64(epoch) && uint64(sequence)) return { region, epoch, sequence }
  } catch {
    // It cannot be read.
  }
  throw new CheckpointError(
    'CURSOR_INVALID',
    `A cursor has the id of a region, and an epoch and a sequence that are bigints from 0 to 2^64-1; this is ${show(cursor)}.`,
  )
}

/** @throws CheckpointError `CURSOR_INVALID` also for a cursor of another region */
export function cursorPlace(access: RegionReadAccess, cursor: unknown): LogOrder {
  const { region, epoch, sequence } = cursorFields(cursor)
  if (region !== access.id) {
    throw new CheckpointError(
      'CURSOR_INVALID',
      `The cursor is of region instance ${region}, and ${JSON.stringify(access.name)} is ${access.id}.`,
      { help: 'The region was deleted and made again, or the cursor is of another one. Restart from the oldest.' },
    )
  }
  return { epoch, sequence }
}

/** @throws CheckpointError `CURSOR_INVALID` */
export async function savedPlace(access: RegionReadAccess, name: string, deadline: Deadline): Promise<LogOrder> {
  const { cursors } = await access.metadata(deadline.rest())
  const saved = cursors.find((cursor) => cursor.name === name)
  if (saved !== undefined) return saved
  throw new CheckpointError('CURSOR_INVALID', `No cursor is saved under the name ${JSON.stringify(name)}.`, {
    help: 'Save one with saveCursor(), or begin with all().',
    details: { names: cursors.map((cursor) => cursor.name) },
  })
}
