// The unit dies at any moment; what it had acknowledged as durable is there when it is back. The unit runs on the
// addon build that keeps file writes in memory until fdatasync, so that a kill loses what a power cut would.
import { existsSync } from 'node:fs'
import { beforeAll, expect, test } from 'vitest'
import type { LogPlan } from './support/log-history.js'
import { rounds, seedOf } from './support/long.js'
import { killOverAndOver } from './support/unit-lives.js'
import { shadowAddon } from './support/unit-process.js'

const logs: LogPlan[] = [
  { name: 'ring', mode: 'append', bytes: 512 * 1024, maxBytes: 32 * 1024, visibleShare: 0 },
  { name: 'slots', mode: 'overwrite', bytes: 256 * 1024, maxBytes: 64 * 1024, visibleShare: 0 },
]

beforeAll(async () => {
  expect(existsSync(shadowAddon), 'the shadow build is missing: npm run addon:test').toBe(true)
  const loaded = await import('node:module').then(({ createRequire }) => createRequire(import.meta.url)(shadowAddon))
  expect(loaded.shadowFileIo, 'the shadow build really holds writes back').toBe(true)
})

test('every checkpoint and region acknowledged as durable outlives the unit, and the pool opens', async () => {
  const kills = rounds({ long: 100, ci: 10 })
  const seed = seedOf('unit-kill')
  const report = await killOverAndOver({ seed, kills, logs, createRegions: true })
  console.log(
    `unit-kill: ${report.kills} kills, ${report.acknowledged} durable checkpoints and ` +
      `${report.regionsCreated} regions acknowledged and kept`,
  )
  expect(report.wrong).toEqual([])
  expect(report.kills).toBe(kills)
  expect(report.acknowledged).toBeGreaterThan(kills)
})

test('the same check finds the loss when the sync is taken out', async () => {
  const seed = seedOf('unit-kill without sync')
  const kills = rounds({ long: 10, ci: 5 })
  const report = await killOverAndOver({
    seed,
    kills,
    logs,
    createRegions: true,
    skipSync: true,
    stopWhenWrong: true,
  })
  console.log(`unit-kill without sync: found ${JSON.stringify(report.wrong[0])}`)
  expect(report.wrong).not.toEqual([])
  expect(report.wrong.join('\n')).toMatch(/is gone|does not open|does not read/)
})
