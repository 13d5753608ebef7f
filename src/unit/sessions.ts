/** The unit's clients: their sessions and the handles each has open. */

import { randomBytes } from 'node:crypto'
import { CheckpointError } from '../errors.js'
import type { NativeResponder, NativeSessionState } from '../native.js'
import { callNative } from '../native-error.js'

/** One open of a region. */
export interface Handle {
  readonly id: bigint
  readonly session: Session
  /** Name and UUID of the region; both empty for the pool's tables. */
  readonly region: string
  readonly regionId: string
  readonly rights: 'read' | 'readWrite'
  readonly epoch: bigint
  /** By which open it was made, should the answer have been lost. */
  readonly opening?: Opening
}
export interface Opening {
  readonly attempt: string
  /** An owner's. */
  readonly secret: Uint8Array | undefined
  /** How often it has been answered. */
  answers: number
}
export interface Session {
  readonly id: bigint
  readonly clientId: string
  readonly identity: string
  readonly handles: Map<bigint, Handle>
  /** Of handles that are being closed, and of those whose release has failed, for those who ask again. */
  readonly closings: Map<Handle, Promise<void>>
  /** Attempts to open that its client has given up. */
  readonly cancelled: Set<string>
}

/** A session that never made its connection is forgotten after so long; its token is void by then, unless tokens live longer than usual. */
const neverConnectedMs = 10_000
/** One without any connection. */
const disconnectedMs = 60_000
/** One that has a connection and says nothing: RDMA has no keepalive, so that its host may be gone. */
const silentMs = 60_000

export class Sessions {
  readonly #responder: NativeResponder
  readonly #limits: { sessions: number; handles: number }
  readonly #sessions = new Map<bigint, Session>()
  #nextHandle = randomId() >> 16n

  constructor(responder: NativeResponder, limits: { sessions: number; handles: number }) {
    this.#responder = responder
    this.#limits = limits
  }

  get size(): number {
    return this.#sessions.size
  }

  has(id: bigint): boolean {
    return this.#sessions.has(id)
  }

  /** @throws CheckpointError `LIMIT_REACHED` */
  open(clientId: string, identity: string): Session {
    if (this.#sessions.size >= this.#limits.sessions) {
      throw new CheckpointError(
        'LIMIT_REACHED',
        `The unit has ${this.#limits.sessions} sessions, and that is its limit.`,
        {
          retryable: true,
          help: 'Close clients, or raise limits.sessions of the unit.',
        },
      )
    }
    let id = randomId()
    while (this.#sessions.has(id)) id = randomId()
    const session: Session = { id, clientId, identity, handles: new Map(), closings: new Map(), cancelled: new Set() }
    callNative(() => this.#responder.addSession(id))
    this.#sessions.set(id, session)
    return session
  }

  /** @throws CheckpointError `SESSION_EXPIRED` */
  get(id: bigint, clientId?: string): Session {
    const session = this.#sessions.get(id)
    if (session === undefined || (clientId !== undefined && clientId !== session.clientId)) {
      throw unknownSession(id)
    }
    return session
  }

  /** For a call that has an effect before it adds its handle. @throws CheckpointError `LIMIT_REACHED` */
  requireRoom(session: Session): void {
    if (session.handles.size >= this.#limits.handles) {
      throw new CheckpointError(
        'LIMIT_REACHED',
        `The session has ${this.#limits.handles} open handles, and that is its limit.`,
        {
          help: 'Close regions that are not used, or raise limits.handles of the unit.',
        },
      )
    }
  }

  /** @throws CheckpointError `LIMIT_REACHED` */
  addHandle(session: Session, handle: Omit<Handle, 'id' | 'session'>): Handle {
    this.requireRoom(session)
    const added: Handle = { ...handle, id: this.#nextHandle++, session }
    session.handles.set(added.id, added)
    return added
  }

  /** Ends the session's connections; its handles are the caller's to close before. */
  remove(session: Session): void {
    if (this.#sessions.delete(session.id)) callNative(() => this.#responder.removeSession(session.id))
  }

  states(): Map<bigint, NativeSessionState> {
    return new Map(callNative(() => this.#responder.sessions()).map((state) => [state.session, state]))
  }

  /**
   * Who has to go so that another can come: of the sessions that never made a connection the one that has waited longest. Their clients
   * have proved nothing, and may have given up. Undefined while there is room, and when all of them have connected.
   */
  yielding(): Session | undefined {
    if (this.#sessions.size < this.#limits.sessions) return undefined
    let longest: NativeSessionState | undefined
    for (const state of this.states().values()) {
      if (state.everConnected || state.dataConnections > 0 || !this.#sessions.has(state.session)) continue
      if (longest === undefined || state.heardMsAgo > longest.heardMsAgo) longest = state
    }
    return longest === undefined ? undefined : this.#sessions.get(longest.session)
  }

  /** Sessions whose clients are gone for good. */
  expired(): Session[] {
    const expired: Session[] = []
    for (const state of this.states().values()) {
      const session = this.#sessions.get(state.session)
      if (session === undefined) continue
      const gone = !state.connected && state.dataConnections === 0
      const limit = !state.everConnected ? neverConnectedMs : gone ? disconnectedMs : silentMs
      if (state.heardMsAgo > limit) expired.push(session)
    }
    return expired
  }
}

export function unknownSession(id: bigint): CheckpointError {
  return new CheckpointError(
    'SESSION_EXPIRED',
    `The unit knows no session ${id}: it has expired, or the unit was restarted.`,
    {
      retryable: true,
      help: 'Open another session; the client does so by itself.',
    },
  )
}

/** Numbers that no other start of the unit gave to another client; 63 bits, never 0. */
function randomId(): bigint {
  return (randomBytes(8).readBigUInt64LE() >> 1n) | 1n
}
