import { expect, test } from 'vitest'
import type { RegionEventMessage } from '../../src/control/messages.js'
import { CheckpointError, type ErrorCode, errorCodes } from '../../src/errors.js'
import { FakeUnit } from './client-fake.js'

/** A watch whose stream ends with each of the errors in turn, after `first` messages of it, and then goes on. */
function unitWhoseWatch(failures: ErrorCode[], first: number): FakeUnit {
  const unit = FakeUnit.make()
  let revision = 0n
  const message = (): RegionEventMessage => ({
    type: 'OPENED',
    revision: ++revision,
    epoch: 1n,
    atMs: 0n,
    snapshot: false,
  })
  unit.control.watchRegion = async function* () {
    for (let i = 0; i < first; i++) yield message()
    const code = failures.shift()
    if (code !== undefined) throw new CheckpointError(code, 'the stream broke')
    yield message()
  }
  return unit
}

test('nothing that goes wrong ends a watch that has begun, but the end of its client', async () => {
  const failures = (Object.keys(errorCodes) as ErrorCode[]).filter((code) => code !== 'CLOSED')
  for (const code of failures) {
    const unit = unitWhoseWatch([code], 1)
    const client = await unit.connect()
    const watch = client.watch('r')
    await watch.next()
    expect((await watch.next()).done, code).toBe(false)
    await client.close()
    expect(await watch.next()).toEqual({ done: true, value: undefined })
  }
})

test('a watch that the unit does not know ends at its begin, with the code', async () => {
  const client = await unitWhoseWatch(['NOT_SUPPORTED'], 0).connect()
  await expect(client.watch('r').next()).rejects.toMatchObject({ code: 'NOT_SUPPORTED' })
  await client.close()
})

test('a watch that alone goes wrong is told, with its region, and again once it goes on', async () => {
  const client = await unitWhoseWatch(['INTERNAL'], 1).connect()
  const told: unknown[] = []
  client.addEventListener('disconnected', ({ connection, region, error }) =>
    told.push([connection, region, error?.code]),
  )
  client.addEventListener('restored', () => told.push('restored'))
  const watch = client.watch('r')
  await watch.next()
  await watch.next()
  expect(told).toEqual([['control', 'r', 'INTERNAL'], 'restored'])
  await client.close()
})
