/** What a unit does every second: forgets clients that are gone, and tells what the data plane has counted. */
import type { NativeResponder } from '../native.js'
import type { UnitEventFacts, UnitJournal } from './journal.js'
import type { RegionOpenings } from './region-openings.js'
import type { SessionTable } from './sessions.js'

const everyMs = 1000

/** @returns what ends it, and settles when nothing of it is under way */
export function keepHouse(
  responder: NativeResponder,
  sessions: SessionTable,
  openings: RegionOpenings,
  journal: UnitJournal,
): () => Promise<void> {
  let running: Promise<void> = Promise.resolve()
  const counted = new CountedRefusals()
  const timer = setInterval(() => {
    running = running.then(async () => {
      journal.settle()
      for (const facts of counted.since(responder.counters())) journal.tell('refused', facts, 'warn')
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
