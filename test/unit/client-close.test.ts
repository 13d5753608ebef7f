/** A unit hears of every close, for the heartbeats of a session keep what it has open. */
import { expect, test } from 'vitest'
import { CheckpointError } from '../../src/errors.js'
import { FakeUnit, until } from './client-fake.js'

function closes(unit: FakeUnit): number {
  return unit.calls.filter(({ name }) => name === 'CloseRegion').length
}

test('a close that the unit did not answer in time is told again until it has', async () => {
  const unit = FakeUnit.make()
  const client = await unit.connect()
  const region = await client.openRegion('r', { mode: 'write' })
  unit.refuse.CloseRegion = new CheckpointError('TIMEOUT', 'busy', { outcome: 'unknown', retryable: true })
  await region.close()
  expect(closes(unit)).toBe(1)
  await until(() => closes(unit) > 2)
  unit.refuse.CloseRegion = undefined
  const from = closes(unit)
  await until(() => closes(unit) > from)
  await client.close()
})

test('an open that is given up before its connection stands is closed at the unit', async () => {
  const unit = FakeUnit.make()
  const client = await unit.connect()
  unit.unreachable = true
  const abort = new AbortController()
  const opening = client.openRegion('r', { mode: 'write', signal: abort.signal })
  await until(() => unit.calls.some(({ name }) => name === 'OpenRegion'))
  await new Promise((resolve) => setImmediate(resolve))
  abort.abort()
  await expect(opening).rejects.toMatchObject({ code: 'ABORTED' })
  await until(() => closes(unit) > 0)
  await client.close()
})
