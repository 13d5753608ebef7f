/** What a {@link ProcessPair} is given, and what it gives to the work of its primary. */
import { callable, checkName, invalid, milliseconds, oneOf } from '../call/check.js'
import { lease } from '../call/options.js'
import { needed, nested, shape } from '../call/shape.js'
import type { Checkpoint, CheckpointLog, Codec } from '../checkpoint/index.js'
import { codec, schema } from '../checkpoint/options.js'
import { checkRegion, connectOptionFields } from '../client/options.js'
import type { CheckpointError } from '../errors.js'
import type { ConnectOptions, Lease, RegionOptions } from '../types.js'

/** What `onPrimary` gets: valid while this process is primary. */
export interface Primary<T> {
  /** The newest whole checkpoint, or undefined in a region that has none. */
  readonly state: T | undefined
  /** That checkpoint, with its sequence, epoch and time. */
  readonly checkpoint: Checkpoint<T> | undefined
  /** Saves the state. Its calls fail with `FENCED` once another process has taken over. */
  readonly log: CheckpointLog<T>
  /**
   * The number of this ownership. Pass it along with everything that has effects elsewhere, and let the other side refuse
   * lower ones: a process that was stopped and continues does not know yet that it was fenced.
   */
  readonly epoch: bigint
  /**
   * Aborts when this process stops being primary. The reason says why: `FENCED`, another process owns the region; `CLOSED`, the
   * region was handed over; the reason of `run()`'s signal, this process is to stop; or another reason why it lost the region,
   * such as `REGION_NOT_FOUND`.
   */
  readonly signal: AbortSignal
  /**
   * Gives the region up gracefully, so that a standby takes it at once. `signal` aborts first. Appends called before that are
   * completed and acknowledged; later ones reject with `CLOSED`, the reason of the signal. Resolves when the region is given up.
   * When `onPrimary` then returns, this process becomes a standby. If nobody takes the region within 5 s, it may become primary
   * again.
   * @throws CheckpointError `FENCED` if another process owns the region; `CLOSED` if the work had already ended
   */
  handOver(): Promise<void>
}

export interface PairOptions<T> extends Omit<ConnectOptions, 'signal'> {
  /** Name of the region that holds the state. */
  region: string
  /** How to create the region if it does not exist. Without it, `run()` rejects with `REGION_NOT_FOUND`. */
  create?: RegionOptions
  /** Replaces the region's lease while this process is primary. */
  lease?: Lease
  /** Default: raw bytes. */
  codec?: Codec<T>
  /** The application's number for the form of its values; see `Region.log`. */
  schema?: number
  /**
   * How a standby keeps up. `cold` (default): it reads the state when it takes over. `warm`: it reads the latest checkpoint
   * every second. `hot`: it follows every checkpoint (see `CheckpointReader.follow`), and at a takeover reads only what it has
   * not read yet, so that the time of the takeover does not depend on the size of the state.
   */
  standby?: 'cold' | 'warm' | 'hot'
  /** Milliseconds between two polls of a `warm` standby; without effect for the others. Default 1,000. */
  followMs?: number
  /**
   * The work of the primary. It is called once the state is restored. When it resolves, the work is done: the pair gives the
   * region up gracefully and `run()` resolves. When it rejects, the pair gives the region up and `run()` rejects with the same error.
   *
   * Once its signal has aborted, the pair waits for it to end. After a fence or `handOver()` this process then becomes a standby
   * again, whether it resolved or rejected. A rejection is reported by an `error` event, unless it only says that the term is over
   * (`FENCED`, `CLOSED`, `ABORTED`, an AbortError, the reason of the signal, or an error with one of them as its cause). After a
   * stop `run()` resolves, or rejects with any other error.
   */
  onPrimary(primary: Primary<T>): Promise<void>
  /**
   * Called for each checkpoint that the standby has read (warm, hot), also during a takeover. If you modify the value of the last
   * one here, `onPrimary` gets it modified as its state, unless something newer was saved. During a takeover the checkpoint may be
   * older than the one before: a crash of the unit may have lost what was only visible.
   */
  onStandby?(checkpoint: Checkpoint<T>): void
  /**
   * What to do when this process has the region, and the newest checkpoint was durable and is damaged (the error is
   * `CHECKPOINT_DAMAGED`, its details name the sequence numbers). Default: `wait`. What it throws or rejects with ends `run()`.
   */
  onDamage?(error: CheckpointError): DamageChoice | Promise<DamageChoice>
}

/**
 * `wait`: give the region up, and try again after 1 s, and later each time up to 30 s; somebody may restore the pool, or clear the
 * log. `earlier`: be primary with the newest checkpoint that is whole, though what was acknowledged later is not in it; where none is
 * whole it waits. `stop`: `run()` rejects with the error.
 */
export type DamageChoice = 'wait' | 'earlier' | 'stop'

/** Refuses everything else that onDamage returns. */
export const damageChoice = oneOf('wait', 'earlier', 'stop')
const { signal: _, ...connectFields } = connectOptionFields
export const pairOptions = shape<PairOptions<unknown>>({
  ...connectFields,
  region: needed(checkName),
  create: checkRegion,
  lease: nested(lease),
  codec,
  schema,
  standby: oneOf('cold', 'warm', 'hot'),
  followMs(value, what) {
    const ms = milliseconds(value, what)
    if (ms >= 1) return ms
    throw invalid(`${what} must be 1 or more; it is ${ms}.`)
  },
  onPrimary: needed(callable<PairOptions<unknown>['onPrimary']>),
  onStandby: callable<(checkpoint: Checkpoint<unknown>) => void>,
  onDamage: callable<NonNullable<PairOptions<unknown>['onDamage']>>,
})
