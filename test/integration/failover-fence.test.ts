/** What an owner learns and can do after another one has taken its region. */
import { once } from 'node:events'
import { afterEach, expect, test } from 'vitest'
import {
  type CheckpointError,
  type Client,
  connect,
  type Lease,
  PersistentMemoryUnit,
  type Region,
} from '../../src/index.js'
import { dataTransport } from '../data-plane.js'
import {
  answerWith,
  ask,
  heard,
  killChildren,
  MiB,
  ownerProcess,
  sleep,
  unitProcess,
  Watched,
  withFolder,
} from './failover-support.js'

afterEach(killChildren)

/** An emulated machine stands still for longer than that by itself. */
const silenceMs = dataTransport === 'verbs' ? 2000 : 300
const memory = { pool: { medium: 'memory', bytes: 32 * MiB } } as const

/** On a machine that stands still now and then an owner may be lost for a moment before it is stopped, and live again. */
async function openWhenLost(client: Client, watched: Watched, lease: Lease = {}): Promise<Region> {
  for (;;) {
    await watched.next('owner-lost')
    try {
      return await client.openRegion('r', { mode: 'write', lease })
    } catch (error) {
      if ((error as CheckpointError).code !== 'REGION_BUSY') throw error
    }
  }
}

test('an owner that is taken over alive is told at once, with the epoch that has the region now', async () => {
  await using unit = await PersistentMemoryUnit.start(memory)
  await using first = await connect(unit.address)
  await using second = await connect(unit.address)
  const old = await first.createRegion('r', { bytes: MiB, mode: 'raw' })
  const writes: Promise<unknown>[] = []
  for (let i = 0; i < 20; i++) writes.push(old.write(0, new Uint8Array(MiB).fill(1)))
  const results = Promise.allSettled(writes)
  const fenced = once(old.fenced, 'abort')
  const taken = await second.openRegion('r', { mode: 'takeOver' })
  await taken.write(0, new Uint8Array(MiB).fill(2))
  await fenced
  expect(old.fenced.reason).toMatchObject({ code: 'FENCED', details: { epoch: taken.epoch } })
  await expect(old.write(0, new Uint8Array(1))).rejects.toMatchObject({
    code: 'FENCED',
    outcome: 'none',
    details: { epoch: 2n },
  })
  for (const result of await results) {
    if (result.status === 'rejected') {
      expect(result.reason as CheckpointError).toMatchObject({ code: 'FENCED', details: { epoch: 2n } })
    }
  }
  await sleep(300)
  expect((await taken.read(0, MiB)).every((byte) => byte === 2)).toBe(true)
})

test('a primary that was stopped in the middle of its writes and goes on cannot write any more, and learns why', async () => {
  await using unit = await PersistentMemoryUnit.start(memory)
  await using client = await connect(unit.address)
  const owner = await ownerProcess(unit.address, 'r', { silenceMs }, 4 * MiB)
  const watched = new Watched(client, 'r')
  for (let i = 0; i < 50; i++) owner.process.send({ write: 1 })
  await answerWith(owner.process, 'wrote')
  owner.process.kill('SIGSTOP')
  const region = await openWhenLost(client, watched)
  expect(region.epoch).toBe(owner.epoch + 1n)
  await region.write(0, new Uint8Array(4 * MiB).fill(2))
  const from = heard(owner.process).length
  owner.process.kill('SIGCONT')
  owner.process.send({ write: 3 })
  const fenced = { code: 'FENCED', epoch: String(region.epoch) }
  expect(await answerWith(owner.process, 'failed', from)).toEqual({ failed: fenced.code, epoch: fenced.epoch })
  expect(await answerWith(owner.process, 'fenced', from)).toEqual({ fenced: fenced.epoch, code: fenced.code })
  await expect(ask(owner.process, { write: 4 }, 'wrote')).rejects.toThrow('FENCED')
  await sleep(500)
  expect((await region.read(0, 4 * MiB)).every((byte) => byte === 2)).toBe(true)
  await watched.stop()
})

test('its fenced signal carries the new epoch also when the unit was restarted meanwhile', async () => {
  await withFolder(async (folder) => {
    const unit = await unitProcess(`${folder}/pool`)
    const owner = await ownerProcess(unit.address, 'r', { silenceMs })
    await using client = await connect(unit.address)
    const watched = new Watched(client, 'r')
    owner.process.kill('SIGSTOP')
    const region = await openWhenLost(client, watched, { silenceMs: 10_000 })
    unit.process.kill('SIGKILL')
    await once(unit.process, 'exit')
    await unitProcess(`${folder}/pool`, unit.address)
    await region.write(0, new Uint8Array(10).fill(2))
    const fenced = answerWith<{ fenced: string }>(owner.process, 'fenced')
    owner.process.kill('SIGCONT')
    expect(await fenced).toEqual({ fenced: '2', code: 'FENCED' })
    await expect(ask(owner.process, { write: 1 }, 'wrote')).rejects.toThrow('FENCED')
    await watched.stop()
  })
})
