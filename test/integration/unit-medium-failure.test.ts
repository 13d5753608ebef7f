// The medium of a file pool fails: what cannot be kept is refused by code, reading goes on.
import { rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, it } from 'vitest'
import { type CheckpointError, connect } from '../../src/index.js'
import { shadowAddon, temporaryFolder, UnitProcess } from '../fault/support/unit-process.js'
import { ControlClient } from './control-client.js'

it('a unit whose medium fails at any of its calls refuses changes, keeps what it answered, and opens again', async () => {
  const folder = temporaryFolder()
  const outcomes = new Set<string>()
  for (let call = 1; call <= 40; call += process.env.RC_LONG === '1' ? 1 : 6) {
    const file = path.join(folder, `pool-${call}`)
    const pool = { medium: 'file' as const, path: file, bytes: 1 << 20 }
    const made = await UnitProcess.start({ pool, env: { RDMA_CHECKPOINT_ADDON: shadowAddon } })
    await made.stop()
    const env = { RDMA_CHECKPOINT_ADDON: shadowAddon, RC_TEST_FAIL_IO: String(call) }
    const unit = await UnitProcess.start({ pool, env }).catch((error: Error) => error)
    const answered: string[] = []
    if (unit instanceof Error) {
      outcomes.add('start')
      expect(unit.message).toMatch(/exit code 1/)
      expect(unit.message).toMatch(/"code":"(MEDIUM_FAILED|SYSTEM|POOL_FULL)"/)
    } else {
      const client = await ControlClient.open(unit.address)
      try {
        for (let index = 0; index < 40; index++) {
          await client.create(`r${index}`, 5000)
          answered.push(`r${index}`)
        }
        outcomes.add('none')
      } catch (error) {
        outcomes.add('change')
        expect(error).toMatchObject({ code: 'MEDIUM_FAILED' })
        await expect(client.create('more', 1)).rejects.toMatchObject({ code: 'POOL_READ_ONLY' })
        await expect(client.call('DeleteRegion', { name: 'r0' })).rejects.toMatchObject({
          code: answered.length > 0 ? 'POOL_READ_ONLY' : 'REGION_NOT_FOUND',
        })
        expect((await client.channel.call('Status', {})).state).toBe('read-only')
        expect((await client.list()).map((region) => region.name)).toEqual(answered)
        if (answered.length > 0) await client.call('OpenRegion', { name: 'r0', mode: 'READ' })
      }
      client.close()
      await unit.kill()
    }
    const again = await UnitProcess.start({ pool })
    const client = await ControlClient.open(again.address)
    const names = (await client.list()).map((region) => region.name)
    expect(names).toEqual(expect.arrayContaining(answered))
    client.close()
    await again.kill()
  }
  // One read that fails is made again, and changes nothing.
  expect(outcomes).toEqual(new Set(['start', 'none', 'change']))
})

it('a unit whose medium fails under the flush of a client is read-only, and says so', async () => {
  const pool = { medium: 'file' as const, path: path.join(temporaryFolder(), 'pool'), bytes: 1 << 20 }
  await (await UnitProcess.start({ pool, env: { RDMA_CHECKPOINT_ADDON: shadowAddon } })).stop()
  const unit = await UnitProcess.start({ pool, env: { RDMA_CHECKPOINT_ADDON: shadowAddon, RC_TEST_FAIL_IO: '100' } })
  let log = ''
  unit.child.stderr?.on('data', (text) => (log += text))
  const client = await connect(unit.address)
  try {
    const region = await client.openRegion('r', { mode: 'write', create: { bytes: 4096, mode: 'raw' } })
    const failed = async () => {
      for (let round = 0; round < 200; round++) await region.write(0, new Uint8Array(100).fill(round))
    }
    await expect(failed()).rejects.toMatchObject({ code: 'MEDIUM_FAILED' })
    await expect.poll(async () => (await client.status()).state, { timeout: 10_000 }).toBe('read-only')
    await expect.poll(() => log, { timeout: 10_000 }).toMatch(/"event":"medium-failed"/)
  } finally {
    await client.close().catch(() => undefined)
    await unit.kill()
  }
})

it('after a failed sync nothing is said to be durable, by no call, and the unit says what happened', async () => {
  const folder = temporaryFolder()
  const pool = { medium: 'file' as const, path: path.join(folder, 'pool'), bytes: 4 << 20 }
  const failing = path.join(folder, 'failing')
  const env = { RDMA_CHECKPOINT_ADDON: shadowAddon, RC_TEST_FAIL_SYNC_IF: failing }
  const unit = await UnitProcess.start({ pool, env })
  let log = ''
  unit.child.stderr?.on('data', (text: Buffer) => {
    log += text.toString()
  })
  const client = await connect(unit.address, { retryMs: 2000 })
  const region = await client.createRegion('raw', { bytes: 64 * 1024, mode: 'raw' })
  const other = await client.createRegion('other', { bytes: 64 * 1024, mode: 'raw' })
  await region.write(0, Buffer.from('old'))
  writeFileSync(failing, '')
  await expect(region.write(0, Buffer.from('new'))).rejects.toMatchObject({ code: 'MEDIUM_FAILED', outcome: 'unknown' })
  // Whatever the kernel says from here on, it has dropped what it could not write.
  rmSync(failing)
  const calls = {
    flush: () => region.flush(),
    'flush of the range': () => region.flush([{ offset: 0, length: 3 }]),
    'the same write': () => region.write(0, Buffer.from('new')),
    'a write elsewhere': () => region.write(4096, Buffer.from('new')),
    'flush again': () => region.flush(),
    'a write of another region': () => other.write(0, Buffer.from('new')),
    'flush of another region': () => other.flush(),
  }
  for (const [what, call] of Object.entries(calls)) {
    const answer = await call().catch((error: CheckpointError) => error)
    expect(answer, what).toMatchObject({ code: 'MEDIUM_FAILED', outcome: 'unknown' })
  }
  const refused = { code: 'POOL_READ_ONLY', outcome: 'none' }
  await expect(client.createRegion('more', { bytes: 1, mode: 'raw' })).rejects.toMatchObject(refused)
  await expect(client.openRegion('raw', { mode: 'takeOver' })).rejects.toMatchObject(refused)
  expect(Buffer.from(await region.read(0, 3)).toString()).toBe('new')
  expect((await client.status()).state).toBe('read-only')
  await client.close()
  expect(await unit.stop()).toBe(1)
  expect(log).toMatch(/"medium.failed|medium failed/)
  expect(log).toContain('could not be saved')
  const again = await UnitProcess.start({ pool })
  const reader = await connect(again.address)
  expect(Buffer.from(await (await reader.openRegion('raw')).read(0, 3)).toString()).toBe('old')
  await reader.close()
  expect(await again.stop()).toBe(0)
})
