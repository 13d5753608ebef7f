// What becomes of the pool's file while a unit serves it: noticed within a second, and never durable again.
import { copyFileSync, linkSync, renameSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, it } from 'vitest'
import { connect, PersistentMemoryUnit, type UnitEvent } from '../../src/index.js'
import { shadowAddon, temporaryFolder, UnitProcess } from '../fault/support/unit-process.js'

const poolBytes = 4 << 20

const losses: Record<string, { lose: (file: string) => void; because: RegExp }> = {
  'is removed': { lose: unlinkSync, because: /was removed/ },
  'is replaced by another': {
    lose: (file) => {
      copyFileSync(file, `${file}.new`)
      renameSync(`${file}.new`, file)
    },
    because: /was removed/,
  },
  'is replaced by another, and kept elsewhere': {
    lose: (file) => {
      linkSync(file, `${file}.kept`)
      copyFileSync(file, `${file}.new`)
      renameSync(`${file}.new`, file)
    },
    because: /was replaced/,
  },
  'is moved away': { lose: (file) => renameSync(file, `${file}.away`), because: /was moved/ },
  'is emptied': { lose: (file) => truncateSync(file), because: /was cut short to 0 of/ },
  'is cut short': { lose: (file) => truncateSync(file, poolBytes / 2), because: /was cut short/ },
  'has another pool copied over it': {
    lose: (file) => copyFileSync(`${file}.older`, file),
    because: /has written over it/,
  },
}

it.each(Object.keys(losses))(
  'a pool file that %s is noticed within a second, by nobody writing to it',
  async (what) => {
    const { lose, because } = losses[what]!
    const file = path.join(temporaryFolder(), 'pool')
    const pool = { medium: 'file' as const, path: file, bytes: poolBytes, create: true }
    await (await PersistentMemoryUnit.start({ pool })).close()
    copyFileSync(file, `${file}.older`)
    const logged: string[] = []
    const unit = await PersistentMemoryUnit.start({
      pool,
      log: (level, message) => logged.push(`${level}: ${message}`),
    })
    const events: UnitEvent[] = []
    unit.addEventListener('medium-failed', (event) => events.push(event))
    unit.addEventListener('state', (event) => events.push(event))
    const client = await connect(unit.address)
    const region = await client.createRegion('raw', { bytes: 64 * 1024, mode: 'raw' })
    await region.write(0, Buffer.from('kept'))
    events.length = 0
    lose(file)
    const at = performance.now()
    await expect.poll(() => events.length, { timeout: 10_000, interval: 5 }).toBe(2)
    const noticedMs = performance.now() - at
    expect(events).toMatchObject([
      { type: 'medium-failed', error: { code: 'MEDIUM_FAILED', message: expect.stringMatching(because) } },
      { type: 'state', state: 'read-only' },
    ])
    expect(noticedMs).toBeLessThan(5000)
    expect(logged).toContain('error: the medium failed')
    expect((await client.status()).state).toBe('read-only')
    await expect(region.write(0, Buffer.from('lost'))).rejects.toMatchObject({ code: 'MEDIUM_FAILED' })
    await expect(region.flush()).rejects.toMatchObject({ code: 'MEDIUM_FAILED' })
    await expect(client.createRegion('more', { bytes: 1, mode: 'raw' })).rejects.toMatchObject({
      code: 'POOL_READ_ONLY',
    })
    // Peers' bytes are in memory of the unit's own: nothing that becomes of the file takes it away.
    expect(Buffer.from(await region.read(0, 4)).toString()).toBe('lost')
    await region.write(60 * 1024, Buffer.from('more'), { durability: 'visible' })
    await client.close()
    await expect(unit.close()).rejects.toMatchObject({ code: 'MEDIUM_FAILED' })
  },
)

it('nothing is said to be durable in a file that is gone already, before the unit has looked', async () => {
  const file = path.join(temporaryFolder(), 'pool')
  const unit = await UnitProcess.start({ pool: { medium: 'file', path: file, bytes: poolBytes } })
  const client = await connect(unit.address)
  const region = await client.createRegion('raw', { bytes: 64 * 1024, mode: 'raw' })
  for (let round = 0; ; round++) {
    if (round === 20) unlinkSync(file)
    const answer = await region.write(0, Buffer.from([round])).catch((error: unknown) => error)
    if (round < 20) expect(answer).toMatchObject({ durability: 'durable' })
    else {
      expect(answer).toMatchObject({ code: 'MEDIUM_FAILED' })
      break
    }
  }
  await client.close()
  expect(await unit.stop()).toBe(1)
})

it('a file system that turned read-only is noticed, though its calls go on to succeed', async () => {
  const folder = temporaryFolder()
  const marker = path.join(folder, 'read-only')
  const unit = await UnitProcess.start({
    pool: { medium: 'file', path: path.join(folder, 'pool'), bytes: poolBytes },
    env: { RDMA_CHECKPOINT_ADDON: shadowAddon, RC_TEST_READ_ONLY_IF: marker },
  })
  let log = ''
  unit.child.stderr?.on('data', (text: Buffer) => {
    log += text.toString()
  })
  const client = await connect(unit.address)
  const region = await client.createRegion('raw', { bytes: 64 * 1024, mode: 'raw' })
  await region.write(0, Buffer.from('kept'))
  writeFileSync(marker, '')
  await expect.poll(() => log, { timeout: 10_000 }).toMatch(/"event":"medium-failed".*Read-only file system/)
  expect((await client.status()).state).toBe('read-only')
  await expect(region.write(0, Buffer.from('lost'))).rejects.toMatchObject({ code: 'MEDIUM_FAILED' })
  await client.close()
  expect(await unit.stop()).toBe(1)
})
