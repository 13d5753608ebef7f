// A unit is killed in the midst of creates and deletes: what was answered holds, and the pool opens.
import { existsSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { rounds } from '../fault/support/long.js'
import { shadowAddon, temporaryFolder, UnitProcess } from '../fault/support/unit-process.js'
import { random } from '../unit/pool-medium.js'
import { ControlClient } from './control-client.js'

const kills = rounds({ long: 60, ci: 8 })
const seed = Number(process.env.RC_SEED ?? Date.now() % 1_000_000)

describe('a unit killed while regions are made, deleted and changed', () => {
  it(`keeps what it has answered (${kills} rounds, seed ${seed})`, async () => {
    expect(existsSync(shadowAddon), 'npm run addon:test builds it').toBe(true)
    const file = path.join(temporaryFolder(), 'pool')
    const env = { RDMA_CHECKPOINT_ADDON: shadowAddon }
    const next = random(seed)
    /** Answered: there (with its saved sequence) or not there. Between: a change was under way when the unit was killed. */
    const known = new Map<string, bigint | 'absent' | 'between'>()
    let answered = 0
    for (let round = 0; round <= kills; round++) {
      const unit = await UnitProcess.start({
        pool: { medium: 'file', path: file, ...(round === 0 ? { bytes: 8 << 20 } : {}) },
        env,
      })
      const client = await ControlClient.open(unit.address)
      const found = new Map((await client.list()).map((region) => [region.name, region]))
      for (const [name, state] of known) {
        const region = found.get(name)
        const where = `${name} in round ${round}, seed ${seed}`
        if (state === 'absent') expect(region, where).toBeUndefined()
        if (typeof state === 'bigint') {
          expect(region, where).toBeDefined()
          expect(BigInt(region?.cursors[0]?.sequence ?? 0), where).toBeGreaterThanOrEqual(state)
        }
        known.set(name, region === undefined ? 'absent' : BigInt(region.cursors[0]?.sequence ?? 0))
      }
      if (round < kills) {
        let alive = true
        const work = async (name: string) => {
          while (alive) {
            const state = known.get(name) ?? 'absent'
            known.set(name, typeof state === 'bigint' ? state : 'between')
            try {
              if (typeof state !== 'bigint') {
                await client.create(name, 1 + Math.floor(next() * 100_000))
                known.set(name, 0n)
              } else if (next() < 0.3) {
                known.set(name, 'between')
                await client.call('DeleteRegion', { name })
                known.set(name, 'absent')
              } else {
                const sequence = state + 1n
                const cursor = { name: 'c', epoch: 1n, sequence }
                await client.call('SaveCursor', { region: name, cursor })
                known.set(name, sequence)
              }
              answered++
            } catch {
              return
            }
          }
        }
        const workers = Array.from({ length: 8 }, (_, index) => work(`region-${index}`))
        const enough = answered + 15 + next() * 60
        while (answered < enough) await new Promise((resolve) => setTimeout(resolve, next() * 5))
        await unit.kill('SIGKILL')
        alive = false
        await Promise.all(workers)
      }
      client.close()
      await unit.kill()
    }
    expect(answered).toBeGreaterThanOrEqual(kills * 15)
  })
})
