import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { type Checkpoint, type CheckpointError, connect, PersistentMemoryUnit } from '../../src/index.js'
import { builtIndex, ended, MiB, nextMessage, startChild, withFolder } from './client-support.js'

/** The number that the writer gave it; the rest must follow from it. */
function numberOf({ value }: Checkpoint<Uint8Array>): number {
  const number = new DataView(value.buffer, value.byteOffset).getUint32(0)
  expect(value.length).toBe(200 + (number % 1000))
  expect(value.subarray(4).every((byte) => byte === (number & 0xff))).toBe(true)
  return number
}

test('with the event loop of the unit blocked, a follower is given all that a writer at full speed appends', async () => {
  const count = 4000
  await withFolder(async (folder) => {
    const release = path.join(folder, 'release')
    const unit = startChild('blocked-unit.js', builtIndex, path.join(folder, 'pool'), release)
    const { address } = await nextMessage<{ address: string }>(unit)
    await using client = await connect(address)
    await (await client.createRegion('followed', { bytes: 8 * MiB })).close()
    const reader = (await client.openRegion('followed')).checkpoints()
    const writer = startChild('appends.js', builtIndex, address, String(count))
    expect(await nextMessage(writer)).toBe('ready')
    unit.send('block')
    expect(await nextMessage(unit)).toBe('blocking')
    const blocked = nextMessage<{ released: boolean }>(unit)
    await setTimeout(200)
    const follow = reader.follow({ from: 'oldest' })
    const finished = ended(writer, 60_000)
    writer.send('go')
    const start = performance.now()
    for (let number = 1; number <= count; number++) {
      const { value } = await follow.next()
      expect(value && numberOf(value)).toBe(number)
    }
    console.log(`${count} checkpoints followed in ${Math.round(performance.now() - start)} ms`)
    expect(follow.lag.records).toBe(0n)
    writeFileSync(release, '')
    expect((await blocked).released).toBe(true)
    expect((await finished).code).toBe(0)
    await follow.return()
    unit.send('stop')
    await ended(unit)
  })
}, 120_000)

test('beside a writer that goes round the ring, is killed, and has a successor, nothing comes twice, out of order or mixed', async () => {
  await using unit = await PersistentMemoryUnit.start({ pool: { medium: 'memory', bytes: 4 * MiB } })
  await using client = await connect(unit.address)
  await (await client.createRegion('followed', { bytes: 512 * 1024 })).close()
  const reader = (await client.openRegion('followed')).checkpoints()
  const writer = startChild('appends.js', builtIndex, unit.address, '1000000000')
  expect(await nextMessage(writer)).toBe('ready')
  let [given, lapped, last] = [0, 0, 0]
  let follow = reader.follow({ from: 'oldest' })
  async function next(): Promise<Checkpoint<Uint8Array> | undefined> {
    for (;;) {
      try {
        return (await follow.next()).value
      } catch (error) {
        if ((error as CheckpointError).code !== 'CHECKPOINT_LAPPED') throw error
        lapped++
        const { epoch, sequence } = follow.cursor
        follow = reader.follow({ from: 'oldest' })
        // What is kept begins behind what this follower had come to.
        const { value } = await follow.next()
        expect(value && (value.epoch > epoch || value.sequence > sequence)).toBe(true)
        return value
      }
    }
  }
  writer.send('go')
  for (const end = performance.now() + 2000; performance.now() < end; given++) {
    const checkpoint = await next()
    const number = checkpoint === undefined ? 0 : numberOf(checkpoint)
    expect(number).toBeGreaterThan(last)
    last = number
    if (given % 500 === 499) await setTimeout(given % 3000 === 2999 ? 100 : 1)
  }
  const gone = ended(writer)
  writer.kill('SIGKILL')
  expect((await gone).code).toBe('SIGKILL')
  const region = await client.openRegion('followed', { mode: 'takeOver' })
  const { sequence } = await region.log().append(Uint8Array.of(1, 2, 3))
  for (;;) {
    const checkpoint = await next()
    if (checkpoint?.epoch === region.epoch) {
      expect(checkpoint).toMatchObject({ sequence, value: Uint8Array.of(1, 2, 3) })
      break
    }
    const number = checkpoint === undefined ? 0 : numberOf(checkpoint)
    expect(number).toBeGreaterThan(last)
    last = number
  }
  console.log(`${given} given of ${last}, lapped ${lapped} times`)
  expect(given).toBeGreaterThan(10)
  await follow.return()
})
