// The native surface of src/native.ts: memory functions, media, connections and operations, in one process.
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { NativeEngine } from '../../src/native.js'
import { loadNative } from '../../src/native-loader.js'
import { openData, openSession } from './support/native-peer.mjs'
import { NativeUnit, regionBytes } from './support/native-unit.js'

const addon = loadNative()
const ok = Float64Array.of(0, 0, 0)
const flushed = Float64Array.of(0, 2, 0)

function nativeError(call: () => unknown): { nativeCode: number; message: string; isTypeError: boolean } {
  try {
    call()
  } catch (error) {
    const { nativeCode, message } = error as Error & { nativeCode: number }
    return { nativeCode, message, isTypeError: error instanceof TypeError }
  }
  throw new Error('nothing was thrown')
}

async function rejection(promise: Promise<unknown>): Promise<{ nativeCode: number; message: string }> {
  return promise.then(
    () => {
      throw new Error('it did not reject')
    },
    (error: Error & { nativeCode: number }) => error,
  )
}

describe('memory functions', () => {
  const text = Buffer.from('123456789')

  test('crc32c gives the check value of RFC 3720 and continues from a seed', () => {
    expect(addon.crc32c(text)).toBe(0xe3069283)
    expect(addon.crc32c(text.subarray(4), addon.crc32c(text.subarray(0, 4)))).toBe(0xe3069283)
    expect(addon.crc32c(new Uint8Array(0))).toBe(0)
    expect(addon.crc32c(new Uint8Array(0), 7)).toBe(7)
  })

  test('takeChanges gives the blocks that differ as runs, and brings the base up to date', () => {
    const base = new Uint8Array(100)
    const state = Uint8Array.from({ length: 110 }, (_, index) => (index === 25 || index >= 100 ? index : 0))
    const runs = addon.takeChanges(base, state, 20, 1000) as Uint8Array
    const view = new DataView(runs.buffer, runs.byteOffset, runs.length)
    expect([view.getBigUint64(0, true), view.getBigUint64(8, true)]).toEqual([20n, 20n])
    expect(runs.subarray(16, 36)).toEqual(state.subarray(20, 40))
    expect([view.getBigUint64(36, true), view.getBigUint64(44, true)]).toEqual([100n, 10n])
    expect(runs.subarray(52)).toEqual(state.subarray(100))
    expect(base).toEqual(state.subarray(0, 100))
    expect(addon.takeChanges(base, state.subarray(0, 100), 20, 0)).toEqual(new Uint8Array(0))
    base[0] = 1
    expect(addon.takeChanges(base, state.subarray(0, 100), 20, 35)).toBeUndefined()
    expect(nativeError(() => addon.takeChanges(base, base.subarray(1), 20, 1000)).message).toMatch(/overlap/)
    expect(() => addon.takeChanges(base, state, 0, 1000)).toThrow(TypeError)
  })

  test('copyCrc32c copies what it checksums, and nothing beside it', () => {
    const target = new Uint8Array(20).fill(255)
    expect(addon.copyCrc32c(target, 3, text)).toBe(0xe3069283)
    expect(Buffer.from(target)).toEqual(Buffer.concat([Buffer.alloc(3, 255), text, Buffer.alloc(8, 255)]))
    const shared = new Uint8Array(new SharedArrayBuffer(9))
    shared.set(text)
    expect(addon.copyCrc32c(target, 11, shared)).toBe(0xe3069283)
    expect(nativeError(() => addon.copyCrc32c(target, 12, text)).nativeCode).toBe(23)
    expect(nativeError(() => addon.copyCrc32c(target, 1, target.subarray(0, 4))).message).toMatch(/overlap/)
  })

  test('wrong arguments are TypeErrors with nativeCode 1', () => {
    const bad: unknown[][] = [[], ['text'], [new Uint16Array(4)], [text, -1], [text, 1.5], [text, 2 ** 32], [text, 1n]]
    for (const args of bad) {
      const error = nativeError(() => (addon.crc32c as (...args: unknown[]) => number)(...args))
      expect(error).toMatchObject({ nativeCode: 1, isTypeError: true })
    }
    for (const bytes of [-1, Number.NaN, 2 ** 40, '1']) {
      expect(nativeError(() => addon.allocate(bytes as number, false)).nativeCode).toBe(1)
    }
  })

  test('allocate gives zeroed memory of exactly the size asked for', () => {
    for (const bytes of [0, 1, 4096, 5000, 3 << 20]) {
      const buffer = addon.allocate(bytes, true)
      expect(buffer.byteLength).toBe(bytes)
      expect(new Uint8Array(buffer).every((byte) => byte === 0)).toBe(true)
      new Uint8Array(buffer).fill(1)
    }
  })
})

describe('objects', () => {
  test('a method on another class of object throws and does not crash', async () => {
    const medium = await addon.Medium.open({ medium: 'memory', bytes: 4096 })
    const engine = new addon.Engine({})
    for (const self of [{}, new Date(), engine, undefined]) {
      expect(() => medium.read.call(self as never, 0, 1)).toThrow(TypeError)
      expect(() => medium.close.call(self as never)).toThrow(TypeError)
    }
    expect(() => engine.close.call(medium as never)).toThrow(TypeError)
    expect(() => Reflect.construct(addon.Medium as never, [])).toThrow(/cannot be made by new/)
    expect(() => new addon.Responder(engine as never, { unitStart: 1n })).toThrow(/expected a Medium/)
    expect(() => new addon.Engine({ name: 'a name of more than 15 characters' })).toThrow(/name/)
    // Through an object that borrows the prototype, the pointer behind it is another class's.
    const disguised = Object.setPrototypeOf(new addon.Engine({}), Object.getPrototypeOf(medium))
    expect(() => disguised.read(0, 1)).toThrow()
    await engine.close()
    await medium.close()
  })

  test('a medium checks bounds, refuses use after close, and answers every close', async () => {
    const medium = await addon.Medium.open({ medium: 'memory', bytes: 1 << 20 })
    expect(medium).toMatchObject({ bytes: 1 << 20, durable: false })
    medium.write(10, Buffer.from('abc'))
    expect(Buffer.from(medium.read(9, 5)).toString('latin1')).toBe('\0abc\0')
    expect(nativeError(() => medium.read(1 << 20, 1)).nativeCode).toBe(23)
    expect(nativeError(() => medium.read(2 ** 53 - 1, 1)).nativeCode).toBe(23)
    expect(nativeError(() => medium.write((1 << 20) - 1, Buffer.from('ab'))).nativeCode).toBe(23)
    expect(nativeError(() => medium.flush([0])).nativeCode).toBe(1)
    expect(nativeError(() => medium.zero(1, 4096)).nativeCode).toBe(1)
    expect((await rejection(medium.flush([0, 4096]))).nativeCode).toBe(24)
    await medium.zero(0, 4096)
    expect(medium.read(10, 3)).toEqual(new Uint8Array(3))
    await Promise.all([medium.load(0, 4096), medium.close(), medium.close()])
    expect(nativeError(() => medium.read(0, 1)).nativeCode).toBe(22)
    await medium.close()
  })

  test('a medium is not closed under a responder', async () => {
    const unit = await NativeUnit.start(addon)
    expect(nativeError(() => unit.medium.close()).message).toMatch(/responder/)
    await unit.stop()
    expect(nativeError(() => unit.responder.sessions()).nativeCode).toBe(20)
    expect(unit.responder.counters().connectionsOpen).toBe(0n)
    await unit.responder.stop()
  })
})

describe('connections', () => {
  let unit: NativeUnit
  let engine: NativeEngine

  beforeEach(async () => {
    unit = await NativeUnit.start(addon, 'file')
    engine = new addon.Engine({})
  })
  afterEach(async () => {
    await engine.close()
    await unit.stop()
  })

  test('bytes written are in the region, and bytes of the region are read', async () => {
    const peer = await openData(engine, unit.ticket())
    expect(peer.grant).toMatchObject({ length: regionBytes, epoch: 1n, unitStart: 1n, rights: 3, promises: 3 })
    expect(await peer.write(3, Buffer.from('visible'))).toEqual(ok)
    expect(Buffer.from(unit.region(0, 11)).toString('latin1')).toBe('\0\0\0visible\0')
    expect(await peer.write(100, Buffer.from('durable'), 2)).toEqual(flushed)
    expect(await peer.flush([0, 4096, 8192, 1])).toEqual(flushed)
    const into = new Uint8Array(9)
    expect(await peer.read(2, into)).toEqual(ok)
    expect(Buffer.from(into).toString('latin1')).toBe('\0visible\0')
    const parts = [new Uint8Array(2), new Uint8Array(0), new Uint8Array(3)]
    expect(await peer.post(1, 0, [3, regionBytes, 100], parts)).toEqual(ok)
    expect(Buffer.concat(parts).toString()).toBe('vidur')
    peer.channel.close()
    expect((await peer.ended).code).toBe(22)
    expect(nativeError(() => peer.write(0, into)).nativeCode).toBe(22)
  })

  test('operations of length zero and without ranges complete', async () => {
    const peer = await openData(engine, unit.ticket())
    const nothing = new Uint8Array(0)
    for (const until of [0, 1, 2]) {
      expect((await peer.post(0, until, [], []))[0]).toBe(0)
      expect((await peer.post(0, until, [regionBytes], [nothing]))[0]).toBe(0)
    }
    expect(await peer.post(1, 0, [], [])).toEqual(ok)
    expect(await peer.read(0, nothing)).toEqual(ok)
    expect((await peer.flush([]))[0]).toBe(0)
    expect((await peer.flush([5, 0]))[0]).toBe(0)
  })

  test('ranges outside of the region are refused before anything is sent', async () => {
    const peer = await openData(engine, unit.ticket())
    const before = unit.responder.counters()
    const two = new Uint8Array(2)
    for (const offset of [regionBytes - 1, regionBytes, 2 ** 53 - 1]) {
      expect(nativeError(() => peer.write(offset, two))).toMatchObject({ nativeCode: 23 })
      expect(nativeError(() => peer.read(offset, two))).toMatchObject({ nativeCode: 23 })
      expect(nativeError(() => peer.flush([offset, 2]))).toMatchObject({ nativeCode: 23 })
    }
    expect(nativeError(() => peer.post(0, 1, [0, regionBytes], [two, two])).nativeCode).toBe(23)
    expect(nativeError(() => peer.write(-1, two)).nativeCode).toBe(1)
    expect(nativeError(() => peer.write(0.5, two)).nativeCode).toBe(1)
    expect(nativeError(() => peer.post(3, 1, [0], [two])).nativeCode).toBe(1)
    expect(nativeError(() => peer.post(0, 1, [0], [])).nativeCode).toBe(1)
    expect(nativeError(() => peer.post(0, 1, [0], [two], [1])).nativeCode).toBe(1)
    expect(nativeError(() => peer.channel.post(1, undefined as never)).nativeCode).toBe(1)
    const write = { kind: 0, until: 1, offsets: [0], buffers: [two], flushRanges: undefined }
    for (const missing of ['kind', 'until', 'offsets', 'buffers']) {
      expect(nativeError(() => peer.channel.post(1, { ...write, [missing]: undefined })).nativeCode).toBe(1)
    }
    const target = { transport: 'iwarp', host: '127.0.0.1', ...unit.ticket(), workDeadlineMs: -1 } as const
    expect(nativeError(() => engine.connectData(target, peer)).message).toMatch(/workDeadlineMs/)
    for (const flags of [-1, 0.5, 8]) expect(nativeError(() => peer.channel.post(1, write, flags)).nativeCode).toBe(1)
    const grouped = (operations: unknown, flags: unknown = 0) =>
      nativeError(() => peer.channel.postGroup(1, operations as never, flags as never)).nativeCode
    const read = { ...write, kind: 1, until: 0 }
    for (const wrong of [
      undefined,
      7,
      [],
      [undefined],
      [write, 7],
      [write, read],
      Array.from({ length: 4097 }, () => write),
    ]) {
      expect(grouped(wrong)).toBe(1)
    }
    for (const flags of [-1, 0.5, 8, null]) expect(grouped([write], flags)).toBe(1)
    expect(grouped([write, { ...write, offsets: [regionBytes] }])).toBe(23)
    expect(await peer.write(regionBytes - 2, two)).toEqual(ok)
    expect((unit.responder.counters().bytesIn ?? 0n) - (before.bytesIn ?? 0n)).toBe(2n)
  })

  test('memory that can go away under the connection is refused', async () => {
    const peer = await openData(engine, unit.ticket())
    const detached = new Uint8Array(8)
    structuredClone(detached, { transfer: [detached.buffer] })
    const bad = [
      new Uint8Array(new SharedArrayBuffer(8)),
      new Uint8Array(Reflect.construct(ArrayBuffer, [8, { maxByteLength: 16 }])),
      detached,
      new Uint16Array(4) as unknown as Uint8Array,
    ]
    for (const bytes of bad) expect(nativeError(() => peer.write(0, bytes)).nativeCode).toBe(1)
    expect(peer.pending).toBe(0)
  })

  test('a reader cannot write', async () => {
    const reader = await openData(engine, unit.ticket('read'))
    expect(nativeError(() => reader.write(0, Buffer.from('x')))).toMatchObject({ nativeCode: 6 })
    expect(await reader.read(0, new Uint8Array(4))).toEqual(ok)
  })

  test('durable is refused where the medium cannot', async () => {
    const inMemory = await NativeUnit.start(addon, 'memory')
    const peer = await openData(engine, inMemory.ticket())
    expect(nativeError(() => peer.write(0, Buffer.from('x'), 2)).nativeCode).toBe(24)
    expect(await peer.write(0, Buffer.from('x'), 1)).toEqual(ok)
    await inMemory.stop()
    expect((await peer.ended).code).toBe(3)
  })

  test('a token is good for one connection, and a refusal says why', async () => {
    const ticket = unit.ticket()
    await openData(engine, ticket)
    expect(await rejection(openData(engine, ticket))).toMatchObject({ nativeCode: 9 })
    expect(await rejection(openData(engine, { ...ticket, token: new Uint8Array(32) }))).toMatchObject({ nativeCode: 9 })
    expect(
      nativeError(() => engine.connectData({ ...ticket, token: new Uint8Array(31) } as never, {} as never)),
    ).toMatchObject({
      nativeCode: 1,
    })
    expect(await rejection(openData(engine, { ...ticket, transport: 'verbs' }))).toMatchObject({ nativeCode: 11 })
    expect(await rejection(openData(engine, { ...ticket, host: 'not an address' }))).toMatchObject({ nativeCode: 1 })
  })

  test('nobody listening is connectionRefused', async () => {
    const gone = await NativeUnit.start(addon)
    const ticket = gone.ticket()
    await gone.stop()
    expect((await rejection(openData(engine, ticket))).nativeCode).toBe(2)
  })

  test('ten thousand operations in one turn come back in few wake-ups, in order', async () => {
    const peer = await openData(engine, unit.ticket())
    const order: number[] = []
    const count = 10_000
    await Promise.all(
      Array.from({ length: count }, (_, i) => {
        const bytes = new Uint8Array(64)
        new DataView(bytes.buffer).setUint32(0, i)
        return peer.write(i * 64, bytes).then((outcome) => {
          expect(outcome).toEqual(ok)
          order.push(i)
        })
      }),
    )
    expect(order).toEqual(Array.from({ length: count }, (_, i) => i))
    expect(peer.batches).toBeLessThan(count / 10)
    const all = unit.region(0, count * 64)
    const view = new DataView(all.buffer)
    for (let i = 0; i < count; i++) expect(view.getUint32(i * 64)).toBe(i)
  })

  test('more flushes than the unit gives credits for are all answered', async () => {
    const peer = await openData(engine, unit.ticket())
    const outcomes = await Promise.all(Array.from({ length: 200 }, (_, i) => peer.write(i * 10, Buffer.from('x'), 2)))
    for (const outcome of outcomes) expect(outcome).toEqual(flushed)
    const scattered = Array.from({ length: 1000 }, (_, i) => [i * 4096, 1]).flat()
    expect(await peer.flush(scattered)).toEqual(flushed)
  })

  test('a fence ends the writer, tells its session, and settles everything pending', async () => {
    const session = await openSession(engine, unit.ticket('session'))
    expect(session.welcome).toMatchObject({ session: 1n, unitStart: 1n })
    const peer = await openData(engine, unit.ticket())
    const bytes = new Uint8Array(1 << 20)
    const pending = Array.from({ length: 32 }, (_, i) => peer.write((i % 8) << 20, bytes))
    await unit.responder.fence(1n, 2n)
    const outcomes = await Promise.all(pending)
    await peer.ended
    expect(peer.pending).toBe(0)
    for (const outcome of outcomes) expect([0, 3, 4, 6, 10]).toContain(outcome[0])
    await expect.poll(() => session.fences).toEqual([[1n, 2n]])
    expect((await rejection(unit.responder.fence(1n, 1n))).nativeCode).toBe(1)
    expect((await rejection(unit.responder.fence(9n, 1n))).nativeCode).toBe(18)
    session.channel.close()
  })

  test('what a handler throws is an uncaughtException, and the next outcome still comes', async () => {
    const caught: unknown[] = []
    const listeners = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException')
    process.on('uncaughtException', (error) => caught.push(error))
    try {
      const peer = await openData(engine, unit.ticket())
      const onOutcomes = peer.onOutcomes.bind(peer)
      peer.onOutcomes = (outcomes) => {
        onOutcomes(outcomes)
        throw new Error('thrown by a handler')
      }
      await peer.write(0, Buffer.from('a'))
      await peer.write(1, Buffer.from('b'))
      await expect.poll(() => caught.length).toBe(2)
      expect(caught[0]).toMatchObject({ message: 'thrown by a handler' })
    } finally {
      process.removeAllListeners('uncaughtException')
      for (const listener of listeners) process.on('uncaughtException', listener)
    }
  })

  test('a session says how long the event loop has not turned', async () => {
    const session = await openSession(engine, unit.ticket('session'))
    const state = () => unit.responder.sessions()[0]
    await expect.poll(() => state()?.connected).toBe(true)
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect(state()?.loopAgeMs).toBeLessThan(450)
    const until = Date.now() + 1_500
    while (Date.now() < until);
    // Read in the same turn: heartbeats went on, and carried a growing age.
    expect(state()?.heardMsAgo).toBeLessThan(500)
    expect(state()?.loopAgeMs).toBeGreaterThan(1_000)
    session.channel.close()
    await expect.poll(() => state()?.connected).toBe(false)
  })

  test('an engine that is closed ends its connections first', async () => {
    const other = new addon.Engine({ name: 'short-lived' })
    const peer = await openData(other, unit.ticket())
    const session = await openSession(other, unit.ticket('session'))
    const write = peer.write(0, new Uint8Array(1 << 20))
    await Promise.all([other.close(), other.close()])
    expect([0, 22]).toContain((await write)[0])
    expect(peer.closed?.code).toBe(22)
    expect(session.closed?.code).toBe(22)
    expect(nativeError(() => other.connectData({ ...unit.ticket() } as never, {} as never)).nativeCode).toBe(1)
    expect((await rejection(openData(other, unit.ticket()))).nativeCode).toBe(22)
  })
})
