/**
 * Whatever waits above a region's connection hears of its end at once, with the code that says which: a close, a fence, the
 * region's deletion, the loss of the unit.
 */
import { once } from 'node:events'
import { afterEach, describe, expect, test } from 'vitest'
import { CheckpointError, type Client, connect, PersistentMemoryUnit, type Region } from '../../src/index.js'
import { killChildren, MiB, sleep, unitProcess } from './failover-support.js'

afterEach(killChildren)

/** Far more than it takes, and far less than the 30 s that calls have by default. */
const atOnceMs = 8_000

/** A source that yields so many bytes and then nothing, for good. */
async function* hung(bytes: number): AsyncGenerator<Uint8Array> {
  yield new Uint8Array(bytes)
  await new Promise(() => undefined)
}

/** What becomes of calls, each by its name: a code, or `ok`. */
class Calls {
  readonly ends = new Map<string, string>()
  readonly #all: Promise<void>[] = []

  add(name: string, call: Promise<unknown>): void {
    this.ends.set(name, 'pending')
    const end = (how: string) => void this.ends.set(name, how)
    this.#all.push(
      call.then(
        () => end('ok'),
        (error: unknown) => end(error instanceof CheckpointError ? error.code : String(error)),
      ),
    )
  }

  get pending(): string[] {
    return [...this.ends].filter(([, end]) => end === 'pending').map(([name]) => name)
  }

  async settle(): Promise<Record<string, string>> {
    await Promise.race([Promise.all(this.#all), sleep(atOnceMs)])
    return Object.fromEntries(this.ends)
  }
}

const names = ['full', 'streamed', 'followed'] as const

interface Waiting {
  calls: Calls
  regions: Region[]
}

/** Everything that can wait above a connection. */
async function wait(client: Client): Promise<Waiting> {
  const calls = new Calls()
  const full = await client.openRegion('full', { mode: 'write', create: { bytes: 64 * 1024, onFull: 'wait' } })
  const fullLog = full.log()
  for (;;) {
    const saved = await fullLog.append(new Uint8Array(8 * 1024), { timeoutMs: 300 }).catch(() => undefined)
    if (saved === undefined) break
  }
  calls.add('append for space', fullLog.append(new Uint8Array(8 * 1024), { timeoutMs: 0 }))
  calls.add('append behind it', fullLog.append(new Uint8Array(8 * 1024)))
  calls.add('streamed append for space', fullLog.appendStream(hung(8 * 1024), { bytes: 16 * 1024 }))

  const streamed = await client.openRegion('streamed', { mode: 'write', create: { bytes: 8 * MiB } })
  const streamedLog = streamed.log()
  await streamedLog.append(new Uint8Array(100))
  calls.add('stream whose source hangs', streamedLog.appendStream(hung(2 * MiB), { bytes: 3 * MiB, timeoutMs: 0 }))
  calls.add('append behind the stream', streamedLog.append(new Uint8Array(1)))
  calls.add('stream behind the stream', streamedLog.appendStream(hung(1), { bytes: 2 }))
  calls.add('clear behind the stream', streamedLog.clear())

  const followed = await client.openRegion('followed', { mode: 'write', create: { bytes: MiB } })
  calls.add('follow of the log', followed.log().follow().next())
  await sleep(50)
  return { calls, regions: [full, streamed, followed] }
}

function all(calls: Calls, code: string): Record<string, string> {
  return Object.fromEntries([...calls.ends.keys()].map((name) => [name, code]))
}

const memory = { pool: { medium: 'memory', bytes: 32 * MiB } } as const

describe('everything that waits', () => {
  test('hears of a fence', async () => {
    await using unit = await PersistentMemoryUnit.start(memory)
    await using client = await connect(unit.address)
    await using other = await connect(unit.address)
    const { calls, regions } = await wait(client)
    expect(calls.pending).toHaveLength(calls.ends.size)
    for (const name of names) await other.openRegion(name, { mode: 'takeOver' })
    expect(await calls.settle()).toEqual(all(calls, 'FENCED'))
    for (const region of regions) expect(region.fenced.reason).toMatchObject({ code: 'FENCED', details: { epoch: 2n } })
    await expect((regions[0] as Region).log().append(new Uint8Array(1))).rejects.toMatchObject({
      code: 'FENCED',
      outcome: 'none',
      details: { epoch: 2n },
    })
  })

  test.each(['region', 'client'] as const)('hears of a close of its %s', async (which) => {
    await using unit = await PersistentMemoryUnit.start(memory)
    await using client = await connect(unit.address)
    const { calls, regions } = await wait(client)
    const reader = await client.openRegion('followed')
    calls.add('follow of a reader', reader.checkpoints().follow().next())
    await sleep(20)
    expect(calls.pending).toHaveLength(calls.ends.size)
    const began = performance.now()
    if (which === 'client') await client.close()
    else await Promise.all([...regions, reader].map((region) => region.close()))
    expect(performance.now() - began).toBeLessThan(atOnceMs)
    // What the unit can answer is waited for: these two, once the stream in front of them has been given up.
    expect(await calls.settle()).toEqual({
      ...all(calls, 'CLOSED'),
      'append behind the stream': 'ok',
      'clear behind the stream': 'ok',
    })
    await expect((regions[1] as Region).log().append(new Uint8Array(1))).rejects.toMatchObject({ code: 'CLOSED' })
    await using next = await connect(unit.address)
    expect((await next.openRegion('streamed', { mode: 'write' })).epoch).toBe(2n)
  })

  test('hears of the deletion of its region', async () => {
    await using unit = await PersistentMemoryUnit.start(memory)
    await using client = await connect(unit.address)
    await using other = await connect(unit.address)
    const { calls } = await wait(client)
    const reader = await client.openRegion('followed')
    calls.add('follow of a reader', reader.checkpoints().follow().next())
    for (const name of names) await other.deleteRegion(name)
    expect(await calls.settle()).toEqual(all(calls, 'REGION_NOT_FOUND'))
  })

  test('hears of the loss of the unit, as soon as calls do', async () => {
    const unit = await unitProcess('memory')
    await using client = await connect(unit.address, { retryMs: 1_000 })
    const { calls } = await wait(client)
    unit.process.kill('SIGKILL')
    await once(unit.process, 'exit')
    expect(await calls.settle()).toEqual(all(calls, 'CONNECTION_LOST'))
    const began = performance.now()
    await client.close({ timeoutMs: 100 })
    expect(performance.now() - began).toBeLessThan(atOnceMs)
  })
})
