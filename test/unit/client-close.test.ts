/** A unit hears of every close, for the heartbeats of a session keep what it has open. */
import { expect, test } from 'vitest'
import type { ClientCore } from '../../src/client/client-core.js'
import { RegionControl } from '../../src/client/region-control.js'
import type { OpenedRegion } from '../../src/client/region-opener.js'
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

test('a close whose signal has aborted already closes all the same', async () => {
  const unit = FakeUnit.make()
  const client = await unit.connect()
  const region = await client.openRegion('r', { mode: 'write' })
  await client.close({ signal: AbortSignal.abort() })
  await expect(region.read(0, 1)).rejects.toMatchObject({ code: 'CLOSED' })
  await expect(client.status()).rejects.toMatchObject({ code: 'CLOSED' })
  await until(() => unit.calls.some(({ name }) => name === 'CloseSession'))
})

test('a cursor whose save is given up by a close may have been saved', async () => {
  const session = { call: () => new Promise(() => undefined) }
  const control = new RegionControl({ session } as unknown as ClientCore)
  const opened = { info: { name: 'r', id: '' } } as OpenedRegion
  const saving = control.saveCursor(opened, { name: 'c', epoch: 1n, sequence: 1n }, undefined)
  control.giveUp(new CheckpointError('CLOSED', 'closed'))
  await expect(saving).rejects.toMatchObject({ code: 'CLOSED', outcome: 'unknown' })
})

test('the tables are not given up for all because the first who waits has little time', async () => {
  const unit = FakeUnit.make()
  const { call } = unit.control
  unit.control.call = (async (name: 'OpenTables', request: never, options: never) => {
    if (name !== 'OpenTables') return await call(name, request, options)
    await new Promise((resolve) => setTimeout(resolve, 200))
    throw new CheckpointError('NOT_SUPPORTED', 'no tables')
  }) as typeof call
  const client = await unit.connect()
  const region = await client.openRegion('r', { mode: 'write' })
  const hasty = region.metadata({ timeoutMs: 20 })
  const patient = region.metadata()
  await Promise.all([
    expect(hasty).rejects.toMatchObject({ code: 'TIMEOUT' }),
    expect(patient).rejects.toMatchObject({ code: 'NOT_SUPPORTED' }),
  ])
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

test('an open whose answers were lost is cancelled at the unit when it is given up', async () => {
  for (const mode of ['write', 'takeOver', 'read'] as const) {
    const unit = FakeUnit.make()
    const client = await unit.connect()
    unit.refuse.OpenRegion = new CheckpointError('CONNECTION_LOST', 'gone', { outcome: 'unknown', retryable: true })
    const abort = new AbortController()
    const opening = client.openRegion('r', { mode: mode as 'write', signal: abort.signal })
    opening.catch(() => undefined)
    await until(() => unit.calls.filter(({ name }) => name === 'OpenRegion').length > 2)
    // The last try was refused for certain; those before may have had their effect.
    unit.refuse.OpenRegion = new CheckpointError('CONNECTION_REFUSED', 'nobody', { outcome: 'none', retryable: true })
    const from = unit.calls.length
    await until(() => unit.calls.slice(from).some(({ name }) => name === 'OpenRegion'))
    abort.abort()
    await expect(opening).rejects.toMatchObject({ code: 'ABORTED' })
    await until(() => closes(unit) > 0)
    const { attempt } = unit.calls.find(({ name }) => name === 'OpenRegion')?.request ?? {}
    const told = unit.calls.find(({ name }) => name === 'CloseRegion')?.request
    expect(told).toMatchObject({ name: 'r', attempt })
    await client.close()
  }
})

test('an open that is given up before it is sent is not sent', async () => {
  const unit = FakeUnit.make()
  const client = await unit.connect()
  let found: () => void = () => undefined
  const { call } = unit.control
  unit.control.call = (async (name: 'OpenSession', request: never, options: never) => {
    if (name === 'OpenSession') await new Promise<void>((resolve) => (found = resolve))
    return await call(name, request, options)
  }) as typeof call
  unit.session++
  unit.breakSession()
  await expect(client.openRegion('r', { mode: 'takeOver', timeoutMs: 50 })).rejects.toMatchObject({
    outcome: 'unknown',
  })
  unit.calls.length = 0
  found()
  await until(() => unit.calls.some(({ name }) => name === 'OpenSession'))
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(unit.calls.map(({ name }) => name)).not.toContain('OpenRegion')
  await client.close()
})

test('a region that is closed while it is being opened again is given up there, too', async () => {
  const unit = FakeUnit.make()
  const client = await unit.connect()
  const region = await client.openRegion('r', { mode: 'write' })
  unit.refuse.OpenRegion = new CheckpointError('TIMEOUT', 'busy', { outcome: 'unknown', retryable: true })
  const opens = unit.calls.length
  unit.restart()
  await until(() => unit.calls.slice(opens).some(({ name }) => name === 'OpenRegion'))
  await region.close()
  await until(() => unit.calls.some(({ name, request }) => name === 'CloseRegion' && 'attempt' in request))
  await client.close()
})

test('a close whose release is not on record says so, when all is closed', async () => {
  for (const code of ['MEDIUM_FAILED', 'POOL_READ_ONLY'] as const) {
    const unit = FakeUnit.make()
    const client = await unit.connect()
    unit.refuse.CloseRegion = new CheckpointError(code, 'the disk is gone', { outcome: 'unknown' })
    const told: object[] = []
    client.addEventListener('release-failed', ({ region, epoch, error }) => told.push({ region, epoch, error }))
    const unreleased = { code, outcome: 'unknown', message: expect.stringContaining('the disk is gone') }
    const region = await client.openRegion('r', { mode: 'write' })
    const { channel } = unit
    await expect(region.close()).rejects.toMatchObject(unreleased)
    expect(channel.closed).toBe(true)
    await expect(region.close()).rejects.toMatchObject(unreleased)
    await expect(region.read(0, 1)).rejects.toMatchObject({ code: 'CLOSED' })
    // Nobody waits for the release of a reader's region.
    await (await client.openRegion('r')).close()
    expect(told).toEqual([{ region: 'r', epoch: 5n, error: expect.objectContaining(unreleased) }])
    // What closes more than one thing, or comes after another failure, hides none by its own.
    await (await client.openRegion('r', { mode: 'write' }))[Symbol.asyncDispose]()
    await client.openRegion('r', { mode: 'write' })
    await client.close()
    expect(told).toHaveLength(3)
    expect(unit.calls.map(({ name }) => name)).toContain('CloseSession')
  }
})
