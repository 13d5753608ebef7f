// What a unit tells: each takeover, fence, loss, mended copy, refusal and failure, as an event and as a line of its log.
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, it } from 'vitest'
import { connect } from '../../src/client/connect.js'
import type { UnitEvent } from '../../src/unit/journal.js'
import type { UnitLog } from '../../src/unit/options.js'
import { PersistentMemoryUnit } from '../../src/unit/unit.js'
import { ControlClient } from './control-client.js'

type Line = { level: string; message: string } & Record<string, unknown>
const types = [
  'opened',
  'taken-over',
  'fenced',
  'owner-lost',
  'resumed',
  'released',
  'refused',
  'created',
  'deleted',
  'state',
] as const
const running: PersistentMemoryUnit[] = []
const warnings: Error[] = []
const onWarning = (warning: Error) => void warnings.push(warning)

async function observed(log?: UnitLog) {
  const lines: Line[] = []
  const unit = await PersistentMemoryUnit.start({
    pool: { medium: 'memory', bytes: 4 << 20 },
    log: log ?? ((level, message, fields) => void lines.push({ level, message, ...fields })),
  })
  running.push(unit)
  const events: UnitEvent[] = []
  for (const type of types) unit.addEventListener(type, (event) => events.push(event))
  return { unit, lines, events }
}

afterEach(async () => {
  process.off('warning', onWarning)
  warnings.length = 0
  for (const unit of running.splice(0)) await unit.close()
})

it('the life of a region, with who, which and which epoch', async () => {
  const { unit, lines, events } = await observed()
  const [a, b] = await Promise.all([
    connect(unit.address, { identity: 'a@host' }),
    connect(unit.address, { identity: 'b@host' }),
  ])
  const first = await a.openRegion('r', { mode: 'write', create: { bytes: 65_536 } })
  await expect(b.openRegion('r', { mode: 'write' })).rejects.toMatchObject({ code: 'REGION_BUSY' })
  const second = await b.openRegion('r', { mode: 'takeOver' })
  await second.close()
  await b.deleteRegion('r')
  const of = (type: string) => events.filter((event) => event.type === type)
  const who = { region: 'r', regionId: first.id }
  expect(of('created')).toMatchObject([{ ...who, bytes: 65_536n, epoch: 0n }])
  expect(of('opened')).toMatchObject([{ ...who, owner: 'a@host', epoch: 1n }])
  expect(of('taken-over')).toMatchObject([{ ...who, owner: 'b@host', former: 'a@host', epoch: 2n }])
  expect(of('fenced')).toMatchObject([{ ...who, owner: 'a@host', epoch: 1n }])
  expect(of('released')).toMatchObject([{ ...who, owner: 'b@host' }])
  expect(of('deleted')).toMatchObject([{ ...who, epoch: 2n }])
  expect(of('refused').filter(({ owner }) => owner === 'b@host')).toMatchObject([
    { what: 'OpenRegion', region: 'r', owner: 'b@host', error: { code: 'REGION_BUSY' } },
  ])
  for (const event of events.filter(({ type }) => type !== 'state')) {
    const line = lines.find((candidate) => candidate.event === event.type && candidate.owner === event.owner)
    expect(line, event.type).toMatchObject({
      region: 'r',
      ...(event.owner === undefined ? {} : { owner: event.owner }),
    })
    expect(() => JSON.stringify(line)).not.toThrow()
  }
  await Promise.all([a.close(), b.close()])
})

it('an owner that is lost, and why', async () => {
  const { unit, lines, events } = await observed()
  const control = await ControlClient.open(unit.address, 'lost@host')
  await control.call('CreateRegion', { name: 'r', bytes: 32_768n, lease: { silenceMs: 200, stallMs: 0 } })
  await control.call('OpenRegion', { name: 'r', mode: 'WRITE' })
  await expect
    .poll(() => events.find(({ type }) => type === 'owner-lost'), { timeout: 10_000 })
    .toMatchObject({
      region: 'r',
      owner: 'lost@host',
      epoch: 1n,
      because: expect.stringMatching(/silent for \d+ ms/),
    })
  expect(lines.find(({ event }) => event === 'owner-lost')).toMatchObject({ level: 'warn', epoch: '1' })
  control.close()
})

it('names of clients steer nobody who reads the log', async () => {
  const { unit, lines } = await observed()
  const hostile = `\u001b[2J\u009b31m\u202egood\n{"level":"info"}\u0000\u2028`
  const control = await ControlClient.open(unit.address, hostile.replaceAll('\u0000', ''))
  for (const name of [hostile, 'x'.repeat(100_000), `${hostile}/${'y'.repeat(5000)}`]) {
    await control.call('OpenRegion', { name, mode: 'READ' }).catch(() => undefined)
  }
  const refused = lines.filter(({ event }) => event === 'refused')
  expect(refused).toHaveLength(3)
  for (const line of refused) {
    for (const value of Object.values(line)) {
      expect(String(value)).not.toMatch(/[\p{Cc}\p{Cf}\u2028\u2029]/u)
      expect(String(value).length).toBeLessThan(12_000)
    }
  }
  control.close()
})

it('a flood of refusals is counted, and not written line by line', async () => {
  const { unit, lines, events } = await observed()
  const control = await ControlClient.open(unit.address)
  const asked = 1000
  for (let index = 0; index < asked; index += 50) {
    const calls = Array.from({ length: 50 }, () => control.call('GetRegion', { name: 'none' }).catch(() => undefined))
    await Promise.all(calls)
  }
  control.close()
  await unit.close()
  const told = lines.filter(({ event }) => event === 'refused')
  expect(told.length).toBeLessThan(400)
  const suppressed = lines.reduce((sum, line) => sum + Number(line.suppressed ?? 0), 0)
  expect(told.length + suppressed).toBe(asked)
  expect(events.filter(({ type }) => type === 'refused')).toHaveLength(asked)
})

it('a log or a listener that fails ends nothing, and is warned of once', async () => {
  process.on('warning', onWarning)
  const failing: UnitLog[] = [
    () => {
      throw new Error('the log is full')
    },
    async () => {
      throw new Error('the log is full')
    },
  ]
  for (const log of failing) {
    const { unit, events } = await observed(log)
    const failed = () => {
      throw new Error('the listener failed')
    }
    const removed = () => {
      throw new Error('not removed')
    }
    unit.addEventListener('created', failed)
    unit.addEventListener('created', async () => failed())
    unit.addEventListener('created', { handleEvent: failed })
    unit.addEventListener('deleted', removed)
    unit.removeEventListener('deleted', removed)
    const control = await ControlClient.open(unit.address)
    for (const name of ['a', 'b']) {
      await control.create(name, 4096)
      await control.call('DeleteRegion', { name })
    }
    expect(events.filter(({ type }) => type === 'created' || type === 'deleted')).toHaveLength(4)
    control.close()
    await unit.close()
  }
  await sleep(10)
  const codes = warnings.map((warning) => (warning as { code?: string }).code)
  expect(codes.filter((code) => code === 'RDMA_CHECKPOINT_LOG')).toHaveLength(2)
  // The second round's listeners are the same function in part: each listener is warned of once.
  expect(codes.filter((code) => code === 'RDMA_CHECKPOINT_LISTENER')).toHaveLength(6)
})
