/** How a standby follows the primary's state, and how a new primary restores it. */
import { pause } from '../call/timer.js'
import type { Checkpoint, CheckpointLog, CheckpointReader } from '../checkpoint/index.js'
import { CheckpointError } from '../errors.js'
import type { Cursor } from '../types.js'

/** Identifies one checkpoint of a region. */
type Named = Pick<Checkpoint<unknown>, 'epoch' | 'sequence'>

/**
 * Checkpoints as they are written, from the latest or behind a checkpoint on: every one, or with `everyMs` what is the newest
 * each time it looks. Where the log has gone past it, or something in between is damaged, it goes on at the latest. Ends quietly
 * with the signal.
 * @param options onDamage: told of what was damaged in between
 * @throws CheckpointError `CHECKPOINT_DAMAGED` where what is damaged is the latest
 */
export async function* followed<T>(
  reader: CheckpointReader<T>,
  behind: Checkpoint<T> | undefined,
  options: { everyMs: number | undefined; signal: AbortSignal; onDamage: (error: CheckpointError) => void },
): AsyncGenerator<Checkpoint<T>, void, undefined> {
  const { everyMs, signal, onDamage } = options
  try {
    if (everyMs === undefined) yield* every(reader, behind, signal, onDamage)
    else yield* sampled(reader, behind, everyMs, signal)
  } catch (error) {
    if (!signal.aborted) throw error
  }
}

async function* every<T>(
  reader: CheckpointReader<T>,
  behind: Checkpoint<T> | undefined,
  signal: AbortSignal,
  onDamage: (error: CheckpointError) => void,
): AsyncGenerator<Checkpoint<T>, void, undefined> {
  let last = behind
  for (let from: Cursor | 'latest' = behind?.cursor ?? 'latest'; ; from = 'latest') {
    let got = false
    try {
      for await (const checkpoint of reader.follow({ from, signal })) {
        got = true
        // A restart of the unit may have taken everything behind the last one meanwhile.
        if (last !== undefined && same(last, checkpoint)) continue
        last = checkpoint
        yield checkpoint
      }
    } catch (error) {
      if (!isPassable(error) || (isDamage(error) && from === 'latest' && !got)) throw error
      if (isDamage(error)) onDamage(error)
    }
  }
}

/** What is newer may be whole, and is all that matters. */
function isPassable(error: unknown): error is CheckpointError {
  return error instanceof CheckpointError && (error.code === 'CHECKPOINT_LAPPED' || isDamage(error))
}

export function isDamage(error: unknown): error is CheckpointError {
  return error instanceof CheckpointError && error.code === 'CHECKPOINT_DAMAGED'
}

async function* sampled<T>(
  reader: CheckpointReader<T>,
  behind: Checkpoint<T> | undefined,
  everyMs: number,
  signal: AbortSignal,
): AsyncGenerator<Checkpoint<T>, void, undefined> {
  for (let last = behind; ; await pause(everyMs, signal)) {
    for await (const checkpoint of since(reader, last, true, signal)) {
      last = checkpoint
      yield checkpoint
    }
  }
}

/**
 * The state that the log holds: the last of what is behind `known`, or `known` itself where it still is the newest, without
 * reading it again. `onUnread` is told of what was read, `onDamage` of what was damaged in between.
 * @throws CheckpointError `CHECKPOINT_DAMAGED` where what is damaged is the newest
 */
export async function restored<T>(
  reader: CheckpointLog<T>,
  known: Checkpoint<T> | undefined,
  newestOnly: boolean,
  onUnread: (checkpoint: Checkpoint<T>) => void,
  onDamage: (error: CheckpointError) => void,
): Promise<Checkpoint<T> | undefined> {
  let last = known
  if (last !== undefined && !newestOnly) {
    // Most often there is nothing behind it. A primary that will append has to find the end of the log in any case.
    const end = await reader.end()
    if (end !== undefined && same(end, last)) return last
    try {
      for await (const checkpoint of since(reader, last, false, undefined)) {
        last = checkpoint
        onUnread(checkpoint)
      }
    } catch (error) {
      if (!isDamage(error)) throw error
      // If it is the newest, reading that fails with it again.
      onDamage(error)
    }
  }
  if (last !== undefined) {
    const newest = await reader.newest()
    if (newest !== undefined && same(newest, last)) return last
  }
  // Nothing was known; or it was cleared, or lost with the unit before it was durable; or there is something newer, which may
  // not be whole.
  const latest = await reader.latest()
  if (latest === undefined || (last !== undefined && same(latest, last))) return latest && last
  onUnread(latest)
  return latest
}

/** The checkpoints behind `known`. Without `known`, or if the log has lapped it, the latest. */
async function* since<T>(
  reader: CheckpointReader<T>,
  known: Checkpoint<T> | undefined,
  newestOnly: boolean,
  signal: AbortSignal | undefined,
): AsyncGenerator<Checkpoint<T>, void, undefined> {
  const call = signal === undefined ? {} : { signal }
  if (known !== undefined && !newestOnly) {
    try {
      yield* reader.unread(known.cursor, { ...call, timeoutMs: 0 })
      return
    } catch (error) {
      if (!(error instanceof CheckpointError && error.code === 'CHECKPOINT_LAPPED')) throw error
    }
  }
  if (known !== undefined) {
    const newest = await reader.newest(call)
    if (newest === undefined || same(newest, known)) return
  }
  const latest = await reader.latest(call)
  if (latest !== undefined && !(known !== undefined && same(latest, known))) yield latest
}

function same(one: Named, other: Named): boolean {
  return one.epoch === other.epoch && one.sequence === other.sequence
}
