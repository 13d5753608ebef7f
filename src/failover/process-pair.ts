/** Two or more processes run the same program: one is primary, the others follow, and one of them takes over. */
import { setTimeout as sleep } from 'node:timers/promises'
import { unitAddresses } from '../address.js'
import { abortSignal, callable, checkName, invalid, milliseconds, oneOf } from '../call/check.js'
import { holdsProcess } from '../call/hold.js'
import { lease } from '../call/options.js'
import { loggable, printsAs } from '../call/printed.js'
import { needed, nested, type Shape, shape, take } from '../call/shape.js'
import { pause } from '../call/timer.js'
import type { Checkpoint, CheckpointLog, Codec } from '../checkpoint/index.js'
import { codec, schema } from '../checkpoint/options.js'
import type { Client } from '../client/client.js'
import type { ClientEvents } from '../client/client-events.js'
import { connect } from '../client/connect.js'
import { checkRegion, connectOptionFields } from '../client/options.js'
import type { Region } from '../client/region.js'
import { CheckpointError, type ErrorCode } from '../errors.js'
import { TypedEventTarget } from '../typed-events.js'
import type { ConnectOptions, Lease, RegionEvent, RegionEventType, RegionOptions } from '../types.js'
import { isDamage, restored } from './following.js'
import { PairEvent, type PairEvents, Patience, type Role, retoldEvent } from './pair-events.js'
import { Standby } from './standby.js'
import { Term } from './term.js'
import { Troubles } from './troubles.js'

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
  /** Milliseconds between two polls of a `warm` standby. Default 1,000. */
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

const damageChoice = oneOf('wait', 'earlier', 'stop')
const { signal: _, ...connectFields } = connectOptionFields
const pairOptions = shape<PairOptions<unknown>>({
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
const runOptions = shape<{ signal?: AbortSignal }>({ signal: abortSignal })

/** Told as the pair's own. */
const clientEvents = [
  'connected',
  'disconnected',
  'reconnecting',
  'restored',
  'lost-writes',
  'fenced',
  'log-mended',
  'log-damaged',
  'log-missing',
] as const satisfies (keyof ClientEvents)[]
/** Events after which the region may be available. */
const vacant: ReadonlySet<RegionEventType> = new Set(['owner-lost', 'released', 'deleted'])
/** Errors that another attempt cannot fix. */
const final: ReadonlySet<ErrorCode> = new Set([
  'INVALID_ARGUMENT',
  'NOT_SUPPORTED',
  'PLATFORM_UNSUPPORTED',
  'ADDON_NOT_FOUND',
  'VERSION_MISMATCH',
  'UNAUTHENTICATED',
  'REGION_NOT_FOUND',
  'REGION_MODE',
  'REGION_TOO_SMALL',
  'POOL_FULL',
  'POOL_READ_ONLY',
  'MEDIUM_FAILED',
  'CODEC_MISMATCH',
  'INTERNAL',
])
const pauseMs = 200
/** How long a process that has handed over leaves the region to the others. */
const handOverMs = 5_000
/** How long a process that found the newest checkpoint damaged leaves the region alone, the first time and at most. */
const damagedMs = { first: 1_000, most: 30_000 }
const warmMs = 1_000
/** How long to wait for calls that the work has left behind: when this process is to stop, and otherwise. */
const stopMs = 5_000
const closeTimeoutMs = 30_000
/** A shorter outage, or a shorter wait for the end of the work, is not reported. */
const shortMs = 1_000

/**
 * Keeps one of several processes primary. Each runs the same program with the same region:
 *
 * ```js
 * const pair = new ProcessPair('unit:4790', {
 *   region: 'orders',
 *   create: { bytes: 64 * 1024 * 1024 },
 *   codec: json,
 *   async onPrimary({ state = { orders: 0 }, log, signal }) {
 *     while (!signal.aborted) await log.append({ orders: ++state.orders })
 *   },
 * })
 * await pair.run()
 * ```
 *
 * The first to open the region is primary. The others watch it, and when the primary is dead, silent or stalled (see the
 * region's lease), or hands over, exactly one of them takes it, restores the state and runs its `onPrimary`.
 * Events, see {@link PairEvents}: `role`, `epoch`, `error`, `waiting`, and those of its client's connections.
 */
export class ProcessPair<T = Uint8Array> extends TypedEventTarget<PairEvents> implements AsyncDisposable {
  readonly #units: string | readonly string[]
  readonly #options: PairOptions<T>
  readonly #stop = new AbortController()
  readonly #patience = new Patience((event) => this.dispatchEvent(event))
  #role: Role = 'joining'
  #epoch = 0n
  #running: Promise<void> | undefined
  readonly #troubles = new Troubles((error) => this.#tellError(error))
  /** Until when it leaves the region to others, and whose release it does not answer until then: of every owner if of none. */
  #leaving: { until: number; epoch: bigint | undefined } | undefined
  /** How long it leaves the region alone when it finds it damaged once more. */
  #damagedMs = damagedMs.first
  /** What it has read as a standby, for the next attempt if it does not become primary; undefined once it has. */
  #known: Checkpoint<T> | undefined

  /** @throws CheckpointError `INVALID_ARGUMENT` */
  constructor(units: string | readonly string[], options: PairOptions<T>) {
    super()
    const taken = take(pairOptions as Shape<PairOptions<T>>, options)
    const { onPrimary, onStandby, onDamage } = taken
    // Called as methods of the options object that the user gave.
    this.#options = {
      ...taken,
      onPrimary: (primary) => onPrimary.call(options, primary),
      ...(onStandby === undefined ? {} : { onStandby: (checkpoint) => onStandby.call(options, checkpoint) }),
      ...(onDamage === undefined ? {} : { onDamage: (error) => onDamage.call(options, error) }),
    }
    this.#units = unitAddresses(units)
  }

  get role(): Role {
    return this.#role
  }

  /** The highest known epoch of the region; its own while this process is primary. */
  get epoch(): bigint {
    return this.#epoch
  }

  /**
   * Takes part until the work is done, the signal aborts or the pair is disposed of. Neither an outage of the unit nor a fence
   * ends it: events report them, and the pair continues.
   * @throws CheckpointError an error that another attempt cannot fix, and whatever `onPrimary` rejects with
   */
  run(options: { signal?: AbortSignal } = {}): Promise<void> {
    let signal: AbortSignal | undefined
    try {
      signal = take(runOptions, options).signal
    } catch (error) {
      return Promise.reject(error)
    }
    if (this.#running !== undefined) return Promise.reject(invalid('run() was called before; a pair runs once.'))
    const stop = () => this.#stop.abort(signal?.reason)
    signal?.addEventListener('abort', stop)
    if (signal?.aborted) stop()
    this.#running = this.#run().finally(() => {
      signal?.removeEventListener('abort', stop)
      this.#patience.end()
      this.#become('stopped')
    })
    return this.#running
  }

  /** Stops: aborts the primary's signal and waits for its work. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#running?.catch(() => undefined)
    this.#become('stopped')
  }

  async #run(): Promise<void> {
    const client = await this.#untilStopped(() => this.#connect())
    if (client === undefined) return
    this.#relay(client)
    try {
      while (!this.#stop.signal.aborted) {
        this.#become('joining')
        const owned = await this.#obtain(client)
        if (owned === undefined || (await this.#serve(owned)) === 'done') return
      }
    } finally {
      await client.close({ timeoutMs: stopMs })
    }
  }

  #connect(): Promise<Client> {
    const { transport, maxBytesInFlight, retryMs, identity, timeoutMs } = this.#options
    return connect(this.#units, {
      ...(transport === undefined ? {} : { transport }),
      ...(maxBytesInFlight === undefined ? {} : { maxBytesInFlight }),
      ...(retryMs === undefined ? {} : { retryMs }),
      ...(identity === undefined ? {} : { identity }),
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
      signal: this.#stop.signal,
    })
  }

  #relay(client: Client): void {
    const tell = (event: Parameters<typeof retoldEvent>[0]) => this.dispatchEvent(retoldEvent(event))
    for (const type of clientEvents) client.addEventListener(type, tell)
    const waits = ({ error }: { error: unknown }) =>
      this.#patience.begin('unit', this.#unitIsAway(error), error, shortMs)
    client.addEventListener('disconnected', waits)
    client.addEventListener('reconnecting', waits)
    client.addEventListener('restored', () => this.#patience.end('unit'))
  }

  #unitIsAway(error: unknown): string {
    const unit = typeof this.#units === 'string' ? this.#units : this.#units.join()
    return `waiting for the unit ${unit}: ${error instanceof Error ? error.message : String(error)}`
  }

  /** Waits until this process owns the region. @returns undefined if it is to stop */
  async #obtain(client: Client): Promise<Opened | undefined> {
    const first = this.#leaving === undefined ? await this.#open(client) : 'busy'
    if (first !== 'busy') return first
    this.#become('standby')
    const standby = this.#follow(client)
    try {
      return await this.#untilStopped(() => this.#awaitVacancy(client, standby))
    } finally {
      standby?.stop()
    }
  }

  async #awaitVacancy(client: Client, standby: Standby<T> | undefined): Promise<Opened | undefined> {
    const { signal } = this.#stop
    const watch = new AbortController()
    try {
      const events = client.watch(this.#options.region, { signal: AbortSignal.any([signal, watch.signal]) })
      for await (const event of orAfter(events, () => this.#holdMs())) {
        this.#patience.end('unit')
        if (event !== undefined) this.#noteEpoch(event.epoch)
        if (event?.type === 'cleared' && this.#leaving?.epoch === undefined) this.#leaving = undefined
        if (event !== undefined && (!vacant.has(event.type) || this.#leavesToOthers(event))) continue
        this.#leaving = undefined
        const opened = await this.#open(client)
        if (opened === undefined) return undefined
        if (opened === 'busy') continue
        this.#known = standby?.stop() ?? this.#known
        return opened
      }
      if (signal.aborted) return undefined
      throw new CheckpointError('CONNECTION_LOST', 'The watch of the region has ended.', { retryable: true })
    } finally {
      // Ending the watch takes some work, which a new primary does while it waits for its first reads.
      setImmediate(() => watch.abort())
    }
  }

  async #open(client: Client): Promise<Opened | 'busy' | undefined> {
    const { region: name, create, lease } = this.#options
    const { signal } = this.#stop
    const startedAt = performance.now()
    return await this.#untilStopped(async () => {
      try {
        const more = { ...(create === undefined ? {} : { create }), ...(lease === undefined ? {} : { lease }) }
        const region = await client.openRegion(name, { mode: 'write', signal, ...more })
        const openedAt = performance.now()
        return { region, openMs: openedAt - startedAt, openedAt }
      } catch (error) {
        if (error instanceof CheckpointError && error.code === 'REGION_BUSY') return 'busy'
        throw error
      }
    })
  }

  #follow(client: Client): Standby<T> | undefined {
    const { standby = 'cold', region, codec, onStandby } = this.#options
    if (standby === 'cold') return undefined
    const context = {
      region,
      codec,
      everyMs: standby === 'warm' ? (this.#options.followMs ?? warmMs) : undefined,
      onCheckpoint: (checkpoint: Checkpoint<T>) => onStandby?.(checkpoint),
      troubles: this.#troubles,
    }
    return new Standby<T>(client, context, this.#known)
  }

  /** @returns done: the work is done, or this process is to stop; again: it becomes a standby */
  async #serve({ region, openMs, openedAt }: Opened): Promise<'done' | 'again'> {
    try {
      const { codec, schema } = this.#options
      const log = region.log<T>({
        ...(codec === undefined ? {} : { codec }),
        ...(schema === undefined ? {} : { schema }),
      })
      if (this.#known?.cursor.region !== region.id) this.#known = undefined
      const checkpoint = await this.#restore(log)
      if (this.#stop.signal.aborted) return 'done'
      if (checkpoint === 'failed' || region.ended.aborted) return this.#again(region)
      this.#known = undefined
      this.#noteEpoch(region.epoch)
      this.#become('primary', { openMs, restoreMs: performance.now() - openedAt })
      return await this.#work(region, log, checkpoint)
    } finally {
      // The work has ended. After a stop nobody waits for calls that the work left behind.
      await region.closeWithin(this.#stop.signal.aborted ? stopMs : closeTimeoutMs)
    }
  }

  /** If another attempt could fix the error, the region is left to a process that can read it. */
  async #restore(log: CheckpointLog<T>): Promise<Checkpoint<T> | undefined | 'failed'> {
    try {
      const checkpoint = await this.#newest(log)
      this.#troubles.clear()
      this.#patience.end('damage')
      this.#damagedMs = damagedMs.first
      return checkpoint
    } catch (error) {
      if (isDamage(error)) return await this.#restoreDamaged(log, error)
      if (this.#isFinal(error)) throw error
      this.#troubles.tell(error)
      await pause(pauseMs, this.#stop.signal)
      return 'failed'
    }
  }

  async #newest(log: CheckpointLog<T>): Promise<Checkpoint<T> | undefined> {
    const { standby = 'cold', onStandby } = this.#options
    const onUnread = (read: Checkpoint<T>) => {
      this.#known = read
      if (standby !== 'cold') onStandby?.(read)
    }
    return await restored(log, this.#known, standby !== 'hot', onUnread, (error) => this.#troubles.tell(error))
  }

  /** The application decides what is better: no primary, or one that has lost what had been acknowledged. */
  async #restoreDamaged(log: CheckpointLog<T>, error: CheckpointError): Promise<Checkpoint<T> | 'failed'> {
    const { standby = 'cold', onStandby, onDamage } = this.#options
    this.#troubles.tell(error)
    const choice = onDamage === undefined ? 'wait' : damageChoice(await onDamage(error), 'What onDamage returns')
    if (choice === 'stop') throw error
    if (choice === 'earlier') {
      try {
        const earlier = await log.latest({ beforeDamage: true })
        if (earlier !== undefined) {
          if (standby !== 'cold') onStandby?.(earlier)
          this.#patience.end('damage')
          this.#damagedMs = damagedMs.first
          return earlier
        }
      } catch (failure) {
        if (!isDamage(failure)) {
          if (this.#isFinal(failure)) throw failure
          this.#troubles.tell(failure)
        }
      }
    }
    this.#patience.begin('damage', `waiting for a state that is whole: ${error.message}`, error)
    this.#leaving = { until: performance.now() + this.#damagedMs, epoch: undefined }
    this.#damagedMs = Math.min(2 * this.#damagedMs, damagedMs.most)
    return 'failed'
  }

  async #work(region: Region, log: CheckpointLog<T>, checkpoint: Checkpoint<T> | undefined): Promise<'done' | 'again'> {
    const { epoch } = region
    const leave = () => {
      this.#leaving = { epoch, until: performance.now() + handOverMs }
    }
    const term = new Term(region, this.#stop.signal, leave)
    const { signal } = term
    const onOver = () => this.#onOver(region, term)
    signal.addEventListener('abort', onOver)
    if (signal.aborted) onOver()
    try {
      const handOver = () => term.handOver()
      await term.run(() =>
        this.#options.onPrimary(loggable({ state: checkpoint?.value, checkpoint, log, epoch, signal, handOver })),
      )
    } finally {
      signal.removeEventListener('abort', onOver)
      this.#patience.end('work')
    }
    const { failure } = term
    if (term.isOver || this.#stop.signal.aborted) {
      if (failure !== undefined && !term.isEnd(failure.error)) {
        if (!term.isOver) throw failure.error
        this.#tellError(failure.error)
      }
      return this.#again(region)
    }
    if (failure === undefined) return 'done'
    if (!term.isFence(failure.error)) throw failure.error
    // Most likely from another region of this process: a successor takes all of them, in any order.
    this.#tellError(failure.error)
    leave()
    return 'again'
  }

  /** This process has stopped being primary, though its work may not have ended yet. */
  #onOver(region: Region, { signal, isOver }: Term): void {
    if (isOver) {
      if (this.#role === 'primary') this.#become('joining')
      this.#noteFence(region)
    }
    const next = isOver && !this.#stop.signal.aborted ? 'is no standby' : 'does not stop'
    const reason: unknown = signal.reason
    const why = reason instanceof Error ? `${reason.message} ` : ''
    this.#patience.begin('work', `${why}Until onPrimary has ended, this process ${next}.`, reason, shortMs)
  }

  #again(region: Region): 'done' | 'again' {
    if (this.#stop.signal.aborted) return 'done'
    this.#noteFence(region)
    return 'again'
  }

  #noteFence(region: Region): void {
    const reason: unknown = region.fenced.reason
    const epoch = reason instanceof CheckpointError ? reason.details?.epoch : undefined
    if (typeof epoch === 'bigint') this.#noteEpoch(epoch)
  }

  #holdMs(): number | undefined {
    return this.#leaving && Math.max(0, this.#leaving.until - performance.now())
  }

  #leavesToOthers({ type, epoch }: RegionEvent): boolean {
    if (type !== 'released' || this.#leaving === undefined) return false
    return this.#leaving.epoch === undefined || epoch === this.#leaving.epoch
  }

  /** Repeats an attempt while another one can fix the error. @returns undefined if it is to stop */
  async #untilStopped<R>(attempt: () => Promise<R>): Promise<R | undefined> {
    const { signal } = this.#stop
    const troubles = new Troubles((error) => this.#tellError(error))
    while (!signal.aborted) {
      try {
        const result = await attempt()
        this.#patience.end('unit')
        troubles.clear()
        return result
      } catch (error) {
        if (signal.aborted) return undefined
        if (this.#isFinal(error)) throw error
        troubles.tell(error)
        this.#patience.begin('unit', this.#unitIsAway(error), error)
      }
      await pause(pauseMs, signal)
    }
    return undefined
  }

  /** Whether another attempt cannot fix the error. With `create`, a deleted region is created again. */
  #isFinal(error: unknown): boolean {
    if (!(error instanceof CheckpointError)) return true
    return final.has(error.code) && !(error.code === 'REGION_NOT_FOUND' && this.#options.create !== undefined)
  }

  #become(role: Role, took?: PairEvent['took']): void {
    if (this.#role === role) return
    this.#role = role
    this.dispatchEvent(new PairEvent('role', { role, epoch: this.#epoch, took }))
  }

  #noteEpoch(epoch: bigint): void {
    if (epoch <= this.#epoch) return
    this.#epoch = epoch
    this.dispatchEvent(new PairEvent('epoch', { role: this.#role, epoch }))
  }

  #tellError(error: unknown): void {
    this.dispatchEvent(new PairEvent('error', { role: this.#role, epoch: this.#epoch, error }))
  }
}

printsAs(ProcessPair, ({ role, epoch }) => ({ role, epoch }))
holdsProcess(ProcessPair)

interface Opened {
  region: Region
  openMs: number
  openedAt: number
}

/** The same values, and undefined whenever none has come for this long. The caller ends the iterator that it passed. */
async function* orAfter<V>(
  iterator: AsyncIterableIterator<V>,
  waitMs: () => number | undefined,
): AsyncGenerator<V | undefined, void, undefined> {
  let next = iterator.next()
  for (;;) {
    next.catch(() => undefined)
    const ms = waitMs()
    const timer = new AbortController()
    const late = ms === undefined ? [] : [sleep(ms, undefined, { signal: timer.signal }).catch(() => undefined)]
    const result = await Promise.race([next, ...late])
    timer.abort()
    if (result === undefined) yield undefined
    else if (result.done) return
    else {
      yield result.value
      next = iterator.next()
    }
  }
}
