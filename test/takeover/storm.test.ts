/**
 * Owners are killed, stopped, cut off, slowed down or taken over alive under load, at random moments, over and over. Whatever the
 * history of it says, the checker finds nothing in it that cannot have been; and it does find the writer that a unit without a
 * fence lets go on. RC_SEED repeats a run, as far as processes can be made to; RC_TAKEOVERS sets how many there are.
 */
import { existsSync, rmSync } from 'node:fs'
import { beforeAll, expect, test, vi } from 'vitest'
import { rounds, seedOf } from '../fault/support/long.js'
import { shadowAddon } from '../fault/support/unit-process.js'
import { namespacesRefused } from './namespaces.js'
import { type StormOptions, storm } from './storm.js'
import type { StormReport } from './storm-report.js'

const onDevice = process.env.RDMA_CHECKPOINT_TEST_ADDRESS !== undefined
const refused = onDevice ? 'an RDMA device has no network namespaces' : namespacesRefused()
const wanted = process.env.RC_TAKEOVERS
const usual = process.env.RC_QUICK === '1' ? 10 : rounds({ long: 1000, ci: 40 })
const takeovers = wanted === undefined ? usual : Number(wanted)
/** Of all takeovers, by share. */
const share = (part: number) => Math.max(1, Math.round(takeovers * part))
// More than it takes on an emulated machine.
vi.setConfig({ testTimeout: 300_000 + 20_000 * takeovers })

beforeAll(() => {
  expect(existsSync(shadowAddon), 'the shadow build is missing: npm run addon:test').toBe(true)
})

async function weather(options: Omit<StormOptions, 'seed'>): Promise<StormReport> {
  const seed = seedOf(options.name)
  const began = performance.now()
  const report = await storm({ ...options, seed })
  const faults = Object.entries(report.byFault).map(([fault, count]) => `${count} ${fault}`)
  console.log(
    `${options.name}: ${report.takeovers} takeovers (${faults.join(', ')}) and ${report.others} besides, ` +
      `${report.unitKills} deaths of the unit, ${report.mediaFailures} of them after its medium had failed, ${report.unitStops} stops, ` +
      `${report.flowsDropped} flows dropped; ${report.appends} appends of ${Math.round(report.bytes / 1e6)} MB, ` +
      `${report.acknowledged} acknowledged, ${report.late} of them late; ${report.followed} followed, ${report.laps} laps, ${report.readings} readings; ` +
      `${Math.round((performance.now() - began) / 1000)} s`,
  )
  return report
}

async function withstand(options: Omit<StormOptions, 'seed'>): Promise<void> {
  const report = await weather(options)
  expect(report.wrong, `the history is in ${report.kept}`).toEqual([])
  expect(report.takeovers).toBe(options.takeovers)
  expect(report.acknowledged).toBeGreaterThan(options.takeovers)
  expect(report.followed).toBeGreaterThan(options.takeovers)
}

test('owners that are killed, stopped, slow, taken over alive, or hand over under load', async () => {
  const faults = ['kill', 'stop', 'slow', 'take', 'hand-over', 'hand-over'] as const
  await withstand({ name: 'storm', takeovers: share(0.4), faults })
})

const cutOff = `owners that are cut off from the network${refused === undefined ? '' : ` (${refused})`}`
test.skipIf(refused !== undefined)(cutOff, async () => {
  await withstand({ name: 'cut', takeovers: share(0.2), faults: ['cut', 'cut', 'kill', 'stop', 'slow'], network: true })
})

test('the same with a unit that is killed, or stopped, and started again in between', async () => {
  const faults = ['kill', 'stop', 'slow', 'take', 'hand-over', 'hand-over'] as const
  await withstand({ name: 'unit', takeovers: share(0.2), faults, unitDies: true })
})

const dropped = `owners and standbys some of whose flows are dropped in silence, too${refused === undefined ? '' : ` (${refused})`}`
test.skipIf(refused !== undefined)(dropped, async () => {
  const faults = ['cut', 'kill', 'stop', 'slow', 'take', 'hand-over'] as const
  await withstand({ name: 'flows', takeovers: share(0.1), faults, network: true, flowsDrop: true })
})

test.skipIf(onDevice)('the same with a unit whose medium fails, and is started again on a good one', async () => {
  const faults = ['kill', 'stop', 'slow', 'take', 'hand-over'] as const
  await withstand({ name: 'media', takeovers: share(0.1), faults, unitDies: true, mediaFail: true })
})

test('the control: where the unit does not fence, the checker sees the writer that was stopped and goes on', async () => {
  const report = await weather({ name: 'unfenced', takeovers: 20, faults: ['stop'], unfenced: true })
  rmSync(report.kept ?? '', { recursive: true, force: true })
  console.log(`unfenced: found ${JSON.stringify(report.wrong)}`)
  expect(report.takeovers).toBeLessThan(20)
  // A call that began after the takeover, or, on a slow machine, one that was under way when its writer was stopped.
  const fence = /^fence: .* began after epoch \d+ was answered, and was acknowledged$/m
  const lost = /^lost: .* was acknowledged, and epoch \d+ began without it$/m
  expect(report.wrong.join('\n')).toMatch(new RegExp(`${fence.source}|${lost.source}`, 'm'))
})
