/** A unit hears of every close, for the heartbeats of a session keep what it has open. */
import { expect, test } from 'vitest'
import type { ClientCore } from '../../src/client/client-core.js'
import { RegionControl } from '../../src/client/region-control.js'
import type { OpenedRegion } from '../../src/client/region-opener.js'
import { CheckpointError } from '../../src/errors.js'
import { FakeUnit, settle, until } from './client-fake.js'

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

/** A writer's region, what its client is told of its release, and what the unit has on record of it. */
async function owned() {
  const unit = FakeUnit.make()
  const client = await unit.connect()
  const region = await client.openRegion('r', { mode: 'write' })
  const told: object[] = []
  client.addEventListener('release-failed', ({ region, epoch, error }) =>
    told.push({ region, epoch, code: error.code }),
  )
  const record = { id: region.id, epoch: 5n, owner: 'me' }
  const { call } = unit.control
  let asked = 0
  unit.control.call = (async (name: 'GetRegion', request: never, options: never) => {
    const answer = await call(name, request, options)
    if (name !== 'GetRegion') return answer
    asked++
    return record
  }) as typeof call
  return { unit, client, region, told, record, asked: () => asked }
}
const silent = new CheckpointError('TIMEOUT', 'no answer', { outcome: 'unknown', retryable: true })
const failedMedium = new CheckpointError('MEDIUM_FAILED', 'the disk is gone', { outcome: 'unknown' })

test('a release that fails in the background of a close without an answer is told by an event, once', async () => {
  const { unit, client, region, told } = await owned()
  unit.refuse.CloseRegion = silent
  await region.close()
  expect(told).toEqual([])
  unit.refuse.CloseRegion = failedMedium
  await until(() => told.length > 0)
  expect(told).toEqual([{ region: 'r', epoch: 5n, code: 'MEDIUM_FAILED' }])
  await client.close()
  expect(told.length).toBe(1)
})

test('a release that a unit died with is told when the unit is back and has the owner on record', async () => {
  for (const code of ['TIMEOUT', 'SESSION_EXPIRED'] as const) {
    const { unit, client, region, told } = await owned()
    unit.refuse.CloseRegion = new CheckpointError(code, 'no answer', { outcome: 'unknown', retryable: true })
    await region.close()
    unit.restart()
    await until(() => told.length > 0)
    expect(told[0]).toMatchObject({ region: 'r', epoch: 5n })
    await client.close()
    expect(told.length).toBe(1)
  }
})

test('a release that was on record before the unit died, or that means nothing any more, is not told to have failed', async () => {
  for (const change of [{ owner: '' }, { epoch: 6n }, { id: 'another' }, undefined]) {
    const { unit, client, region, told, record, asked } = await owned()
    if (change === undefined) unit.refuse.GetRegion = new CheckpointError('REGION_NOT_FOUND', 'no such region')
    else Object.assign(record, change)
    unit.refuse.CloseRegion = silent
    await region.close()
    unit.restart()
    if (change === undefined) await until(() => unit.calls.some(({ name }) => name === 'GetRegion'))
    else await until(() => asked() > 0)
    await client.close()
    expect(told).toEqual([])
  }
})

test('a release without an answer is told by the close of the client, unless the unit has ended the session', async () => {
  for (const code of ['CONNECTION_LOST', 'MEDIUM_FAILED', undefined] as const) {
    const { unit, client, region, told } = await owned()
    unit.refuse.CloseRegion = silent
    if (code !== undefined) unit.refuse.CloseSession = new CheckpointError(code, 'no', { outcome: 'unknown' })
    await region.close()
    await client.close()
    expect(told).toEqual(code === undefined ? [] : [{ region: 'r', epoch: 5n, code }])
  }
  const { unit, client, told } = await owned()
  unit.refuse.CloseRegion = silent
  unit.refuse.OpenSession = silent
  unit.refuse.ResumeSession = silent
  unit.breakSession()
  await client.close()
  expect(told).toEqual([{ region: 'r', epoch: 5n, code: 'TIMEOUT' }])
})

test.each([true, false])(
  'a release of an open that was given up is told, too (before its answer: %s)',
  async (early) => {
    const unit = FakeUnit.make()
    const client = await unit.connect()
    const told: object[] = []
    client.addEventListener('release-failed', ({ region, epoch, error }) =>
      told.push({ region, epoch, code: error.code }),
    )
    let answers: () => void = () => undefined
    const { call } = unit.control
    unit.control.call = (async (name: 'OpenRegion', request: never, options: never) => {
      if (name === 'OpenRegion' && early) await new Promise<void>((resolve) => (answers = resolve))
      if ((name as string) === 'CloseRegion' && 'handle' in (request as object)) throw failedMedium
      return await call(name, request, options)
    }) as typeof call
    const abort = new AbortController()
    const opening = client.openRegion('r', { mode: 'write', signal: abort.signal })
    if (!early) unit.unreachable = true
    await until(() => early || unit.channels.length > 0)
    await settle()
    abort.abort()
    await expect(opening).rejects.toMatchObject({ code: 'ABORTED', outcome: 'unknown' })
    answers()
    await until(() => told.length > 0)
    await client.close()
    expect(told).toEqual([{ region: 'r', epoch: 5n, code: 'MEDIUM_FAILED' }])
  },
)

test('a close that gives up an open made again says that the release of it has failed', async () => {
  const { unit, client, region, told } = await owned()
  unit.refuse.OpenRegion = new CheckpointError('TIMEOUT', 'busy', { outcome: 'unknown', retryable: true })
  const opens = unit.calls.length
  unit.restart()
  await until(() => unit.calls.slice(opens).some(({ name }) => name === 'OpenRegion'))
  await settle()
  const { call } = unit.control
  unit.control.call = (async (name: 'CloseRegion', request: { attempt?: Uint8Array }, options: never) => {
    if (name === 'CloseRegion' && request.attempt !== undefined) throw failedMedium
    return await call(name, request as never, options)
  }) as typeof call
  await expect(region.close()).rejects.toMatchObject({ code: 'MEDIUM_FAILED' })
  await client.close()
  expect(told).toEqual([{ region: 'r', epoch: 5n, code: 'MEDIUM_FAILED' }])
})
