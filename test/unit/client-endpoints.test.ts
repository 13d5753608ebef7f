/** Which of a unit's endpoints a client takes, and when it takes another. */
import { expect, test } from 'vitest'
import { EndpointChoice } from '../../src/client/endpoints.js'
import { FakeUnit, until } from './client-fake.js'

const both = ['verbs', 'iwarp'] as const

function unitOnBoth() {
  const unit = FakeUnit.make()
  unit.transports = both
  Object.assign(unit.native, { fabrics: both, verbsDevices: () => [] })
  return unit
}

test('where RDMA gets no answer, auto takes iwarp', async () => {
  const unit = unitOnBoth()
  unit.silent = ['verbs']
  const client = await unit.connect()
  const region = await client.openRegion('r', { mode: 'write' })
  expect(region.transport).toBe('iwarp')
  // With a token of its own for the second try of the session, and none was lost on the region.
  expect(unit.calls.map(({ name }) => name)).toEqual(['OpenSession', 'ResumeSession', 'OpenRegion'])
  await region.write(0, Uint8Array.of(1))
  expect(unit.memory[0]).toBe(1)
  await client.close()
})

test('verbs that was asked for is not replaced', async () => {
  const unit = unitOnBoth()
  unit.silent = ['verbs']
  await expect(unit.connect({ transport: 'verbs' })).rejects.toMatchObject({ code: 'TIMEOUT' })
})

test('an endpoint that has answered before is waited for', async () => {
  const unit = unitOnBoth()
  const client = await unit.connect()
  const region = await client.openRegion('r', { mode: 'write' })
  expect(region.transport).toBe('verbs')
  unit.silent = both
  unit.channel.break()
  await until(() => unit.channels.length >= 2, 'another try')
  unit.silent = []
  await region.write(0, Uint8Array.of(1))
  expect(region.transport).toBe('verbs')
  await client.close()
})

test('the order: verbs first, what was silent last, and what answers first again', () => {
  const offered = [
    { transport: 'iwarp', host: 'a', port: 1 },
    { transport: 'verbs', host: 'a', port: 1 },
    { transport: 'verbs', host: 'b', port: 1 },
  ]
  const choice = new EndpointChoice('auto', both)
  const order = () => choice.inOrder(offered).map(({ transport, host }) => `${transport} ${host}`)
  expect(order()).toEqual(['verbs a', 'verbs b', 'iwarp a'])
  choice.wasSilent({ transport: 'verbs', host: 'a', port: 1 })
  expect(order()).toEqual(['verbs b', 'iwarp a', 'verbs a'])
  choice.answered({ transport: 'verbs', host: 'a', port: 1 })
  expect(order()).toEqual(['verbs a', 'verbs b', 'iwarp a'])
  choice.wasSilent({ transport: 'verbs', host: 'a', port: 1 })
  expect(order()).toEqual(['verbs a', 'verbs b', 'iwarp a'])
  expect(() => new EndpointChoice('auto', []).inOrder(offered)).toThrow(/this build has none/)
})
