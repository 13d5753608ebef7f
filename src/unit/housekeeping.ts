/** What a unit does every second: forgets clients that are gone, and tells what the data plane has counted. */
import type { NativeResponder } from '../native.js'
import type { ControlServer } from './control-server.js'
import type { UnitEventFacts, UnitJournal } from './journal.js'
import type { RegionOpenings } from './region-openings.js'
import type { Sessions } from './sessions.js'

const everyMs = 1000

/** @returns what ends it, and settles when nothing of it is under way */
export function keepHouse(
  responder: NativeResponder,
  control: Pick<ControlServer, 'counters'>,
  sessions: Sessions,
  openings: RegionOpenings,
  journal: UnitJournal,
): () => Promise<void> {
  let running: Promise<void> = Promise.resolve()
  const counted = new CountedRefusals()
  const timer = setInterval(() => {
    running = running.then(async () => {
      journal.settle()
      const counters = { ...responder.counters(), controlYielded: BigInt(control.counters.controlYielded) }
      for (const facts of counted.since(counters)) journal.tell('refused', facts, 'warn')
      for (const session of sessions.expired()) {
        journal.log('info', 'a client is gone', { client: session.identity, handles: session.handles.size })
        await openings.expire(session)
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

const ofDataPlane = 'connections of the data plane'
const refusalCounters: Readonly<Record<string, readonly [what: string, because: string]>> = {
  connectionsRefused: [ofDataPlane, 'no valid token or hello, or no room'],
  connectionsViolated: [ofDataPlane, 'they broke the protocol'],
  connectionsUnheard: [ofDataPlane, 'they asked for nothing in time, or as nobody asks here'],
  connectionsYielded: [ofDataPlane, 'they had a token and said no hello, and gave way to others'],
  controlYielded: ['connections of the control service', 'they had no session, and gave way to others'],
}

/** Connections that were turned away or broken, by the differences of their counters. */
class CountedRefusals {
  readonly #counted = new Map<string, bigint>()

  since(counters: Readonly<Record<string, bigint>>): UnitEventFacts[] {
    const found: UnitEventFacts[] = []
    for (const [name, [what, because]] of Object.entries(refusalCounters)) {
      const now = counters[name] ?? 0n
      const more = now - (this.#counted.get(name) ?? 0n)
      this.#counted.set(name, now)
      if (more > 0n) found.push({ what, because, count: Number(more) })
    }
    return found
  }
}
