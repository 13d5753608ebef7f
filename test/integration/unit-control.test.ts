import { once } from 'node:events'
import { createServer } from 'node:net'
import * as grpc from '@grpc/grpc-js'
import { afterEach, describe, expect, it } from 'vitest'
import { loadControlProto } from '../../src/control/proto.js'
import { fromStatus } from '../../src/control/status.js'
import { connect } from '../../src/index.js'
import type { UnitOptions } from '../../src/unit/options.js'
import { PersistentMemoryUnit } from '../../src/unit/unit.js'
import { ControlClient } from './control-client.js'

const pool: UnitOptions['pool'] = { medium: 'memory', bytes: 4 << 20 }
const closing: (() => Promise<unknown> | unknown)[] = []

async function start(options: Partial<UnitOptions> = {}): Promise<PersistentMemoryUnit> {
  const unit = await PersistentMemoryUnit.start({ pool, ...options })
  closing.push(() => unit.close())
  return unit
}
async function control(unit: PersistentMemoryUnit, identity?: string): Promise<ControlClient> {
  const client = await ControlClient.open(unit.address, identity)
  closing.push(() => client.close())
  return client
}

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

// What puts a unit on a device for the tests names its addresses, and takes its guard away.
describe.skipIf(process.env.RDMA_CHECKPOINT_TEST_ADDRESS !== undefined)('where a unit listens', () => {
  it('is loopback unless it is told that nothing keeps strangers out', async () => {
    for (const options of [
      { listen: '0.0.0.0:0' },
      { data: ['0.0.0.0:0'] },
      { listen: '[::]:0' },
      { data: ['192.0.2.1:0'] },
    ]) {
      await expect(start(options)).rejects.toMatchObject({ code: 'UNAUTHENTICATED', help: /dangerously/ })
    }
  })

  it('may be any address with the option that says so, and a warning at each start', async () => {
    const warnings: string[] = []
    const options: Partial<UnitOptions> = {
      listen: '0.0.0.0:0',
      data: ['0.0.0.0:0'],
      advertise: ['127.0.0.1', 'localhost:7'],
      security: { mode: 'dangerously-unauthenticated' },
      log: (level, message) => level === 'warn' && warnings.push(message),
    }
    const unit = await start(options)
    expect(warnings).toEqual([expect.stringMatching(/No authentication.*read, write and delete everything/)])
    const client = await control(unit)
    const { endpoints } = await client.channel.call('Status', {})
    const bound = Number(unit.dataAddresses[0]?.split(':')[1])
    expect(endpoints).toEqual([
      { transport: 'iwarp', host: '127.0.0.1', port: bound },
      { transport: 'iwarp', host: '127.0.0.1', port: 7 },
    ])
    await unit.close()
    await start(options)
    expect(warnings).toHaveLength(2)
  })

  it('on all interfaces needs to know what to tell clients', async () => {
    const open = start({ data: ['0.0.0.0:0'], security: { mode: 'dangerously-unauthenticated' } })
    await expect(open).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', help: /advertise/ })
  })

  it('is refused by code when the address is taken', async () => {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    closing.push(() => server.close())
    const taken = `127.0.0.1:${(server.address() as { port: number }).port}`
    await expect(start({ listen: taken })).rejects.toMatchObject({ code: 'ADDRESS_IN_USE', message: /control/ })
    await expect(start({ data: [taken] })).rejects.toMatchObject({ code: 'ADDRESS_IN_USE', message: /data plane/ })
  })

  it.each<[string, Partial<UnitOptions>, string]>([
    ['tls', { security: { mode: 'tls', ca: 'a', cert: 'b', key: 'c' } }, 'NOT_SUPPORTED'],
    ['no device', { pool: { medium: 'devdax', path: '/dev/null' } }, 'INVALID_ARGUMENT'],
    ['no port', { listen: '127.0.0.1' }, 'INVALID_ARGUMENT'],
    ['an unknown name', { listen: 'no.such.host.invalid:0' }, 'INVALID_ARGUMENT'],
    ['a tiny pool', { pool: { medium: 'memory', bytes: 4096 } }, 'INVALID_ARGUMENT'],
    ['too many regions', { pool: { medium: 'memory', bytes: 1 << 20, maxRegions: 65_537 } }, 'INVALID_ARGUMENT'],
    ['no sessions', { limits: { sessions: 0 } }, 'INVALID_ARGUMENT'],
  ])('%s is refused', async (_, options, code) => {
    await expect(start(options)).rejects.toMatchObject({ code })
  })
})

describe('a unit', () => {
  it('says through grpc.health.v1 that it serves', async () => {
    const unit = await start()
    const Health = grpc.makeGenericClientConstructor((await loadControlProto()).health, 'Health')
    const client = new Health(unit.address, grpc.credentials.createInsecure())
    closing.push(() => client.close())
    const check = (service: string) =>
      new Promise((resolve, reject) => {
        const call = client.Check as unknown as (
          request: object,
          done: (error: unknown, reply: unknown) => void,
        ) => void
        call.call(client, { service }, (error, reply) => (error ? reject(error) : resolve(reply)))
      })
    expect(await check('')).toEqual({ status: 'SERVING' })
    expect(await check('rdma_checkpoint.v1.Control')).toEqual({ status: 'SERVING' })
    await expect(check('another')).rejects.toMatchObject({ code: 5 })
  })

  it('tells those who watch its health of each change, and does not wait for them when it stops', async () => {
    const unit = await start()
    const Health = grpc.makeGenericClientConstructor((await loadControlProto()).health, 'Health')
    const client = new Health(unit.address, grpc.credentials.createInsecure())
    closing.push(() => client.close())
    const watch = (service: string) => {
      const call = client.Watch as unknown as (request: object) => grpc.ClientReadableStream<{ status: string }>
      return call.call(client, { service })
    }
    const [stream, unknown] = [watch('rdma_checkpoint.v1.Control'), watch('another')]
    const seen: string[] = []
    stream.on('data', ({ status }) => seen.push(status))
    expect(await once(unknown, 'data')).toEqual([{ status: 'SERVICE_UNKNOWN' }])
    await expect.poll(() => seen).toEqual(['SERVING'])
    const ended = once(stream, 'end')
    const before = performance.now()
    await unit.close()
    await ended
    expect(seen).toEqual(['SERVING', 'NOT_SERVING'])
    expect(performance.now() - before).toBeLessThan(1_900)
  })

  it('can be aborted while it starts, and closes when its signal is aborted later', async () => {
    await expect(start({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'ABORTED' })
    const stop = new AbortController()
    const unit = await start({ signal: stop.signal })
    stop.abort()
    await unit.close()
    expect((await unit.status()).state).toBe('stopping')
    await unit.close()
  })

  it('started again on memory is another one: neither sessions nor handles are mistaken', async () => {
    const first = await start()
    const client = await control(first)
    const before = await first.status()
    await first.close()
    const second = await start({ listen: first.address })
    const after = await second.status()
    expect(after.id).not.toBe(before.id)
    expect(after.starts).toBeGreaterThan(before.starts)
    await expect(client.list()).rejects.toMatchObject({ code: 'SESSION_EXPIRED' })
    const { session, clientId } = client
    await expect(client.channel.call('ResumeSession', { session, clientId })).rejects.toMatchObject({
      code: 'SESSION_EXPIRED',
    })
  })

  it('keeps its limits', async () => {
    const unit = await start({ limits: { sessions: 2, handles: 2, regionBytes: 10_000 } })
    const client = await control(unit)
    await expect(client.create('large', 10_001)).rejects.toMatchObject({ code: 'LIMIT_REACHED' })
    await client.create('a', 10_000)
    for (let index = 0; index < 2; index++) await client.call('OpenRegion', { name: 'a', mode: 'READ' })
    await expect(client.call('OpenRegion', { name: 'a', mode: 'READ' })).rejects.toMatchObject({
      code: 'LIMIT_REACHED',
    })
  })

  it('lets sessions that never connected give way, and those that did stay', async () => {
    const unit = await start({ limits: { sessions: 3 } })
    await using first = await connect(unit.address)
    await using region = await first.openRegion('r', { mode: 'write', create: { bytes: 65_536, mode: 'raw' } })
    // As many as a client leaves behind that gives up its connects.
    for (let index = 0; index < 12; index++) await control(unit)
    await using second = await connect(unit.address)
    await control(unit)
    await using third = await connect(unit.address)
    await expect(control(unit)).rejects.toMatchObject({ code: 'LIMIT_REACHED' })
    await region.write(0, Buffer.from('still here'))
    const seen = await second.openRegion('r')
    expect(Buffer.from(await seen.read(0, 10)).toString()).toBe('still here')
    expect(await third.status()).toBeDefined()
  })

  it('has a place for a client however many connects were given up before', async () => {
    const unit = await start({ limits: { sessions: 4 } })
    const given = Array.from({ length: 30 }, (_, index) => {
      const abort = new AbortController()
      setTimeout(() => abort.abort(), index % 5)
      return connect(unit.address, { signal: abort.signal }).then(
        (client) => client.close(),
        () => undefined,
      )
    })
    await Promise.all(given)
    await using client = await connect(unit.address)
    expect(await client.status()).toBeDefined()
  })

  it('answers what it does not understand by code', async () => {
    const client = await control(await start())
    const bad: [Parameters<ControlClient['call']>, string][] = [
      [['CreateRegion', { name: '', bytes: 1n }], 'INVALID_ARGUMENT'],
      [['CreateRegion', { name: 'a', bytes: 0n }], 'INVALID_ARGUMENT'],
      [['CreateRegion', { name: 'a', bytes: 18446744073709551615n }], 'INVALID_ARGUMENT'],
      [['CreateRegion', { name: 'a', bytes: 1n, lease: { silenceMs: 1 } }], 'INVALID_ARGUMENT'],
      [['CreateRegion', { name: 'a', bytes: 1n, labels: new Map([['', 'x']]) }], 'INVALID_ARGUMENT'],
      [['CreateRegion', { name: 'a', bytes: 32_767n }], 'REGION_TOO_SMALL'],
      [['CreateRegion', { name: 'a', bytes: 32_767n, mode: 'OVERWRITE' }], 'REGION_TOO_SMALL'],
      [['OpenRegion', { name: 'none', mode: 'READ' }], 'REGION_NOT_FOUND'],
      [['DeleteRegion', { name: 'none' }], 'REGION_NOT_FOUND'],
      [['GetRegion', { name: 'none' }], 'REGION_NOT_FOUND'],
      [['SaveCursor', { region: 'none', cursor: { name: 'c', epoch: 1n, sequence: 1n } }], 'REGION_NOT_FOUND'],
      [['SaveCursor', { region: 'none' }], 'INVALID_ARGUMENT'],
    ]
    for (const [call, code] of bad) await expect(client.call(...call)).rejects.toMatchObject({ code })
    expect(await client.list()).toEqual([])
  })
})

describe('bytes that are no message', () => {
  /** Tag and length of a field that has bytes. */
  const field = (number: number, bytes: Uint8Array) =>
    Buffer.concat([varint(BigInt((number << 3) | 2)), varint(BigInt(bytes.length)), bytes])
  const openGroups = (count: number) => Buffer.alloc(count, (15 << 3) | 3)
  const bad: [string, Buffer][] = [
    ['a tag without its field', Buffer.from([0x0a])],
    ['a length beyond the end', Buffer.from([0x0a, 0x7f, 1])],
    ['a length of 4 GiB', Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f])],
    ['a number that never ends', Buffer.alloc(64, 0xff)],
    ['tag 0', Buffer.from([0, 0])],
    ['an unknown wire type', Buffer.from([0x7f])],
    ['a hundred thousand groups in each other', openGroups(100_000)],
    ['the end of a group that never began', Buffer.from([(15 << 3) | 4, 1])],
  ]
  const calls = ['OpenSession', 'ResumeSession', 'CloseSession', 'CreateRegion', 'OpenRegion', 'ListRegions', 'Status']

  async function raw(unit: PersistentMemoryUnit) {
    const client = new grpc.Client(unit.address, grpc.credentials.createInsecure())
    closing.push(() => client.close())
    return (path: string, bytes: Buffer) =>
      new Promise<Buffer>((resolve, reject) => {
        const answer = (error: grpc.ServiceError | null, reply?: Buffer) =>
          error ? reject(fromStatus(error, unit.address, path, true)) : resolve(reply as Buffer)
        client.makeUnaryRequest(
          path,
          (same: Buffer) => same,
          (same: Buffer) => same,
          bytes,
          answer,
        )
      })
  }

  it('are refused by code, by every call, and the unit goes on', async () => {
    const unit = await start()
    const send = await raw(unit)
    for (const call of calls) {
      for (const [what, bytes] of bad) {
        const refused = await send(`/rdma_checkpoint.v1.Control/${call}`, bytes).catch((error: unknown) => error)
        expect.soft(refused, `${call}: ${what}`).toMatchObject({ code: 'PROTOCOL_VIOLATION', outcome: 'none' })
      }
    }
    for (const [what, bytes] of bad) {
      await expect.soft(send('/grpc.health.v1.Health/Check', bytes), what).rejects.toThrow(/not a message/)
    }
    expect(await (await control(unit)).list()).toEqual([])
  })

  it('nor text that is not UTF-8, nor more than 1 MiB', async () => {
    const unit = await start()
    const send = await raw(unit)
    const path = '/rdma_checkpoint.v1.Control/GetRegion'
    await expect(send(path, field(2, Buffer.from([0xc3, 0x28])))).rejects.toMatchObject({ code: 'PROTOCOL_VIOLATION' })
    await expect(send(path, field(2, Buffer.alloc(1 << 20, 0x61)))).rejects.toMatchObject({ code: 'LIMIT_REACHED' })
  })

  it('while fields that this version does not know are passed over, and values that it does not know are refused', async () => {
    const unit = await start()
    const send = await raw(unit)
    const clientId = field(3, Buffer.alloc(16, 1))
    expect(
      (await send('/rdma_checkpoint.v1.Control/OpenSession', Buffer.concat([field(99, clientId), clientId]))).length,
    ).toBeGreaterThan(0)
    const client = await control(unit)
    await client.create('a', 100)
    for (const [call, mode] of [
      ['CreateRegion', 4],
      ['OpenRegion', 3],
    ] as const) {
      const session = Buffer.concat([Buffer.from([8]), varint(client.session)])
      const bytes = Buffer.concat([session, field(2, Buffer.from('a')), Buffer.from([mode << 3, 77])])
      await expect(send(`/rdma_checkpoint.v1.Control/${call}`, bytes), call).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
        message: /does not know the mode/,
      })
    }
  })

  it('and a label is what it is called, whatever it is called', async () => {
    const client = await control(await start())
    const labels = new Map([
      ['__proto__', 'a'],
      ['constructor', 'b'],
      ['ordinary', 'c'],
    ])
    const { region } = await client.call('CreateRegion', { name: 'a', bytes: 1n, mode: 'RAW', labels })
    expect(region?.labels).toEqual(labels)
    expect((await client.call('GetRegion', { name: 'a' })).labels).toEqual(labels)
  })
})

function varint(value: bigint): Buffer {
  const bytes: number[] = []
  for (let rest = value; ; rest >>= 7n) {
    bytes.push(Number(rest & 127n) | (rest > 127n ? 128 : 0))
    if (rest <= 127n) return Buffer.from(bytes)
  }
}

describe('ownership over the control service', () => {
  it('is one at a time, by epoch, and free again when it is given up', async () => {
    const unit = await start()
    const [one, two] = [await control(unit, 'one@host'), await control(unit, 'two@host')]
    await one.create('a', 100)
    const opened = await one.call('OpenRegion', { name: 'a', mode: 'WRITE' })
    expect(opened).toMatchObject({ epoch: 1n, slot: 0, region: { owner: 'one@host', ownerLost: false } })
    expect([opened.token.length, opened.ownerSecret.length]).toEqual([32, 32])
    const busy = await two.call('OpenRegion', { name: 'a', mode: 'WRITE' }).catch((error: unknown) => error)
    expect(busy).toMatchObject({ code: 'REGION_BUSY', details: { owner: 'one@host', epoch: 1n } })
    await one.call('CloseRegion', { handle: opened.handle })
    expect(await two.call('OpenRegion', { name: 'a', mode: 'WRITE' })).toMatchObject({ epoch: 2n })
    expect(await one.call('OpenRegion', { name: 'a', mode: 'TAKE_OVER' })).toMatchObject({ epoch: 3n })
    expect(await two.call('GetRegion', { name: 'a' })).toMatchObject({ epoch: 3n, owner: 'one@host' })
    await one.call('CloseSession', {})
    expect(await two.call('OpenRegion', { name: 'a', mode: 'WRITE' })).toMatchObject({ epoch: 4n })
  })

  it('is not left behind by opens that their client gave up', async () => {
    const unit = await start()
    const [one, two] = [await control(unit), await control(unit)]
    await one.create('a', 100)
    const abort = new AbortController()
    const opens = Array.from({ length: 200 }, () =>
      one.call('OpenRegion', { name: 'a', mode: 'TAKE_OVER' }, abort.signal),
    )
    await opens[0]
    abort.abort()
    const results = await Promise.allSettled(opens)
    expect(results.at(-1)).toMatchObject({ status: 'rejected', reason: { code: 'ABORTED', outcome: 'unknown' } })
    const open = () => two.call('OpenRegion', { name: 'a', mode: 'WRITE' })
    await expect
      .poll(
        () =>
          open().then(
            () => 'opened',
            (error: { code: string }) => error.code,
          ),
        { timeout: 10_000 },
      )
      .toBe('opened')
  })
})
