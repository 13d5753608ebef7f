/**
 * A persistent memory unit: owns a pool and exposes its regions over RDMA.
 *
 * Invariants: what was opened is closed in reverse, however far the start came. No client is answered before every region
 * is in memory. A medium that has failed is told once, and makes the unit read-only until it is started again.
 */
import { formatAddress } from '../address.js'
import { Call } from '../call/call.js'
import { held, holdsProcess } from '../call/hold.js'
import { takeWait } from '../call/options.js'
import { loggable, printsAs } from '../call/printed.js'
import type { Endpoint, StatusMessage } from '../control/messages.js'
import { CheckpointError } from '../errors.js'
import type { NativeResponder } from '../native.js'
import { fromNative } from '../native-error.js'
import { loadNative } from '../native-loader.js'
import type { Pool, PoolNotices } from '../pool/pool.js'
import { TypedEventTarget } from '../typed-events.js'
import type { CallOptions, Durability, UnitStatus } from '../types.js'
import { advertised, allowedAddress, dataPlaneAddresses, listenOnAll } from './addresses.js'
import { PoolCatalogue } from './catalogue.js'
import { ControlServer } from './control-server.js'
import { type ControlHandlers, controlHandlers } from './control-service.js'
import { RegionEventLog } from './event-log.js'
import { keepHouse } from './housekeeping.js'
import { type UnitEvent, type UnitEvents, UnitJournal } from './journal.js'
import { type MadePool, makePool } from './make-pool.js'
import { tellDeviceNews, warnOpen } from './notices.js'
import { type OpenedMedium, openMedium } from './open-medium.js'
import {
  type CheckedOptions,
  checkMaking,
  checkOptions,
  type MakingOptions,
  type PoolOptions,
  type UnitOptions,
} from './options.js'
import { loadRegions, makePoolIfAbsent, openPool } from './pool-start.js'
import { RegionService } from './regions.js'
import { Sessions } from './sessions.js'
import { checkAborted, stopping } from './start-errors.js'

type State = UnitStatus['state']

const tokenLifeMs = 10_000
/** Connections of the control service that have no session, beside as many as there may be sessions. */
const spareStrangers = 64
/** The responder's number of the pool's tables. */
const tablesId = 1n

/**
 * Events, each a {@link UnitEvent}: see {@link UnitEvents}. What happened while it started comes in the turn after `start`
 * has settled, so that nobody misses it who listens at once.
 */
export class PersistentMemoryUnit extends TypedEventTarget<UnitEvents> implements AsyncDisposable {
  readonly #options: CheckedOptions
  /** What was opened, to be closed in reverse. */
  readonly #openings: (() => Promise<void> | void)[] = []
  #state: State = 'starting'
  #control: ControlServer | undefined
  #address = ''
  #endpoints: Endpoint[] = []
  #dataAddresses: string[] = []
  #pool: Pool | undefined
  #medium: OpenedMedium | undefined
  #responder: NativeResponder | undefined
  #sessions: Sessions | undefined
  #regions: RegionService | undefined
  #version = ''
  #closing: Promise<void> | undefined

  readonly #journal: UnitJournal
  /** Events of the start, until somebody can listen. */
  #held: UnitEvent[] | undefined = []
  #failureTold = false

  private constructor(options: CheckedOptions) {
    super()
    this.#options = options
    this.#journal = new UnitJournal(options.log, (event) => {
      if (this.#held === undefined) this.dispatchEvent(event)
      else this.#held.push(event)
    })
  }

  /**
   * Opens or makes the pool and serves it. Settles when clients can use every region.
   *
   * @throws CheckpointError
   * - `INVALID_ARGUMENT` an option; a new pool without a size; another size than the pool has
   * - `POOL_NOT_FOUND` nothing is there, and `create` was not asked for
   * - `UNAUTHENTICATED` an address that is not loopback, with nothing configured to keep strangers out
   * - `POOL_IN_USE`, `POOL_DAMAGED`, `POOL_INCOMPATIBLE`, `POOL_FULL` (its space cannot be reserved), `MEDIUM_FAILED`
   * - `ADDRESS_IN_USE`, `NOT_SUPPORTED`, `MEMLOCK_LIMIT`, `OUT_OF_MEMORY`, `SYSTEM`
   * - `ADDON_NOT_FOUND`, `PLATFORM_UNSUPPORTED`, `ABORTED`
   */
  static start(options: UnitOptions): Promise<PersistentMemoryUnit> {
    return held(PersistentMemoryUnit.#started(options))
  }

  static async #started(options: UnitOptions): Promise<PersistentMemoryUnit> {
    const { signal, ...checked } = checkOptions(options)
    const unit = new PersistentMemoryUnit(checked)
    try {
      await unit.#start(signal)
    } catch (error) {
      unit.#state = 'stopping'
      await unit.#undo()
      throw fromNative(error)
    }
    signal?.addEventListener('abort', () => void unit.close().catch(() => undefined), { once: true })
    setImmediate(() => unit.#release())
    return unit
  }

  /**
   * Makes a new, empty pool and no unit. It comes to be whole and durable, or not at all.
   * @throws CheckpointError `POOL_EXISTS`, `INVALID_ARGUMENT`, `POOL_FULL` when its space cannot be reserved, `POOL_IN_USE`,
   * `OUT_OF_MEMORY`, `SYSTEM`, `NOT_SUPPORTED` for a pool in memory, `ABORTED`
   */
  static createPool(options: PoolOptions, making?: MakingOptions): Promise<MadePool> {
    return held(PersistentMemoryUnit.#madePool(options, making))
  }

  static async #madePool(options: PoolOptions, making: MakingOptions | undefined): Promise<MadePool> {
    const { pool, signal } = checkMaking(options, making)
    if (pool.medium !== 'memory') return await makePool(loadNative(), pool, signal)
    throw new CheckpointError(
      'NOT_SUPPORTED',
      'A pool in memory exists only while its unit runs, so it cannot be created in advance.',
    )
  }

  /** host:port of the control service; what clients connect to. */
  get address(): string {
    return this.#address
  }
  /** host:port of each place where the data plane listens. */
  get dataAddresses(): readonly string[] {
    return this.#dataAddresses
  }
  /** What a write can be promised, weakest first. */
  get promises(): readonly Durability[] {
    return this.#medium?.medium.durable ? ['visible', 'durable'] : ['visible']
  }

  async status(): Promise<UnitStatus> {
    const { id, starts, state, used, bytes, regions, medium, version } = this.#status()
    return loggable({
      id,
      starts,
      state: state as State,
      used,
      bytes,
      regions,
      promises: this.promises,
      medium,
      version,
    })
  }

  /**
   * Orderly stop: refuses new calls, ends every connection, makes durable what is visible, closes the pool.
   * Calling it again waits for the first call. The time and the signal, also one that has aborted already, end only the wait.
   * @throws CheckpointError `TIMEOUT`, `ABORTED` while the stop goes on; `MEDIUM_FAILED`
   */
  async close(options?: CallOptions): Promise<void> {
    const call = takeWait(options)
    this.#closing ??= this.#stop()
    // It goes on stopping when nobody waits for it any more.
    await new Call('The wait for the unit to stop', call, 'unknown').race(this.#closing)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close({ timeoutMs: 0 })
  }

  async #start(signal: AbortSignal | undefined): Promise<void> {
    const { anyAddress } = this.#options
    const listen = await allowedAddress(this.#options.listen, 'The address of the control service', anyAddress)
    const data = await dataPlaneAddresses(this.#options, listen)
    const native = loadNative()
    this.#version = native.version
    checkAborted(signal)

    const { pool: poolOptions } = this.#options
    if (poolOptions.medium !== 'memory' && poolOptions.create) {
      await makePoolIfAbsent(native, poolOptions, this.#journal, signal)
    }
    this.#medium = await openMedium(native, poolOptions, () => {
      const failure = this.#medium?.medium.failure
      if (failure !== undefined) this.#onMediumFailed(fromNative(failure))
    })
    const { native: nativeMedium, medium } = this.#medium
    this.#openings.push(() => nativeMedium.close())

    let ready: (handlers: ControlHandlers) => void = () => undefined
    let failed: (error: unknown) => void = () => undefined
    const handlers = new Promise<ControlHandlers>((resolve, reject) => {
      ready = resolve
      failed = reject
    })
    handlers.catch(() => undefined)
    this.#openings.push(() => failed(stopping()))
    const control = await ControlServer.listen(listen, handlers, () => this.#status(), this.#journal, {
      strangers: this.#options.limits.sessions + spareStrangers,
      watches: this.#options.limits.handles,
      knows: (session) => this.#sessions?.has(session) ?? false,
    })
    this.#control = control
    this.#address = formatAddress(control.address)
    this.#openings.push(() => this.#closeControl())
    checkAborted(signal)

    const notices: PoolNotices = {
      mended: (what, because, record) =>
        this.#journal.tell('mended', { what, because, ...(record === undefined ? {} : { region: record.name }) }),
      failed: (error) => this.#onMediumFailed(fromNative(error)),
    }
    const pool = await openPool(medium, poolOptions, notices)
    this.#pool = pool
    if (poolOptions.medium !== 'memory') await loadRegions(pool, this.#journal, () => checkAborted(signal))

    const responder = new native.Responder(
      nativeMedium,
      {
        maxConnections: this.#options.limits.connections,
        tokenLifeMs,
        // One for each handle and one for the session: nobody who connects with them has more.
        tokensPerSession: Math.min(this.#options.limits.handles + 1, 2 ** 32 - 1),
        unitStart: pool.starts,
      },
      {
        onSessionAlone: () => this.#regions?.lookAtOwners(),
        onDeviceNews: (news) => tellDeviceNews(this.#journal, news),
      },
    )
    this.#responder = responder
    this.#openings.push(() => this.#stopResponder())
    responder.addRegion(tablesId, [0, pool.geometry.firstDataOffset], pool.geometry.firstDataOffset, 0n, true)
    const sessions = new Sessions(responder, this.#options.limits)
    const maxRegionBytes = this.#options.limits.regionBytes ?? pool.geometry.poolBytes
    const events = new RegionEventLog(pool.starts)
    const regions = new RegionService(
      new PoolCatalogue(pool),
      responder,
      sessions,
      events,
      maxRegionBytes,
      this.#journal,
    )
    this.#openings.push(() => regions.stopWatches())
    for (const record of pool.records()) regions.serve(record)
    this.#sessions = sessions
    this.#regions = regions
    const listening = listenOnAll(responder, native.fabrics, this.#options.transport, data, this.#journal)
    this.#dataAddresses = listening.map(formatAddress)
    this.#endpoints = await advertised(listening, this.#options.advertise)
    checkAborted(signal)

    this.#state = pool.readOnly === undefined ? 'ready' : 'read-only'
    this.#openings.push(keepHouse(responder, control, sessions, regions.openings, this.#journal))
    ready(
      controlHandlers({
        regions,
        sessions,
        responder,
        geometry: pool.geometry,
        endpoints: this.#endpoints,
        unitStart: pool.starts,
        maxRegionBytes,
        tokenLifeMs,
        maxWatches: this.#options.limits.handles,
        tablesId,
        status: () => this.#status(),
      }),
    )
    regions.ready()
    control.setServing(true)
    if (anyAddress) warnOpen(this.#journal, [this.address, ...this.#dataAddresses])
    if (pool.readOnly !== undefined) this.#journal.log('warn', 'the pool is read-only', { because: pool.readOnly })
    this.#tellState(pool.readOnly)
    this.#journal.log('info', 'ready', { address: this.address, data: this.#dataAddresses, regions: pool.regions })
  }

  #status(): StatusMessage {
    const pool = this.#pool
    const state = this.#state === 'ready' && pool?.readOnly !== undefined ? 'read-only' : this.#state
    const counters = state === 'starting' || state === 'stopping' ? {} : (this.#responder?.counters() ?? {})
    return {
      id: pool?.id ?? '',
      starts: pool?.starts ?? 0n,
      state,
      used: BigInt(pool?.used ?? 0),
      bytes: BigInt(pool?.geometry.poolBytes ?? this.#medium?.medium.bytes ?? 0),
      regions: pool?.regions ?? 0,
      promises: [...this.promises],
      endpoints: this.#endpoints,
      version: this.#version,
      medium: this.#options.pool.medium,
      counters: new Map(
        Object.entries({ ...counters, ...this.#control?.counters, regionsDamaged: pool?.damaged.length ?? 0 }).map(
          ([name, value]) => [name, BigInt(value)],
        ),
      ),
      maxRegions: pool?.geometry.slots ?? 0,
      sessions: this.#sessions?.size ?? 0,
    }
  }

  async #stop(): Promise<void> {
    this.#state = 'stopping'
    this.#tellState()
    this.#regions?.stopWatches()
    await this.#closeControl()
    await this.#regions?.idle()
    await this.#stopResponder()
    let failure: unknown
    try {
      await this.#writeBack()
    } catch (error) {
      failure = error
      this.#journal.log('error', 'not everything could be made durable', { because: fromNative(error).message })
    }
    await this.#undo()
    this.#journal.settle(true)
    this.#journal.log('info', 'stopped')
    if (failure !== undefined) throw fromNative(failure)
  }

  /** What was visible when the unit stopped in order is there when it comes back. */
  async #writeBack(): Promise<void> {
    const [pool, regions, medium] = [this.#pool, this.#regions, this.#medium]
    if (pool?.failure !== undefined) {
      throw new CheckpointError(
        'MEDIUM_FAILED',
        `Visible writes that were not yet durable could not be saved, because the medium had failed. ${fromNative(pool.failure).message}`,
        {
          cause: pool.failure,
          outcome: 'unknown',
          help: 'Writes acknowledged as durable before the failure are safe. Repair the medium before restarting.',
        },
      )
    }
    if (pool === undefined || regions === undefined || !medium?.medium.durable || pool.readOnly !== undefined) return
    for (const record of regions.written()) await pool.flush(record)
    await pool.markClean()
  }

  async #closeControl(): Promise<void> {
    const control = this.#control
    this.#control = undefined
    control?.setServing(false)
    await control?.close()
  }

  async #stopResponder(): Promise<void> {
    const responder = this.#responder
    this.#responder = undefined
    await responder?.stop()
  }

  /** Hands out the events of the start. */
  #release(): void {
    const held = this.#held ?? []
    this.#held = undefined
    for (const event of held) this.dispatchEvent(event)
  }

  #tellState(because?: string): void {
    this.#journal.tell('state', { state: this.#state, ...(because === undefined ? {} : { because }) }, 'debug')
  }

  /** The medium failed: the pool is for reading only until a restart. Told once. */
  #onMediumFailed(error: CheckpointError): void {
    if (this.#failureTold) return
    this.#failureTold = true
    this.#journal.tell('medium-failed', { error })
    if (this.#state === 'ready') {
      this.#journal.tell('state', { state: 'read-only', because: error.message }, 'warn')
    }
  }

  async #undo(): Promise<void> {
    for (let close = this.#openings.pop(); close !== undefined; close = this.#openings.pop()) {
      try {
        await close()
      } catch (error) {
        this.#journal.log('error', 'a part of the unit did not stop in order', { because: fromNative(error).message })
      }
    }
  }
}

printsAs(PersistentMemoryUnit, ({ address, dataAddresses, promises }) => ({ address, dataAddresses, promises }))
holdsProcess(PersistentMemoryUnit)
