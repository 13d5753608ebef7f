import { describe, expect, it } from 'vitest'
import type { Session } from '../../src/unit/sessions.js'
import { Watches } from '../../src/unit/watches.js'

const session = (id: bigint): Session => ({
  id,
  clientId: '',
  identity: '',
  handles: new Map(),
  closings: new Map(),
  cancelled: new Set(),
})

describe('the watches of a unit', () => {
  it('are limited in all, and the session with the most gives up its oldest', () => {
    const watches = new Watches(10, 6)
    const [greedy, modest, late] = [session(1n), session(2n), session(3n)]
    const many = [0, 1, 2, 3].map(() => watches.begin(greedy))
    const few = [0, 1].map(() => watches.begin(modest))
    const come = watches.begin(late)
    expect(many.map(({ signal }) => signal.aborted)).toEqual([true, false, false, false])
    expect(many[0]?.signal.reason).toMatchObject({ code: 'LIMIT_REACHED', retryable: true })
    expect([...few, come].every(({ signal }) => !signal.aborted)).toBe(true)
    expect(watches.count).toBe(6)
    // Whoever has the most takes none from others.
    expect(() => watches.begin(greedy)).toThrow(expect.objectContaining({ code: 'LIMIT_REACHED' }))
    for (const watch of [...many, ...few, come, come]) watch.end()
    expect(watches.count).toBe(0)
  })

  it('are limited for each session', () => {
    const watches = new Watches(2, 100)
    const own = session(1n)
    const first = watches.begin(own)
    watches.begin(own)
    expect(() => watches.begin(own)).toThrow(expect.objectContaining({ code: 'LIMIT_REACHED' }))
    first.end()
    watches.begin(own)
  })
})
