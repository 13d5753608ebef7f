import { expect, test } from 'vitest'
import { Backoff } from '../../src/client/backoff.js'

test('pauses double up to a quarter of a second, scattered by a quarter, and begin anew after a success', () => {
  for (let run = 0; run < 50; run++) {
    const backoff = new Backoff(10)
    expect(backoff.pending).toBe(false)
    for (const middle of [10, 20, 40, 80, 160, 250, 250]) {
      const pause = backoff.next()
      expect(pause).toBeGreaterThanOrEqual(middle * 0.75)
      expect(pause).toBeLessThan(middle * 1.25)
      expect(backoff.pending).toBe(true)
    }
    backoff.reset()
    expect(backoff.pending).toBe(false)
    expect(backoff.next()).toBeLessThan(12.5)
  }
})
