/** The link to the other process of a pair: which process it is, what it publishes, and whether it is hung or dead. */
import { listenError } from '../address.js'
import { Call } from '../call/call.js'
import { boundedText, invalid, uint64 } from '../call/check.js'
import { holdsProcess } from '../call/hold.js'
import { takeCall } from '../call/options.js'
import { eventFacts, loggable, printsAs } from '../call/printed.js'
import { shape, take } from '../call/shape.js'
import { CheckpointError } from '../errors.js'
import type { NativeFailure, NativePeerLink } from '../native.js'
import { fromNative, fromNativeCode } from '../native-error.js'
import { loadNative } from '../native-loader.js'
import { TypedEventTarget } from '../typed-events.js'
import type { CallOptions } from '../types.js'
import { checkPeerOptions, type PeerOptions } from './options.js'

const mostHeldEvents = 64
const mostStateBytes = 24

const updateShape = shape<PeerUpdate>({
  state(value, what) {
    const state = boundedText(value, what, 1, mostStateBytes)
    if (/^[\x21-\x7e]+$/.test(state)) return state
    throw invalid(`${what} must have printable ASCII characters only, and no space.`)
  },
  epoch: uint64,
  progress: uint64,
})

/** The partner's status block, just read by RDMA. */
export interface PeerStatus {
  /** What the partner's application published last; `loading` until it publishes. */
  state: string
  /** Version of the status block's layout. */
  version: number
  epoch: bigint
  /** 32 hexadecimal digits; different after each start of the partner. */
  bootId: string
  progress: bigint
  /**
   * Milliseconds since the partner's event loop last turned, or since its link was started; up to some 200 ms in a healthy
   * process. A native thread of the partner keeps it: a process whose event loop is blocked answers, with a growing age.
   */
  loopAgeMs: number
  /** Milliseconds since the partner's link was started. */
  uptimeMs: number
}

/** What {@link Peer.publish} changes; a field that is left out stays unchanged. */
export interface PeerUpdate {
  /** 1 to 24 printable ASCII characters without space. */
  state?: string
  /** 0 to 2^64-1. */
  epoch?: bigint
  /** 0 to 2^64-1: the application's progress, such as the sequence of its last checkpoint. */
  progress?: bigint
}

/** What the native link recorded; times are milliseconds since 1970, with fractions. */
export interface PeerReport {
  bootId: string
  linked: boolean
  /** Boot id of the partner of the current link, or of the last one. */
  partner?: string
  /** Connects that were started. */
  attempts: number
  /** Handshakes that led to a link. */
  links: number
  /** Refused connections of other processes. */
  refusals: number
  /** Why there is no link: the outcome of the last attempt, or the end of the last link. */
  problem?: CheckpointError
  startedAt: number
  linkedAt?: number
  /** This process, and not the partner, connected the last link. */
  connected: boolean
  /** For the last link, if this process connected it: milliseconds from the connect to the end of each of the four steps. */
  stepMs: readonly number[]
}

/** `linked`, `lost` and `error` of a {@link Peer}. */
export class PeerEvent extends Event {
  /** Boot id of the partner; undefined in `error` events. */
  readonly partner: string | undefined
  /** In `lost`: how the link ended. In `error`: why there is no link although the partner is there, or what was refused. */
  readonly error: CheckpointError | undefined

  /** @internal */
  constructor(type: 'linked' | 'lost' | 'error', partner: string | undefined, error: CheckpointError | undefined) {
    super(type)
    this.partner = partner
    this.error = error
  }
}

/**
 * One end of the link between the two processes of a pair. A native thread listens, connects and retries until the partner is
 * there, and again when a link ends; it needs no JavaScript. A link never keeps the process running.
 *
 * `node --import rdma-checkpoint/early app.js` starts one before the application's first line, see {@link earlyPeer};
 * `docs/peer-protocol.md` describes what goes over the wire.
 */
export class Peer
  extends TypedEventTarget<{ linked: PeerEvent; lost: PeerEvent; error: PeerEvent }>
  implements AsyncDisposable
{
  readonly #link: NativePeerLink
  /** 32 hexadecimal digits that identify this start of the process. */
  readonly bootId: string
  /** address:port on which this process listens. */
  readonly address: string
  #published: Required<PeerUpdate> = { state: 'loading', epoch: 0n, progress: 0n }
  readonly #closed = new AbortController()
  #closing: Promise<void> | undefined
  /** Events from before {@link releaseEvents}; undefined once events are delivered as they come. */
  #held: PeerEvent[] | undefined
  #releasing = false

  private constructor(options: PeerOptions, holdEvents: boolean) {
    super()
    if (holdEvents) this.#held = []
    const checked = checkPeerOptions(options)
    const native = loadNative()
    try {
      this.#link = new native.PeerLink(checked, {
        onChange: (kind, partner, failure) => this.#tell(kind, partner, failure),
      })
    } catch (error) {
      throw listenError(error, checked.listen, 'The peer link')
    }
    this.bootId = this.#link.report().bootId
    this.address = this.#link.address
  }

  /**
   * Starts listening and connecting, and returns at once.
   * @throws CheckpointError `INVALID_ARGUMENT`, `UNAUTHENTICATED`, `ADDRESS_IN_USE`, `NOT_SUPPORTED`, `SYSTEM`,
   * `PLATFORM_UNSUPPORTED`, `ADDON_NOT_FOUND`
   */
  static start(options: PeerOptions): Peer {
    return new Peer(options, false)
  }

  /**
   * Starts a link before its application, which cannot listen yet: events wait for {@link releaseEvents}.
   * @internal
   */
  static startEarly(options: PeerOptions): Peer {
    return new Peer(options, true)
  }

  /**
   * Delivers the held events once the caller has had time to add its listeners, and from then on all events as they come.
   * @internal
   */
  releaseEvents(): void {
    if (this.#held === undefined || this.#releasing) return
    this.#releasing = true
    setImmediate(() => {
      const held = this.#held ?? []
      this.#held = undefined
      for (const event of held) this.dispatchEvent(event)
    })
  }

  /** Whether there is a link now. A partner that has just died may count as linked for up to a second. */
  get linked(): boolean {
    return this.#link.report().linked
  }

  /** What the native thread recorded, whatever this process's event loop was doing. */
  report(): PeerReport {
    const { startedAtMs, linkedAtMs, problem, ...rest } = this.#link.report()
    return {
      ...rest,
      startedAt: startedAtMs,
      ...(linkedAtMs === undefined ? {} : { linkedAt: linkedAtMs }),
      ...(problem === undefined ? {} : { problem: toError(problem) }),
    }
  }

  /**
   * Resolves once there is a link, within 30 s unless `timeoutMs` says otherwise (0: no limit). Keeps the process running meanwhile.
   * @throws CheckpointError `TIMEOUT`, whose cause says why there was no link; `ABORTED`, `CLOSED`
   */
  async whenLinked(options: CallOptions = {}): Promise<void> {
    const call = takeCall(options)
    if (this.#closing !== undefined) throw closed()
    // Removed by hand: Node forgets to remove a listener by its signal once the signal has been garbage-collected.
    let onLinked: () => void = () => undefined
    let onClosed: () => void = () => undefined
    const arrived = new Promise<void>((resolve, reject) => {
      onLinked = () => resolve()
      onClosed = () => reject(closed())
      this.addEventListener('linked', onLinked)
      this.#closed.signal.addEventListener('abort', onClosed)
    })
    try {
      if (this.linked) return
      await new Call('The wait for a link to the partner', call).race(arrived)
    } catch (error) {
      throw this.#withProblem(error)
    } finally {
      this.removeEventListener('linked', onLinked)
      this.#closed.signal.removeEventListener('abort', onClosed)
    }
  }

  /**
   * Reads the partner's status block by RDMA. The partner's event loop takes no part, so that a hung partner answers, too:
   *
   * - a large `loopAgeMs`: the partner is hung, or works hard; its native threads are alive;
   * - a rejection: the partner is dead or unreachable. `CONNECTION_LOST`: the link broke. `CONNECTION_REFUSED`: nothing listens
   *   there, or the partner was not there yet. `TIMEOUT`: there was no answer, because its machine or network is gone, or
   *   the process is stopped.
   *
   * Waits for an answer for one second, or for a shorter `timeoutMs`.
   * @throws CheckpointError those, and other reasons for having no link: `VERSION_MISMATCH`, `UNAUTHENTICATED`,
   * `PROTOCOL_VIOLATION`, `REMOTE_ACCESS`, `LIMIT_REACHED` (the partner is linked with another process), `INVALID_ARGUMENT`
   * (the partner's address leads back here); `CLOSED`, `ABORTED`
   */
  async status(options: CallOptions = {}): Promise<PeerStatus> {
    const call = takeCall(options)
    const read = this.#link.status().catch((error: unknown) => {
      throw fromNative(error)
    })
    const block = await new Call('The wait for the status of the partner', call).race(read)
    const { state, version, epoch, bootId, progress, clockMs, turnedMs } = block
    return loggable({ state, version, epoch, bootId, progress, loopAgeMs: clockMs - turnedMs, uptimeMs: clockMs })
  }

  /**
   * Changes what the partner reads. It takes effect within microseconds, and never blocks.
   * @throws CheckpointError `INVALID_ARGUMENT`, `CLOSED`
   */
  publish(update: PeerUpdate): void {
    const { state, epoch, progress } = { ...this.#published, ...take(updateShape, update) }
    try {
      this.#link.publish(state, epoch, progress)
    } catch (error) {
      throw fromNative(error)
    }
    this.#published = { state, epoch, progress }
  }

  /** Closes the link gracefully, within a second or two, and frees the address. Idempotent. */
  close(): Promise<void> {
    if (this.#closing === undefined) {
      this.#closing = this.#link.close()
      this.#closed.abort()
    }
    return this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #tell(kind: 'linked' | 'lost' | 'problem', partner: string, failure: NativeFailure): void {
    const event =
      kind === 'problem'
        ? new PeerEvent('error', undefined, toError(failure))
        : new PeerEvent(kind, partner, kind === 'lost' ? toError(failure) : undefined)
    if (this.#held === undefined) {
      this.dispatchEvent(event)
      return
    }
    // The application may never call earlyPeer().
    if (this.#held.length === mostHeldEvents) this.#held.shift()
    this.#held.push(event)
  }

  #withProblem(error: unknown): unknown {
    if (!(error instanceof CheckpointError) || error.code !== 'TIMEOUT') return error
    const { problem } = this.report()
    if (problem === undefined) return error
    return new CheckpointError('TIMEOUT', `${error.message} The last attempt: ${problem.message}`, {
      cause: problem,
      retryable: true,
    })
  }
}

printsAs<Event>(PeerEvent, eventFacts)
printsAs(Peer, ({ address, bootId, linked }) => ({ address, bootId, linked }))
holdsProcess(Peer, ['publish', 'report', 'releaseEvents'])

function toError({ code, message, systemError }: NativeFailure): CheckpointError {
  return fromNativeCode(code, message, systemError)
}

function closed(): CheckpointError {
  return new CheckpointError('CLOSED', 'The peer link was closed by this process.')
}
