/**
 * What a unit tells of itself: typed events for programs, and a line of its log for each. Its log and its listeners are
 * the user's, and what they throw ends nothing here. What clients can bring about as often as they like is logged up to
 * a rate, and then counted; names and identities are theirs, so they are escaped and cut.
 */
import type { CheckpointError } from '../errors.js'
import { printableUpTo } from '../printable.js'
import type { UnitStatus } from '../types.js'
import { callUser, warn } from '../user-code.js'
import type { LogLevel, UnitLog } from './options.js'

/** Facts of an event. Which there are depends on its type: see {@link UnitEvents}. */
export interface UnitEventFacts {
  /** Name of the region. */
  region?: string
  /** UUID of the region. */
  regionId?: string
  epoch?: bigint
  /** The owner's identity, or that of the client whose call was refused. What a client says of itself. */
  owner?: string
  /** Who owned the region before. */
  former?: string
  state?: UnitStatus['state']
  /** The call that was refused, the part of the pool that was mended, or what a device did. */
  what?: string
  because?: string
  error?: CheckpointError
  /** How many times, where one event stands for several. */
  count?: number
  bytes?: bigint
  /** Name of an RDMA device. */
  device?: string
  /** Number of its port. */
  port?: number
}

/** Something that happened to a unit or a region of it. */
export class UnitEvent extends Event implements UnitEventFacts {
  readonly at = new Date()
  readonly region?: string
  readonly regionId?: string
  readonly epoch?: bigint
  readonly owner?: string
  readonly former?: string
  readonly state?: UnitStatus['state']
  readonly what?: string
  readonly because?: string
  readonly error?: CheckpointError
  readonly count?: number
  readonly bytes?: bigint
  readonly device?: string
  readonly port?: number

  /** @internal */
  constructor(type: UnitEventType, facts: UnitEventFacts) {
    super(type)
    Object.assign(this, facts)
  }
}

/** The events of a unit, by name. */
export interface UnitEvents {
  /** The unit is ready, read-only or stopping: `state`; `because`. */
  state: UnitEvent
  /** A new, empty pool was made: `what` (its path), `bytes`. */
  'pool-made': UnitEvent
  /** One copy of a part of the pool was damaged, could not be read or was behind, and was written anew from the other: `what`, `because`, `region`. */
  mended: UnitEvent
  /** A region cannot be served, the others are: `region`, `regionId`, `because`, `error`. */
  damaged: UnitEvent
  /**
   * A write or sync failed, or the pool's file was removed, replaced, cut short or written over, or cannot be written any
   * more: nothing more is made durable until a restart. `because`, `error`.
   */
  'medium-failed': UnitEvent
  /** A region was made: `region`, `regionId`, `bytes`. */
  created: UnitEvent
  /** Somebody owns a region that nobody owned: `region`, `regionId`, `epoch`, `owner`. */
  opened: UnitEvent
  /** An owner came back after its connection, or the unit, was gone: `region`, `regionId`, `epoch`, `owner`. */
  resumed: UnitEvent
  /** A region has another owner than the one on record: `region`, `regionId`, `epoch`, `owner`, `former`. */
  'taken-over': UnitEvent
  /** The former owner was cut off and can write no more: `region`, `regionId`, `epoch` (that it had), `owner` (who it was). */
  fenced: UnitEvent
  /** An owner is silent, stalled or gone: `region`, `regionId`, `epoch`, `owner`, `because`. */
  'owner-lost': UnitEvent
  /** An owner gave its region up: `region`, `regionId`, `epoch`, `owner`. */
  released: UnitEvent
  /** A log was cleared: `region`, `regionId`, `epoch`, `owner`. */
  cleared: UnitEvent
  /** A region was deleted: `region`, `regionId`, `epoch`. */
  deleted: UnitEvent
  /** A call of a client, or connections of the data plane, were refused: `what`, `owner` (who asked), `error` or `because`, `count`. */
  refused: UnitEvent
  /**
   * An RDMA device that the unit uses said something of itself: `device`; `what`: `failed`, `removed`, `queue-failed`,
   * `port-down`, `port-up`, `addresses-changed`, `identifier-changed` or `partitions-changed`; `port`, `because`, `count`.
   */
  device: UnitEvent
}
export type UnitEventType = keyof UnitEvents

const lines: Record<UnitEventType, { level: LogLevel; message: string }> = {
  state: { level: 'info', message: 'state changed' },
  'pool-made': { level: 'warn', message: 'a new, empty pool was made' },
  mended: { level: 'warn', message: 'a copy was mended' },
  damaged: { level: 'error', message: 'a region cannot be served' },
  'medium-failed': { level: 'error', message: 'the medium failed' },
  created: { level: 'info', message: 'region created' },
  opened: { level: 'info', message: 'region has an owner' },
  resumed: { level: 'info', message: 'owner came back' },
  'taken-over': { level: 'warn', message: 'region taken over' },
  fenced: { level: 'warn', message: 'former owner fenced' },
  'owner-lost': { level: 'warn', message: 'owner lost' },
  released: { level: 'info', message: 'region released' },
  cleared: { level: 'info', message: 'log cleared' },
  deleted: { level: 'info', message: 'region deleted' },
  refused: { level: 'info', message: 'refused' },
  device: { level: 'warn', message: 'news of an RDMA device' },
}

/** Of each kind of line that clients bring about: so many at once, and then so many a second. */
const burst = 100
const perSecond = 10
/** Characters of a text in a line. A name has 255 bytes at most, a message may quote several. */
const longestText = 1000
const mostItems = 32

interface Allowance {
  left: number
  at: number
  suppressed: number
  level: LogLevel
}

export class UnitJournal {
  readonly #log: UnitLog | undefined
  readonly #dispatch: (event: UnitEvent) => void
  readonly #allowances = new Map<string, Allowance>()
  #warned = false

  /** @param dispatch hands an event to the listeners; never throws */
  constructor(log: UnitLog | undefined, dispatch: (event: UnitEvent) => void) {
    this.#log = log
    this.#dispatch = dispatch
  }

  /** Whether somebody reads the log. */
  get logged(): boolean {
    return this.#log !== undefined
  }

  /** A line of the log. Never throws. */
  log(level: LogLevel, message: string, fields: Readonly<Record<string, unknown>> = {}): void {
    const log = this.#log
    if (log === undefined) return
    callUser(
      () => log(level, printableUpTo(longestText, message), cleaned(fields)),
      (error) => {
        if (this.#warned) return
        this.#warned = true
        warn('The log of a unit failed; the unit goes on.', 'RDMA_CHECKPOINT_LOG', error)
      },
    )
  }

  /** An event, and its line. Never throws. */
  tell(type: UnitEventType, facts: UnitEventFacts, level = lines[type].level): void {
    this.#dispatch(new UnitEvent(type, facts))
    const { error, ...rest } = facts
    const fields = error === undefined ? rest : { ...rest, code: error.code, because: facts.because ?? error.message }
    this.#logUpToRate(error === undefined ? type : `${type} ${error.code}`, level, lines[type].message, {
      event: type,
      ...fields,
    })
  }

  /** Says what was left out, where that has become possible again, or always when it is the end. */
  settle(end = false): void {
    for (const [kind, allowance] of this.#allowances) {
      if (allowance.suppressed === 0 || !(end || this.#take(allowance))) continue
      this.log(allowance.level, 'lines of this kind were left out', { kind, suppressed: allowance.suppressed })
      allowance.suppressed = 0
    }
  }

  #logUpToRate(kind: string, level: LogLevel, message: string, fields: Record<string, unknown>): void {
    let allowance = this.#allowances.get(kind)
    if (allowance === undefined) {
      allowance = { left: burst, at: performance.now(), suppressed: 0, level }
      this.#allowances.set(kind, allowance)
    }
    if (!this.#take(allowance)) {
      allowance.suppressed++
      return
    }
    const { suppressed } = allowance
    allowance.suppressed = 0
    this.log(level, message, suppressed === 0 ? fields : { ...fields, suppressed })
  }

  #take(allowance: Allowance): boolean {
    const now = performance.now()
    allowance.left = Math.min(burst, allowance.left + ((now - allowance.at) / 1000) * perSecond)
    allowance.at = now
    if (allowance.left < 1) return false
    allowance.left--
    return true
  }
}

/** Without undefined values; 64-bit numbers as texts, which every logger takes. */
function cleaned(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const clean: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(fields)) if (value !== undefined) clean[name] = cleanedValue(value)
  return clean
}

function cleanedValue(value: unknown): unknown {
  if (typeof value === 'string') return printableUpTo(longestText, value)
  if (typeof value === 'bigint') return String(value)
  if (Array.isArray(value)) return value.slice(0, mostItems).map(cleanedValue)
  return value
}

/** Expected refusals, logged at info: clients learn the state of a region from them. */
const ordinary: ReadonlySet<string> = new Set([
  'REGION_NOT_FOUND',
  'REGION_EXISTS',
  'REGION_BUSY',
  'SESSION_EXPIRED',
  'UNIT_STOPPING',
  'ABORTED',
])
const grave: ReadonlySet<string> = new Set(['INTERNAL', 'MEDIUM_FAILED', 'SYSTEM', 'OUT_OF_MEMORY'])

export function levelOf(error: CheckpointError): LogLevel {
  return grave.has(error.code) ? 'error' : ordinary.has(error.code) ? 'info' : 'warn'
}
