import path from 'node:path'
import { expect, test } from 'vitest'
import { type CheckpointError, connect, json, PersistentMemoryUnit, type RegionInfo } from '../../src/index.js'
import { dataHost, dataTransport } from '../data-plane.js'
import { MiB, withFolder } from './client-support.js'

const memoryUnit = () => PersistentMemoryUnit.start({ pool: { medium: 'memory', bytes: 32 * MiB } })

async function collect(regions: AsyncIterable<RegionInfo>): Promise<RegionInfo[]> {
  const all: RegionInfo[] = []
  for await (const region of regions) all.push(region)
  return all
}

test('a region is made, written, read by another client, listed, described by RDMA, and deleted', async () => {
  await using unit = await memoryUnit()
  await using writer = await connect(unit.address)
  await using reader = await connect(unit.address)
  const labels = { team: 'überlingen' }
  const region = await writer.createRegion('orders', { bytes: 100_003n, mode: 'raw', onFull: 'fail', labels })
  expect(region).toMatchObject({ name: 'orders', size: 100_003n, transport: dataTransport, rollbacks: 0 })
  const bytes = Uint8Array.from({ length: 1001 }, (_, index) => index % 256)
  expect(await region.write(99_002, bytes)).toEqual({ durability: 'visible', method: 'none', epoch: region.epoch })
  await region.writeAll([
    { offset: 1, bytes: bytes.subarray(0, 3) },
    { offset: 7n, bytes: bytes.subarray(3, 4) },
  ])

  const seen = await reader.openRegion('orders')
  expect(seen.id).toBe(region.id)
  expect(await seen.read(99_002, 1001)).toEqual(bytes)
  expect([...(await seen.read(0, 9))]).toEqual([0, 0, 1, 2, 0, 0, 0, 3, 0])
  const parts = [new Uint8Array(2), new Uint8Array(0), new Uint8Array(1)]
  await seen.readInto(parts.map((part, index) => ({ offset: 2 + 5 * (index >> 1), bytes: part })))
  expect(parts.map((part) => [...part])).toEqual([[1, 2], [], [3]])
  const misused = seen as unknown as typeof region
  await expect(misused.write(0, bytes)).rejects.toMatchObject({ code: 'READ_ONLY', outcome: 'none' })
  expect(() => misused.log()).toThrow(expect.objectContaining({ code: 'READ_ONLY' }))

  const info = await seen.metadata()
  expect(info).toMatchObject({ name: 'orders', id: region.id, bytes: 100_003n, mode: 'raw', onFull: 'fail', labels })
  expect(info.owner?.identity).toContain(String(process.pid))
  expect(info.epoch).toBe(region.epoch)
  expect(await collect(reader.regions({ prefix: 'ord' }))).toEqual([info])
  expect(await collect(reader.regions({ prefix: 'x' }))).toEqual([])
  expect(await reader.status()).toMatchObject({ state: 'ready', regions: 1, promises: ['visible'] })
  const context = await region.addressContext()
  expect(context).toMatchObject({ length: 100_003n, transport: dataTransport })
  expect(context.endpoint.startsWith(`${dataHost}:`)).toBe(true)

  await reader.deleteRegion('orders')
  await expect(region.write(0, bytes)).rejects.toMatchObject({ code: 'REGION_NOT_FOUND' })
  await expect(seen.read(0, 1)).rejects.toMatchObject({ code: 'REGION_NOT_FOUND' })
  await expect(seen.metadata()).rejects.toMatchObject({ code: 'REGION_NOT_FOUND' })
  expect(await collect(writer.regions())).toEqual([])
})

test('names, existence and ownership are refused by code', async () => {
  await using unit = await memoryUnit()
  await using first = await connect(unit.address, { identity: 'first' })
  await using second = await connect(unit.address)
  await using _region = await first.createRegion('ä'.repeat(127), { bytes: 1, mode: 'raw' })
  const name = 'ä'.repeat(127)
  await expect(second.createRegion(name, { bytes: 1, mode: 'raw' })).rejects.toMatchObject({ code: 'REGION_EXISTS' })
  await expect(second.openRegion('other')).rejects.toMatchObject({ code: 'REGION_NOT_FOUND' })
  await expect(second.deleteRegion('other')).rejects.toMatchObject({ code: 'REGION_NOT_FOUND' })
  await expect(second.createRegion('huge', { bytes: 2 ** 40 })).rejects.toMatchObject({
    code: expect.stringMatching(/LIMIT_REACHED|POOL_FULL/),
  })
  const busy = await second.openRegion(name, { mode: 'write' }).catch((error: CheckpointError) => error)
  expect(busy).toMatchObject({ code: 'REGION_BUSY', details: { owner: 'first' } })
})

test('a closed owner gives its region up at once, and a taken one is fenced', async () => {
  await using unit = await memoryUnit()
  await using first = await connect(unit.address)
  await using second = await connect(unit.address)
  const region = await first.createRegion('r', { bytes: 4096, mode: 'raw' })
  const { epoch } = region
  await region.close()
  const taken = await second.openRegion('r', { mode: 'write' })
  expect(taken.epoch).toBeGreaterThan(epoch)
  const back = await first.openRegion('r', { mode: 'takeOver' })
  await expect(taken.write(0, new Uint8Array(1))).rejects.toMatchObject({ code: 'FENCED' })
  expect(taken.fenced.aborted).toBe(true)
  expect(taken.fenced.reason).toMatchObject({ code: 'FENCED', details: { epoch: back.epoch } })
  await back.write(0, new Uint8Array(1))
})

test('an open that is to create finds what somebody else has made meanwhile', async () => {
  await using unit = await memoryUnit()
  await using client = await connect(unit.address)
  const create = { bytes: 1024, mode: 'raw' } as const
  const first = await client.openRegion('r', { mode: 'write', create })
  await first.close()
  const second = await client.openRegion('r', { mode: 'write', create })
  expect(second.id).toBe(first.id)
})

test('durable on a file pool: answered as flushed by the unit, there after a restart', async () => {
  await withFolder(async (folder) => {
    const pool = { medium: 'file', path: path.join(folder, 'pool'), bytes: 16 * MiB, create: true } as const
    const unit = await PersistentMemoryUnit.start({ pool })
    const client = await connect(unit.address)
    const region = await client.createRegion('r', { bytes: MiB, mode: 'raw' })
    expect(await region.write(10, Buffer.from('kept'))).toMatchObject({ durability: 'durable', method: 'unit-flush' })
    await region.write(100, Buffer.from('kept, too'), { durability: 'visible' })
    expect(await region.flush()).toMatchObject({ durability: 'durable', method: 'unit-flush' })
    expect(await region.flush()).toMatchObject({ method: 'none' })
    await client.close()
    await unit.close()
    await using again = await PersistentMemoryUnit.start({ pool: { medium: 'file', path: pool.path } })
    await using reader = await connect(again.address)
    const seen = await reader.openRegion('r')
    expect(Buffer.from(await seen.read(10, 4)).toString()).toBe('kept')
    expect(Buffer.from(await seen.read(100, 9)).toString()).toBe('kept, too')
  })
})

test('the checkpoint formats work on a region: append, latest, by sequence, all', async () => {
  await using unit = await memoryUnit()
  await using client = await connect(unit.address)
  const region = await client.createRegion('log', { bytes: MiB })
  const log = region.log({ codec: json })
  for (let step = 1; step <= 5; step++) await log.append({ step })
  const reader = (await client.openRegion('log')).checkpoints({ codec: json })
  expect(await reader.latest()).toMatchObject({ sequence: 5n, value: { step: 5 } })
  expect(await reader.at(2n)).toMatchObject({ value: { step: 2 } })
  expect((await reader.all()).map(({ sequence }) => sequence)).toEqual([1n, 2n, 3n, 4n, 5n])
  const raw = await client.createRegion('raw', { bytes: 100, mode: 'raw' })
  expect(() => raw.log()).toThrow(expect.objectContaining({ code: 'REGION_MODE' }))
})

test('calls larger than the bound, vectored ones too, arrive whole', async () => {
  await using unit = await memoryUnit()
  await using client = await connect(unit.address, { maxBytesInFlight: 256 * 1024 })
  const region = await client.createRegion('big', { bytes: 8 * MiB, mode: 'raw' })
  const buffer = client.allocate(5 * MiB)
  buffer.bytes.forEach((_, index, bytes) => {
    bytes[index] = (index * 31) & 255
  })
  await region.write(12_345, buffer.bytes)
  expect(Buffer.compare(await region.read(12_345, 5 * MiB), buffer.bytes)).toBe(0)
  const ranges = Array.from({ length: 3000 }, (_, index) => ({
    offset: index * 2000,
    bytes: Uint8Array.of(index & 255),
  }))
  await region.writeAll(ranges)
  const back = ranges.map(({ offset }) => ({ offset, bytes: new Uint8Array(1) }))
  await region.readInto(back)
  expect(back.every(({ bytes }, index) => bytes[0] === (index & 255))).toBe(true)
  buffer[Symbol.dispose]()
  expect(() => buffer.bytes).toThrow(expect.objectContaining({ code: 'CLOSED' }))
})

test('connect says when nobody listens', async () => {
  const gone = await memoryUnit()
  const { address } = gone
  await gone.close()
  await expect(connect(address)).rejects.toMatchObject({ code: 'CONNECTION_REFUSED', outcome: 'none' })
  await expect(connect(`[::1]`, { timeoutMs: 2000 })).rejects.toMatchObject({ code: 'CONNECTION_REFUSED' })
  await expect(connect(['a:1', 'b:1'])).rejects.toMatchObject({ code: 'NOT_SUPPORTED' })
  await expect(connect('')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
})

test('an aborted or late call rejects at once, by code', async () => {
  await using unit = await memoryUnit()
  await using client = await connect(unit.address)
  const region = await client.createRegion('r', { bytes: 16 * MiB, mode: 'raw' })
  const abort = new AbortController()
  const bytes = new Uint8Array(16 * MiB)
  const write = region.write(0, bytes, { signal: abort.signal })
  abort.abort()
  await expect(write).rejects.toMatchObject({ code: 'ABORTED', outcome: 'unknown' })
  await expect(region.write(0, bytes, { signal: abort.signal })).rejects.toMatchObject({
    code: 'ABORTED',
    outcome: 'none',
  })
  await region.write(0, new Uint8Array(1).fill(3))
  expect((await region.read(0, 1))[0]).toBe(3)
})
