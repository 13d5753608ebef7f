// A unit takes memory for what is in its pool, not for what could be: also after a restart, and while it writes back.
import { readdirSync, readlinkSync, statSync } from 'node:fs'
import path from 'node:path'
import { expect, it } from 'vitest'
import { connect } from '../../src/client/connect.js'
import { temporaryFolder, UnitProcess } from '../fault/support/unit-process.js'

const MiB = 1 << 20
const poolBytes = 1024 * MiB
const regionBytes = 896 * MiB

/** Memory that the pool of a unit takes, in MiB. */
function poolMiB({ pid }: UnitProcess): number {
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    const file = `/proc/${pid}/fd/${fd}`
    try {
      if (readlinkSync(file).includes('memfd:rdma-checkpoint-pool')) return (statSync(file).blocks * 512) / MiB
    } catch {
      // A descriptor that has been closed meanwhile.
    }
  }
  throw new Error('the unit has no pool')
}

it('a large region with little in it takes little, before and after a restart, and is whole', async () => {
  const file = path.join(temporaryFolder(), 'pool')
  const parts: [number, Uint8Array][] = [
    [0, new Uint8Array(100).fill(1)],
    [100 * MiB + 5, new Uint8Array(3 * MiB).fill(2)],
    // Zeros that somebody wrote are no reason to take memory later.
    [300 * MiB, new Uint8Array(8 * MiB)],
    [regionBytes - 10, new Uint8Array(10).fill(3)],
  ]
  const taken: number[] = []
  for (let life = 0; life < 3; life++) {
    const unit = await UnitProcess.start({
      pool: { medium: 'file', path: file, ...(life === 0 ? { bytes: poolBytes } : {}) },
    })
    const client = await connect(unit.address)
    try {
      const create = { bytes: regionBytes, mode: 'raw' as const }
      const region = await client.openRegion('large', { mode: 'write', create, timeoutMs: 0 })
      taken.push(poolMiB(unit))
      if (life === 0) for (const [offset, bytes] of parts) await region.write(offset, bytes, { durability: 'visible' })
      for (const [offset, bytes] of parts)
        expect(Buffer.compare(await region.read(offset, bytes.length), bytes)).toBe(0)
      // Asking to make all of it durable takes nothing, either.
      if (life === 1) await region.flush()
      taken.push(poolMiB(unit))
    } finally {
      await client.close()
      await unit.stop()
    }
  }
  expect(Math.max(...taken), JSON.stringify(taken)).toBeLessThan(24)
  // Right after a start nothing but what is not zero: 3 MiB and the tables' entries.
  expect(taken[2], JSON.stringify(taken)).toBeLessThan(6)
}, 120_000)
