/** A persistent memory unit: owns a pool and exposes its regions over RDMA. */
import { formatAddress, type HostPort, isLoopback, listenError, parseAddress, resolve } from '../address.js'
import { held, holdsProcess } from '../call/hold.js'
import { takeCall } from '../call/options.js'
import type { Endpoint, StatusMessage } from '../control/messages.js'
import { CheckpointError } from '../errors.js'
import type { NativeResponder } from '../native.js'
import { fromNative } from '../native-error.js'
import { loadNative } from '../native-loader.js'
import { Pool } from '../pool/pool.js'
import type { CallOptions, Durability, UnitStatus } from '../types.js'
import { within } from '../within.js'
import { PoolCatalogue } from './catalogue.js'
import { ControlServer } from './control-server.js'
import { type ControlHandlers, controlHandlers } from './control-service.js'
import { RegionEventLog } from './event-log.js'
import { type OpenedMedium, openMedium } from './medium.js'
import { type CheckedOptions, checkOptions, type UnitOptions } from './options.js'
import { RegionService } from './regions.js'
import { SessionTable } from './sessions.js'

type State = UnitStatus['state']

const tokenLifeMs = 10_000
const reapEveryMs = 1000
/** The responder's number of the pool's tables. */
const tablesId = 1n
/** Regions brought into memory at a time when a file pool is opened. */
const loadsAtOnce = 4

export class PersistentMemoryUnit implements AsyncDisposable {
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

  private constructor(options: CheckedOptions) {
    this.#options = options
  }

  /**
   * Opens or makes the pool and serves it. Settles when clients can use every region.
   *
   * @throws CheckpointError
   * - `INVALID_ARGUMENT` an option; no pool at the path and no size; another size than the pool has
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
    return unit
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
    return {
      id,
      generation,
      state: state as State,
      used,
      bytes,
      regions,
      promises: this.promises,
      medium,
      version,
    }
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

    this.#medium = await openMedium(native, this.#options.pool)
    const { native: nativeMedium, medium, fresh, extentAlignment } = this.#medium
    this.#openings.push(() => nativeMedium.close())

    let ready: (handlers: ControlHandlers) => void = () => undefined
    let failed: (error: unknown) => void = () => undefined
    const handlers = new Promise<ControlHandlers>((resolve, reject) => {
      ready = resolve
      failed = reject
    })
    handlers.catch(() => undefined)
    this.#openings.push(() => failed(stopping()))
    const control = await ControlServer.listen(listen, handlers, () => this.#status())
    this.#control = control
    this.#address = formatAddress(control.address)
    this.#openings.push(() => this.#closeControl())
    checkAborted(signal)

    const { pool: poolOptions } = this.#options
    const maxRegions = poolOptions.maxRegions === undefined ? {} : { maxRegions: poolOptions.maxRegions }
    // Each life of a memory pool is another one: clients tell them apart by its generation.
    const startsBefore = poolOptions.medium === 'memory' ? BigInt(Date.now()) : 0n
    const pool = fresh
      ? await Pool.format(medium, {
          medium: poolOptions.medium,
          ...maxRegions,
          startsBefore,
          ...(extentAlignment === undefined ? {} : { extentAlignment }),
        })
      : await Pool.open(medium)
    this.#pool = pool
    if (!fresh) await this.#load(pool, signal)

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
    const regions = new RegionService(new PoolCatalogue(pool), responder, sessions, events, maxRegionBytes)
    this.#openings.push(() => regions.stopWatches())
    for (const record of pool.records()) regions.serve(record)
    this.#sessions = sessions
    this.#regions = regions
    this.#listen(responder, native.fabrics, data)
    await this.#advertise()
    checkAborted(signal)

    this.#state = pool.readOnly === undefined ? 'ready' : 'read-only'
    this.#openings.push(reaper(sessions, regions))
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
    control.setServing(true)
    if (this.#options.anyAddress) this.#warnOpen()
    if (pool.readOnly !== undefined) this.#options.log('warn', 'the pool is read-only', { because: pool.readOnly })
    this.#options.log('info', 'ready', { address: this.address, data: this.#dataAddresses, regions: pool.regions })
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

  /** Brings what regions hold from the medium into memory, before anybody reads it. */
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
    this.#options.log('info', 'pool loaded', {
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
          this.#options.log('info', `no ${fabric} on this address`, {
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
    if (this.#options.logged) this.#options.log('warn', warning)
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
      counters: new Map(Object.entries(counters).map(([name, value]) => [name, BigInt(value)])),
      maxRegions: pool?.geometry.slots ?? 0,
      sessions: this.#sessions?.size ?? 0,
    }
  }

  async #stop(): Promise<void> {
    this.#state = 'stopping'
    this.#regions?.stopWatches()
    await this.#closeControl()
    await this.#regions?.idle()
    await this.#stopResponder()
    let failure: unknown
    try {
      await this.#writeBack()
    } catch (error) {
      failure = error
      this.#options.log('error', 'not everything could be made durable', { because: fromNative(error).message })
    }
    await this.#undo()
    this.#options.log('info', 'stopped')
    if (failure !== undefined) throw fromNative(failure)
  }

  /** What was visible when the unit stopped in order is there when it comes back. */
  async #writeBack(): Promise<void> {
    const [pool, regions, medium] = [this.#pool, this.#regions, this.#medium]
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

  async #undo(): Promise<void> {
    for (let close = this.#openings.pop(); close !== undefined; close = this.#openings.pop()) {
      try {
        await close()
      } catch (error) {
        this.#options.log('error', 'a part of the unit did not stop in order', { because: fromNative(error).message })
      }
    }
  }
}

holdsProcess(PersistentMemoryUnit)

/** Forgets clients that are gone. @returns what ends it */
function reaper(sessions: SessionTable, regions: RegionService): () => Promise<void> {
  let running: Promise<void> = Promise.resolve()
  const timer = setInterval(() => {
    running = running.then(async () => {
      for (const session of sessions.expired()) await regions.expire(session)
    })
    // The next turn tries again; a responder that is gone means that the unit is stopping.
    running = running.catch(() => undefined)
  }, reapEveryMs)
  timer.unref()
  return async () => {
    clearInterval(timer)
    await running
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
