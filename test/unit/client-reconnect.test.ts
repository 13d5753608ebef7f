import { expect, test } from 'vitest'
import { CheckpointError } from '../../src/errors.js'
import { nativeCode } from '../../src/native-error.js'
import type { ConnectOptions } from '../../src/types.js'
import { FakeUnit, settle, until } from './client-fake.js'

async function writer(options?: ConnectOptions) {
  const unit = FakeUnit.make()
  const client = await unit.connect(options)
  const region = await client.openRegion('r', { mode: 'write' })
  return { unit, client, region }
}
const fill = (value: number, length = 4) => new Uint8Array(length).fill(value)

test('calls without an answer are repeated in their order on the next connection, and before newer ones', async () => {
  const { unit, client, region } = await writer()
  unit.auto = false
  const first = [region.write(0, fill(1)), region.write(2, fill(2)), region.read(0, 4)]
  unit.channel.break()
  const newer = region.write(3, fill(3))
  await until(() => unit.channels.length === 2 && unit.channel.pending.length === 4)
  expect(unit.channel.pending.map(({ offsets }) => offsets[0])).toEqual([0, 2, 0, 3])
  unit.channel.complete()
  const answers = await Promise.all([...first, newer])
  expect([...(answers[2] as Uint8Array)]).toEqual([1, 1, 2, 2])
  expect([...unit.memory.subarray(0, 8)]).toEqual([1, 1, 2, 3, 3, 3, 3, 0])
  const again = unit.calls.filter(({ name }) => name === 'OpenRegion')[1]
  expect(again?.request.previousHandle).toBe(7n)
  await client.close()
})

test('a fence names its epoch also where the unit has forgotten the session meanwhile', async () => {
  const { unit, client, region } = await writer()
  unit.refuse.OpenRegion = new CheckpointError('SESSION_EXPIRED', 'no such session')
  const opens = () => unit.calls.filter(({ name }) => name === 'OpenRegion').length
  unit.channel.break(nativeCode.fenced)
  await until(() => opens() > 2, 'another try')
  expect(region.fenced.aborted).toBe(false)
  unit.refuse.OpenRegion = new CheckpointError('FENCED', 'taken', { details: { epoch: 9n } })
  await until(() => region.fenced.aborted, 'the fence')
  expect(region.fenced.reason).toMatchObject({ code: 'FENCED', details: { epoch: 9n } })
  unit.refuse.OpenRegion = undefined
  await client.close()
})

test('what was answered is not repeated', async () => {
  const { unit, client, region } = await writer()
  unit.auto = false
  const writes = [region.write(0, fill(1)), region.write(8, fill(2))]
  unit.channel.complete(1)
  unit.channel.break()
  await until(() => unit.channels.length === 2 && unit.channel.pending.length > 0)
  expect(unit.channel.pending.map(({ offsets }) => offsets[0])).toEqual([8])
  unit.channel.complete()
  await Promise.all(writes)
  await client.close()
})

test('a unit that has lost its sessions is told the secret and epoch of the ownership', async () => {
  const { unit, client, region } = await writer()
  unit.restart()
  unit.auto = true
  await region.write(0, fill(1))
  const again = unit.calls.filter(({ name }) => name === 'OpenRegion').at(-1)!.request
  expect(again).toMatchObject({ previousHandle: 0n, ownerEpoch: 5n, session: 2n })
  expect((again.ownerSecret as Uint8Array).byteLength).toBe(32)
  await client.close()
})

test('a call waits for the connection until its deadline, and says what it may have done', async () => {
  const { unit, client, region } = await writer()
  unit.auto = false
  const posted = region.write(0, fill(1), { timeoutMs: 60 })
  unit.unreachable = true
  unit.channel.break()
  const later = region.write(0, fill(2), { timeoutMs: 60 })
  await expect(posted).rejects.toMatchObject({ code: 'CONNECTION_LOST', outcome: 'unknown', retryable: true })
  await expect(later).rejects.toMatchObject({ code: 'CONNECTION_LOST', outcome: 'none' })
  unit.unreachable = false
  unit.auto = true
  await region.write(0, fill(3))
  expect(unit.memory[0]).toBe(3)
  await client.close()
})

test('retryMs bounds the wait of a call without a deadline', async () => {
  const { unit, client, region } = await writer({ retryMs: 50 })
  unit.unreachable = true
  unit.channel.break()
  await expect(region.write(0, fill(1), { timeoutMs: 0 })).rejects.toMatchObject({ code: 'CONNECTION_LOST' })
  await client.close()
})

test('an operation that breaks each connection is given up in the end', async () => {
  const { unit, client, region } = await writer()
  unit.auto = false
  const write = region.write(0, fill(1))
  for (let round = 0; round < 3; round++) {
    await until(() => unit.channel.open && !unit.channel.closed && unit.channel.pending.length > 0)
    unit.channel.break(nativeCode.remoteAccess)
  }
  await expect(write).rejects.toMatchObject({ code: 'REMOTE_ACCESS', outcome: 'unknown' })
  await client.close()
})

test('a region that is gone ends pending and later calls, and is not asked for again', async () => {
  const { unit, client, region } = await writer()
  unit.auto = false
  const write = region.write(0, fill(1))
  unit.refuse.OpenRegion = new CheckpointError('REGION_NOT_FOUND', 'no such region')
  unit.channel.break()
  await expect(write).rejects.toMatchObject({ code: 'REGION_NOT_FOUND', outcome: 'unknown' })
  await expect(region.read(0, 1)).rejects.toMatchObject({ code: 'REGION_NOT_FOUND', outcome: 'none' })
  const asked = unit.calls.length
  await settle()
  expect(unit.calls.length).toBe(asked)
  await client.close()
})

test('a fenced owner: signal with the epoch, pending and later writes fail', async () => {
  const { unit, client, region } = await writer()
  unit.auto = false
  const write = region.write(0, fill(1))
  unit.fence(7n, 9n)
  expect(region.fenced.aborted).toBe(true)
  expect(region.fenced.reason).toMatchObject({ code: 'FENCED', details: { epoch: 9n } })
  await expect(write).rejects.toMatchObject({ code: 'FENCED', outcome: 'unknown', details: { epoch: 9n } })
  await expect(region.write(0, fill(2))).rejects.toMatchObject({ code: 'FENCED', outcome: 'none' })
  await client.close()
})

test('an owner that finds its region owned by another after a restart is fenced', async () => {
  const { unit, client, region } = await writer()
  unit.refuse.OpenRegion = new CheckpointError('FENCED', 'taken', { details: { epoch: 6n } })
  unit.restart()
  await until(() => region.fenced.aborted)
  expect(region.fenced.reason).toMatchObject({ code: 'FENCED', details: { epoch: 6n } })
  await client.close()
})

test('an idle handle is connected again without a call', async () => {
  const { unit, client } = await writer()
  unit.channel.break()
  await until(() => unit.channels.length === 2 && unit.channel.open)
  await client.close()
})
