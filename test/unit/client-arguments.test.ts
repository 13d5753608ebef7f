import { expect, test } from 'vitest'
import { FakeUnit, settle } from './client-fake.js'

async function writer(bytes?: number) {
  const unit = FakeUnit.make(bytes)
  const client = await unit.connect()
  const region = await client.openRegion('r', { mode: 'write' })
  return { unit, client, region }
}

test('bad arguments reject with a code before anything is sent', async () => {
  const { unit, client, region } = await writer()
  const size = unit.bytes
  const bytes = new Uint8Array(8)
  const cases: [() => Promise<unknown>, string][] = [
    [() => region.write(-1, bytes), 'INVALID_ARGUMENT'],
    [() => region.write(0.5, bytes), 'INVALID_ARGUMENT'],
    [() => region.write(Number.NaN, bytes), 'INVALID_ARGUMENT'],
    [() => region.write(2 ** 53, bytes), 'INVALID_ARGUMENT'],
    [() => region.write(2n ** 53n, bytes), 'INVALID_ARGUMENT'],
    [() => region.write('0' as unknown as number, bytes), 'INVALID_ARGUMENT'],
    [() => region.write(0, 'text' as unknown as Uint8Array), 'INVALID_ARGUMENT'],
    [() => region.write(0, bytes, { durability: 'eternal' as 'durable' }), 'INVALID_ARGUMENT'],
    [() => region.write(0, bytes, { timeoutMs: -1 }), 'INVALID_ARGUMENT'],
    [() => region.write(0, bytes, { signal: {} as AbortSignal }), 'INVALID_ARGUMENT'],
    [() => region.write(size - 7, bytes), 'OUT_OF_BOUNDS'],
    [() => region.write(size + 1, new Uint8Array(0)), 'OUT_OF_BOUNDS'],
    [
      () =>
        region.writeAll([
          { offset: 0, bytes },
          { offset: size, bytes },
        ]),
      'OUT_OF_BOUNDS',
    ],
    [() => region.writeAll([null as unknown as { offset: number; bytes: Uint8Array }]), 'INVALID_ARGUMENT'],
    [() => region.read(size, 1), 'OUT_OF_BOUNDS'],
    [() => region.read(0, -1), 'INVALID_ARGUMENT'],
    [() => region.readInto({ offset: size - 1, bytes }), 'OUT_OF_BOUNDS'],
    [() => region.flush([{ offset: 0, length: size + 1 }]), 'OUT_OF_BOUNDS'],
    [() => client.openRegion(''), 'INVALID_ARGUMENT'],
    [() => client.openRegion('\ud800'), 'INVALID_ARGUMENT'],
    [() => client.openRegion('é'.repeat(128)), 'INVALID_ARGUMENT'],
    [() => client.openRegion('r', { mode: 'own' as 'read' }), 'INVALID_ARGUMENT'],
    [() => client.createRegion('r', { bytes: 0 }), 'INVALID_ARGUMENT'],
    [() => client.openRegion('r', { create: { bytes: 65_536 } } as object), 'INVALID_ARGUMENT'],
    [() => client.openRegion('r', { lease: { silenceMs: 500 } } as object), 'INVALID_ARGUMENT'],
    [() => client.openRegion('r', { lease: {}, mode: 'read' } as object), 'INVALID_ARGUMENT'],
    [() => client.openRegion('r', { durability: 'visible' } as object), 'INVALID_ARGUMENT'],
    [() => client.createRegion('r', { bytes: 1, mode: 'other' as 'raw' }), 'INVALID_ARGUMENT'],
  ]
  for (const [call, code] of cases) await expect(call()).rejects.toMatchObject({ code, outcome: 'none' })
  expect(unit.log).toEqual([])
  await client.close()
})

test('a transferred buffer is refused, also when it was empty of bytes from then on', async () => {
  const { unit, client, region } = await writer()
  const bytes = new Uint8Array(8)
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] })
  await expect(region.write(0, bytes)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  expect(unit.log).toEqual([])
  await client.close()
})

test('what is shared or resizable is copied when the call is made, and filled when a read is answered', async () => {
  const { unit, client, region } = await writer()
  unit.auto = false
  const shared = new Uint8Array(new SharedArrayBuffer(4)).fill(7)
  const ResizableBuffer = ArrayBuffer as unknown as new (
    bytes: number,
    options: { maxByteLength: number },
  ) => ArrayBuffer
  const resizable = new Uint8Array(new ResizableBuffer(4, { maxByteLength: 8 })).fill(9)
  const writes = [region.write(0, shared), region.writeAll([{ offset: 4, bytes: resizable }])]
  shared.fill(0)
  resizable.fill(0)
  await settle()
  unit.channel.complete()
  await Promise.all(writes)
  expect([...unit.memory.subarray(0, 8)]).toEqual([7, 7, 7, 7, 9, 9, 9, 9])
  const reads = region.readInto([
    { offset: 0, bytes: shared },
    { offset: 4, bytes: resizable },
  ])
  await settle()
  unit.channel.complete()
  await reads
  expect([...shared, ...resizable]).toEqual([7, 7, 7, 7, 9, 9, 9, 9])
  await client.close()
})

test('views with an offset, Buffers and bigint offsets are taken as they are', async () => {
  const { unit, client, region } = await writer()
  const view = new Uint8Array(new Uint8Array([1, 2, 3, 4, 5]).buffer, 1, 3)
  await region.write(10n, view)
  await region.write(13, Buffer.from('ab'))
  expect([...unit.memory.subarray(10, 15)]).toEqual([2, 3, 4, 97, 98])
  expect([...(await region.read(10n, 5))]).toEqual([2, 3, 4, 97, 98])
  const into = new Uint8Array(5)
  await region.readInto({ offset: 10, bytes: into.subarray(1, 4) })
  expect([...into]).toEqual([0, 2, 3, 4, 0])
  await client.close()
})

test('durable asked of a pool that cannot is refused before anything is sent', async () => {
  const unit = FakeUnit.make()
  unit.promises = 1
  const client = await unit.connect()
  const region = await client.openRegion('r', { mode: 'write' })
  const notDurable = { code: 'NOT_DURABLE', outcome: 'none' }
  await expect(region.write(0, new Uint8Array(1), { durability: 'durable' })).rejects.toMatchObject(notDurable)
  await expect(region.flush()).rejects.toMatchObject(notDurable)
  expect(unit.log).toEqual([])
  expect(await region.write(0, new Uint8Array(1))).toEqual({ durability: 'visible', method: 'none', epoch: 5n })
  // What the pool promises is known once it has been opened.
  await expect(client.openRegion('r', { mode: 'write', durability: 'durable' })).rejects.toMatchObject({
    code: 'NOT_DURABLE',
    outcome: 'unknown',
  })
  await client.close()
})

test('transports and units that are not there are refused by code', async () => {
  const unit = FakeUnit.make()
  await expect(unit.connect({ transport: 'verbs' })).rejects.toMatchObject({
    code: 'NOT_SUPPORTED',
    help: expect.stringContaining("transport 'iwarp'"),
  })
  await expect(unit.connect({ maxBytesInFlight: 1 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
})
