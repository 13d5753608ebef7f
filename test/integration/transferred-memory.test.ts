// Memory that is transferred away while a call uses it: nothing crashes, nothing else is sent or written to, and the call says
// what became of it.
import { expect, test } from 'vitest'
import { builtIndex, ended, nextMessage, startChild } from './client-support.js'

interface Taken {
  results: Record<string, Record<string, unknown>>
  refused: string[]
}

test('memory that is transferred away in the middle of a call and collected harms nobody', async () => {
  const unit = startChild('unit.js', builtIndex, '127.0.0.1:0', 'memory', '256')
  try {
    const { address } = await nextMessage<{ address: string }>(unit)
    const child = startChild('transfers-memory.js', address, String(unit.pid))
    const end = ended(child, 90_000)
    const taken = await Promise.race([nextMessage<Taken>(child), end.then((early) => early)])
    expect(taken).toHaveProperty('results')
    const { results, refused } = taken as Taken
    for (const [way, result] of Object.entries(results)) {
      expect({ way, ...result }).toEqual({
        way,
        write: 'ok',
        writeAll: 'ok',
        allocated: 'ok',
        append: 'ok',
        full: 'ok',
        readInto: 'INVALID_ARGUMENT',
        waiting: 'INVALID_ARGUMENT',
        landed: [true, true, true, true, true],
        kept: true,
      })
    }
    // What Node refuses is the memory of allocate() only, and not by every way.
    expect(refused.length).toBeLessThanOrEqual(Object.keys(results).length)
    expect(await end).toMatchObject({ code: 0 })
  } finally {
    unit.kill('SIGKILL')
  }
})
