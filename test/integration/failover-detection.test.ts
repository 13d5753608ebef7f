/** When an owner counts as lost, and when it does not. Times are those of the unit's events. */
import { once } from 'node:events'
import { afterEach, describe, expect, test } from 'vitest'
import { connect, PersistentMemoryUnit } from '../../src/index.js'
import { answerWith, ask, killChildren, MiB, ownerProcess, sleep, unitProcess, Watched } from './failover-support.js'

afterEach(killChildren)

const memory = { pool: { medium: 'memory', bytes: 32 * MiB } } as const

/** The least of several measurements: what other processes take of the machine only adds to one. */
async function least(attempts: number, goodEnough: number, measure: () => Promise<number>): Promise<number> {
  let best = Number.POSITIVE_INFINITY
  for (let attempt = 0; attempt < attempts && best > goodEnough; attempt++) best = Math.min(best, await measure())
  return best
}

describe('an owner', () => {
  test('that is killed is lost at once', async () => {
    await using unit = await PersistentMemoryUnit.start(memory)
    await using client = await connect(unit.address)
    const watched = new Watched(client, 'r')
    const took = await least(3, 100, async () => {
      const owner = await ownerProcess(unit.address, 'r', { silenceMs: 60_000 })
      const from = watched.events.length
      const killedAt = Date.now()
      owner.process.kill('SIGKILL')
      const lost = await watched.next('owner-lost', from)
      expect(lost.epoch).toBe(owner.epoch)
      return lost.at.getTime() - killedAt
    })
    console.log(`from SIGKILL to owner-lost: ${took} ms`)
    expect(took).toBeLessThanOrEqual(100)
    await watched.stop()
  })

  test('that is stopped is lost after silenceMs, and at most a fifth more', async () => {
    await using unit = await PersistentMemoryUnit.start(memory)
    await using client = await connect(unit.address)
    const watched = new Watched(client, 'r')
    const silenceMs = 1000
    const took = await least(3, silenceMs * 1.2, async () => {
      const owner = await ownerProcess(unit.address, 'r', { silenceMs })
      const from = watched.events.length
      const stoppedAt = Date.now()
      owner.process.kill('SIGSTOP')
      const lost = await watched.next('owner-lost', from)
      await killChildren()
      return lost.at.getTime() - stoppedAt
    })
    console.log(`from SIGSTOP to owner-lost: ${took} ms`)
    // Its last heartbeat was sent up to 100 ms before it was stopped.
    expect(took).toBeGreaterThanOrEqual(silenceMs - 110)
    expect(took).toBeLessThanOrEqual(silenceMs * 1.2)
    await watched.stop()
  })

  test('whose event loop is blocked for less than stallMs, but longer than silenceMs, is never lost', async () => {
    await using unit = await PersistentMemoryUnit.start(memory)
    await using client = await connect(unit.address)
    const owner = await ownerProcess(unit.address, 'r', { silenceMs: 1200, stallMs: 6000 })
    const watched = new Watched(client, 'r')
    for (let round = 0; round < 3; round++) await ask(owner.process, { block: 2000 }, 'blocked')
    await expect(client.openRegion('r', { mode: 'write' })).rejects.toMatchObject({ code: 'REGION_BUSY' })
    expect(watched.types).toEqual(['opened'])
    await watched.stop()
  })

  test('whose event loop is blocked for longer than stallMs is lost, and with stallMs 0 never', async () => {
    await using unit = await PersistentMemoryUnit.start(memory)
    await using client = await connect(unit.address)
    const stalls = await ownerProcess(unit.address, 'stalls', { silenceMs: 5000, stallMs: 800 })
    const patient = await ownerProcess(unit.address, 'patient', { silenceMs: 5000, stallMs: 0 })
    const [lost, never] = [new Watched(client, 'stalls'), new Watched(client, 'patient')]
    await Promise.all([lost.next('opened'), never.next('opened')])
    for (const { process } of [stalls, patient]) process.send({ block: 2500 })
    await lost.next('owner-lost')
    await answerWith(patient.process, 'blocked', 0)
    expect(never.types).toEqual(['opened'])
    // It has come back before anybody took its region, and owns it still.
    await sleep(300)
    await expect(client.openRegion('stalls', { mode: 'write' })).rejects.toMatchObject({ code: 'REGION_BUSY' })
    expect(await ask(stalls.process, { append: 'on' }, 'appended')).toEqual({ appended: '1' })
    await Promise.all([lost.stop(), never.stop()])
  })

  test('that came back and is lost again is told of again', async () => {
    await using unit = await PersistentMemoryUnit.start(memory)
    await using client = await connect(unit.address)
    const owner = await ownerProcess(unit.address, 'r', { silenceMs: 300 })
    const watched = new Watched(client, 'r')
    for (let round = 0; round < 3; round++) {
      const from = watched.events.length
      owner.process.kill('SIGSTOP')
      await watched.next('owner-lost', from)
      owner.process.kill('SIGCONT')
      await ask(owner.process, { append: round }, 'appended')
      await sleep(200)
    }
    expect(watched.types.filter((type) => type === 'owner-lost')).toHaveLength(3)
    await watched.stop()
  })

  test('on a machine that is short of time is not lost: pulses of SIGSTOP below the lease', async () => {
    await using unit = await PersistentMemoryUnit.start(memory)
    await using client = await connect(unit.address)
    const owner = await ownerProcess(unit.address, 'r', { silenceMs: 2000 })
    const watched = new Watched(client, 'r')
    await watched.next('opened')
    for (let round = 0; round < 5; round++) {
      owner.process.kill('SIGSTOP')
      await sleep(500)
      owner.process.kill('SIGCONT')
      await sleep(300)
    }
    expect(watched.types).toEqual(['opened'])
    await watched.stop()
  })
})

describe('the unit’s own pauses fence no healthy owner:', () => {
  test('its process stopped for three leases, at moments that differ', async () => {
    const unit = await unitProcess('memory')
    await using client = await connect(unit.address)
    const owner = await ownerProcess(unit.address, 'r', { silenceMs: 1500 })
    const watched = new Watched(client, 'r')
    await watched.next('opened')
    for (const pauseMs of [4500, 2230, 4610]) {
      unit.process.kill('SIGSTOP')
      await sleep(pauseMs)
      unit.process.kill('SIGCONT')
      // The very first thing that it is asked.
      const second = client.openRegion('r', { mode: 'write', timeoutMs: 20_000 })
      await expect(second).rejects.toMatchObject({ code: 'REGION_BUSY', details: { epoch: owner.epoch } })
      await sleep(1500)
    }
    await ask(owner.process, { append: 'still here' }, 'appended')
    expect(watched.types).not.toContain('owner-lost')
    expect(watched.types).not.toContain('taken-over')
    await watched.stop()
  })

  test('its event loop blocked for three leases', async () => {
    await using unit = await PersistentMemoryUnit.start(memory)
    await using client = await connect(unit.address)
    // An owner that itself gets no CPU for a lease is lost, so that leases here are longer than a busy machine's hiccups.
    const owner = await ownerProcess(unit.address, 'r', { silenceMs: 1500 })
    const watched = new Watched(client, 'r')
    await watched.next('opened')
    for (let round = 0; round < 2; round++) {
      // The unit runs in this process.
      const end = performance.now() + 4500
      while (performance.now() < end);
      await expect(client.openRegion('r', { mode: 'write' })).rejects.toMatchObject({ code: 'REGION_BUSY' })
    }
    await ask(owner.process, { append: 'still here' }, 'appended')
    expect(watched.types).toEqual(['opened'])
    await watched.stop()
  })

  test('a dead owner is noticed all the same, after the pause', async () => {
    const unit = await unitProcess('memory')
    await using client = await connect(unit.address)
    const owner = await ownerProcess(unit.address, 'r', { silenceMs: 1000 })
    const watched = new Watched(client, 'r')
    await watched.next('opened')
    unit.process.kill('SIGSTOP')
    owner.process.kill('SIGKILL')
    await once(owner.process, 'exit')
    await sleep(1500)
    unit.process.kill('SIGCONT')
    await watched.next('owner-lost')
    await watched.stop()
  })
})
