// Durable and visible appends mixed at random, in rings that wrap and in slots that are overwritten, while the unit
// dies: the newest durable checkpoint, and all before it that the policy keeps, are always readable.
import { existsSync } from 'node:fs'
import { expect, test } from 'vitest'
import type { LogPlan } from './support/log-history.js'
import { rounds, seedOf } from './support/long.js'
import { killOverAndOver } from './support/unit-lives.js'
import { shadowAddon } from './support/unit-process.js'

const logs: LogPlan[] = [
  // Wraps several times between two durable appends: they must not be overwritten before the next one is durable.
  { name: 'rarely-durable', mode: 'append', bytes: 128 * 1024, maxBytes: 16 * 1024, visibleShare: 0.97 },
  { name: 'half-durable', mode: 'append', bytes: 256 * 1024, maxBytes: 16 * 1024, visibleShare: 0.5 },
  { name: 'slots', mode: 'overwrite', bytes: 128 * 1024, maxBytes: 32 * 1024, visibleShare: 0.8 },
  { name: 'slots-rarely', mode: 'overwrite', bytes: 64 * 1024, maxBytes: 8 * 1024, visibleShare: 0.97 },
]

test('what is durable never depends on what is only visible', async () => {
  expect(existsSync(shadowAddon), 'the shadow build is missing: npm run addon:test').toBe(true)
  const kills = rounds({ long: 100, ci: 10 })
  const seed = seedOf('mixed-durability')
  const report = await killOverAndOver({ seed, kills, logs, createRegions: false })
  console.log(`mixed-durability: ${report.kills} kills, ${report.acknowledged} acknowledged checkpoints`)
  expect(report.wrong).toEqual([])
  expect(report.kills).toBe(kills)
  expect(report.acknowledged).toBeGreaterThan(10 * kills)
})
