/** A process's connection to a unit, and the regions it opens there. */
import { randomUUID } from 'node:crypto'
import { Call } from '../call/call.js'
import { checkName, invalid, requireNotAborted, wholeNumber } from '../call/check.js'
import { held, holdsProcess } from '../call/hold.js'
import { takeCall, takeWait } from '../call/options.js'
import { loggable, printsAs } from '../call/printed.js'
import { take } from '../call/shape.js'
import type { LogFinding, MendedMetadata } from '../checkpoint/index.js'
import { CheckpointError } from '../errors.js'
import { afterEffect, withOutcome } from '../outcome.js'
import { TypedEventTarget } from '../typed-events.js'
import type {
  CallOptions,
  Durability,
  Lease,
  OpenOptions,
  RegionEvent,
  RegionInfo,
  RegionOptions,
  RegisteredBuffer,
  UnitStatus,
} from '../types.js'
import type { ClientCore } from './client-core.js'
import { type ClientEvents, ConnectionEvent, LogEvent, OwnershipEvent } from './client-events.js'
import type { EngineLease } from './engine.js'
import { OpenRegion } from './open-region.js'
import { listOptions, openOptions, takeCreate, watchOptions } from './options.js'
import { Region, RegionReader } from './region.js'
import { fromMessage, toModeName, toOnFullName } from './region-info.js'
import type { OpenMode } from './region-opener.js'
import { watchRegion } from './region-watch.js'
import { allocateRegistered } from './registered-memory.js'

const pageSize = 500
/** Whoever closes waits no longer for the unit to confirm the end of the session. */
const sessionCloseMs = 1_000
const openModes = { read: 'READ', write: 'WRITE', takeOver: 'TAKE_OVER' } as const

/**
 * A process's connection to a unit. It keeps a session there by heartbeats of its own thread, whatever JavaScript does,
 * and makes connections again that break. An idle client does not hold the process. Its events are {@link ClientEvents}.
 */
export class Client extends TypedEventTarget<ClientEvents> implements AsyncDisposable {
  #core: ClientCore
  #engine: EngineLease
  /** Open, and not closed. */
  readonly #regions = new Set<OpenRegion>()
  /** Being opened, with the promises of that. */
  readonly #opening = new Map<OpenRegion, Promise<unknown>>()
  #closing: Promise<void> | undefined
  #ended = new AbortController()

  /** @internal Use {@link connect}. */
  constructor(core: ClientCore, engine: EngineLease) {
    super()
    this.#core = core
    this.#engine = engine
  }

  /** Whether all of its connections stand; see the events. */
  get connected(): boolean {
    return this.#closing === undefined && this.#core.shared.account.allStand
  }

  /** @internal For listeners that are there only once connect() has resolved. */
  tellConnected(): void {
    setImmediate(() => {
      const event = new ConnectionEvent('connected', { unit: this.#core.session.address })
      if (this.#closing === undefined) this.dispatchEvent(event)
    })
  }

  /**
   * Makes a region and opens it for writing. It reads as zeros.
   * @throws CheckpointError `REGION_EXISTS`, `POOL_FULL`, `INVALID_ARGUMENT`, `REGION_TOO_SMALL`, `LIMIT_REACHED`,
   * `POOL_READ_ONLY`, and what opening throws
   */
  async createRegion(name: string, options: RegionOptions & CallOptions): Promise<Region> {
    checkName(name)
    const region = takeCreate(options)
    requireNotAborted(region)
    const call = new Call(`Creating region '${name}'`, region)
    await this.#create(name, region, call.rest())
    const opening = afterEffect(() => this.#open(name, 'WRITE', undefined, {}, call.rest()))
    return (await opening) as Region
  }

  /**
   * Opens a region, for reading unless told otherwise. For writing it has one owner at a time: while another one is alive
   * the call rejects with `REGION_BUSY` (details: owner, since, epoch); the region of an owner that is lost is taken over,
   * which raises the epoch and fences it. `takeOver` does the same to an owner that may be alive.
   * @param options create: makes the region first if there is none of that name, within the same time-out
   * @throws CheckpointError `REGION_NOT_FOUND`, `REGION_BUSY`, `FENCED` when another one has taken the region from this open
   * before it could answer, `NOT_DURABLE`, `INVALID_ARGUMENT`, `CONNECTION_LOST`, `TIMEOUT`, `ABORTED`, `CLOSED`
   */
  openRegion(name: string, options?: CallOptions & { mode?: 'read' }): Promise<RegionReader>
  openRegion(
    name: string,
    options: OpenOptions & { mode: 'write' | 'takeOver'; create?: RegionOptions },
  ): Promise<Region>
  async openRegion(
    name: string,
    options: OpenOptions & { mode?: 'read' | 'write' | 'takeOver'; create?: RegionOptions } = {},
  ): Promise<RegionReader> {
    checkName(name)
    const { mode = 'read', durability, lease, create, ...given } = take(openOptions, options)
    if (mode === 'read') requireOwnersAbsent({ create, durability, lease })
    requireNotAborted(given)
    const call = new Call(`Opening region '${name}'`, given)
    const openMode = openModes[mode]
    if (openMode === 'READ') return await this.#open(name, openMode, durability, lease, call.rest())
    let created = false
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#open(name, openMode, durability, lease, call.rest())
      } catch (error) {
        if (create === undefined || !isCode(error, 'REGION_NOT_FOUND') || attempt > 1) {
          throw created ? withOutcome(error, 'unknown') : error
        }
      }
      try {
        await this.#create(name, create, call.rest())
        created = true
      } catch (error) {
        // Somebody was faster.
        if (!isCode(error, 'REGION_EXISTS')) throw error
      }
    }
  }

  /**
   * Deletes the region that has the name now. Its writer and readers are cut off first; their calls reject with `REGION_NOT_FOUND`.
   * Resolves once it is gone, also when somebody else has deleted it meanwhile.
   * @throws CheckpointError `REGION_NOT_FOUND`, `POOL_READ_ONLY`, `REGION_BUSY`
   */
  async deleteRegion(name: string, options?: CallOptions): Promise<void> {
    checkName(name)
    const call = new Call(`Deleting region '${name}'`, takeCall(options))
    this.#requireOpen()
    const { session } = this.#core
    // By its id, so that the call can be repeated when its answer was lost: it deletes no later region of that name.
    const { id } = await session.call('GetRegion', { name }, call.rest())
    try {
      await session.call('DeleteRegion', { name, regionId: id }, call.rest())
    } catch (error) {
      if (!isCode(error, 'REGION_NOT_FOUND')) throw error
    }
  }

  /** The unit's regions, in the order of their names, fetched page by page. */
  async *regions(filter: { prefix?: string } & CallOptions = {}): AsyncGenerator<RegionInfo, void, undefined> {
    const { prefix = '', ...call } = take(listOptions, filter)
    requireNotAborted(call)
    let pageAfter = ''
    for (let more = true; more; ) {
      this.#requireOpen()
      const reply = await this.#core.session.call('ListRegions', { prefix, pageAfter, pageSize }, call)
      for (const region of reply.regions) yield fromMessage(region)
      const last = reply.regions.at(-1)
      more = reply.more && last !== undefined
      if (last !== undefined) pageAfter = last.name
    }
  }

  /**
   * What happens to a region from now on: made, opened for writing, its owner lost, released or taken over, cleared,
   * deleted. There need be no region of that name yet. The first event is a `snapshot`, which says how the region stands;
   * with `sinceRevision`, the events after that one come instead. The iteration goes on after a broken connection and a
   * restart of the unit, without a gap or a duplicate; where events are not kept any more (the unit keeps the last 64 of each
   * name, in memory only) it says so by another snapshot. It ends when the signal aborts, or the client is closed.
   * @throws CheckpointError `INVALID_ARGUMENT`, `CLOSED` at once; `NOT_SUPPORTED` from a unit that has no watch. Once it has begun,
   * nothing that goes wrong ends it: it is tried again, and {@link ClientEvents} tell.
   */
  watch(
    name: string,
    options: { sinceRevision?: bigint; signal?: AbortSignal } = {},
  ): AsyncIterableIterator<RegionEvent> {
    checkName(name)
    const { sinceRevision, signal } = take(watchOptions, options)
    this.#requireOpen()
    const ended = signal === undefined ? this.#ended.signal : AbortSignal.any([signal, this.#ended.signal])
    return watchRegion(this.#core.session, this.#core.shared.account, name, sinceRevision, ended)
  }

  /**
   * Page-aligned memory that a device sends from and reads into in place, registered there at its first use: docs/concepts.md,
   * Memory. Keep it and use it again.
   * @throws CheckpointError `INVALID_ARGUMENT`, `OUT_OF_MEMORY`
   */
  allocate(bytes: number): RegisteredBuffer {
    const size = wholeNumber(1)(bytes, 'bytes')
    this.#requireOpen()
    return allocateRegistered(this.#core.native, size)
  }

  async status(options?: CallOptions): Promise<UnitStatus> {
    const call = takeCall(options)
    this.#requireOpen()
    const reply = await this.#core.session.control.call('Status', {}, call)
    const { id, starts, state, used, bytes, regions, promises, medium, version } = reply
    return loggable({
      id,
      starts,
      state: state as UnitStatus['state'],
      used,
      bytes,
      regions,
      promises: promises.filter((promise): promise is Durability => promise === 'visible' || promise === 'durable'),
      medium,
      version,
    })
  }

  /**
   * Closes all regions, waiting for their pending calls, and ends the session, so that nobody waits for its leases. It takes at most
   * 3 s more than the pending calls do, also where the unit does not answer. Idempotent.
   * @param options when the time is over, or the signal aborts or has aborted, pending calls reject with `CLOSED` and the close
   * resolves at once; the unit is still told of it, in the background, which holds the process for 3 s at most. Default: 30 s
   */
  async close(options?: CallOptions): Promise<void> {
    const call = takeWait(options)
    this.#core.shared.account.end()
    this.#ended.abort()
    this.#closing ??= held(this.#close())
    await new Promise<void>((resolve, reject) => {
      const end = new Call('The close', call).onGivenUp(() => {
        for (const region of this.#regions) void region.close(0)
        resolve()
      })
      this.#closing?.then(resolve, reject).finally(end)
    })
  }

  /** What it shows of itself where it is printed. @internal */
  facts(): object {
    const { session } = this.#core
    const closed = this.#closing !== undefined
    return {
      unit: session.address,
      connected: this.connected,
      closed,
      regions: [...this.#regions].map(({ name }) => name),
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(): Promise<void> {
    const { session, tables } = this.#core
    for (const { connection } of this.#opening.keys()) connection.end(closedError())
    await Promise.allSettled(this.#opening.values())
    await Promise.all([...this.#regions].map((region) => region.close(Number.POSITIVE_INFINITY)))
    // With the session the unit ends what is left of it.
    await Promise.all([tables.close(), session.close(sessionCloseMs)])
    await this.#engine.release()
  }

  async #create(name: string, options: RegionOptions, call: CallOptions): Promise<void> {
    this.#requireOpen()
    const request = {
      name,
      bytes: BigInt(options.bytes),
      mode: toModeName(options.mode ?? 'append'),
      onFull: toOnFullName(options.onFull ?? 'drop-oldest'),
      lease: options.lease ?? {},
      labels: new Map(Object.entries(options.labels ?? {})),
      regionId: randomUUID(),
    }
    await this.#core.session.call('CreateRegion', request, call)
  }

  async #open(
    name: string,
    mode: OpenMode,
    durability: Durability | undefined,
    lease: Lease | undefined,
    call: CallOptions,
  ): Promise<RegionReader> {
    this.#requireOpen()
    const region = new OpenRegion(
      this.#core,
      { name, mode, lease: lease ?? {}, durability },
      {
        onLost: (type, epoch, error) => this.#tellLost(type, { region: name, epoch, error }),
        onFinding: (finding, epoch) => this.#tellFinding(name, finding, epoch),
        onClosed: () => this.#regions.delete(region),
      },
    )
    const opening = region.open(call)
    this.#opening.set(region, opening)
    try {
      await opening
      this.#regions.add(region)
    } finally {
      this.#opening.delete(region)
    }
    return mode !== 'READ' ? new Region(region) : new RegionReader(region)
  }

  #tellLost(type: OwnershipEvent['type'], what: { region: string; epoch: bigint; error: CheckpointError }): void {
    this.dispatchEvent(new OwnershipEvent(type, { unit: this.#core.session.address, ...what }))
  }

  #tellFinding(region: string, finding: LogFinding, epoch: bigint): void {
    const range = finding.kind === 'mended' ? undefined : { from: finding.from, to: finding.to }
    const mended = finding.kind === 'mended' ? withoutKind(finding) : undefined
    const detail = { unit: this.#core.session.address, region, epoch, range, mended }
    this.dispatchEvent(new LogEvent(`log-${finding.kind}`, detail))
  }

  #requireOpen(): void {
    if (this.#closing !== undefined) throw closedError()
  }
}

printsAs(Client, (client) => client.facts())
holdsProcess(Client, ['allocate', 'tellConnected'])

function closedError(): CheckpointError {
  return new CheckpointError('CLOSED', 'The client has been closed.')
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof CheckpointError && error.code === code
}

const ownersOptions = {
  create: 'a region opened for reading has to be there',
  durability: 'a reader writes nothing',
  lease: 'a reader holds no region',
}

/** @throws CheckpointError `INVALID_ARGUMENT` for what would have no effect */
function requireOwnersAbsent(given: Record<keyof typeof ownersOptions, unknown>): void {
  for (const [option, why] of Object.entries(ownersOptions)) {
    if (given[option as keyof typeof ownersOptions] === undefined) continue
    throw invalid(`${option} is for mode 'write' or 'takeOver': ${why}.`)
  }
}

function withoutKind({ headers, entries, rebuilt }: MendedMetadata): MendedMetadata {
  return { headers, entries, rebuilt }
}
