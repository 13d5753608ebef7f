// Which fabric a client and a unit meet on, and a region that two fabrics serve at once.
import { expect, test } from 'vitest'
import { connect, PersistentMemoryUnit } from '../../src/index.js'
import { dataHost, dataTransport } from '../data-plane.js'
import { MiB } from './client-support.js'

const onDevice = dataTransport === 'verbs'
const both = {
  pool: { medium: 'memory', bytes: 16 * MiB },
  data: [`${dataHost}:0`],
  transport: 'auto',
  security: { mode: 'dangerously-unauthenticated' },
  log: () => undefined,
} as const

test('on loopback auto means iwarp, whatever devices the machine has', async () => {
  // An address that is not 127.0.0.1 itself, since the suites on a device have that moved there.
  await using unit = await PersistentMemoryUnit.start({ pool: both.pool, data: ['127.0.0.2:0'] })
  expect(unit.dataAddresses).toHaveLength(1)
  await using client = await connect(unit.address)
  const region = await client.createRegion('r', { bytes: MiB, mode: 'raw' })
  expect(region.transport).toBe('iwarp')
  await region.write(0, Buffer.from('x'))
})

test('verbs on loopback is refused by code', async () => {
  const options = { pool: both.pool, data: ['127.0.0.2:0'], transport: 'verbs' } as const
  await expect(PersistentMemoryUnit.start(options)).rejects.toMatchObject({ code: 'NOT_SUPPORTED' })
})

test.runIf(onDevice)('a unit on both fabrics serves both kinds of client on one region', async () => {
  await using unit = await PersistentMemoryUnit.start(both)
  expect(unit.dataAddresses).toHaveLength(2)
  await using byVerbs = await connect(unit.address, { transport: 'verbs' })
  await using byIwarp = await connect(unit.address, { transport: 'iwarp' })
  await using byAuto = await connect(unit.address)

  const written = await byVerbs.createRegion('r', { bytes: MiB, mode: 'raw' })
  expect(written.transport).toBe('verbs')
  const read = await byIwarp.openRegion('r', { mode: 'read' })
  expect(read.transport).toBe('iwarp')
  for (let turn = 0; turn < 20; turn++) {
    const bytes = Buffer.alloc(10_000, turn + 1)
    await written.write(turn * 10_000, bytes, { durability: 'visible' })
    expect(Buffer.compare(Buffer.from(await read.read(turn * 10_000, bytes.length)), bytes)).toBe(0)
  }
  expect((await byAuto.openRegion('r', { mode: 'read' })).transport).toBe('verbs')

  // A takeover by one fabric fences the writer on the other, both ways round.
  const taken = await byIwarp.openRegion('r', { mode: 'takeOver' })
  await expect(written.write(0, Buffer.from('late'))).rejects.toMatchObject({ code: 'FENCED' })
  await taken.write(0, Buffer.from('iwarp'), { durability: 'visible' })
  const back = await byVerbs.openRegion('r', { mode: 'takeOver' })
  await expect(taken.write(0, Buffer.from('late'))).rejects.toMatchObject({ code: 'FENCED' })
  expect(Buffer.from(await back.read(0, 5)).toString()).toBe('iwarp')
})
