/**
 * The connections of a unit's control service, by what they have proved: one that has made no call with a session is a stranger's,
 * and of strangers the one that has done nothing for longest gives way when others come. What has a session is not touched.
 */
import type { Socket } from 'node:net'
import { callsUnderWay } from '../control/status.js'
import { CheckpointError } from '../errors.js'

/** A peer that answers closes its end within a round trip. */
const lingerMs = 500

interface Guest {
  readonly socket: Socket
  /** Calls under way. */
  calls: number
  /** The session that it has proved itself by. */
  session: bigint | undefined
}

/** A client has one connection, and for a moment a second one while the first ends. */
const connectionsOfSession = 2
/** Calls under way of a stranger: it opens a session, asks for the status, or watches the health of the unit. */
export const callsOfStranger = 16
/** Whether sessions have ended is looked at no more often than this. */
const sweepMs = 1000

export class ControlGuests {
  readonly #places: number
  readonly #knows: (session: bigint) => boolean
  readonly #all = new Map<string, Guest>()
  /** Whoever has done nothing for longest comes first. */
  readonly #strangers = new Set<Guest>()
  /** The oldest first. */
  readonly #ofSession = new Map<bigint, Guest[]>()
  #sweptAt = Number.NEGATIVE_INFINITY
  /** Strangers that had to go. */
  yielded = 0

  /**
   * @param places for strangers
   * @param knows whether there is such a session
   */
  constructor(places: number, knows: (session: bigint) => boolean) {
    this.#places = places
    this.#knows = knows
  }

  get size(): number {
    return this.#all.size
  }

  /** A connection has come, and stays as long as its socket is open or until it has to give way. */
  enter(socket: Socket): void {
    const peer = `${socket.remoteAddress}:${socket.remotePort}`
    const guest: Guest = { socket, calls: 0, session: undefined }
    this.#all.set(peer, guest)
    this.#strangers.add(guest)
    socket.once('close', () => {
      if (this.#all.get(peer) === guest) this.#all.delete(peer)
      this.#strangers.delete(guest)
      this.#leaveSession(guest)
    })
    if (this.#all.size > this.#places) this.#sweep()
    while (this.#strangers.size > this.#places) {
      const [idle] = this.#strangers
      if (idle === undefined) break
      this.#strangers.delete(idle)
      this.yielded++
      idle.socket.destroy()
    }
  }

  /**
   * A call begins.
   * @returns what ends it
   * @throws CheckpointError `LIMIT_REACHED`
   */
  beginCall(peer: string): () => void {
    const guest = this.#all.get(peer)
    if (guest === undefined) return () => undefined
    if (this.#strangers.has(guest)) {
      if (guest.calls >= callsOfStranger) {
        throw new CheckpointError(
          'LIMIT_REACHED',
          `The connection has ${callsOfStranger} calls under way and no session, and that is the limit.`,
          {
            retryable: true,
            details: { [callsUnderWay]: callsOfStranger },
            help: 'Open a session, or wait until some of the calls have ended.',
          },
        )
      }
      this.#touch(guest)
    }
    guest.calls++
    let over = false
    return () => {
      if (over) return
      over = true
      guest.calls--
      if (this.#strangers.has(guest)) this.#touch(guest)
    }
  }

  /**
   * Whoever is still connected has a moment to read what was sent last and to close its end: cutting it off at once may reset the
   * connection and take that away. Then it is cut off, also one that does not answer.
   */
  async endAll(): Promise<void> {
    const sockets = [...this.#all.values()].map(({ socket }) => socket).filter((socket) => !socket.closed)
    const closed = sockets.map((socket) => new Promise<void>((resolve) => socket.once('close', () => resolve())))
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, lingerMs)
    })
    await Promise.race([Promise.all(closed), late])
    clearTimeout(timer)
    for (const socket of sockets) socket.destroy()
  }

  knows(session: bigint): boolean {
    return this.#knows(session)
  }

  /** A call of this peer names a session; it proves itself if there is such a session. */
  prove(peer: string, session: bigint): void {
    const guest = this.#all.get(peer)
    if (guest === undefined || guest.session === session || !this.#knows(session)) return
    if (guest.session !== undefined && this.#knows(guest.session)) return
    this.#leaveSession(guest)
    guest.session = session
    this.#strangers.delete(guest)
    const others = this.#ofSession.get(session) ?? []
    this.#ofSession.set(session, others)
    others.push(guest)
    const [oldest] = others
    if (others.length > connectionsOfSession && oldest !== undefined) this.#demote(oldest)
  }

  #touch(guest: Guest): void {
    this.#strangers.delete(guest)
    this.#strangers.add(guest)
  }

  /** Those whose session has ended are strangers again. */
  #sweep(): void {
    const now = performance.now()
    if (now - this.#sweptAt < sweepMs) return
    this.#sweptAt = now
    for (const [session, guests] of [...this.#ofSession]) {
      if (!this.#knows(session)) for (const guest of [...guests]) this.#demote(guest)
    }
  }

  #demote(guest: Guest): void {
    this.#leaveSession(guest)
    this.#strangers.add(guest)
  }

  #leaveSession(guest: Guest): void {
    const { session } = guest
    if (session === undefined) return
    guest.session = undefined
    const left = this.#ofSession.get(session)?.filter((other) => other !== guest) ?? []
    if (left.length > 0) this.#ofSession.set(session, left)
    else this.#ofSession.delete(session)
  }
}
