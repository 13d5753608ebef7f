/** What a storm does to an owner, until another one has its region, and how it is undone afterwards. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Random } from '../fault/support/random.mjs'
import type { Contender } from './contender.js'
import type { Host } from './namespaces.js'

/**
 * Killed, stopped for as long as it takes, cut off from the network, stopped over and over, taken from alive, or told to hand over.
 */
export type Fault = 'kill' | 'stop' | 'cut' | 'slow' | 'take' | 'hand-over'

export interface Victim {
  owner: Contender
  /** Where it runs, if that can be cut off. */
  host: Host | undefined
  /** Those that could take the region from it. */
  standbys: readonly Contender[]
}

/** Those that leave its region to whoever is told to have it, and to nobody else if that one dies. */
export const deliberate: ReadonlySet<Fault> = new Set(['take'])

/** Whether it can be done to that owner. A fault that needs something says so here. */
export function possible(fault: Fault, { owner, host, standbys }: Victim): boolean {
  if (fault === 'take') return standbys.some(({ style }) => style === 'open')
  if (fault === 'hand-over') return owner.style === 'pair'
  return fault !== 'cut' || host !== undefined
}

/** Begins; what it returns undoes it. */
export function afflict(fault: Fault, { owner, host, standbys }: Victim, random: Random): () => Promise<void> {
  switch (fault) {
    case 'kill': {
      const killed = owner.kill()
      return () => killed
    }
    case 'stop':
      owner.stop()
      return async () => owner.goOn()
    case 'cut':
      if (host === undefined) throw new Error('this owner cannot be cut off')
      host.cut()
      return async () => host.join()
    case 'slow':
      return pulses(owner, random)
    case 'hand-over':
      owner.handOver()
      return async () => {}
    case 'take': {
      random.pick(standbys.filter(({ style }) => style === 'open')).takeOver()
      return async () => {}
    }
  }
}

function pulses(owner: Contender, random: Random): () => Promise<void> {
  const ended = new AbortController()
  const pulsing = (async () => {
    while (!ended.signal.aborted && owner.alive) {
      owner.stop()
      await sleep(random.integer(100, 900), undefined, { signal: ended.signal }).catch(() => {})
      owner.goOn()
      await sleep(random.integer(10, 150), undefined, { signal: ended.signal }).catch(() => {})
    }
  })()
  return async () => {
    ended.abort()
    await pulsing
  }
}
