import { expect, test } from 'vitest'
import type { Client } from '../../src/client/client.js'
import { CheckpointError } from '../../src/errors.js'
import { nativeCode } from '../../src/native-error.js'
import { FakeUnit, settle, until } from './client-fake.js'

const types = ['connected', 'disconnected', 'reconnecting', 'restored', 'lost-writes', 'fenced'] as const

function recorded(client: Client) {
  const events: string[] = []
  for (const type of types) client.addEventListener(type, () => events.push(type))
  return events
}

test('connected is told to a listener that is there once connect() has resolved', async () => {
  const unit = FakeUnit.make()
  const client = await unit.connect()
  const events = recorded(client)
  await settle()
  expect(events).toEqual(['connected'])
  expect(client.connected).toBe(true)
  await client.close()
  expect(events).toEqual(['connected'])
})

test('an outage is one story, whatever breaks of it: disconnected with its reason, tries, restored with its length', async () => {
  const unit = FakeUnit.make()
  const client = await unit.connect()
  await client.openRegion('r', { mode: 'write' })
  await settle()
  const events = recorded(client)
  let lost: unknown
  let tried: unknown
  let back: unknown
  client.addEventListener('disconnected', (event) => {
    lost = event
  })
  client.addEventListener('reconnecting', (event) => {
    tried = event
  })
  client.addEventListener('restored', (event) => {
    back = event
  })
  unit.unreachable = true
  unit.refuse.ResumeSession = new CheckpointError('CONNECTION_REFUSED', 'nobody listens')
  unit.restart()
  expect(client.connected).toBe(false)
  expect(lost).toMatchObject({ unit: 'fake:1', error: { code: 'CONNECTION_LOST' } })
  await until(() => events.includes('reconnecting'), 'a try')
  expect(tried).toMatchObject({ attempt: expect.any(Number), delayMs: expect.any(Number), error: { retryable: false } })
  unit.unreachable = false
  unit.refuse.ResumeSession = undefined
  await until(() => client.connected, 'the end of the outage')
  expect(back).toMatchObject({ downMs: expect.any(Number) })
  expect(events.filter((type) => type === 'disconnected')).toHaveLength(1)
  expect(events.at(-1)).toBe('restored')
  await client.close()
  expect(events.at(-1)).toBe('restored')
})

test('a region whose connection alone breaks is named, and one that has ended keeps no outage open', async () => {
  const unit = FakeUnit.make()
  const client = await unit.connect()
  const region = await client.openRegion('r', { mode: 'write' })
  const told: unknown[] = []
  client.addEventListener('disconnected', ({ connection, region: name }) => told.push({ connection, name }))
  unit.refuse.OpenRegion = new CheckpointError('FENCED', 'taken', { details: { epoch: 9n } })
  let fenced: unknown
  client.addEventListener('fenced', (event) => {
    fenced = event
  })
  unit.channel.break()
  expect(told).toEqual([{ connection: 'data', name: 'r' }])
  await until(() => region.fenced.aborted, 'the fence')
  expect(fenced).toMatchObject({ region: 'r', epoch: 5n, error: { code: 'FENCED', details: { epoch: 9n } } })
  expect(client.connected).toBe(true)
  await client.close()
})

test('writes that a restart of the unit took are told, with the region', async () => {
  const unit = FakeUnit.make()
  const client = await unit.connect()
  const region = await client.openRegion('r', { mode: 'write' })
  await region.write(0, new Uint8Array(8), { durability: 'visible' })
  let lost: unknown
  client.addEventListener('lost-writes', (event) => {
    lost = event
  })
  unit.restart()
  await until(() => lost !== undefined, 'the news')
  expect(lost).toMatchObject({ region: 'r', epoch: 5n, error: { code: 'WRITES_LOST' } })
  await client.close()
})

test('a session that breaks as soon as it stands is made again at a slower and slower pace', async () => {
  const unit = FakeUnit.make()
  const client = await unit.connect()
  const opens = () => unit.calls.filter(({ name }) => name === 'ResumeSession').length
  client.addEventListener('restored', () => setImmediate(() => unit.breakSession(nativeCode.connectionBroken)))
  unit.breakSession()
  await new Promise((resolve) => setTimeout(resolve, 300))
  expect(opens()).toBeLessThan(10)
  await client.close()
})
