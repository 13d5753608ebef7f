/** What a client tells of its connections and of what it owns. */
import { eventFacts, printsAs } from '../call/printed.js'
import type { MendedMetadata, SequenceRange } from '../checkpoint/index.js'
import type { CheckpointError } from '../errors.js'

/**
 * One of a client's connections to its unit: the session, whose heartbeats keep leases; the control plane, over which regions are
 * opened and watched; a region's data.
 */
export type ConnectionKind = 'session' | 'control' | 'data'

/** `connected`, `disconnected`, `reconnecting` and `restored` of a client. */
export class ConnectionEvent extends Event {
  declare readonly type: 'connected' | 'disconnected' | 'reconnecting' | 'restored'
  /** host:port of the unit. */
  readonly unit: string
  /** Of `disconnected` and `reconnecting`: which connection it is about. */
  readonly connection: ConnectionKind | undefined
  /** Of a `data` connection: the region it belongs to. Of `control`: the region whose watch alone has ended. */
  readonly region: string | undefined
  /** Of `disconnected`: why the connection ended. Of `reconnecting`: why the last try failed. */
  readonly error: CheckpointError | undefined
  /** Of `reconnecting`: the try that comes next, 1 for the first. */
  readonly attempt: number | undefined
  /** Of `reconnecting`: milliseconds until that try. */
  readonly delayMs: number | undefined
  /** Of `restored`: milliseconds since `disconnected`. */
  readonly downMs: number | undefined

  /** @internal */
  constructor(
    type: ConnectionEvent['type'],
    detail: Pick<ConnectionEvent, 'unit'> &
      Partial<Pick<ConnectionEvent, 'connection' | 'region' | 'error' | 'attempt' | 'delayMs' | 'downMs'>>,
  ) {
    super(type)
    this.unit = detail.unit
    this.connection = detail.connection
    this.region = detail.region
    this.error = detail.error
    this.attempt = detail.attempt
    this.delayMs = detail.delayMs
    this.downMs = detail.downMs
  }
}

/** `lost-writes`, `fenced` and `release-failed` of a client: what became of a region that it has open for writing. */
export class OwnershipEvent extends Event {
  declare readonly type: 'lost-writes' | 'fenced' | 'release-failed'
  /** host:port of the unit. */
  readonly unit: string
  /** Name of the region. */
  readonly region: string
  /** The epoch under which this client owns it, or owned it. */
  readonly epoch: bigint
  /** `WRITES_LOST`; `FENCED` with the new epoch in its details, when that is known; why the release is not on record. */
  readonly error: CheckpointError

  /** @internal */
  constructor(type: OwnershipEvent['type'], detail: Pick<OwnershipEvent, 'unit' | 'region' | 'epoch' | 'error'>) {
    super(type)
    this.unit = detail.unit
    this.region = detail.region
    this.epoch = detail.epoch
    this.error = detail.error
  }
}

/**
 * `log-mended`, `log-damaged` and `log-missing` of a client: what the log of a region that it has open for writing was like when it
 * looked for the end of it, to append.
 */
export class LogEvent extends Event {
  declare readonly type: 'log-mended' | 'log-damaged' | 'log-missing'
  /** host:port of the unit. */
  readonly unit: string
  /** Name of the region. */
  readonly region: string
  /** The epoch under which this client owns it. */
  readonly epoch: bigint
  /** Of `log-damaged` and `log-missing`: the sequence numbers of the checkpoints that are not intact. */
  readonly range: SequenceRange | undefined
  /** Of `log-mended`: how many log headers and other entries of the metadata were written anew, or all from the records. */
  readonly mended: MendedMetadata | undefined

  /** @internal */
  constructor(type: LogEvent['type'], detail: Omit<LogEvent, keyof Event>) {
    super(type)
    this.unit = detail.unit
    this.region = detail.region
    this.epoch = detail.epoch
    this.range = detail.range
    this.mended = detail.mended
  }
}

for (const event of [ConnectionEvent, OwnershipEvent, LogEvent]) printsAs<Event>(event, eventFacts)

/** The events of a client, by their types. */
export interface ClientEvents {
  /** The client's connections stand for the first time; told right after `connect()` has resolved. */
  connected: ConnectionEvent
  /** One of the connections has ended, and all had stood until then. */
  disconnected: ConnectionEvent
  /** It waits for the next try to make a connection again. */
  reconnecting: ConnectionEvent
  /** All connections stand again. */
  restored: ConnectionEvent
  /** A region's writes that were visible and not durable may be gone: the reason of its `lostWrites`. */
  'lost-writes': OwnershipEvent
  /** Another process owns the region: the reason of its `fenced`. */
  fenced: OwnershipEvent
  /** A region was closed, and the unit could not record that nobody owns it: after its restart it counts as owned for the lease. */
  'release-failed': OwnershipEvent
  /** One of the two copies of a log's metadata was damaged, or behind the other, and has been written anew. */
  'log-mended': LogEvent
  /** Checkpoints at the end of a log had been durable, and are damaged. The next append goes on behind them. */
  'log-damaged': LogEvent
  /** Checkpoints at the end of a log were to become durable, and a crash took them; or they are damaged. */
  'log-missing': LogEvent
}
