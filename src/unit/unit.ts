/** A persistent memory unit: owns a pool and exposes its regions over RDMA. */
import { formatAddress, type HostPort, isLoopback, listenError, parseAddress, resolve } from '../address.js'
import { held, holdsProcess } from '../call/hold.js'
import { takeCall } from '../call/options.js'
import { loggable, printsAs } from '../call/printed.js'
import type { Endpoint, StatusMessage } from '../control/messages.js'
import { CheckpointError } from '../errors.js'
import type { NativeModule, NativeResponder } from '../native.js'
import { fromNative } from '../native-error.js'
import { loadNative } from '../native-loader.js'
import { Pool, type PoolNotices } from '../pool/pool.js'
import { TypedEventTarget } from '../typed-events.js'
import type { CallOptions, Durability, UnitStatus } from '../types.js'
import { within } from '../within.js'
import { PoolCatalogue } from './catalogue.js'
import { ControlServer } from './control-server.js'
import { type ControlHandlers, controlHandlers } from './control-service.js'
import { RegionEventLog } from './event-log.js'
import { type UnitEvent, type UnitEventFacts, type UnitEvents, UnitJournal } from './journal.js'
import { type MadePool, makePool } from './make-pool.js'
import { type OpenedMedium, openMedium } from './medium.js'
import {
  type CheckedDevdaxPool,
  type CheckedFilePool,
  type CheckedOptions,
  checkMaking,
  checkOptions,
  type MakingOptions,
  type PoolOptions,
  type UnitOptions,
} from './options.js'
import { RegionService } from './regions.js'
import { SessionTable } from './sessions.js'

type State = UnitStatus['state']

const tokenLifeMs = 10_000
const everyMs = 1000
/** The responder's number of the pool's tables. */
const tablesId = 1n
/** Regions brought into memory at a time when a file pool is opened. */
const loadsAtOnce = 4

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
  #sessions: SessionTable | undefined
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
    throw new CheckpointError('NOT_SUPPORTED', 'A pool in memory is made when its unit starts, and gone with it.')
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
    const { id, generation, state, used, bytes, regions, medium, version } = this.#status()
    return loggable({
      id,
      generation,
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
   * Calling it again waits for the first call.
   * @throws CheckpointError `TIMEOUT`, `ABORTED` while the stop goes on; `MEDIUM_FAILED`
   */
  async close(options?: CallOptions): Promise<void> {
    const call = takeCall(options)
    this.#closing ??= this.#stop()
    await within(this.#closing, call, {
      late: 'The unit goes on stopping; it has not stopped',
      wait: 'The wait for the unit to stop',
      outcome: 'unknown',
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close({ timeoutMs: 0 })
  }

  async #start(signal: AbortSignal | undefined): Promise<void> {
    const listen = await this.#allowed(this.#options.listen, 'The address of the control service')
    const data = await this.#dataPlaneAddresses(listen)
    const native = loadNative()
    this.#version = native.version
    checkAborted(signal)

    const { pool: poolOptions } = this.#options
    if (poolOptions.medium !== 'memory' && poolOptions.create) await this.#makePool(native, poolOptions, signal)
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
    const control = await ControlServer.listen(listen, handlers, () => this.#status(), this.#journal)
    this.#control = control
    this.#address = formatAddress(control.address)
    this.#openings.push(() => this.#closeControl())
    checkAborted(signal)

    const notices: PoolNotices = {
      mended: (what, because, record) =>
        this.#journal.tell('mended', { what, because, ...(record === undefined ? {} : { region: record.name }) }),
      failed: (error) => this.#onMediumFailed(fromNative(error)),
    }
    // Each life of a memory pool is another one: clients tell them apart by its generation.
    const { maxRegions } = poolOptions
    const pool =
      poolOptions.medium === 'memory'
        ? await Pool.format(medium, {
            medium: 'memory',
            startsBefore: BigInt(Date.now()),
            ...(maxRegions === undefined ? {} : { maxRegions }),
          })
        : await Pool.open(medium, notices)
    this.#pool = pool
    if (poolOptions.medium !== 'memory') await this.#load(pool, signal)

    const responder = new native.Responder(
      nativeMedium,
      { maxConnections: this.#options.limits.connections, tokenLifeMs, unitGeneration: pool.starts },
      { onSessionAlone: () => this.#regions?.lookAtOwners() },
    )
    this.#responder = responder
    this.#openings.push(() => this.#stopResponder())
    responder.addRegion(tablesId, [0, pool.geometry.firstDataOffset], pool.geometry.firstDataOffset, 0n, true)
    const sessions = new SessionTable(responder, this.#options.limits)
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
    this.#listen(responder, native.fabrics, data)
    await this.#advertise()
    checkAborted(signal)

    this.#state = pool.readOnly === undefined ? 'ready' : 'read-only'
    this.#openings.push(this.#everySecond(sessions, regions))
    ready(
      controlHandlers({
        regions,
        sessions,
        responder,
        geometry: pool.geometry,
        endpoints: this.#endpoints,
        unitGeneration: pool.starts,
        maxRegionBytes,
        tokenLifeMs,
        tablesId,
        status: () => this.#status(),
      }),
    )
    regions.ready()
    control.setServing(true)
    if (this.#options.anyAddress) this.#warnOpen()
    if (pool.readOnly !== undefined) this.#journal.log('warn', 'the pool is read-only', { because: pool.readOnly })
    this.#tellState(pool.readOnly)
    this.#journal.log('info', 'ready', { address: this.address, data: this.#dataAddresses, regions: pool.regions })
  }

  async #allowed(text: string, what: string): Promise<HostPort> {
    const address = await resolve(parseAddress(text, what), what)
    if (this.#options.anyAddress || isLoopback(address.host)) return address
    throw new CheckpointError(
      'UNAUTHENTICATED',
      `${what} is ${formatAddress(address)}, which is not loopback, and no authentication is configured.`,
      {
        help:
          'Use a loopback address. Where every host that reaches the address may read, write and delete everything: ' +
          "security { mode: 'dangerously-unauthenticated' }, or --dangerously-allow-unauthenticated.",
      },
    )
  }

  async #dataPlaneAddresses(listen: HostPort): Promise<HostPort[]> {
    const texts = this.#options.data.length > 0 ? this.#options.data : [formatAddress({ host: listen.host, port: 0 })]
    const addresses = []
    for (const text of texts) {
      const address = await this.#allowed(text, 'An address of the data plane')
      if (isWildcard(address.host) && this.#options.advertise.length === 0) {
        throw new CheckpointError(
          'INVALID_ARGUMENT',
          `The data plane listens on ${formatAddress(address)}, and clients have to be told where to connect.`,
          { help: 'Name an address of one interface, or what to advertise (--advertise host).' },
        )
      }
      addresses.push(address)
    }
    return addresses
  }

  async #makePool(
    native: NativeModule,
    options: CheckedFilePool | CheckedDevdaxPool,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    try {
      const { path, bytes, id } = await makePool(native, options, signal)
      this.#journal.tell('pool-made', { what: path, bytes: BigInt(bytes), because: `asked for; its id is ${id}` })
    } catch (error) {
      // It is asked for only in case that there is none; what is there is opened, or refused with what is wrong.
      if (!(error instanceof CheckpointError && error.code === 'POOL_EXISTS')) throw error
    }
  }

  /**
   * Brings what regions hold from the medium into memory, before anybody reads it. One that cannot be read is set apart.
   */
  async #load(pool: Pool, signal: AbortSignal | undefined): Promise<void> {
    const records = pool.records()[Symbol.iterator]()
    const worker = async () => {
      for (let next = records.next(); !next.done; next = records.next()) {
        checkAborted(signal)
        await pool.load(next.value)
      }
    }
    const started = performance.now()
    await Promise.all(Array.from({ length: loadsAtOnce }, worker))
    for (const { slot, record, because } of pool.damaged) {
      const what = `entry ${slot} of the region table`
      this.#journal.tell('damaged', {
        what,
        because,
        ...(record === undefined ? {} : { region: record.name, regionId: record.id, epoch: record.epoch }),
      })
    }
    this.#journal.log('info', 'pool loaded', {
      regions: pool.regions,
      afterCrash: !pool.wasClean,
      ms: Math.round(performance.now() - started),
    })
  }

  #listen(responder: NativeResponder, fabrics: readonly ('iwarp' | 'verbs')[], data: readonly HostPort[]): void {
    const { transport } = this.#options
    if (transport !== 'auto' && !fabrics.includes(transport)) {
      throw new CheckpointError(
        'NOT_SUPPORTED',
        `This build has no ${transport} fabric; it has ${fabrics.join(', ')}.`,
        {
          help: 'Use transport iwarp, or auto.',
        },
      )
    }
    for (const fabric of transport === 'auto' ? fabrics : [transport]) {
      for (const address of data) {
        try {
          const port = responder.listen(fabric, address.host, address.port)
          this.#endpoints.push({ transport: fabric, host: address.host, port })
        } catch (error) {
          const coded = listenError(error, address, 'The data plane')
          // With auto, a machine without a device for verbs is as good as a build without it.
          if (transport !== 'auto' || fabric === 'iwarp') throw coded
          this.#journal.log('info', `no ${fabric} on this address`, {
            address: formatAddress(address),
            because: coded.message,
          })
        }
      }
    }
    this.#dataAddresses = this.#endpoints.map(formatAddress)
  }

  /** Replaces what clients are told. */
  async #advertise(): Promise<void> {
    const { advertise } = this.#options
    if (advertise.length === 0) return
    const listening = this.#endpoints
    const told: Endpoint[] = []
    for (const [index, text] of advertise.entries()) {
      const address = await resolve(parseAddress(text, 'An advertised address', { port: 0 }), 'An advertised address')
      const sameIndex = listening[index] ?? listening[0]
      if (address.port === 0) told.push(...listening.map((endpoint) => ({ ...endpoint, host: address.host })))
      else if (sameIndex !== undefined) told.push({ transport: sameIndex.transport, ...address })
    }
    this.#endpoints = told
  }

  #warnOpen(): void {
    const warning =
      'No authentication: whoever reaches this unit may read, write and delete everything in it. ' +
      `It listens on ${[this.address, ...this.#dataAddresses].join(', ')}.`
    if (this.#journal.logged) this.#journal.log('warn', warning)
    else process.emitWarning(warning, { code: 'RDMA_CHECKPOINT_UNAUTHENTICATED' })
  }

  #status(): StatusMessage {
    const pool = this.#pool
    const state = this.#state === 'ready' && pool?.readOnly !== undefined ? 'read-only' : this.#state
    const counters = state === 'starting' || state === 'stopping' ? {} : (this.#responder?.counters() ?? {})
    return {
      id: pool?.id ?? '',
      generation: pool?.starts ?? 0n,
      state,
      used: BigInt(pool?.used ?? 0),
      bytes: BigInt(pool?.geometry.poolBytes ?? this.#medium?.medium.bytes ?? 0),
      regions: pool?.regions ?? 0,
      promises: [...this.promises],
      endpoints: this.#endpoints,
      version: this.#version,
      medium: this.#options.pool.medium,
      counters: new Map([
        ...Object.entries(counters).map(([name, value]): [string, bigint] => [name, BigInt(value)]),
        ['regionsDamaged', BigInt(pool?.damaged.length ?? 0)],
      ]),
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
        `What was visible and not durable could not be written back: the medium had failed. ${fromNative(pool.failure).message}`,
        {
          cause: pool.failure,
          outcome: 'unknown',
          help: 'What was answered as durable before it failed is there. Mend the medium before the next start.',
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

  /** Forgets clients that are gone, and tells what the data plane has counted. @returns what ends it */
  #everySecond(sessions: SessionTable, regions: RegionService): () => Promise<void> {
    let running: Promise<void> = Promise.resolve()
    const counted = new CountedRefusals()
    const timer = setInterval(() => {
      running = running.then(async () => {
        this.#journal.settle()
        const counters = this.#responder?.counters() ?? {}
        for (const facts of counted.since(counters)) this.#journal.tell('refused', facts, 'warn')
        for (const session of sessions.expired()) {
          this.#journal.log('info', 'a client is gone', { client: session.identity, handles: session.handles.size })
          await regions.expire(session)
        }
      })
      // The next turn tries again; a responder that is gone means that the unit is stopping.
      running = running.catch(() => undefined)
    }, everyMs)
    timer.unref()
    return async () => {
      clearInterval(timer)
      await running
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

/** Connections that the data plane turned away or broke, by the differences of its counters. */
class CountedRefusals {
  #refused = 0n
  #violated = 0n

  since({ connectionsRefused = 0n, connectionsViolated = 0n }: Record<string, bigint>): UnitEventFacts[] {
    const found: UnitEventFacts[] = []
    const [refused, violated] = [connectionsRefused - this.#refused, connectionsViolated - this.#violated]
    this.#refused = connectionsRefused
    this.#violated = connectionsViolated
    const what = 'connections of the data plane'
    if (refused > 0n) found.push({ what, because: 'no valid token or hello, or no room', count: Number(refused) })
    if (violated > 0n) found.push({ what, because: 'they broke the protocol', count: Number(violated) })
    return found
  }
}

function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || /^[0:]+$/.test(host)
}

function checkAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) {
    throw new CheckpointError('ABORTED', 'The start of the unit was aborted.', { cause: signal.reason })
  }
}

function stopping(): CheckpointError {
  return new CheckpointError('UNIT_STOPPING', 'The unit is stopping.', { retryable: true })
}
