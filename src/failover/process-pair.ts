/** Two or more processes run the same program: one is primary, the others follow, and one of them takes over. */
import { unitAddresses } from '../address.js'
import { abortSignal, invalid } from '../call/check.js'
import { holdsProcess } from '../call/hold.js'
import { loggable, printsAs } from '../call/printed.js'
import { type Shape, shape, take } from '../call/shape.js'
import { pause } from '../call/timer.js'
import type { Checkpoint, CheckpointLog } from '../checkpoint/index.js'
import type { Client } from '../client/client.js'
import type { ClientEvents } from '../client/client-events.js'
import { connect } from '../client/connect.js'
import type { Region } from '../client/region.js'
import { CheckpointError } from '../errors.js'
import { TypedEventTarget } from '../typed-events.js'
import { Attempts, pauseMs } from './attempts.js'
import { isDamage, restored } from './following.js'
import { Leave, orAfter } from './leave.js'
import { PairEvent, type PairEvents, Patience, type Role, retoldEvent } from './pair-events.js'
import { damageChoice, type PairOptions, pairOptions } from './pair-options.js'
import { Standby } from './standby.js'
import { Term } from './term.js'
import { Troubles } from './troubles.js'

const runOptions = shape<{ signal?: AbortSignal }>({ signal: abortSignal })

/** Told as the pair's own. */
const clientEvents = [
  'connected',
  'disconnected',
  'reconnecting',
  'restored',
  'lost-writes',
  'fenced',
  'release-failed',
  'log-mended',
  'log-damaged',
  'log-missing',
] as const satisfies (keyof ClientEvents)[]
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
  readonly #leave = new Leave()
  readonly #attempts: Attempts
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
    this.#attempts = new Attempts({
      unit: typeof this.#units === 'string' ? this.#units : this.#units.join(),
      creates: taken.create !== undefined,
      stop: this.#stop.signal,
      patience: this.#patience,
      tell: (error) => this.#tellError(error),
    })
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
    const client = await this.#attempts.untilStopped(() => this.#connect())
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
    const waits = ({ error }: { error: unknown }) => this.#attempts.unitIsAway(error, shortMs)
    client.addEventListener('disconnected', waits)
    client.addEventListener('reconnecting', waits)
    client.addEventListener('restored', () => this.#patience.end('unit'))
  }

  /** Waits until this process owns the region. @returns undefined if it is to stop */
  async #obtain(client: Client): Promise<Opened | undefined> {
    const first = this.#leave.isOver ? await this.#open(client) : 'busy'
    if (first !== 'busy') return first
    this.#become('standby')
    const standby = this.#follow(client)
    try {
      return await this.#attempts.untilStopped(() => this.#awaitVacancy(client, standby))
    } finally {
      standby?.stop()
    }
  }

  async #awaitVacancy(client: Client, standby: Standby<T> | undefined): Promise<Opened | undefined> {
    const { signal } = this.#stop
    const watch = new AbortController()
    try {
      const events = client.watch(this.#options.region, { signal: AbortSignal.any([signal, watch.signal]) })
      for await (const event of orAfter(events, () => this.#leave.ms)) {
        this.#patience.end('unit')
        if (event !== undefined) this.#noteEpoch(event.epoch)
        if (event !== undefined && !this.#leave.isVacant(event)) continue
        this.#leave.end()
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
    return await this.#attempts.untilStopped(async () => {
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
      this.#leave.afterWhole()
      return checkpoint
    } catch (error) {
      if (isDamage(error)) return await this.#restoreDamaged(log, error)
      if (this.#attempts.isFinal(error)) throw error
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
          this.#leave.afterWhole()
          return earlier
        }
      } catch (failure) {
        if (!isDamage(failure)) {
          if (this.#attempts.isFinal(failure)) throw failure
          this.#troubles.tell(failure)
        }
      }
    }
    this.#patience.begin('damage', `waiting for a state that is whole: ${error.message}`, error)
    this.#leave.forDamage()
    return 'failed'
  }

  async #work(region: Region, log: CheckpointLog<T>, checkpoint: Checkpoint<T> | undefined): Promise<'done' | 'again'> {
    const { epoch } = region
    const leave = () => this.#leave.forOthers(epoch)
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
